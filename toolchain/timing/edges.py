"""Core cycles of a program, by the edges between its blocks.

The cost of the edge from one block to another is what the second adds to a simulated pipeline that
has just run the likely path that leads over the first to it. A loop's body is so costed in the
steady state of its loop, its first iteration in what comes before the loop.

The likely path is found by walking back. At a block with several predecessors the walk takes each
as often as the program does: of a loop with three iterations it takes two, then what lies before.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Final

from toolchain.storage.cache import digest, entry
from toolchain.timing.core_table import CoreTable, unknown
from toolchain.timing.instructions import decode
from toolchain.timing.pipeline import Code, Simulator

SIMULATED: Final = 0.995
"""The share of the instructions that is simulated; the rest costs as much for each as they do."""
_VERSION: Final = "1"
"""Of what is computed here and in the pipelines: part of the cache's key."""

Edge = tuple[int, int]
"""From one block, to another: indices; -1 is before the first."""


def edge_cycles(
    blocks: Sequence[Code], counts: Mapping[Edge, int], core: Simulator
) -> dict[Edge, float]:
    """Cycles that a program's blocks take on a core whose loads all hit its first cache.

    Args:
        blocks: of the program.
        counts: edge -> how often it was taken, in the whole run.
        core: the core.

    Returns:
        Cycles of the second block of each edge, each time that the edge is taken. The result is
        kept in the cache, by the code, the counts and the core.
    """
    edges = sorted(counts)
    code = [part for block in blocks for part in (str(block.address), block.code)]
    told = json.dumps([[*edge, counts[edge]] for edge in edges])
    key = digest("edge cycles", _VERSION, str(core.context), core.digest, told, *code)

    def fill(folder: Path) -> None:
        found = simulated_edges(blocks, counts, core)
        listed = json.dumps([found[edge] for edge in edges])
        (folder / "cycles.json").write_text(listed, encoding="utf-8")

    kept = entry("edge-cycles", key, fill) / "cycles.json"
    return dict(zip(edges, json.loads(kept.read_text(encoding="utf-8")), strict=True))


def simulated_edges(
    blocks: Sequence[Code], counts: Mapping[Edge, int], core: Simulator
) -> dict[Edge, float]:
    """As :func:`edge_cycles`, computed anew."""
    paths = _Paths(blocks, counts, core.context)
    weights = {edge: count * blocks[edge[1]].instructions for edge, count in counts.items()}
    wanted = SIMULATED * sum(weights.values())
    chosen: list[Edge] = []
    done = 0.0
    for edge in sorted(weights, key=lambda it: (-weights[it], it)):
        if done >= wanted and done:
            break
        chosen.append(edge)
        done += weights[edge]
    found = [paths.to(edge) for edge in chosen]
    retired = core.retirements([[blocks[block] for block in path] for path in found])
    costs = {
        edge: _cost(edge, path, [blocks[block].instructions for block in path], cycles)
        for edge, path, cycles in zip(chosen, found, retired, strict=True)
    }
    total = sum(costs[edge] * counts[edge] for edge in chosen)
    each = total / done if done else 0.0
    return {
        edge: costs[edge] if edge in costs else each * blocks[edge[1]].instructions
        for edge in counts
    }


def _cost(edge: Edge, path: Sequence[int], lengths: Sequence[int], cycles: Sequence[int]) -> float:
    """Cycles of an edge: the mean of those in the second half of its path."""
    ends = list(accumulate(lengths))
    retired = [0, *cycles]
    found = [
        retired[ends[at]] - retired[ends[at - 1]]
        for at in range(1, len(path))
        if (path[at - 1], path[at]) == edge and ends[at - 1] >= ends[-1] // 2
    ]
    last = retired[ends[-1]] - (retired[ends[-2]] if len(ends) > 1 else 0)
    return sum(found) / len(found) if found else float(last)


def unknown_instructions(
    blocks: Sequence[Code], counts: Mapping[Edge, int], core: CoreTable
) -> Counter[str]:
    """How often instructions ran that the core's table has no row for, by their first word.

    Args:
        blocks: of the program.
        counts: edge -> how often it was taken.
        core: the core.
    """
    found: Counter[str] = Counter()
    for (_, block), count in counts.items():
        for word, times in unknown(decode(blocks[block].code), core).items():
            found[word] += times * count
    return found


class _Paths:
    def __init__(self, blocks: Sequence[Code], counts: Mapping[Edge, int], context: int) -> None:
        self._blocks = blocks
        self._context = context
        before: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for (source, target), count in counts.items():
            before[target].append((source, count))
        self._before = {
            target: sorted(sources, key=lambda it: (-it[1], it[0]))
            for target, sources in before.items()
        }

    def to(self, edge: Edge) -> list[int]:
        """Blocks that are likely to have run before the second block of an edge, and it."""
        path = [edge[1]]
        length = self._blocks[edge[1]].instructions
        visits: dict[int, int] = defaultdict(int)
        taken: dict[Edge, int] = defaultdict(int)
        block = edge[0]
        while block >= 0:
            path.append(block)
            length += self._blocks[block].instructions
            if length >= self._context:
                break
            sources = self._before.get(block)
            if not sources:
                break
            visits[block] += 1
            total = sum(count for _, count in sources)
            behind = [
                visits[block] * count / total - taken[source, block] for source, count in sources
            ]
            source = sources[behind.index(max(behind))][0]
            taken[source, block] += 1
            block = source
        return path[::-1]
