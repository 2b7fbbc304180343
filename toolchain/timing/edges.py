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
from pathlib import Path
from typing import Final, Protocol

from toolchain.storage.cache import digest, entry
from toolchain.timing.core_table import CoreTable, Plan, unknown
from toolchain.timing.instructions import Instruction, decode
from toolchain.timing.pipeline import retirement

CONTEXT: Final = {"in": 128, "out": 384}
"""Instructions of a path, by the core's order.

Against 2,048 the sum over each of three real networks moves by 0.2 % at most with 384 and by 0.9 %
with 128 on cores out of order, and not at all with 128 on the one in order. A network takes two
seconds at most, in plain Python."""
SIMULATED: Final = 0.995
"""The share of the instructions that is simulated; the rest costs as much for each as they do."""
_VERSION: Final = "1"
"""Of what is computed here and in the pipelines: part of the cache's key."""

Edge = tuple[int, int]
"""From one block, to another: indices; -1 is before the first."""


class Code(Protocol):
    """A block of a program, as :class:`toolchain.timing.trace.Block` is one."""

    @property
    def address(self) -> int:
        """Where it begins."""

    @property
    def code(self) -> bytes:
        """Four bytes an instruction."""


def edge_cycles(
    blocks: Sequence[Code], counts: Mapping[Edge, int], core: CoreTable
) -> dict[Edge, float]:
    """Cycles that a program's blocks take on a core whose loads all hit its first cache.

    Args:
        blocks: of the program.
        counts: edge -> how often it was taken, in the whole run.
        core: the core.

    Returns:
        Cycles of the second block of each edge, each time that the edge is taken. The result is
        kept in the cache, by the code, the counts and the core's table.
    """
    edges = sorted(counts)
    code = [part for block in blocks for part in (str(block.address), block.code)]
    told = json.dumps([[*edge, counts[edge]] for edge in edges])
    key = digest("edge cycles", _VERSION, str(CONTEXT[core.order]), core.digest, told, *code)

    def fill(folder: Path) -> None:
        found = simulated_edges(blocks, counts, core)
        listed = json.dumps([found[edge] for edge in edges])
        (folder / "cycles.json").write_text(listed, encoding="utf-8")

    kept = entry("edge-cycles", key, fill) / "cycles.json"
    return dict(zip(edges, json.loads(kept.read_text(encoding="utf-8")), strict=True))


def simulated_edges(
    blocks: Sequence[Code], counts: Mapping[Edge, int], core: CoreTable
) -> dict[Edge, float]:
    """As :func:`edge_cycles`, computed anew."""
    program = _Program(blocks, counts, core)
    weights = {edge: count * program.instructions(edge[1]) for edge, count in counts.items()}
    wanted = SIMULATED * sum(weights.values())
    costs: dict[Edge, float] = {}
    done = cycles = 0.0
    for edge in sorted(weights, key=lambda it: (-weights[it], it)):
        if done >= wanted and done:
            break
        costs[edge] = program.cost(edge)
        done += weights[edge]
        cycles += costs[edge] * counts[edge]
    each = cycles / done if done else 0.0
    return {
        edge: costs[edge] if edge in costs else each * program.instructions(edge[1])
        for edge in counts
    }


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


class _Program:
    def __init__(self, blocks: Sequence[Code], counts: Mapping[Edge, int], core: CoreTable) -> None:
        self._blocks = blocks
        self._core = core
        self._plans: dict[int, list[Plan]] = {}
        before: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for (source, target), count in counts.items():
            before[target].append((source, count))
        self._before = {
            target: sorted(sources, key=lambda it: (-it[1], it[0]))
            for target, sources in before.items()
        }

    def instructions(self, block: int) -> int:
        return len(self._blocks[block].code) // 4

    def cost(self, edge: Edge) -> float:
        """Cycles of an edge: the mean of those in the second half of its path."""
        path = self._path(edge)
        plans: list[Plan] = []
        addresses: list[int] = []
        ends = []
        for block in path:
            address = self._blocks[block].address
            mine = self._planned(block)
            plans += mine
            addresses += range(address, address + 4 * len(mine), 4)
            ends.append(len(plans))
        retired = [0, *retirement(plans, self._core, addresses)]
        half = len(plans) // 2
        found = [
            retired[ends[at]] - retired[ends[at - 1]]
            for at in range(1, len(path))
            if (path[at - 1], path[at]) == edge and ends[at - 1] >= half
        ]
        last = retired[ends[-1]] - (retired[ends[-2]] if len(ends) > 1 else 0)
        return sum(found) / len(found) if found else float(last)

    def _path(self, edge: Edge) -> list[int]:
        """Blocks that are likely to have run before the second block of an edge, and it."""
        path = [edge[1]]
        length = self.instructions(edge[1])
        visits: dict[int, int] = defaultdict(int)
        taken: dict[Edge, int] = defaultdict(int)
        block = edge[0]
        while block >= 0:
            path.append(block)
            length += self.instructions(block)
            if length >= CONTEXT[self._core.order]:
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

    def _planned(self, block: int) -> list[Plan]:
        if (known := self._plans.get(block)) is None:
            instructions: Sequence[Instruction] = decode(self._blocks[block].code)
            known = self._plans[block] = [self._core.plan(it) for it in instructions]
        return known
