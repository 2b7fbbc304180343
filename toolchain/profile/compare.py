"""Compare two profiles, model by model."""

from __future__ import annotations

from dataclasses import dataclass

from toolchain.errors import ModelError
from toolchain.profile.document import Measurement, Profile
from toolchain.profile.stability import spread


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
    significant: bool
    """Whether the difference is larger than the spread of the runs."""

    @property
    def ratio(self) -> float | None:
        """Before over after: above 1 is better than before."""
        return self.before / self.after if self.after else None


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
    earlier = {item.label: item for item in before.measurements}
    later = {item.label: item for item in after.measurements}
    common = [label for label in earlier if label in later]
    if not common:
        raise ModelError(
            "the two profiles have no model in common: "
            f"{', '.join(earlier)} and {', '.join(later)}",
            hint="models are matched by their file names",
        )
    emulated = before.by_instructions or after.by_instructions
    changes = [
        change
        for label in common
        for change in _changes(earlier[label], later[label], emulated=emulated)
    ]
    return Comparison(changes, _notes(before, after, earlier, later, emulated=emulated))


def _changes(old: Measurement, new: Measurement, *, emulated: bool) -> list[Change]:
    found: list[Change] = []
    if old.instructions is not None and new.instructions is not None:
        found.append(
            Change(old.label, "instructions", "", old.instructions, new.instructions,
                   old.instructions != new.instructions)
        )  # fmt: skip
    first, second = old.output.timing, new.output.timing
    if first is not None and second is not None and not emulated:
        noise = 3 * max(
            spread(first) * first.median_us,
            spread(second) * second.median_us,
        )
        differs = abs(first.median_us - second.median_us) > noise
        found.append(Change(old.label, "time", "us", first.median_us, second.median_us, differs))
    if old.output.peak_rss_kib is not None and new.output.peak_rss_kib is not None:
        pair = float(old.output.peak_rss_kib), float(new.output.peak_rss_kib)
        found.append(Change(old.label, "peak memory", "KiB", *pair, pair[0] != pair[1]))
    return found


def _notes(
    before: Profile,
    after: Profile,
    earlier: dict[str, Measurement],
    later: dict[str, Measurement],
    *,
    emulated: bool,
) -> list[str]:
    notes: list[str] = []
    if emulated:
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
    for label in earlier.keys() & later.keys():
        for item in (earlier[label], later[label]):
            notes += [f"{label}: may be unstable: {doubt}" for doubt in item.doubts]
    return notes
