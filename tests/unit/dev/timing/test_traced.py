"""A trace becomes features: the cycles of every window, and its counters in their places."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.dev.timing.features import COUNTERS
from toolchain.dev.timing.traced import features_of
from toolchain.timing.trace import START, Block, Memory, Trace, Window

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


def test_each_window_has_the_cycles_of_its_own_blocks() -> None:
    made = trace(
        window(0, {(START, 0): 1, (0, 0): 99}),
        window(0, {(START, 1): 1, (1, 1): 99}, mispredicted=7),
    )
    found = features_of(made, "cortex-a72", has_l3=False)
    assert found.core[1] == pytest.approx(2 * found.core[0], rel=0.05)
    assert found.mispredicted.tolist() == [0, 7]
    assert found.instructions.tolist() == [30, 30]


def test_counters_stand_in_the_order_of_the_traces_memory() -> None:
    found = features_of(trace(window(0, {(START, 0): 1})), "cortex-a53", has_l3=True)
    assert found.counters.tolist() == [[float(index) for index in range(len(COUNTERS))]]
    assert found.has_l3


def test_windows_of_several_threads_are_told_apart() -> None:
    made = trace(window(0, {(START, 0): 1}), window(3, {(START, 0): 1}))
    found = features_of(made, "cortex-a76", has_l3=True)
    assert found.thread.tolist() == [0, 3]
    assert np.all(found.core > 0)
    assert found.main().core.tolist() == [found.core[0]]
