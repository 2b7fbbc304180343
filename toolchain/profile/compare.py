"""Compare results, model by model; what chance may have made is no change.

A verdict has a stated error: in a comparison of models that are all alike, at least one of the
medians is called a change with a probability of ``ERROR`` at most, however many there are (Holm).
Means, 95th percentiles and the times of layers are families of their own: each has that error.
:mod:`toolchain.profile.significance` has the tests. Below the noise band a difference is none,
however sure it is: another boot, another place in memory make as much.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from toolchain.errors import ModelError
from toolchain.profile.bootstrap import LEAST_TURNS
from toolchain.profile.comparable import Figure, Subject, Unit
from toolchain.profile.figures import written
from toolchain.profile.significance import ERROR, Shift, holm, independent_shift, paired_shift
from toolchain.profile.turns import Interval

Verdict = Literal["better", "worse", "no change", "no verdict"]

BAND = 0.02
"""By this part times of two sessions differ, or they do not."""
BAND_TOGETHER = 0.005
"""The same of models that took turns in one session."""
MATTERS = 0.05
"""A time that may have changed by more, but for chance, is no time that did not change."""
LEAST_COUNTED = 2e-5
"""By this part two counts of an emulated core differ, or they do not: a handful of instructions, as
another version of the C library makes of them, is no change of a model."""
_LEAST_KIB = 102.4
"""The last digit of memory that is shown."""
_CLOCK_SLACK = 0.02


@dataclass(frozen=True)
class Change:
    """One figure of one model, before and after."""

    model: str
    figure: str
    """``median``, ``p95``, ``instructions``, ``memory``, ``size``, ``energy by PMIC`` or by meter,
    ``estimate on BOARD``."""
    unit: Unit
    before: float
    after: float
    verdict: Verdict
    """``no change`` where the two are the same but for what does not matter, ``no verdict`` where
    that cannot be told, or where they seem to differ and are not to be relied on."""
    operator: str | None = None
    """Whose time it is; ``None``: of the whole model."""
    ratio: float | None = None
    """After over before: of times that were taken in turns the estimate of a test, see
    :class:`toolchain.profile.significance.Shift`."""
    low: float | None = None
    """Between which two the ratio lies, for 19 of 20 such comparisons; ``None`` where there is no
    test, where too little is left to tell, and for figures that repeat exactly."""
    high: float | None = None
    after_low: float | None = None
    """What the figure after is at least, in 19 of 20 such measurements of it alone; ``None`` where
    nobody kept an interval."""
    p_value: float | None = None
    """How likely chance makes such a difference in any of the figures that were compared with it;
    ``None`` where there is no test."""

    @property
    def significant(self) -> bool:
        """Whether it is told as better or worse."""
        return self.verdict in ("better", "worse")

    def row(self) -> dict[str, object]:
        """For JSON."""
        return {**vars(self), "significant": self.significant}


@dataclass(frozen=True)
class Comparison:
    """Every figure that two results share, and what to know when reading them."""

    changes: list[Change]
    operators: list[Change]
    """Of the operators that both sides timed."""
    obstacles: list[str]
    """What differs between the two that makes times of them no comparison: no time has a verdict
    then."""
    notes: list[str]


Side = Sequence[Subject]


def compare(before: Side, after: Side, *, together: bool = False) -> Comparison:
    """Compare the models that both sides have, see :func:`compare_all`."""
    return compare_all([(before, after)], together=together)[0]


def compare_all(sides: Sequence[tuple[Side, Side]], *, together: bool = False) -> list[Comparison]:
    """Compare results, each pair of them by the models that both have.

    Models are matched by name; of one each they are compared whatever they are called. All tests
    of the same figure count as one family, and those of layers as another.

    Args:
        sides: measured models before, and after.
        together: whether the two of a pair took turns in one session.

    Raises:
        ModelError: two have no model in common.
    """
    pairs = [_pairs(before, after) for before, after in sides]
    found = [[_tested(old, new, together=together) for old, new in one] for one in pairs]
    flat = [test for one in found for model in one for test in model]
    judged = iter(_judged(flat, together=together))
    made = []
    for (before, after), one, tests in zip(sides, pairs, found, strict=True):
        changes = [next(judged) for model in tests for _ in model]
        whole = [change for change in changes if change.operator is None]
        parts = [change for change in changes if change.operator is not None]
        obstacles = list(dict.fromkeys(line for pair in one for line in _obstacles(*pair)))
        made.append(Comparison(whole, parts, obstacles, _notes(before, after, one, changes)))
    return made


def _pairs(before: Side, after: Side) -> list[tuple[Subject, Subject]]:
    if len(before) == len(after) == 1:
        return [(before[0], after[0])]
    later = {one.model: one for one in after}
    pairs = [(one, later[one.model]) for one in before if one.model in later]
    if not pairs:
        first, second = (", ".join(one.model for one in side) for side in (before, after))
        raise ModelError(
            f"the two have no model in common: {first} and {second}",
            hint="models are matched by their file names",
        )
    return pairs


def _obstacles(old: Subject, new: Subject) -> Iterator[str]:
    """What makes two times no comparison at all."""
    a, b = old.setup, new.setup
    for name, one, other in (
        ("board", a.board, b.board),
        ("core", a.core, b.core),
        ("number of threads", old.threads, new.threads),
    ):
        if one is not None and other is not None and one != other:
            yield f"the {name} differs: {one} and {other}"
    if a.clock_mhz and b.clock_mhz:
        slow, fast = sorted((a.clock_mhz, b.clock_mhz))
        if slow < (1 - _CLOCK_SLACK) * fast:
            yield f"the clock differs: {a.clock_mhz:,.0f} and {b.clock_mhz:,.0f} MHz"


@dataclass(frozen=True)
class _Test:
    """A change that is not judged yet."""

    change: Change
    shift: Shift | None
    """``None`` for figures without chance, and for too few turns."""
    doubtful: bool


def _tested(old: Subject, new: Subject, *, together: bool) -> list[_Test]:
    """Figures and operators that both have."""
    why = [*old.state_doubts, *new.state_doubts] if together else [*old.doubts, *new.doubts]
    doubtful = bool(why or any(_obstacles(old, new)))
    test = paired_shift if together else independent_shift
    found = []
    for name, operator, one, other in _common(old, new):
        change = Change(
            model=new.model,
            figure=name,
            operator=operator,
            unit=one.unit,
            before=one.value,
            after=other.value,
            verdict="no verdict" if one.unit in ("us", "J") else _counted(one, other),
            ratio=other.value / one.value if one.value else None,
            after_low=None if other.interval is None else other.interval.low,
        )
        if one.unit == "J" and one.interval is not None and other.interval is not None:
            shaky = bool(old.doubts or new.doubts or doubtful)
            change = _by_intervals(change, one.interval, other.interval, doubtful=shaky)
        shift = None
        if one.unit == "us" and all(us > 0 for us in (*one.turns, *other.turns)):
            shift = test(one.turns, other.turns)
        found.append(_Test(change, shift, doubtful))
    return found


def _common(old: Subject, new: Subject) -> Iterator[tuple[str, str | None, Figure, Figure]]:
    for name, one in old.figures.items():
        other = new.figures.get(name)
        if other is not None and other.unit == one.unit:
            yield name, None, one, other
    for name, one in old.operators.items():
        if name in new.operators:
            yield "median", name, one, new.operators[name]


def _judged(tests: Sequence[_Test], *, together: bool) -> list[Change]:
    """Changes with their verdicts; tests of the same figure count as one family."""
    judged = [test.change for test in tests]
    families: dict[tuple[str, bool], list[int]] = {}
    for index, test in enumerate(tests):
        if test.shift is not None:
            family = test.change.figure, test.change.operator is None
            families.setdefault(family, []).append(index)
    for members in families.values():
        shifts = [shift for index in members if (shift := tests[index].shift) is not None]
        adjusted = holm([shift.p_value for shift in shifts])
        for index, shift, p_value in zip(members, shifts, adjusted, strict=True):
            change = tests[index].change
            judged[index] = replace(
                change,
                ratio=shift.ratio,
                low=shift.low if math.isfinite(shift.high) else None,
                high=shift.high if math.isfinite(shift.high) else None,
                p_value=p_value,
                verdict=_timed(
                    change, shift, p_value, together=together, doubtful=tests[index].doubtful
                ),
            )
    return judged


def _timed(
    change: Change, shift: Shift, p_value: float, *, together: bool, doubtful: bool
) -> Verdict:
    alike = written(change.before, change.unit) == written(change.after, change.unit)
    if p_value <= ERROR and _is_beyond(shift, together=together) and not alike:
        return "no verdict" if doubtful else _direction(shift.ratio)
    if shift.low >= 1 / (1 + MATTERS) and shift.high <= 1 + MATTERS:
        return "no change"
    return "no verdict"


def _by_intervals(change: Change, before: Interval, after: Interval, *, doubtful: bool) -> Change:
    """The verdict of energies, which are taken after one another and have no turns.

    What lies between the farthest ends of both intervals is more than 19 of 20 such changes.
    """
    if change.ratio is None or min(before.low, after.low) <= 0:
        return change
    low, high = after.low / before.high, after.high / before.low
    shift = Shift(change.ratio, low, high, 0.0)
    verdict = _timed(change, shift, 0.0, together=False, doubtful=doubtful)
    return replace(change, low=low, high=high, verdict=verdict)


def _is_beyond(shift: Shift, *, together: bool) -> bool:
    """Whether a difference is larger than the noise band."""
    if together:
        return abs(shift.ratio - 1) >= BAND_TOGETHER
    # What sets two sessions apart comes on top of the noise that the interval is made of.
    return shift.low >= 1 + BAND or shift.high <= 1 - BAND


def _counted(before: Figure, after: Figure) -> Verdict:
    """The verdict of counts and sizes: by the least and the most of their turns."""
    gap = abs(before.value - after.value)
    if before.unit == "KiB" and (
        gap < _LEAST_KIB or written(before.value, "KiB") == written(after.value, "KiB")
    ):
        return "no change"
    if before.exact and after.exact:
        if gap <= LEAST_COUNTED * min(before.value, after.value):
            return "no change"
    elif min(len(before.turns), len(after.turns)) >= LEAST_TURNS:
        if min(before.turns) <= max(after.turns) and min(after.turns) <= max(before.turns):
            return "no change"
    elif before.unit != "KiB" and gap:  # memory of one process repeats but for some pages
        return "no verdict"
    return _direction(after.value / before.value) if before.value and gap else "no change"


def _direction(ratio: float) -> Verdict:
    return "better" if ratio < 1 else "worse"


def _notes(
    before: Side,
    after: Side,
    pairs: Sequence[tuple[Subject, Subject]],
    changes: Sequence[Change],
) -> list[str]:
    notes: list[str] = []
    if any(one.setup.emulated for one in (*before, *after)):
        notes.append("seconds are left out: under emulation they mean nothing")
    for old, new in pairs:
        name = new.model if old.model == new.model else f"{old.model} and {new.model}"
        if old.sha256 and new.sha256 and old.sha256 != new.sha256:
            notes.append(f"{name}: the two files differ")
        if old.runtime and new.runtime and old.runtime != new.runtime:
            notes.append(f"{name}: the runtimes differ: {old.runtime}; {new.runtime}")
    in_pairs = {id(one) for pair in pairs for one in pair}
    for which, side in (("first", before), ("second", after)):
        notes += [
            f"{one.model} is in the {which} result only" for one in side if id(one) not in in_pairs
        ]
    whole = [one for one in changes if one.operator is None]
    if tested := [one for one in whole if one.figure == "median" and one.p_value is not None]:
        notes.append(
            f"{len(tested)} time{'s'[: len(tested) != 1]} compared: with a probability of "
            f"{1 - ERROR:.0%} none is called a change that is none"
        )
    timed = {one.model for one in whole if one.p_value is not None}
    untested = [one.model for one in whole if one.unit == "us" and one.model not in timed]
    if untested:
        notes.append(
            f"{', '.join(dict.fromkeys(untested))}: no verdict on times without {LEAST_TURNS} "
            "turns on both sides: measure with deploy profile, without --runs"
        )
    told: dict[str, list[str]] = {}
    for old, new in pairs:
        doubts = {"before": _doubts(old), "after": _doubts(new)}
        for doubt in dict.fromkeys((*doubts["before"], *doubts["after"])):
            sides = [which for which, own in doubts.items() if doubt in own]
            told.setdefault(doubt, []).append(f"{new.model} ({' and '.join(sides)})")
    notes += [f"? {', '.join(names)}: {doubt}" for doubt, names in told.items()]
    return notes


def _doubts(one: Subject) -> list[str]:
    """All that takes a verdict away, in models of one session or of two."""
    return list(dict.fromkeys((*one.doubts, *one.state_doubts)))
