"""Compare two profiles, model by model; what chance may have made is no change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from toolchain.errors import ModelError
from toolchain.profile.bootstrap import LEAST_TURNS
from toolchain.profile.document import Measurement, Profile
from toolchain.profile.figures import written
from toolchain.profile.turns import Interval, time_interval

Verdict = Literal["better", "worse", "no change", "no verdict"]

LEAST = 0.02
"""By this part two times differ, or they do not: another boot, another place in memory."""
_LEAST_COUNTED = 2e-5
"""By this part two counts of an emulated core differ, or they do not. Where the host is busy, a
clock that is read again between two runs adds a dozen instructions."""
_LEAST_KIB = 102.4
"""The last digit of memory that is shown."""


@dataclass(frozen=True)
class Change:
    """One figure of one model, before and after."""

    model: str
    figure: str
    """``instructions``, ``time`` or ``peak memory``."""
    unit: str
    """``""``, ``us`` or ``KiB``."""
    before: float
    after: float
    verdict: Verdict
    """``no change`` where the two may be the same but for chance, ``no verdict`` where they seem
    to differ and one of them is not to be relied on."""
    before_interval: Interval | None = None
    """Where the figure is likely to lie; ``None`` for one that repeats exactly, or for figures of
    too few turns."""
    after_interval: Interval | None = None

    @property
    def significant(self) -> bool:
        """Whether it is told as better or worse."""
        return self.verdict in ("better", "worse")

    @property
    def ratio(self) -> float | None:
        """Before over after: above 1 is better than before."""
        return self.before / self.after if self.after else None

    def row(self) -> dict[str, object]:
        """For JSON."""
        intervals = {"before": self.before_interval, "after": self.after_interval}
        ends = {
            f"{name}_interval": None if one is None else [one.low, one.high]
            for name, one in intervals.items()
        }
        return {
            **{name: value for name, value in vars(self).items() if name not in ends},
            **ends,
            "significant": self.significant,
            "ratio": self.ratio,
        }


@dataclass(frozen=True)
class Comparison:
    """Every figure that two profiles share, and what to know when reading them."""

    changes: list[Change]
    notes: list[str]


def compare(before: Profile, after: Profile) -> Comparison:
    """Compare the models that both profiles have, by name and runtime.

    Seconds are left out where one of the two was measured under emulation.

    Raises:
        ModelError: they have no model in common.
    """
    earlier, later = _by_label(before), _by_label(after)
    common = [label for label in earlier if label in later]
    if not common:
        raise ModelError(
            "the two profiles have no model in common: "
            f"{', '.join(earlier)} and {', '.join(later)}",
            hint="models are matched by their file names",
        )
    emulated = (before.by_instructions, after.by_instructions)
    changes = [
        change
        for label in common
        for change in _changes(label, earlier[label], later[label], emulated)
    ]
    return Comparison(changes, _notes(before, after, earlier, later, changes))


def _by_label(profile: Profile) -> dict[str, Measurement]:
    """Measurements by label; one that was measured twice is numbered."""
    found: dict[str, Measurement] = {}
    seen: dict[str, int] = {}
    for item in profile.measurements:
        seen[item.label] = number = seen.get(item.label, 0) + 1
        found[f"{item.label} #{number}" if number > 1 else item.label] = item
    return found


def _changes(
    label: str, old: Measurement, new: Measurement, emulated: tuple[bool, bool]
) -> Iterator[Change]:
    doubtful = bool(old.doubts or new.doubts)
    if old.instructions is not None and new.instructions is not None:
        pair = old.instructions, new.instructions
        ends = _intervals(old, new, "instructions")
        verdict = _counted(*pair) if all(emulated) else _verdict(*pair, "", ends, doubtful=False)
        yield Change(label, "instructions", "", *pair, verdict, *ends)
    if old.median_us is not None and new.median_us is not None and not any(emulated):
        pair = old.median_us, new.median_us
        ends = _time_interval(old), _time_interval(new)
        verdict = _verdict(*pair, "us", ends, least=LEAST * min(pair), doubtful=doubtful)
        yield Change(label, "time", "us", *pair, verdict, *ends)
    if old.output.peak_rss_kib is not None and new.output.peak_rss_kib is not None:
        pair = float(old.output.peak_rss_kib), float(new.output.peak_rss_kib)
        ends = _intervals(old, new, "peak_rss_kib")
        known = ends
        if None in ends:  # of one process, which others were seen to repeat but for some pages
            known = Interval(low=pair[0], high=pair[0]), Interval(low=pair[1], high=pair[1])
        verdict = _verdict(*pair, "KiB", known, least=_LEAST_KIB, doubtful=False)
        yield Change(label, "peak memory", "KiB", *pair, verdict, *ends)


def _intervals(
    old: Measurement, new: Measurement, figure: Literal["instructions", "peak_rss_kib"]
) -> tuple[Interval | None, Interval | None]:
    """Where a figure that each turn has lies in two measurements: from its least to its most."""
    return _range(old, figure), _range(new, figure)


def _range(item: Measurement, figure: str) -> Interval | None:
    figures = [getattr(turn, figure) for turn in item.turns]
    known = [float(one) for one in figures if one is not None]
    if len(known) < LEAST_TURNS:
        return None
    return Interval(low=min(known), high=max(known))


def _time_interval(item: Measurement) -> Interval | None:
    timing = item.output.timing
    return time_interval(timing.samples_us, item.turns) if timing else None


def _verdict(
    before: float,
    after: float,
    unit: str,
    intervals: Sequence[Interval | None],
    *,
    least: float = 0.0,
    doubtful: bool,
) -> Verdict:
    first, second = intervals
    if written(before, unit) == written(after, unit) or abs(before - after) < least:
        return "no change"
    if first is not None and second is not None and not first.apart(second):
        return "no change"
    if doubtful or first is None or second is None:
        return "no verdict"
    return _direction(before, after)


def _counted(before: float, after: float) -> Verdict:
    small = abs(before - after) <= _LEAST_COUNTED * min(before, after)
    return "no change" if small else _direction(before, after)


def _direction(before: float, after: float) -> Verdict:
    if before == after:
        return "no change"
    return "better" if after < before else "worse"


def _notes(
    before: Profile,
    after: Profile,
    earlier: dict[str, Measurement],
    later: dict[str, Measurement],
    changes: Sequence[Change],
) -> list[str]:
    notes: list[str] = []
    if before.by_instructions or after.by_instructions:
        notes.append("seconds are left out: under emulation they mean nothing")
    pairs = {
        "board": (before.board.name, after.board.name),
        "threads": (before.threads, after.threads),
        "emulation": (before.by_instructions, after.by_instructions),
    }
    notes += [f"{name} differs: {a} and {b}" for name, (a, b) in pairs.items() if a != b]
    for label, old in earlier.items():
        new = later.get(label)
        if new is None:
            notes.append(f"{label} is in the first profile only")
        elif new.sha256 != old.sha256:
            notes.append(f"{label}: the two files differ")
    notes += [f"{label} is in the second profile only" for label in later if label not in earlier]
    for change in changes:
        if change.verdict == "no verdict" and None in (
            change.before_interval,
            change.after_interval,
        ):
            notes.append(
                f"{change.model}: {change.figure}: no verdict without eight turns on both sides: "
                "profile it again, without --runs"
            )
    for which, items in (("before", earlier), ("after", later)):
        for label, item in items.items():
            if label in earlier and label in later:
                notes += [f"? {label}, {which}: {doubt}" for doubt in item.doubts]
    return notes
