"""The page of a bench: tables in Markdown, plots, and the document beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from toolchain.dev.bench.models import DTYPES, NETWORKS, Dtype
from toolchain.dev.bench.native import Spread
from toolchain.dev.bench.plots import gap_plot, speedup_plot
from toolchain.dev.bench.results import BenchResults, CaseResult
from toolchain.hardware.facts import core_facts
from toolchain.profile.operator_reasons import GOAL, UNEXPLAINED
from toolchain.profile.operators import OperatorRow
from toolchain.storage.files import write_into

NAME = "bench"


def write_page(results: BenchResults, out: Path) -> list[Path]:
    """Write ``bench.md``, its plots and ``bench.json``; returns their paths.

    Raises:
        OutputError: the folder cannot be written.
    """
    contents = {
        f"{NAME}.md": page(results).encode(),
        f"{NAME}.svg": speedup_plot(results),
        f"{NAME}-operators.svg": gap_plot(results),
        f"{NAME}.json": results.to_json(),
    }
    return write_into(out, contents)


def page(results: BenchResults) -> str:
    """The page, in Markdown."""
    lines = [
        "# What masks gain",
        "",
        f"Written by `make bench` on {results.created:%Y-%m-%d}; how it is measured is in "
        f"[Run the benches](development/measure.md), every figure in `{NAME}.json`.",
        "",
        f"{results.runtime}. Instructions: {results.qemu}, as {_core(results)}; with one thread "
        "they repeat exactly. " + _machine(results),
        "",
    ]
    if results.missing:
        lines += ["**Not all was measured:**", ""]
        lines += [f"- {reason}" for reason in results.missing]
        lines += [""]
    lines += [
        "Every ratio is dense over masked on the same runtime; the ideal is dense over remaining "
        "multiply-accumulates of the whole network, which layers without a mask are part of. "
        "Weights are random but for EfficientNet-Lite0's; masks are `pooled` unless told "
        "otherwise.",
        "",
        f"![speed-up against sparsity]({NAME}.svg)",
        "",
    ]
    lines += _instructions(results)
    lines += _times(results)
    lines += _runtimes(results)
    lines += _operators(results)
    return "\n".join(lines).rstrip() + "\n"


def _core(results: BenchResults) -> str:
    return core_facts(results.core).name


def _machine(results: BenchResults) -> str:
    if results.machine is None:
        return "Times were not measured."
    return f"Times: {results.machine.cpu}, {results.machine.cores} cores, {results.machine.state}."


def _masked_sparsities(results: BenchResults) -> list[float]:
    return sorted({case.sparsity for case in results.cases if case.sparsity})


def _rows(results: BenchResults) -> Iterable[tuple[str, Dtype, int, dict[float, CaseResult]]]:
    """Each network, type and number of threads with its cases by sparsity."""
    for name in NETWORKS:
        for dtype in DTYPES:
            threads = sorted({case.threads for case in results.cases})
            for count in threads:
                cases = {
                    case.sparsity: case
                    for case in results.cases
                    if (case.network, case.dtype, case.threads) == (name, dtype, count)
                }
                if cases:
                    yield name, dtype, count, cases


def _instructions(results: BenchResults) -> list[str]:
    if not any(case.counted for case in results.cases):
        return []
    sparsities = _masked_sparsities(results)
    lines = [
        f"## Instructions on {_core(results)}",
        "",
        "In brackets the ideal.",
        "",
        "| network | type | threads | dense, millions | "
        + " | ".join(f"s = {s:g}" for s in sparsities)
        + " |",
        "|---|---|---|---|" + "---|" * len(sparsities),
    ]
    for name, dtype, threads, cases in _rows(results):
        dense = cases.get(0.0)
        if dense is None or dense.counted is None:
            continue
        cells = [_ratio_cell(results, cases.get(s)) for s in sparsities]
        lines.append(
            f"| {NETWORKS[name].title} | {dtype} | {threads} | "
            f"{dense.counted.instructions / 1e6:.1f} | " + " | ".join(cells) + " |"
        )
    return [*lines, ""]


def _ratio_cell(results: BenchResults, case: CaseResult | None) -> str:
    ratio = results.speedup(case) if case else None
    if case is None or ratio is None:
        return "-"
    return f"{ratio:.3f} ({case.ideal:.3f})"


def _times(results: BenchResults) -> list[str]:
    if not any(case.timed for case in results.cases):
        return []
    sparsities = _masked_sparsities(results)
    lines = [
        "## Times on this machine, x86-64",
        "",
        "Dense and masked models take turns in one process, each turn five runs of which the last "
        "is timed. Median of the ratios of neighbouring runs, in brackets their quartiles.",
        "",
        "| network | type | threads | dense, ms | "
        + " | ".join(f"s = {s:g}" for s in sparsities)
        + " |",
        "|---|---|---|---|" + "---|" * len(sparsities),
    ]
    for name, dtype, threads, cases in _rows(results):
        dense = cases.get(0.0)
        if dense is None or dense.timed is None:
            continue
        cells = []
        for s in sparsities:
            case = cases.get(s)
            cells.append(_spread(case.timed.speedup) if case and case.timed else "-")
        lines.append(
            f"| {NETWORKS[name].title} | {dtype} | {threads} | "
            f"{dense.timed.us.median / 1000:.2f} | " + " | ".join(cells) + " |"
        )
    return [*lines, ""]


def _spread(value: Spread | None, digits: int = 2) -> str:
    if value is None:
        return "-"
    return f"{value.median:.{digits}f} ({value.low:.{digits}f} to {value.high:.{digits}f})"


def _runtimes(results: BenchResults) -> list[str]:
    """Dense models against the unpatched runtime, and what preparing a masked one takes."""
    rows = []
    for name, dtype, threads, cases in _rows(results):
        dense = cases.get(0.0)
        if dense is None or threads != 1 or NETWORKS[name].two_sided:
            continue
        counted, timed = dense.counted, dense.timed
        stock = counted.instructions / counted.stock if counted and counted.stock else None
        masked = [case for s, case in cases.items() if s]
        prepared = [c.counted.prepare for c in masked if c.counted]
        ratios = [c.timed.prepare_ratio for c in masked if c.timed and c.timed.prepare_ratio]
        worst = max(ratios, key=lambda ratio: ratio.median, default=None)
        inverse = None
        if timed and timed.stock_ratio:
            inverse = Spread(
                median=1 / timed.stock_ratio.median,
                low=1 / timed.stock_ratio.high,
                high=1 / timed.stock_ratio.low,
                samples=timed.stock_ratio.samples,
            )
        growth = f"{max(prepared) / counted.prepare:.2f}" if counted and prepared else "-"
        rows.append(
            f"| {NETWORKS[name].title} | {dtype} | {f'{stock:.4f}' if stock else '-'} | "
            f"{_spread(inverse, 3)} | {growth} | {_spread(worst)} |"
        )
    if not rows:
        return []
    return [
        "## Dense models, and what preparing costs",
        "",
        "Dense: this runtime over the unpatched one, below 1 is better. Preparing (load, delegate, "
        "pack weights, allocate, and what the first run adds): masked over dense, the dearest "
        "sparsity.",
        "",
        "| network | type | dense, instructions | dense, time | preparing, instructions | "
        "preparing, time |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
    ]


def _operators(results: BenchResults) -> list[str]:
    groups = [
        (name, dtype, cases)
        for name, dtype, threads, cases in _rows(results)
        if threads == 1 and any(case.operators for case in cases.values())
    ]
    if not groups:
        return []
    lines = [
        f"## Operators, instructions on {_core(results)}, one thread",
        "",
        "Ratio dense over masked, and in brackets the ratio over the operator's own ideal, all "
        f"pixels over kept ones. Below {GOAL} of it a sentence says why; equal operators share a "
        "line.",
        "",
        f"![how near operators come to their ideal]({NAME}-operators.svg)",
        "",
    ]
    for name, dtype, cases in groups:
        lines += [f"### {NETWORKS[name].title}, {dtype}", ""]
        lines += _operator_table({s: c.operators for s, c in cases.items() if c.operators})
        lines += _reasons({s: c.operators for s, c in cases.items() if c.operators})
    return lines


def _operator_table(rows: dict[float, list[OperatorRow]]) -> list[str]:
    """One line for operators that are equal at every sparsity."""
    sparsities = sorted(rows)
    named = {s: {row.name: row for row in rows[s] if row.shape} for s in sparsities}
    first = named[sparsities[0]]
    lines = [
        "| operator | kind | shape | dense, thousands | "
        + " | ".join(f"s = {s:g}" for s in sparsities)
        + " |",
        "|---|---|---|---|" + "---|" * len(sparsities),
    ]
    keyed: dict[tuple[object, ...], list[str]] = {}
    for name, row in first.items():
        figures = tuple(
            (other.masked, other.kept, other.live) if (other := named[s].get(name)) else None
            for s in sparsities
        )
        keyed.setdefault((row.kind, row.shape, row.dense, figures), []).append(name)
    for names in keyed.values():
        row = first[names[0]]
        cells = [_operator_cell(named[s].get(names[0])) for s in sparsities]
        lines.append(
            f"| {_listed(names)} | {row.kind} | {row.shape} | {row.dense / 1e3:,.0f} | "
            + " | ".join(cells)
            + " |"
        )
    added = [
        (s, sum(row.masked for row in rows[s] if not row.dense), sum(r.masked for r in rows[s]))
        for s in sparsities
    ]
    if any(extra for _, extra, _ in added):
        cells = [f"{extra / 1e3:,.0f} ({extra / total:.1%})" for _, extra, total in added]
        lines.append("| added by masks, thousands | | | | " + " | ".join(cells) + " |")
    others = [
        (
            sum(row.dense for row in rows[s] if not row.shape),
            sum(row.masked for row in rows[s] if not row.shape and row.dense),
        )
        for s in sparsities
    ]
    cells = [f"{dense / masked:.3f}" if masked else "-" for dense, masked in others]
    lines.append(
        f"| all without multiply-accumulates | | | {others[0][0] / 1e3:,.0f} | "
        + " | ".join(cells)
        + " |"
    )
    return [*lines, ""]


def _operator_cell(row: OperatorRow | None) -> str:
    if row is None or row.speedup is None or row.of_ideal is None:
        return "-"
    return f"{row.speedup:.3f} ({row.of_ideal:.2f})"


def _reasons(rows: dict[float, list[OperatorRow]]) -> list[str]:
    """A sentence for each operator that falls short of its ideal, those of equal ones together."""
    lines = []
    for s in sorted(rows):
        told = [row for row in rows[s] if row.reason]
        keyed: dict[tuple[str, str, str], list[str]] = {}
        for row in told:
            keyed.setdefault((row.reason or "", row.kind, row.shape), []).append(row.name)
        for (reason, kind, shape), names in keyed.items():
            loud = reason.replace(UNEXPLAINED, f"**{UNEXPLAINED}**")
            what = f"{_listed(names)} ({kind}, {shape})" if shape else f"{len(names)} x {kind}"
            lines.append(f"- s = {s:g}, {what}: {loud}")
    return [f"Below {GOAL} of the ideal, or added:", "", *lines, ""] if lines else []


def _listed(names: Sequence[str]) -> str:
    """Names; those that differ in one number only are drawn together."""
    if len(names) <= 2:
        return ", ".join(names)
    return f"{names[0]} and {len(names) - 1} equal ones"
