"""Tables of a profile, of its operators and of a comparison."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from toolchain.profile.compare import Change, Comparison
from toolchain.profile.document import Measurement, Profile
from toolchain.profile.facts import BoardFacts
from toolchain.profile.runner_output import REMAINDER, Op, computes_any_rows

EMULATED = (
    "Emulated: seconds mean nothing here. Instruction counts do: they repeat exactly, and the "
    "ratio is theirs."
)


def profile_table(profile: Profile) -> RenderableType:
    """One row for each measurement, and below it what to know about the figures."""
    emulated = profile.by_instructions
    table = Table(title=f"{profile.board.title}, {_threads(profile.threads)}")
    table.add_column("model", overflow="fold")
    time = "median ± MAD\n(emulated)" if emulated else "median ± MAD"
    table.add_column(time, justify="right", no_wrap=True, style="dim" if emulated else "")
    table.add_column("instructions\nan inference", justify="right", no_wrap=True)
    table.add_column(
        "ratio of\ncounts" if emulated else "ratio of\ntimes", justify="right", no_wrap=True
    )
    table.add_column("ideal\nratio", justify="right", no_wrap=True)
    table.add_column("peak\nmemory", justify="right", no_wrap=True)
    for item in profile.measurements:
        table.add_row(
            escape(item.label),
            _time(item) + (" ?" if item.doubts else ""),
            _count(item.instructions),
            _ratio(profile.ratio(item)),
            _ratio(profile.ideal_ratio(item)),
            _memory(item.output.peak_rss_kib),
        )
    return Group(table, *(Text(note, style="dim") for note in profile_notes(profile)))


def profile_notes(profile: Profile) -> Iterator[str]:
    """What to know about a profile's figures, a line each."""
    first = profile.measurements[0].label
    yield f"Ratio and ideal are over the first row, {first}: above 1 is faster."
    yield "Ideal: the first row's multiply-accumulates over those that remain in this one."
    if profile.by_instructions:
        yield EMULATED
    if any(item.instructions is None for item in profile.measurements):
        reasons = {
            note
            for item in profile.measurements
            for note in item.output.notes
            if note.startswith("instructions")
        }
        yield "No instruction counts: " + ("; ".join(sorted(reasons)) or "the board has none") + "."
    for item in profile.measurements:
        for doubt in item.doubts:
            yield f"? {item.label}: may be unstable: {doubt}."
    throttled = profile.board.after.throttled
    if throttled and throttled.since_boot:
        yield f"Since its boot the board was held back: {', '.join(throttled.since_boot)}."


def ops_table(measurement: Measurement, *, emulated: bool) -> RenderableType:
    """One row for each operator that was timed, with what it skipped and its micro-kernel.

    Wasted rows are those of the last tile that belong to no kept pixel. Dead taps, a column only
    where there are some, are the part of the kept pixels' work that is skipped besides.
    """
    ops = measurement.output.ops or []
    has_dead_taps = any(op.dead_tap_share for op in ops)
    table = Table(title=escape(f"{measurement.label}: operators"))
    table.add_column("#", justify="right")
    table.add_column("operator", overflow="fold")
    table.add_column("median", justify="right", no_wrap=True, style="dim" if emulated else "")
    table.add_column("share", justify="right", style="dim" if emulated else "")
    table.add_column("kept pixels", justify="right")
    table.add_column("skipped", justify="right")
    if has_dead_taps:
        table.add_column("dead\ntaps", justify="right")
    table.add_column("wasted\nrows", justify="right")
    table.add_column("micro-kernel", overflow="fold")
    for op in ops:
        kept = "" if op.kept is None else f"{op.kept:,}/{op.pixels:,}"
        table.add_row(
            str(op.index),
            escape(_short(op.type)) + (" *" if not op.delegated and op.type != REMAINDER else ""),
            "" if op.median_us is None else _microseconds(op.median_us),
            "" if op.share is None else f"{op.share:.1%}",
            kept,
            f"{op.skipped_share:.1%}" if op.skipped_share else "",
            *([f"{op.dead_tap_share:.1%}" if op.dead_tap_share else ""] if has_dead_taps else []),
            _wasted(op),
            escape((op.ukernel or "").partition("_ukernel_")[2] or op.ukernel or ""),
        )
    notes = ["* not run by XNNPACK"]
    if has_dead_taps:
        notes.append("dead taps: read masked pixels or padding alone, and are skipped besides")
    return Group(table, *(Text(note, style="dim") for note in notes))


def facts_table(facts: BoardFacts) -> RenderableType:
    """What the board said about itself, and what it did not."""
    table = Table.grid(padding=(0, 2))
    vitals = facts.vitals
    rows = {
        "board": facts.model,
        "emulated": "yes" if facts.emulated else "no",
        "cores": ", ".join(f"{count} x {name}" for name, count in facts.cores.items()) or None,
        "features": _features(facts.features),
        "hwcap": " ".join(word for word in (facts.hwcap, facts.hwcap2) if word) or None,
        "kernel": " ".join(word for word in (facts.kernel, facts.machine) if word) or None,
        "glibc": facts.glibc,
        "memory": None
        if facts.memory_total_kib is None
        else f"{_memory(facts.memory_available_kib)} free of {_memory(facts.memory_total_kib)}",
        "governor": vitals.governor,
        "frequency": None
        if not vitals.frequency_khz
        else f"{vitals.frequency_khz / 1000:,.0f} MHz",
        "temperature": None if vitals.temperature_c is None else f"{vitals.temperature_c:.1f} °C",
        "held back": None if vitals.throttled is None else ", ".join(vitals.throttled.now) or "no",
    }
    for name, value in rows.items():
        table.add_row(name, escape(value) if value else "[dim]not told by this board[/dim]")
    return table


def comparison_table(comparison: Comparison) -> RenderableType:
    """One row for each figure of each model."""
    table = Table(title="before and after")
    table.add_column("model", overflow="fold")
    table.add_column("figure")
    for name in ("before", "after", "ratio"):
        table.add_column(name, justify="right")
    table.add_column("")
    for change in comparison.changes:
        table.add_row(
            escape(change.model),
            change.figure,
            _figure(change.before, change),
            _figure(change.after, change),
            _ratio(change.ratio),
            _verdict(change),
        )
    return Group(table, *(Text(note, style="dim") for note in comparison.notes))


def _features(names: list[str]) -> str | None:
    # A PC has over a hundred; the JSON has them all.
    return (
        " ".join(names) or None
        if len(names) < 40
        else f"{len(names)}, the profile's JSON lists them"
    )


def _short(kind: str) -> str:
    """An operator's type without its layout and data type: ``Convolution IGEMM``."""
    return re.sub(r" \([^)]*\)", "", kind)


def _wasted(op: Op) -> str:
    # Only matrix kernels work in tiles; others report one row.
    if not op.mr or not op.kept or "gemm_" not in (op.ukernel or ""):
        return ""
    return "0" if computes_any_rows(op.ukernel) else f"{-op.kept % op.mr}"


def _verdict(change: Change) -> str:
    if not change.significant:
        return "same" if change.before == change.after else "within the spread"
    return "[green]better[/green]" if change.after < change.before else "[red]worse[/red]"


def _figure(value: float, change: Change) -> str:
    return {"us": _microseconds, "KiB": _memory, "": _count}[change.unit](value)


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _time(item: Measurement) -> str:
    timing = item.output.timing
    if timing is None:
        return "-"
    return f"{_microseconds(timing.median_us)} ± {_microseconds(timing.mad_us)}"


def _microseconds(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:,.2f} s"
    return f"{value / 1e3:,.2f} ms" if value >= 1e3 else f"{value:.3g} µs"


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}x"


def _memory(kib: float | None) -> str:
    return "-" if kib is None else f"{kib / 1024:,.1f} MiB"
