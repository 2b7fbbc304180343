"""What bounds a loop: the unit that its instructions keep busy, or results that it waits for."""

from __future__ import annotations

import pytest

from toolchain.timing.bounds import busy_units, core_limit
from toolchain.timing.core_table import TIMED_CORES, TimedCore, core_table
from toolchain.timing.pipeline import TablePipeline
from toolchain.timing.trace import Block, Memory, Trace, Window
from toolchain.timing.windows import windows_of

LOOPS = {
    "multiply": [0x4E20CC00 | 31 << 16 | 30 << 5 | i for i in range(16)],  # fmla vi, v30, v31
    "load": [0xF9400000 | 20 << 5 | i for i in range(16)],  # ldr xi, [x20]
    "latency": [0x4E20D400 | 1 << 16] * 8,  # fadd v0, v0, v1
}


@pytest.mark.parametrize("core", TIMED_CORES)
@pytest.mark.parametrize("limit", LOOPS)
def test_a_loop_is_bound_by_what_it_keeps_busy(limit: str, core: TimedCore) -> None:
    block = Block(0x1000, b"".join(word.to_bytes(4, "little") for word in LOOPS[limit]), None)
    count = 10_000
    window = Window(0, 0, block.instructions * count, 0, Memory(*[0] * 12), {(0, 0): count})
    trace = Trace([block], [window], operators=1)
    table = core_table(core)
    cycles = float(windows_of(trace, TablePipeline(table), has_l3=False).core.sum())
    busy = busy_units(trace, table)[0]
    assert core_limit(busy, cycles) == limit
    assert max(busy.values()) <= 1.01 * cycles
