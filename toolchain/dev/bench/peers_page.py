"""The page of the comparison with other runtimes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from toolchain.dev.bench.models import NETWORKS
from toolchain.dev.bench.native import Spread
from toolchain.dev.bench.peers import MNN, NCNN, OURS, PeerGroup, PeerResult, PeerResults
from toolchain.dev.reference.tables import table
from toolchain.dev.results_page import write_results

NAME = "bench-peers"


def write_peers(results: PeerResults, out: Path) -> list[Path]:
    """Write ``bench-peers.md`` and ``bench-peers.json``; returns their paths.

    Raises:
        OutputError: the folder cannot be written.
    """
    return write_results(NAME, peers_page(results), results, out)


def peers_page(results: PeerResults) -> str:
    """The page, in Markdown."""
    machine = results.machine
    lines = [
        "# Beside other runtimes",
        "",
        f"Written by `make bench-peers` on {results.created:%Y-%m-%d}, on x86-64: {machine.cpu}, "
        f"{machine.cores} cores, {machine.state}. Every runtime is a process of its own that has "
        f"loaded its model; they take turns, {results.rounds} rounds in changing order, five "
        "inferences a turn of which the last is timed. Median of an inference, and of the ratio to "
        "our dense model in the same round, with quartiles: below 1 is faster than ours. All have "
        "their own defaults but for the number of threads; XNNPACK is on in both TensorFlow Lite "
        "runtimes, Winograd in ncnn and MNN. Ours is the delegate in ai-edge-litert. Difference: "
        "the largest of the outputs on one random input, over the largest output.",
        "",
        f"Boards: milliseconds on each, estimated from a trace ({results.qemu}), one thread; not "
        "measured. [How far such estimates are from published times](timing-model.md) was tested "
        "on ncnn: nine of ten times are expected within the percentage that each board has. The "
        "others run in Debian's Python for aarch64, whose call is in the time; ours "
        "is `tileskip-run`. ncnn computes in fp16 where the core can, as a Cortex-A76 does. In "
        "brackets: over ours, dense.",
        "",
        "Masked models compute another function than dense ones: what that costs in accuracy is "
        "in [experiment.md](experiment.md). No other runtime here skips anything, so dense is what "
        "they are given.",
        "",
    ]
    if results.missing:
        lines += ["Not measured:", "", *(f"- {reason}" for reason in results.missing), ""]
    for group in results.groups:
        lines += _group(group)
    return "\n".join(lines).rstrip() + "\n"


def _group(group: PeerGroup) -> list[str]:
    threads = "1 thread" if group.threads == 1 else f"{group.threads} threads"
    fastest = min(group.results, key=lambda one: one.us.median)
    boards = [
        f"{one.board}, ms, within {one.high_ms / one.ms - 1:.0%}"
        for one in group.results[0].estimates
    ]
    return [
        f"## {_title(group.network)}, {group.dtype}, {threads}",
        "",
        table(
            ("runtime", "model", "ms", "over ours, dense", *boards, "difference"),
            (_row(one, group.results[0], one is fastest) for one in group.results),
        ),
        "",
        *_verdict(group.results),
    ]


def _title(network: str) -> str:
    return NETWORKS[network].title


def _row(one: PeerResult, ours: PeerResult, fastest: bool) -> tuple[str, ...]:
    time = f"{one.us.median / 1000:.2f}"
    return (
        one.runtime if one.runtime == OURS else f"{one.runtime} {one.version}",
        f"s = {one.sparsity:g}" if one.sparsity else "dense",
        f"{f'**{time}**' if fastest else time} "
        f"({one.us.low / 1000:.2f} to {one.us.high / 1000:.2f})",
        _ratio(one.over_ours),
        *(
            f"{mine.ms:.3g} ({mine.ms / dense.ms:.2f})"
            for mine, dense in zip(one.estimates, ours.estimates, strict=True)
        ),
        f"{one.difference:.1e}" if one.difference is not None else "-",
    )


def _ratio(value: Spread | None) -> str:
    return f"{value.median:.3f} ({value.low:.3f} to {value.high:.3f})" if value else "1"


def _verdict(results: Sequence[PeerResult]) -> list[str]:
    """Who is faster than our dense model and than our sparsest one, in a sentence."""
    others = [one for one in results if one.runtime != OURS]
    ours = [one for one in results if one.runtime == OURS]
    if not others or not ours:
        return []
    best = min(others, key=lambda one: one.us.median)
    dense, sparsest = ours[0], max(ours, key=lambda one: one.sparsity)
    has_winograd = best.runtime in (NCNN, MNN)
    winograd = ", whose 3x3 convolutions use Winograd" if has_winograd else ""
    sides = []
    for one in (dense, sparsest):
        factor = one.us.median / best.us.median
        what = f"ours at s = {one.sparsity:g}" if one.sparsity else "ours dense"
        sides.append(f"{what} takes {factor:.2f} times its time")
    return [f"The fastest other is {best.runtime}{winograd}: {', '.join(sides)}.", ""]
