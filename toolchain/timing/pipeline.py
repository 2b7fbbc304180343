"""The pipeline of a core, in order or out of order, for whoever has instructions to time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Protocol

from toolchain.timing.core_table import CoreTable, Plan
from toolchain.timing.in_order import InOrder
from toolchain.timing.instructions import Instruction, decode
from toolchain.timing.out_of_order import OutOfOrder

CONTEXT: Final = {"in": 128, "out": 384}
"""Instructions of a path, by the core's order.

Against 2,048 the sum over each of three real networks moves by 0.2 % at most with 384 and by 0.9 %
with 128 on cores out of order, and not at all with 128 on the one in order. A network takes two
seconds at most, in plain Python."""

_ITERATIONS = 40
"""Of a loop; the first half of them is warming up."""


class Code(Protocol):
    """A block of a program, as :class:`toolchain.timing.trace.Block` is one."""

    @property
    def address(self) -> int:
        """Where it begins."""

    @property
    def code(self) -> bytes:
        """Its instructions."""

    @property
    def instructions(self) -> int:
        """How many there are."""


class Simulator(Protocol):
    """A core that runs straight code whose loads all hit its first cache."""

    @property
    def context(self) -> int:
        """Instructions of a path that say what comes after it takes."""

    @property
    def digest(self) -> str:
        """Changes whenever what is simulated may."""

    def retirements(self, paths: Sequence[Sequence[Code]]) -> Iterator[Sequence[int]]:
        """The cycle in which each instruction retires, for each path of blocks."""


class TablePipeline:
    """A pipeline of ours, by a core's table."""

    def __init__(self, core: CoreTable) -> None:
        self._core = core
        self._plans: dict[bytes, list[Plan]] = {}

    @property
    def context(self) -> int:
        """As :class:`Simulator` says."""
        return CONTEXT[self._core.order]

    @property
    def digest(self) -> str:
        """As :class:`Simulator` says."""
        return self._core.digest

    def retirements(self, paths: Sequence[Sequence[Code]]) -> Iterator[list[int]]:
        """As :class:`Simulator` says; one path at a time."""
        for path in paths:
            plans: list[Plan] = []
            addresses: list[int] = []
            for block in path:
                mine = self._planned(block.code)
                plans += mine
                addresses += range(block.address, block.address + 4 * len(mine), 4)
            yield retirement(plans, self._core, addresses)

    def _planned(self, code: bytes) -> list[Plan]:
        if (known := self._plans.get(code)) is None:
            known = self._plans[code] = [self._core.plan(it) for it in decode(code)]
        return known


def retirement(
    plans: Sequence[Plan], core: CoreTable, addresses: Sequence[int] | None = None
) -> list[int]:
    """The cycle in which each of a straight sequence of instructions retires, never falling.

    In order it is the one after the last in which the instruction, or one before it, is begun.

    Args:
        plans: what the instructions ask of ``core``, in the order in which they run.
        core: the core.
        addresses: where each instruction lies; without them they lie one behind the other.
    """
    pipeline = InOrder(core) if core.order == "in" else OutOfOrder(core)
    places = addresses if addresses is not None else range(0, 4 * len(plans), 4)
    return [pipeline.take(plan, place) for plan, place in zip(plans, places, strict=True)]


def steady_cycles(instructions: Sequence[Instruction], core: CoreTable, address: int = 0) -> float:
    """Cycles of an iteration of a loop that has run for long.

    Args:
        instructions: of the loop, which ends in the branch to its beginning.
        core: the core.
        address: where the loop lies.
    """
    length = len(instructions)
    places = range(address, address + 4 * length, 4)
    plans = [core.plan(it) for it in instructions]
    retired = retirement(plans * _ITERATIONS, core, [*places] * _ITERATIONS)
    half = _ITERATIONS // 2
    return (retired[-1] - retired[half * length - 1]) / (_ITERATIONS - half)
