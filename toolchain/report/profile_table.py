"""Tables of a profile and of a comparison."""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.text import Text

from toolchain.profile.document import Measurement, Profile
from toolchain.profile.energy import SCOPES
from toolchain.profile.facts import BoardFacts
from toolchain.profile.figures import (
    celsius,
    cores,
    count,
    energy,
    megahertz,
    memory,
    microseconds,
    power,
    ratio,
)
from toolchain.report.fitting import NAME, Column, fitted_table, note

EMULATED = (
    "Emulated: seconds mean nothing here. Instruction counts do: they repeat exactly, and the "
    "ratio is theirs."
)


def profile_table(profile: Profile, width: int = 200, *, wide: bool = False) -> RenderableType:
    """One row for each measurement, and below it what to know about the figures.

    Args:
        profile: what was measured.
        width: columns that there are.
        wide: whether all that the board said of itself is shown, else it is one line.
    """
    emulated = profile.by_instructions
    rows = profile.measurements
    alone = len(rows) == 1  # nothing to be compared with
    facts = profile.board.facts
    by_plan = [profile.ratio_by_plan(item) for item in rows]
    dead = [_dead_taps(item) for item in rows]
    columns = [
        Column("model", [profile.label(item) for item in rows], NAME, right=False),
        Column(
            "median ± MAD" + ("\n(emulated)" if emulated else ""),
            [median_cell(item) for item in rows],
            7 if emulated else (1 if alone else 2),
            style="dim" if emulated else "",
        ),
        Column(
            "instructions\nan inference",
            [count(item.instructions) for item in rows]
            if any(item.instructions is not None for item in rows)
            else [],
            (1 if alone else 2) if emulated else 6,
        ),
        Column(
            "ratio of\ncounts" if emulated else "ratio of\ntimes",
            [ratio_cell(profile, item) for item in rows],
            1,
        ),
        Column("95%\ninterval", [_interval(profile, item) for item in rows], 3),
        Column("by\npixels", [ratio(profile.ratio_by_pixels(item)) for item in rows], 2),
        Column("dead\ntaps", dead, 5),
        Column("by\nplan", [ratio(value) for value in by_plan], 4),
        Column("median\nlies in", [_median_interval(item) for item in rows], 6),
        Column("p95", [_percentile(item) for item in rows], 8),
        Column("peak\nmemory", [memory(item.output.peak_rss_kib) for item in rows], 7),
        *_energy_columns(profile),
    ]
    empty = {
        "ratio of\ncounts": alone,
        "ratio of\ntimes": alone,
        "95%\ninterval": alone or emulated,
        "by\npixels": alone,
        "median\nlies in": emulated,
        "p95": emulated,
        "dead\ntaps": not any(dead),
        "by\nplan": alone or not _plan_tells_more(profile),
        "instructions\nan inference": all(item.instructions is None for item in rows),
    }
    table = fitted_table(
        [column for column in columns if not empty.get(column.heading)],
        width,
        title=", ".join([profile.board.title, *_threads(profile)]),
    )
    notes = [note(text) for text in profile_notes(profile)]
    board = facts_table(facts) if wide else Text(facts_line(facts, width))
    return Group(board, table, *notes)


def profile_notes(profile: Profile) -> Iterator[str]:
    """What to know about a profile's figures, a line each."""
    rows = profile.measurements
    first = profile.label(rows[0])
    several = len({profile.threads_of(item) for item in rows}) > 1
    if profile.reference_failed:
        yield "No ratios: the first model, which the others are compared with, failed."
    elif len(rows) > 1:
        which = "first row with as many threads" if several else f"first row, {first}"
        yield f"Ratios are over the {which}: above 1 is faster."
        yield "By pixels: the first row's multiply-accumulates over those that masks leave in this."
        if _plan_tells_more(profile):
            yield (
                "By plan: the same of what the runtime computes, as it says itself: rows of tiles "
                "that nobody wants are in it, dead taps are not."
            )
    if any(_dead_taps(item) for item in rows):
        yield (
            "Dead taps: of the work on kept pixels, the part that reads skipped pixels or padding "
            "alone; it is skipped, too, so that a ratio may go past the one by pixels."
        )
    if profile.by_instructions:
        yield EMULATED
    if any(item.instructions is None for item in rows):
        reasons = {
            line for item in rows for line in item.output.notes if line.startswith("instructions")
        }
        yield "No instruction counts: " + ("; ".join(sorted(reasons)) or "the board has none") + "."
    if any(item.turns for item in rows[1:]) and not profile.reference_failed:
        turns = min(len(item.turns) for item in rows)
        yield f"Interval: of the ratio, from {turns} turns of each model."
    for item in rows:
        if item.spread and item.spread.outliers and item.output.timing:
            timing = item.output.timing
            yield (
                f"{profile.label(item)}: {item.spread.outliers} of {timing.runs} runs took far "
                f"longer than the median, up to {microseconds(timing.max_us)}; none is left out."
            )
    yield from _energy_notes(profile)
    told: dict[str, list[str]] = {}
    for item in rows:
        for doubt in item.doubts:
            told.setdefault(doubt, []).append(profile.label(item))
    for doubt, labels in told.items():
        yield f"? {', '.join(labels)}: may be unstable: {doubt}."
    for item in rows:
        interval = profile.ratio_interval(item)
        sound = not item.doubts and not profile.first(item).doubts
        if profile.ratio_in_doubt(item) and interval and sound:
            which, ends = profile.label(item), f"{interval.low:.3f} to {interval.high:.3f}"
            yield f"? {which}: the ratio may be anything from {ends}: end other programs."
    throttled = profile.board.after.throttled
    if throttled and throttled.since_boot:
        yield f"Since its boot the board was held back: {', '.join(throttled.since_boot)}."


_SLOWED = 0.05
"""By this part of its median a model may take longer while its power is read."""


def _energy_columns(profile: Profile) -> list[Column]:
    """Energy and power; none where neither was measured."""
    found = [item.energy for item in profile.measurements]
    columns = [
        Column("energy", [energy(one.energy_j if one else None) for one in found], 3),
        Column("above\nidle", [energy(one.above_idle_j if one else None) for one in found], 5),
        Column("power", [power(one.power_w if one else None) for one in found], 6),
    ]
    return [one for one in columns if any(cell != "-" for cell in one.cells)]


def _energy_notes(profile: Profile) -> Iterator[str]:
    rows = profile.measurements
    for source in dict.fromkeys(item.energy.source for item in rows if item.energy):
        yield (
            "Energy: of an inference, its time by the mean power while it runs. Power: "
            f"{SCOPES[source]}."
        )
    for item in rows:
        if found := item.energy:
            low, high = energy(found.interval_j.low), energy(found.interval_j.high)
            idle = f"; idle it was {power(found.idle_w)}" if found.idle_w is not None else ""
            wrong = f" ({found.unreadable} were none)" if found.unreadable else ""
            yield (
                f"{profile.label(item)}: energy from {low} to {high}, by {found.readings} "
                f"readings{wrong}{idle}."
            )
            if item.median_us and abs(found.median_us / item.median_us - 1) > _SLOWED:
                yield (
                    f"? {profile.label(item)}: while its power was read a run took "
                    f"{microseconds(found.median_us)}: the board was slowed down, or others were "
                    "at work; measure it again."
                )
    reasons: dict[str, list[str]] = {}
    for item in rows:
        if item.no_energy:
            reasons.setdefault(item.no_energy, []).append(profile.label(item))
    for reason, labels in reasons.items():
        yield f"No energy of {', '.join(labels)}: {reason}."


def facts_line(facts: BoardFacts, width: int = 200) -> str:
    """What the board said about itself, in one line; what does not fit is in ``--wide``.

    Args:
        facts: of the board.
        width: columns that there are.
    """
    vitals = facts.vitals
    held = vitals.throttled.now if vitals.throttled else []
    parts = [
        f"held back: {', '.join(held)}" if held else None,
        facts.model,
        cores(facts.cores),
        f"governor {vitals.governor}" if vitals.governor else None,
        megahertz(vitals.frequency_khz),
        celsius(vitals.temperature_c),
        facts.kernel,
        f"glibc {facts.glibc}" if facts.glibc else None,
        memory(facts.memory_total_kib) if facts.memory_total_kib else None,
    ]
    line = ""
    for part in filter(None, parts):
        longer = f"{line}; {part}" if line else part
        if cell_len(longer) > width:
            break
        line = longer
    return line or "the board does not tell what it is"


def facts_table(facts: BoardFacts) -> RenderableType:
    """What the board said about itself, and what it did not; a line a fact."""
    vitals = facts.vitals
    rows = {
        "board": facts.model,
        "emulated": "yes" if facts.emulated else "no",
        "cores": cores(facts.cores),
        "features": " ".join(facts.features),
        "hwcap": " ".join(word for word in (facts.hwcap, facts.hwcap2) if word),
        "kernel": " ".join(word for word in (facts.kernel, facts.machine) if word),
        "glibc": facts.glibc,
        "memory": None
        if facts.memory_total_kib is None
        else f"{memory(facts.memory_available_kib)} free of {memory(facts.memory_total_kib)}",
        "governor": vitals.governor,
        "frequency": megahertz(vitals.frequency_khz),
        "temperature": celsius(vitals.temperature_c),
        "held back": None if vitals.throttled is None else ", ".join(vitals.throttled.now) or "no",
    }
    lines = [Text(f"{name:<12} {value}") for name, value in rows.items() if value]
    if absent := [name for name, value in rows.items() if not value]:
        lines.append(Text(f"not told by this board: {', '.join(absent)}", style="dim"))
    return Group(*lines)


def ratio_cell(profile: Profile, item: Measurement) -> str:
    """A ratio to the first model, with a mark where it is in doubt; ``-`` for none."""
    return ratio(profile.ratio(item)) + (" ?" if profile.ratio_in_doubt(item) else "")


def _interval(profile: Profile, item: Measurement) -> str:
    found = profile.ratio_interval(item)
    if item is profile.first(item) or found is None:
        return ""
    return f"{found.low:.3f} to {found.high:.3f}"


def _plan_tells_more(profile: Profile) -> bool:
    """Whether any ratio by plan is another than that by pixels."""
    both = [
        (profile.ratio_by_plan(item), profile.ratio_by_pixels(item))
        for item in profile.measurements
    ]
    return any(plan is not None and plan != pixels for plan, pixels in both)


def _dead_taps(item: Measurement) -> str:
    share = 0.0 if item.live_share is None else 1 - item.live_share
    return f"{share:.1%}" if share else ""


def _threads(profile: Profile) -> list[str]:
    """How many threads all had; nothing where they differ, and each row tells its own."""
    counts = profile.thread_counts
    if len(counts) > 1:
        return []
    return ["1 thread" if number == 1 else f"{number} threads" for number in counts]


def _median_interval(item: Measurement) -> str:
    found = item.spread.interval if item.spread else None
    return f"{microseconds(found.low)} to {microseconds(found.high)}" if found else ""


def _percentile(item: Measurement) -> str:
    return microseconds(item.spread.p95_us) if item.spread else ""


def median_cell(item: Measurement) -> str:
    """A median with its deviation, and a mark where it is in doubt; ``-`` for none."""
    timing = item.output.timing
    if timing is None:
        return "-"
    text = f"{microseconds(timing.median_us)} ± {microseconds(timing.mad_us)}"
    return text + (" ?" if item.doubts else "")
