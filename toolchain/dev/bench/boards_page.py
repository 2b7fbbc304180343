"""The page of what masks gain on boards."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from toolchain.dev.bench.boards import BoardCase, BoardHead, BoardOperator, BoardResults, Cost
from toolchain.dev.bench.models import NETWORKS
from toolchain.report.estimate_table import milliseconds
from toolchain.storage.files import write_into

NAME: Final = "bench-boards"
_MOST: Final = 12
"""Operators of a table of losses."""
_GAP: Final = 0.03
"""Below this part of the inference a group of operators is not told."""
_WHY: Final = {
    "memory": "waits for memory: weights come from there whatever is skipped",
    "L2": "waits for L2: weights come from there whatever is skipped",
    "L3": "waits for L3: weights come from there whatever is skipped",
    "latency": "waits for results of its own",
    "load": "the port of loads is busy: values come singly, not four pixels to a weight",
    "store": "the port of stores is busy",
    "multiply": "the multipliers are busy, and the instructions that went are others",
    "integer": "integer units are busy",
    "branch": "the port of branches is busy",
    "divide": "the divider is busy",
    "issue": "the core takes no more instructions a cycle",
}


def write_boards(results: BoardResults, out: Path) -> list[Path]:
    """Write ``bench-boards.md`` and ``bench-boards.json``; returns their paths.

    Raises:
        OutputError: the folder cannot be written.
    """
    contents = {f"{NAME}.md": boards_page(results).encode(), f"{NAME}.json": results.to_json()}
    return write_into(out, contents)


def boards_page(results: BoardResults) -> str:
    """The page, in Markdown."""
    lines = [
        "# What masks gain on boards",
        "",
        f"Written by `make bench-boards` on {results.created:%Y-%m-%d}, with {results.qemu}. "
        "Nothing here was measured on a board: each time is estimated from a trace, and "
        "[how far such estimates are from published times](timing-model.md) was tested. One "
        "thread.",
        "",
        "Gain: dense over masked. Behind it, in brackets, the gain in instructions.",
        "",
    ]
    for board in results.boards:
        lines += _board(results, board)
    if any(one.stock for one in results.cases):
        lines += _dense(results)
    if any(one.sparsity for one in results.cases):
        lines += [
            "## Operators that gain less in time than in instructions",
            "",
            "Lost: how much longer masked operators take than if their time had shrunk as their "
            "instructions did. CPI: cycles an instruction. Waits: what the masked operator waits "
            "for most. Lines: of 64 bytes, from memory and to it.",
            "",
        ]
        for board in results.boards:
            lines += _losses(results, board)
    return "\n".join(lines).rstrip() + "\n"


def _board(results: BoardResults, board: BoardHead) -> list[str]:
    cases = [one for one in results.cases if one.board == board.name]
    sparsities = sorted({one.sparsity for one in cases if one.sparsity})
    lines = [
        f"## {_title(board)}",
        "",
        *_row("network", "type", "dense, ms", "nine of ten between", "of the peak",
              *(f"s = {s:g}" for s in sparsities)),
        *_row(*["---"] * (5 + len(sparsities))),
    ]  # fmt: skip
    for dense in (one for one in cases if not one.sparsity):
        gains = (results.case(board.name, dense.network, dense.dtype, s) for s in sparsities)
        lines += _row(
            NETWORKS[dense.network].title,
            dense.dtype,
            milliseconds(dense.ms),
            f"{milliseconds(dense.low_ms)}-{milliseconds(dense.high_ms)}",
            "" if dense.peak_share is None else f"{dense.peak_share:.0%}",
            *("" if one is None else _gain(dense, one) for one in gains),
        )
    return [*lines, ""]


def _dense(results: BoardResults) -> list[str]:
    lines = [
        "## Dense models on upstream's XNNPACK and on ours",
        "",
        "Upstream computes a tile of pixels for all channels, and then the next: where the weights "
        "of a layer do not stay in a cache, they come from memory again for each tile. Ours "
        "computes all pixels for a block of channels first. Lines: of 64 bytes, from memory and to "
        "it.",
        "",
        *_row("board", "network", "type", "upstream, ms", "ours, ms", "gain", "in instructions",
              "lines upstream", "ours"),
        *_row(*["---"] * 9),
    ]  # fmt: skip
    for board in results.boards:
        for one in (one for one in results.cases if one.board == board.name):
            if one.stock is None:
                continue
            lines += _row(
                board.name,
                NETWORKS[one.network].title,
                one.dtype,
                milliseconds(one.stock.ms),
                milliseconds(one.ms),
                f"{one.stock.ms / one.ms:.3f}",
                f"{one.stock.instructions / one.instructions:.3f}",
                f"{one.stock.memory_lines:,}",
                f"{one.memory_lines:,}",
            )
    return [*lines, ""]


def _gain(dense: BoardCase, one: BoardCase) -> str:
    return f"{dense.ms / one.ms:.2f} ({dense.instructions / one.instructions:.2f})"


def _losses(results: BoardResults, board: BoardHead) -> list[str]:
    masked = [one for one in results.cases if one.board == board.name and one.sparsity]
    told: dict[str, None] = {}
    rows: list[str] = []
    for case in masked:
        for bound, group in _groups(case):
            rows += _loss(results, board, case, bound, group)
            told[bound] = None
    if rows:
        rows = [
            *_row("network", "type", "s", "operators", "number", "dense, ms", "gain",
                  "in instructions", "lost, ms", "CPI dense", "masked", "lines dense", "masked",
                  "waits"),
            *_row(*["---"] * 14),
            *rows,
        ]  # fmt: skip
    else:
        rows = [f"No kind of operator loses {_GAP:.0%} of an inference."]
    why = [f"- {name}: {_WHY[name]}." for name in told if name in _WHY]
    lines = [f"### {_title(board)}", "", *rows, "", *why, *([""] if why else [])]
    return [*lines, *_worst(board, masked)]


def _groups(case: BoardCase) -> Iterator[tuple[str, list[BoardOperator]]]:
    """What is waited for, and the operators of one kind that wait for it and lose much together."""
    found: dict[tuple[str, str], list[BoardOperator]] = defaultdict(list)
    for op in case.operators:
        if op.masked is not None:
            found[op.kind, op.masked.bound].append(op)
    for (_, bound), group in sorted(found.items(), key=lambda one: -_lost_ms(one[1])):
        if _lost_ms(group) > _GAP * case.ms:
            yield bound, group


def _lost_ms(group: Sequence[BoardOperator]) -> float:
    return sum(op.lost_ms for op in group)


def _loss(
    results: BoardResults,
    board: BoardHead,
    case: BoardCase,
    bound: str,
    group: Sequence[BoardOperator],
) -> list[str]:
    dense, masked = _sum(op.dense for op in group), _sum(op.masked for op in group)
    assert masked is not None  # noqa: S101 (operators of groups are in the masked model)
    lost = _lost_ms(group)
    return _row(
        NETWORKS[case.network].title,
        case.dtype,
        f"{case.sparsity:g}",
        group[0].kind,
        str(len(group)),
        milliseconds(dense.ms) if dense else "",
        f"{dense.ms / masked.ms:.2f}" if dense else "",
        f"{dense.instructions / masked.instructions:.2f}" if dense else "",
        f"{milliseconds(lost)} ({lost / results.dense(case).ms:.1%} of dense)",
        f"{_cpi(dense, board):.2f}" if dense else "",
        f"{_cpi(masked, board):.2f}",
        f"{dense.memory_lines:,}" if dense else "",
        f"{masked.memory_lines:,}",
        bound,
    )


def _worst(board: BoardHead, cases: Sequence[BoardCase]) -> list[str]:
    """The operators that lose most, one by one."""
    found = [
        (op, op.dense, op.masked, case)
        for case in cases
        for op in case.operators
        if op.dense is not None and op.masked is not None
    ]
    found.sort(key=lambda one: -one[0].lost_ms / one[3].ms)
    lines = [
        f"The {_MOST} that lose the largest part of their inference:",
        "",
        *_row("network", "type", "s", "operator", "kind", "shape", "gain", "in instructions",
              "lost", "CPI dense", "masked", "waits"),
        *_row(*["---"] * 12),
    ]  # fmt: skip
    for op, dense, masked, case in found[:_MOST]:
        lines += _row(
            NETWORKS[case.network].title,
            case.dtype,
            f"{case.sparsity:g}",
            f"`{op.name}`",
            op.kind,
            op.shape,
            f"{dense.ms / masked.ms:.2f}",
            f"{dense.instructions / masked.instructions:.2f}",
            f"{op.lost_ms / case.ms:.1%}",
            f"{_cpi(dense, board):.2f}",
            f"{_cpi(masked, board):.2f}",
            masked.bound,
        )
    return [*lines, ""]


def _sum(costs: Iterable[Cost | None]) -> Cost | None:
    there = [one for one in costs if one is not None]
    if not there:
        return None
    return Cost(
        ms=sum(one.ms for one in there),
        instructions=sum(one.instructions for one in there),
        memory_lines=sum(one.memory_lines for one in there),
    )


def _cpi(cost: Cost, board: BoardHead) -> float:
    return cost.ms * board.clock_mhz * 1e3 / max(cost.instructions, 1)


def _title(board: BoardHead) -> str:
    return f"{board.title}, {board.core}, {board.clock_mhz} MHz"


def _row(*cells: str) -> list[str]:
    return ["| " + " | ".join(cells) + " |"]
