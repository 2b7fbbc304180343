"""The pipeline of a core, in order or out of order, for whoever has instructions to time."""

from __future__ import annotations

from collections.abc import Sequence

from toolchain.timing.core_table import CoreTable, Plan
from toolchain.timing.in_order import InOrder
from toolchain.timing.instructions import Instruction
from toolchain.timing.out_of_order import OutOfOrder

_ITERATIONS = 40
"""Of a loop; the first half of them is warming up."""


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
