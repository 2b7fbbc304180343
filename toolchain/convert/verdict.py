"""What a comparison with torch comes to: let a file through, or say what to look at."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from toolchain.agreement.blame import Blame
from toolchain.convert.compare import Agreement, Comparison, Output
from toolchain.errors import VerificationError

Find = Callable[[Agreement, Agreement], Blame | None]
"""The first operator that a runtime (first) computes otherwise than another (second)."""


_ALIKE_DB = 60.0
"""Of fp16 weights: what is better than this is not told apart."""
_MARGIN_DB = 6.0
"""Four times the noise. Runtimes that round activations in their own ways were within 1 dB of each
other: Fashion-MNIST, MobileNetV2, transposed convolutions, squeeze-and-excite."""


def require_agreement(comparison: Comparison, tolerance: float, *, seed: int, find: Find) -> None:
    """Raise unless each output on each runtime is within ``tolerance`` of torch's.

    Args:
        comparison: of a float file.
        tolerance: of the difference beside its scale, see :mod:`toolchain.agreement.differences`.
        seed: of the inputs.
        find: names the operator where some runtimes are right and others are not.

    Raises:
        VerificationError: one is not; says which output, where, on which runtimes, and which
            runtimes agree with torch.
    """
    bad = [item for item in comparison.agreements if not item.relative_diff <= tolerance]
    if not bad:
        return
    good = [item for item in comparison.agreements if item not in bad]
    chief = max(bad, key=lambda item: item.relative_diff)
    others = [
        item.difference.name
        for item in chief.outputs
        if item.difference is not chief.worst and not item.difference.relative_diff <= tolerance
    ]
    parts = [
        f"the converted file is not what {comparison.framework} computes: "
        f"{chief.worst.describe(comparison.framework)}, "
        f"on {chief.where}; the tolerance is {tolerance:.3g}"
    ]
    if others:
        parts.append("wrong there too: " + ", ".join(others))
    raise VerificationError(
        "; ".join([*parts, *_who(bad, good, chief, find)]),
        hint=_look(chief.worst.name, bad, good) + f"; --seed {seed} tries the same inputs again",
    )


def require_quality(
    comparison: Comparison,
    least_db: float,
    *,
    advice: str,
    find: Find,
    ours: Collection[str] = (),
) -> None:
    """Raise unless each runtime is so near to torch, and every two to each other.

    Args:
        comparison: of a quantised file.
        least_db: the least signal-to-quantisation-noise ratio of an output, decibels.
        advice: what may do better.
        ours: names of runtimes that are not stock ones. Their noise has to be that of the stock
            ones, too, which a wrong kernel's is not.
        find: names the operator where some runtimes are right and others are not.

    Raises:
        VerificationError: an output is not, or a slice of it is beyond what quantisation makes, or
            two runtimes differ; says which, and how far.
    """
    stock = [item for item in comparison.agreements if item.runtime not in ours]
    for item in comparison.agreements:
        if item.runtime in ours and stock:
            _require_alike(item, stock, find)
    bad = [item for item in comparison.agreements if _faults(item, least_db)]
    if bad:
        good = [item for item in comparison.agreements if item not in bad]
        chief = min(bad, key=lambda item: item.sqnr_db)
        (fault, *others) = _faults(chief, least_db)
        parts = [
            f"the quantised file is too far from {comparison.framework}: "
            f"{_lost(fault, least_db)}, on {chief.where}"
        ]
        if others:
            parts.append("too far there too: " + ", ".join(item.difference.name for item in others))
        parts += _who(bad, good, chief, find)
        parts += [f"{item.where}: {_far(item.sqnr_db, item.max_steps)}" for item in good]
        parts.append(f"{least_db:g} dB are wanted")
        name = fault.difference.name
        hint = _look(name, bad, good) if good else f"no file was written; {advice}"
        raise VerificationError("; ".join(parts), hint=hint)
    furthest = comparison.furthest
    if furthest is not None and not furthest.sqnr_db >= least_db:
        raise VerificationError(
            f"two runtimes disagree about {furthest.output} of the quantised file: "
            f"{furthest.first}, and {furthest.second}: "
            f"{_far(furthest.sqnr_db, furthest.max_steps)}; {least_db:g} dB are wanted",
            hint=f"no file was written; {advice}",
        )


def _require_alike(ours: Agreement, stock: Sequence[Agreement], find: Find) -> None:
    """Raise if a runtime has far more noise than every stock one."""
    for index, output in enumerate(ours.outputs):
        least = min(item.outputs[index].sqnr_db for item in stock)
        if not output.sqnr_db >= min(least, _ALIKE_DB) - _MARGIN_DB:
            parts = [
                f"{ours.where} computes the quantised file otherwise than stock runtimes: "
                f"{output.difference.name}, {_far(output.sqnr_db, output.max_steps)}, most at "
                f"{list(output.difference.position)}; stock runtimes: {least:.1f} dB or more"
            ]
            raise VerificationError(
                "; ".join([*parts, *_who([ours], stock, ours, find)]),
                hint=_look(output.difference.name, [ours], stock),
            )


def _faults(agreement: Agreement, least_db: float) -> list[Output]:
    """The outputs that are not let through, the worst first."""
    found = [
        item
        for item in agreement.outputs
        if not item.sqnr_db >= least_db or (item.weak is not None and item.weak.wrong)
    ]
    return sorted(found, key=lambda item: item.sqnr_db)


def _lost(fault: Output, least_db: float) -> str:
    name, whole = fault.difference.name, _far(fault.sqnr_db, fault.max_steps)
    if fault.sqnr_db >= least_db and fault.weak is not None:
        return f"{fault.weak} of {name}, {fault.weak.sqnr_db:.1f} dB (all of it: {whole})"
    where = f", most at {list(fault.difference.position)}"
    return f"{name}, {whole}{where}"


def _who(
    bad: Sequence[Agreement], good: Sequence[Agreement], chief: Agreement, find: Find
) -> list[str]:
    """Which runtimes are wrong, which are right, and at which operator they part."""
    same = [item.where for item in bad if item is not chief]
    parts = ["wrong on " + " and on ".join(same) + " too"] if same else []
    if not good:
        return [*parts, "no runtime gives what the model does"] if same else parts
    parts.append("right on " + " and on ".join(item.where for item in good))
    plain = [item for item in good if item.kernels == "builtin"]
    found = find(chief, (plain or list(good))[0])
    return [*parts, f"they part at {found}"] if found else parts


def _look(name: str, bad: Sequence[Agreement], good: Sequence[Agreement]) -> str:
    if good:
        return (
            f"no file was written; {good[0].where} compute it right, so that "
            f"{bad[0].where} have the fault: please report it, with the model"
        )
    return (
        "no file was written; runtimes are at one, so a layer became something else in the file: "
        f"let the model return what {name} is made of as well, and the first of it that differs "
        "is named here"
    )


def _far(sqnr_db: float, max_steps: float | None) -> str:
    steps = "" if max_steps is None else f", up to {max_steps:.3g} quantisation steps"
    return f"{sqnr_db:.1f} dB{steps}"
