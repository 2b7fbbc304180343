"""What came out, in one sentence: model, board, how much faster, how sure that is."""

from __future__ import annotations

from collections.abc import Sequence

from toolchain.profile.figures import microseconds
from toolchain.report.page.view import Headline, Kind, Model


def headline(kind: Kind, title: str, threads: int, models: Sequence[Model]) -> Headline:
    """The sentence of one result.

    Args:
        kind: what its figures are.
        title: of the board.
        threads: that were used.
        models: the first is the one that the others are compared with.
    """
    used = "1 thread" if threads == 1 else f"{threads} threads"
    place = f"{title}, {used}" + (", estimated" if kind == "estimated" else "")
    first, *others = models
    best = max((one for one in others if one.ratio), key=lambda one: one.ratio or 0, default=None)
    if best is None:
        return Headline(text=f"{place}: {_alone(kind, first)}.", in_doubt=first.in_doubt)
    if kind == "counted":
        share = 1 / (best.ratio or 1)
        said = (
            f"{best.name} needs {share:.0%} of the instructions of {first.name} "
            f"(ratio {best.ratio:.3f}); seconds mean nothing there"
        )
        return Headline(text=f"{place}: {said}.", in_doubt=False)
    said = _faster(first, best) if kind == "measured" else _estimated(first, best)
    return Headline(text=f"{place}: {said}{_accuracy(first, best)}.", in_doubt=best.in_doubt)


def _alone(kind: Kind, model: Model) -> str:
    if model.cost is None:
        return f"{model.name} has no time"
    if kind == "counted":
        return f"an inference of {model.name} needs {model.cost:,.0f} instructions"
    return f"an inference of {model.name} takes {microseconds(model.cost)}{_between(model)}"


def _between(model: Model) -> str:
    if model.interval is None:
        return ""
    low, high = microseconds(model.interval.low), microseconds(model.interval.high)
    return f" ({low} to {high})"


def _faster(first: Model, best: Model) -> str:
    interval = best.ratio_interval
    times = f"{best.ratio:.2f} times as fast as {first.name}{_sureness(best)}"
    if interval is not None and interval.high < 1:
        return f"no model is faster than {first.name}; {best.name} is {times}"
    if interval is not None and interval.low <= 1:
        return f"no model is shown to be faster than {first.name}; {best.name} is {times}"
    return f"{best.name} is {times}"


def _estimated(first: Model, best: Model) -> str:
    assert best.cost is not None  # noqa: S101 (estimates have one)
    return (
        f"{best.name} is {best.ratio:.2f} times as fast as {first.name} and takes "
        f"{microseconds(best.cost)}{_between(best)}"
    )


def _sureness(best: Model) -> str:
    """``(95% interval 1.44 to 1.75, doubtful)``."""
    interval, said = best.ratio_interval, []
    if interval is not None:
        said.append(f"95% interval {interval.low:.2f} to {interval.high:.2f}")
    said += ["doubtful"] if best.in_doubt else []
    return f" ({', '.join(said)})" if said else ""


def _accuracy(first: Model, best: Model) -> str:
    if best.accuracy is None:
        return ""
    said = f", at an accuracy of {best.accuracy:.1%}"
    if first.accuracy is None:
        return said
    points = 100 * (best.accuracy - first.accuracy)
    return said + f" ({signed(points)} points)"


def signed(value: float) -> str:
    """A difference with its sign, one digit behind the point."""
    return f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")
