"""The models of a profile as every file of a saved run has them: names, turns, operators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from toolchain.profile.document import Measurement, Profile
from toolchain.profile.timed_operators import ToldRow, told_rows


def unique_names(profile: Profile) -> list[str]:
    """A name for each measurement, in their order, that no other one of the profile has.

    It is its label; those that several have get a number.
    """
    labels = [profile.label(item) for item in profile.measurements]
    taken, seen = set(labels), Counter[str]()
    names = []
    for label in labels:
        seen[label] += 1
        name = label
        if seen[label] > 1:
            number = seen[label]
            while (name := f"{label} #{number}") in taken:
                number += 1
            taken.add(name)
        names.append(name)
    return names


def samples_by_turn(item: Measurement) -> list[list[float]]:
    """The times of all timed runs, a list for each turn, in microseconds.

    What one process measured, as under emulation, is one turn. Runs that no turn accounts for come
    last, as one more.
    """
    samples = item.output.timing.samples_us if item.output.timing else []
    found, begin = [], 0
    for turn in item.turns:
        end = begin + max(turn.runs, 0)
        found.append(samples[begin:end])
        begin = end
    return [*found, samples[begin:]] if begin < len(samples) else found


def operators_by_turn(item: Measurement) -> list[list[float] | None]:
    """The median of each operator in each turn, in microseconds, in the order of ``output.ops``.

    ``None`` for a turn that did not time them. All turns are ``None`` where they ran other
    operators than each other.
    """
    ops = item.output.ops
    if not item.turns:
        return [None if ops is None else [op.median_us or 0.0 for op in ops]]
    return [
        turn.ops_us
        if ops is not None and turn.ops_us is not None and len(turn.ops_us) == len(ops)
        else None
        for turn in item.turns
    ]


def told_operators(profile: Profile, item: Measurement) -> Sequence[ToldRow]:
    """The operators of a model, beside those of the first one where that has the same layers.

    The first one is what the profile compares the model with: it has as many threads.

    Args:
        profile: that it is of.
        item: one of its measurements.

    Returns:
        As the profile's own ``operators``; none where operators were not timed.
    """
    if item.output.ops is None:
        return []
    first = profile.first(item)
    dense = None
    if item is not first and not profile.reference_failed and first.output.ops is not None:
        dense = first.output.ops, first.layers
    told = told_rows(dense, (item.output.ops, item.layers))
    if len(told) != len(item.operators):
        return told
    # The profile's own rows know what the board's cores can do.
    return [each._replace(row=row) for each, row in zip(told, item.operators, strict=True)]
