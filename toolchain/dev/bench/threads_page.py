"""The page of the bench of threads."""

from __future__ import annotations

from pathlib import Path

from toolchain.dev.bench.models import THREAD_NETWORKS
from toolchain.dev.bench.native import Spread
from toolchain.dev.bench.peers import LITERT, OURS, TFLITE
from toolchain.dev.bench.threads import BEFORE, LIMIT, Case, ThreadResults
from toolchain.dev.results_page import write_results

NAME = "bench-threads"


def write_threads(results: ThreadResults, out: Path) -> list[Path]:
    """Write ``bench-threads.md`` and ``bench-threads.json``; returns their paths.

    Raises:
        OutputError: the folder cannot be written.
    """
    return write_results(NAME, threads_page(results), results, out)


def threads_page(results: ThreadResults) -> str:
    """The page, in Markdown."""
    machine = results.machine
    slow = [case for case in results.cases if case.over_fastest > LIMIT]
    lines = [
        "# Threads on a machine that others use",
        "",
        f"Written by `make bench-threads` on {results.created:%Y-%m-%d}, on x86-64: {machine.cpu}, "
        f"{machine.cores} cores, {machine.state}. Every runtime is a process of its own that has "
        "loaded the same file; they take turns in changing order, five inferences a turn of which "
        "the last is timed. Milliseconds, median and quartiles. Busy: processes that run beside, "
        "each of which would use a core. Ours is the delegate in ai-edge-litert.",
        "",
        f"{len(results.cases) - len(slow)} of {len(results.cases)} cases of ours take at most "
        f"{LIMIT:g} times as long as the fastest stock runtime"
        + (f"; the longest {max(case.over_fastest for case in slow):.2f} times." if slow else "."),
        "",
    ]
    for name in dict.fromkeys(case.network for case in results.cases):
        lines += _network(name, [case for case in results.cases if case.network == name])
    return "\n".join(lines).rstrip() + "\n"


def _network(name: str, cases: list[Case]) -> list[str]:
    before = any(case.of(BEFORE) for case in cases)
    columns = ["model", "threads", "busy", OURS, TFLITE, LITERT, "ours over the fastest stock"]
    if before:
        columns += ["an older build of ours", "ours over it"]
    lines = [f"## {THREAD_NETWORKS[name].title}", "", _row(columns), _row(["---"] * len(columns))]
    for case in cases:
        cells = [
            f"s = {case.sparsity:g}" if case.sparsity else "dense",
            str(case.threads),
            str(case.busy),
            *(_time(case, runtime) for runtime in (OURS, TFLITE, LITERT)),
            f"{case.over_fastest:.2f}",
        ]
        if before:
            over = case.over_before
            cells += [_time(case, BEFORE), f"{over:.3f}" if over else "-"]
        lines.append(_row(cells))
    return [*lines, ""]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _time(case: Case, runtime: str) -> str:
    entry = case.of(runtime)
    return _milliseconds(entry.us) if entry else "-"


def _milliseconds(us: Spread) -> str:
    return f"{us.median / 1000:.3g} ({us.low / 1000:.3g} to {us.high / 1000:.3g})"
