"""The pipeline of a core, in order or out of order, for whoever has instructions to time."""

from __future__ import annotations

from collections.abc import Sequence

from toolchain.timing import in_order, out_of_order
from toolchain.timing.core_table import CoreTable
from toolchain.timing.instructions import Instruction

_ITERATIONS = 40
"""Of a loop; the first half of them is warming up."""


def retirement(
    instructions: Sequence[Instruction], core: CoreTable, addresses: Sequence[int] | None = None
) -> list[int]:
    """The cycle in which each of a straight sequence of instructions retires, never falling.

    Args:
        instructions: in the order in which they run.
        core: the core.
        addresses: where each lies; without them they lie one behind the other.
    """
    plans = [core.plan(it) for it in instructions]
    retire = in_order.retirement if core.order == "in" else out_of_order.retirement
    return retire(plans, core, addresses)


def steady_cycles(instructions: Sequence[Instruction], core: CoreTable, address: int = 0) -> float:
    """Cycles of an iteration of a loop that has run for long.

    Args:
        instructions: of the loop, which ends in the branch to its beginning.
        core: the core.
        address: where the loop lies.
    """
    length = len(instructions)
    places = range(address, address + 4 * length, 4)
    retired = retirement([*instructions] * _ITERATIONS, core, [*places] * _ITERATIONS)
    half = _ITERATIONS // 2
    return (retired[-1] - retired[half * length - 1]) / (_ITERATIONS - half)
