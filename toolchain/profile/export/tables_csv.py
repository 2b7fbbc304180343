"""The tables of a profile as CSV: models, operators, samples.

Files are as RFC 4180 has them: a line of headings, commas, CR LF, UTF-8. A heading ends in its
unit. What is not known is an empty cell. Numbers are written so that they read back as the same.

A text that begins with ``=``, ``+``, ``-`` or ``@`` is a formula to a spreadsheet, and names come
from anybody: such a text gets an apostrophe before it, as OWASP advises ("CSV Injection"). Numbers
below 0 stay numbers.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

from toolchain.foreign_text import harmless
from toolchain.formats.json_text import without_lone_bytes
from toolchain.profile.document import Measurement, Profile
from toolchain.profile.export.profiled_models import (
    samples_by_turn,
    told_operators,
    unique_names,
)
from toolchain.profile.timed_operators import ToldRow

Cell = str | int | float | bool | None
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001
"""What begins a formula in some spreadsheet; the last four are forms of full width."""


def models_csv(profile: Profile) -> str:
    """A row for each model."""
    names = unique_names(profile)
    rows = (
        {"model": name, **_model(profile, item)}
        for name, item in zip(names, profile.measurements, strict=True)
    )
    return _table(rows)


def operators_csv(profile: Profile) -> str | None:
    """A row for each operator of each model; ``None`` where none were timed."""
    if all(item.output.ops is None for item in profile.measurements):
        return None
    return _table(_operator_rows(profile))


def samples_csv(profile: Profile) -> str:
    """A row for each timed run of each model. Turns and runs are counted from 1."""
    return _table(_sample_rows(profile), headings=("model", "turn", "run", "time_us"))


def _sample_rows(profile: Profile) -> Iterator[dict[str, Cell]]:
    for name, item in zip(unique_names(profile), profile.measurements, strict=True):
        for turn, samples in enumerate(samples_by_turn(item), 1):
            for run, sample in enumerate(samples, 1):
                yield {"model": name, "turn": turn, "run": run, "time_us": sample}


def _model(profile: Profile, item: Measurement) -> dict[str, Cell]:
    output = item.output
    first = item is profile.first(item)
    interval = item.spread.interval if item.spread else None
    of_ratio = None if first else profile.ratio_interval(item)
    energy = item.energy
    times = ("min_us", "mean_us", "p95_us", "max_us", "runs")
    return {
        "board": profile.board.name,
        "emulated": profile.board.facts.emulated,
        "threads": profile.threads_of(item),
        "stock_runtime": item.stock,
        "median_us": item.median_us,
        "mad_us": _of(output.timing, "mad_us"),
        "median_low_us": _of(interval, "low"),
        "median_high_us": _of(interval, "high"),
        **{name: _of(output.timing, name) for name in times},
        "turns": len(item.turns) or None,
        "instructions": item.instructions,
        "ratio_of": "instructions" if profile.by_instructions else "times",
        "ratio": profile.ratio(item),
        "ratio_low": _of(of_ratio, "low"),
        "ratio_high": _of(of_ratio, "high"),
        "ratio_in_doubt": profile.ratio_in_doubt(item),
        "ratio_by_pixels": profile.ratio_by_pixels(item),
        "ratio_by_plan": profile.ratio_by_plan(item),
        "dead_tap_share": None if item.live_share is None else 1 - item.live_share,
        "macs": item.macs,
        "macs_saved": item.macs_saved,
        "macs_computed": item.macs_computed,
        "peak_memory_kib": output.peak_rss_kib,
        "init_us": output.init_us,
        "load_us": output.load_us,
        "first_run_us": output.first_run_us,
        "input_copy_us": _of(output.per_op, "input_copy_us"),
        "output_copy_us": _of(output.per_op, "output_copy_us"),
        "model_bytes": output.model.bytes,
        "operators": output.delegate.nodes,
        "operators_by_xnnpack": output.delegate.nodes_delegated,
        "energy_j": _of(energy, "energy_j"),
        "energy_low_j": _of(_of(energy, "interval_j"), "low"),
        "energy_high_j": _of(_of(energy, "interval_j"), "high"),
        "energy_above_idle_j": _of(energy, "above_idle_j"),
        "power_w": _of(energy, "power_w"),
        "idle_power_w": _of(energy, "idle_w"),
        "power_of": _of(energy, "source"),
        "sha256": item.sha256,
        "doubts": "; ".join(item.doubts) or None,
    }


def _operator_rows(profile: Profile) -> Iterator[dict[str, Cell]]:
    for name, item in zip(unique_names(profile), profile.measurements, strict=True):
        told = told_operators(profile, item)
        beside = any(each.dense for each in told)
        for each in told:
            yield {"model": name, **_operator(each, beside=beside)}


def _operator(each: ToldRow, *, beside: bool) -> dict[str, Cell]:
    """A row; one that only the first model has is told by its empty time."""
    row, own, dense = each.row, each.own, each.dense
    told = own or dense
    compared = beside and own is not None
    return {
        "index": _of(own, "index"),
        "operator": row.name,
        "kind": row.kind,
        "shape": row.shape,
        "type": _of(told, "type"),
        "by_xnnpack": _of(told, "delegated"),
        "why_not_by_xnnpack": row.why_not_delegated,
        "path": row.path,
        "reads": row.reads,
        "writes": row.writes,
        "time_us": _of(own, "median_us"),
        "share": _of(own, "share"),
        "first_model_us": _of(dense, "median_us"),
        "ratio": row.speedup,
        "ideal_us": row.ideal if compared else None,
        "lost_us": row.lost if compared else None,
        "pixels": row.pixels,
        "kept_pixels": row.kept,
        "computed_pixels": _of(own, "kept"),
        "ratio_by_pixels": row.by_pixels,
        "ratio_by_plan": row.by_plan,
        "dead_tap_share": row.dead_tap_share,
        "macs": row.macs or None,
        "macs_computed": row.macs_computed,
        "macs_a_second": row.macs_per_second,
        "of_peak_share": row.of_peak,
        "micro_kernel": _of(own, "ukernel"),
        "tile_rows": _of(own, "mr"),
        "tile_columns": _of(own, "nr"),
        "why": row.reason,
    }


def _of(part: object, name: str) -> Any:
    """An attribute; ``None`` of what is not there."""
    return getattr(part, name, None)


def _table(rows: Iterator[Mapping[str, Cell]], headings: tuple[str, ...] = ()) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    if headings:
        writer.writerow(headings)
    for number, row in enumerate(rows):
        if number == 0 and not headings:
            writer.writerow(row)
        writer.writerow([_written(cell) for cell in row.values()])
    return text.getvalue()


def _written(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, str):
        return _text(cell)
    return repr(float(cell)) if isinstance(cell, float) else str(cell)


def _text(value: str) -> str:
    """A text that no spreadsheet takes for a formula, and no terminal for a command."""
    plain = harmless(without_lone_bytes(value))
    return f"'{plain}" if plain.startswith(_FORMULA) else plain
