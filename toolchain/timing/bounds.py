"""What a core's cycles go to: how long each of its units is busy with an operator's instructions.

A unit that is busy nearly all the time is what bounds the operator; where none is, results are
waited for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Final, Literal

from toolchain.timing.core_table import CoreTable, Unit
from toolchain.timing.instructions import decode
from toolchain.timing.trace import Block, Trace
from toolchain.timing.windows import OUTSIDE

Limit = Unit | Literal["issue", "latency"]
"""A unit, or the instructions that are taken each cycle, or the time until results are there."""
_BUSY: Final = 0.8
"""The part of the time from which on a unit is said to bound it."""


def core_limit(busy: Mapping[Limit, float], cycles: float) -> Limit:
    """What bounds a stretch of a program, as far as its core does.

    Args:
        busy: cycles of each unit, as :func:`busy_units` has them.
        cycles: that the core takes for it.
    """
    latency: Limit = "latency"
    name = max(busy, key=lambda unit: busy[unit], default=latency)
    return name if busy.get(name, 0.0) >= _BUSY * cycles else latency


def busy_units(trace: Trace, core: CoreTable) -> dict[int, dict[Limit, float]]:
    """Cycles that each unit is busy, by operator.

    Args:
        trace: of one run.
        core: whose units.

    Returns:
        By operator, :data:`toolchain.timing.windows.OUTSIDE` among them; all threads together.
    """
    blocks: dict[int, dict[Limit, float]] = {}
    found: dict[int, dict[Limit, float]] = {}
    for window in trace.windows:
        operator = OUTSIDE if window.operator is None else window.operator
        sums = found.setdefault(operator, defaultdict(float))
        for (_, number), count in window.edges.items():
            if number not in blocks:
                blocks[number] = _of_block(trace.blocks[number], core)
            for unit, cycles in blocks[number].items():
                sums[unit] += count * cycles
    return found


def _of_block(block: Block, core: CoreTable) -> dict[Limit, float]:
    names = list(core.ports)
    unit_of: dict[str, Unit] = {port: unit for unit, ports in core.units.items() for port in ports}
    shared: dict[Unit, float] = defaultdict(float)
    bound: dict[int, float] = defaultdict(float)
    slots = 0.0
    for instruction in decode(block.code):
        plan = core.plan(instruction)
        slots += plan.slots if core.order == "out" else 1
        for operation in plan.operations:
            shared[unit_of[names[operation.ports[0]]]] += operation.cycles
            if len(operation.ports) == 1:
                bound[operation.ports[0]] += operation.cycles
    busy: dict[Limit, float] = {"issue": slots / core.width}
    for unit, cycles in shared.items():
        ports = [port for port, name in enumerate(names) if name in core.units[unit]]
        busy[unit] = max(cycles / len(ports), *(bound[port] for port in ports))
    return busy
