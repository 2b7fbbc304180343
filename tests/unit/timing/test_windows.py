"""Windows of a trace: which lines come from where, and what the core takes for them."""

from __future__ import annotations

import numpy as np
import pytest

from support.windows import windows
from toolchain.timing.core_table import core_table
from toolchain.timing.pipeline import TablePipeline
from toolchain.timing.trace import START, Block, Memory, Trace, Window
from toolchain.timing.windows import COUNTERS, OUTSIDE, windows_of

_ADD = 0x8B000000  # add x0, x0, x0
NOP = bytes.fromhex("1f2003d5")
NOTHING = Memory(*range(len(COUNTERS)))


def window(thread: int, edges: dict[tuple[int, int], int], mispredicted: int = 0) -> Window:
    return Window(
        thread=thread, operator=None, instructions=30, mispredicted=mispredicted, memory=NOTHING,
        edges=edges,
    )  # fmt: skip


def trace(*windows: Window) -> Trace:
    blocks = [Block(0x1000, NOP * 30, None), Block(0x2000, NOP * 60, None)]
    return Trace(blocks, windows, 0)


def test_a_line_is_counted_where_it_comes_from() -> None:
    found = windows(
        {
            "l1_misses_stream": 10, "l1_misses_random": 5, "l1_misses_store": 1,
            "l2_misses_stream": 4, "l2_misses_store": 1, "written_back": 2,
        }
    )  # fmt: skip
    assert found.filled.tolist() == [16]
    assert found.l2.tolist() == [11]
    assert found.l3.tolist() == [0]
    assert found.memory.tolist() == [7]


def test_with_a_third_level_memory_gives_what_that_has_not() -> None:
    found = windows(
        {"l1_misses_stream": 10, "l2_misses_stream": 6, "l3_misses": 2, "written_back": 1},
        has_l3=True,
    )
    assert found.l2.tolist() == [4]
    assert found.l3.tolist() == [4]
    assert found.memory.tolist() == [3]


def test_the_first_thread_waits_for_the_others() -> None:
    found = windows({"core": 1}, {"core": 2}, {"core": 4}, threads=[3, 5, 3])
    assert found.main().core.tolist() == [1, 4]


def test_windows_take_their_edges_times_what_each_costs() -> None:
    block = Block(0x1000, _ADD.to_bytes(4, "little") * 40, None)
    nothing = Memory(*[0] * 12)
    trace = Trace(
        [block],
        [
            Window(0, None, 400, 1, nothing, {(START, 0): 1, (0, 0): 9}),
            Window(0, 0, 4000, 0, nothing, {(0, 0): 100}),
        ],
        operators=1,
    )
    found = windows_of(trace, TablePipeline(core_table("cortex-a72")), has_l3=False)
    # Each addition waits for the one before it.
    assert found.core[1] == pytest.approx(4000, rel=0.01)
    assert found.core[0] == pytest.approx(400, rel=0.15)
    assert found.operator.tolist() == [OUTSIDE, 0]
    assert found.mispredicted.tolist() == [1, 0]


def test_each_window_has_the_cycles_of_its_own_blocks() -> None:
    made = trace(
        window(0, {(START, 0): 1, (0, 0): 99}),
        window(0, {(START, 1): 1, (1, 1): 99}, mispredicted=7),
    )
    found = windows_of(made, TablePipeline(core_table("cortex-a72")), has_l3=False)
    assert found.core[1] == pytest.approx(2 * found.core[0], rel=0.05)
    assert found.mispredicted.tolist() == [0, 7]
    assert found.instructions.tolist() == [30, 30]


def test_counters_stand_in_the_order_of_the_traces_memory() -> None:
    found = windows_of(
        trace(window(0, {(START, 0): 1})), TablePipeline(core_table("cortex-a53")), has_l3=True
    )
    assert found.counters.tolist() == [[float(index) for index in range(len(COUNTERS))]]
    assert found.has_l3


def test_windows_of_several_threads_are_told_apart() -> None:
    made = trace(window(0, {(START, 0): 1}), window(3, {(START, 0): 1}))
    found = windows_of(made, TablePipeline(core_table("cortex-a76")), has_l3=True)
    assert found.thread.tolist() == [0, 3]
    assert np.all(found.core > 0)
    assert found.main().core.tolist() == [found.core[0]]
