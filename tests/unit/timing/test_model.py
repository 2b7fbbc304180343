"""The model of time: what overlaps, what adds up, and what depends on the clock."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.windows import windows
from toolchain.timing.core_table import TIMED_CORES, TimedCore
from toolchain.timing.model import Coefficients, Interval, Overlap, TimingModel, model_of

_COUNTS = st.integers(0, 10**6)
_RUNS = st.lists(
    st.fixed_dictionaries(
        {
            "core": _COUNTS,
            "mispredicted": _COUNTS,
            "l1_misses_stream": _COUNTS,
            "written_back": _COUNTS,
        }
    ),
    min_size=1,
    max_size=5,
)


def model(overlap: Overlap, **values: float) -> TimingModel:
    costs = {"l2": 0.0, "memory": 0.0} | values
    return TimingModel(
        overlap=overlap,
        refill=10,
        interval=Interval(one_thread=0.1, several_threads=0.2),
        coefficients=Coefficients(**costs),
    )


def test_out_of_order_the_longer_of_core_and_memory_counts() -> None:
    found = windows({"core": 100, "written_back": 10}, {"core": 100, "written_back": 100})
    cycles = model("max", memory=2.0).cycles(found, 1000)
    assert cycles.total.tolist() == [100, 200]
    assert cycles.by_bound["core"].tolist() == [100, 0]
    assert cycles.by_bound["memory"].tolist() == [0, 200]


def test_in_order_both_count() -> None:
    found = windows({"core": 100, "written_back": 10}, {"core": 100, "written_back": 100})
    assert model("sum", memory=2.0).cycles(found, 1000).total.tolist() == [120, 300]


def test_the_core_waits_for_lines_as_the_first_cache_takes_them_in() -> None:
    found = windows({"core": 100, "l1_misses_random": 10})
    assert model("max", l2=4.0).cycles(found, 1000).total.tolist() == [140]


@given(
    core=st.integers(0, 1000), lines=st.integers(1, 500), costs=st.tuples(*[st.floats(0, 50)] * 3)
)
def test_a_line_from_farther_away_never_costs_less(
    core: int, lines: int, costs: tuple[float, float, float]
) -> None:
    l2, l3, memory = costs
    near, farther, farthest = (
        model("max", l2=l2, l3=l3, memory=l3 + memory)
        .cycles(windows({"core": core, "l1_misses_stream": lines} | missed, has_l3=True), 2400)
        .total.sum()
        for missed in (
            {},
            {"l2_misses_stream": lines},
            {"l2_misses_stream": lines, "l3_misses": lines},
        )
    )
    assert near <= farther <= farthest


def test_a_branch_that_goes_wrong_costs_a_refill() -> None:
    assert model("max").cycles(windows({"mispredicted": 3}), 1000).total.tolist() == [30]


def test_memory_takes_as_long_at_any_clock() -> None:
    found = windows({"written_back": 100})
    slow, fast = (model("max", memory=3.0).cycles(found, mhz).total.sum() / mhz
                  for mhz in (1000, 2000))  # fmt: skip
    assert slow == fast


def test_memory_serves_all_threads_in_one_row() -> None:
    found = windows(
        {"core": 100, "written_back": 10}, {"core": 100, "written_back": 30}, threads=[0, 1]
    )
    assert model("max", memory=4.0).cycles(found, 1000).total.tolist() == [100 + 160]
    shared = model("max", memory=4.0, shared_memory=3.0)
    assert shared.cycles(found, 1000).total.tolist() == [100 + 120]


def test_shared_work_is_dealt_out_evenly_whoever_did_it() -> None:
    found = windows(
        {"core": 10, "operator": 0}, {"core": 20, "operator": 1}, {"core": 30, "operator": 0},
        threads=[0, 0, 1],
    )  # fmt: skip
    assert model("max").cycles(found, 1000, shared={0}).total.tolist() == [20, 20]
    assert model("max").cycles(found, 1000).total.tolist() == [10, 20]


def test_a_thread_that_found_nothing_to_do_shares_what_the_others_did() -> None:
    found = windows(
        {"core": 0, "operator": 0}, {"core": 0, "operator": 0}, {"core": 40, "operator": 0},
        threads=[0, 0, 1],
    )  # fmt: skip
    assert model("max").cycles(found, 1000, shared={0}).total.tolist() == [10, 10]


@given(_RUNS, st.sampled_from(["max", "sum"]))
def test_what_is_waited_for_adds_up_to_the_whole(
    runs: list[dict[str, float]], overlap: Overlap
) -> None:
    cycles = model(overlap, l2=3.0, memory=5.0).cycles(windows(*runs), 1500)
    parts = sum(part for part in cycles.by_bound.values())
    assert np.allclose(parts, cycles.total)


@pytest.mark.parametrize("core", TIMED_CORES)
def test_each_core_has_a_fitted_model(core: TimedCore) -> None:
    found = model_of(core)
    assert found.coefficients.memory > 0
    assert 0 < found.interval.of(1) <= found.interval.of(4) < 0.5
