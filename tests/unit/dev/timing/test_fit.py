"""Coefficients are recovered from times that a model made; a model knows what bounds a window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from support.made_up_rows import ROW as MADE_UP
from toolchain.dev.timing.cross_validation import (
    Estimate,
    applied,
    errors,
    leave_one_family_out,
    order,
)
from toolchain.dev.timing.fit import (
    ConstantCycles,
    Fitted,
    Shape,
    WindowModel,
    fit_constant_cycles,
    fit_windows,
    prepare,
)
from toolchain.dev.timing.sample import Sample, counted_only
from toolchain.timing.model import Coefficients, Overlap
from toolchain.timing.windows import COUNTERS, OUTSIDE, Windows

ROW = replace(MADE_UP, clock_mhz=1500)
NETWORKS = (
    "resnet18",
    "vgg16",
    "alexnet",
    "squeezenet",
    "mobilenet",
    "mobilenet_ssd",
    "shufflenet",
)


def run(seed: int, *, windows: int = 50, threads: int = 1) -> Windows:
    """Windows that wait for memory more or less."""
    rng = np.random.default_rng(seed)
    many = windows * threads
    counters = np.zeros((many, len(COUNTERS)))
    l3 = rng.uniform(0, 2e4, many)
    memory = rng.uniform(0, 6e4, many) * rng.uniform(0, 2)
    missed = {"l3_misses": memory, "l2_misses_random": memory + l3}
    missed["l1_misses_stream"] = missed["l2_misses_random"] + rng.uniform(0, 6e4, many)
    for name, values in missed.items():
        counters[:, COUNTERS.index(name)] = values
    return Windows(
        thread=np.repeat(np.arange(threads), windows),
        operator=np.full(many, OUTSIDE),
        instructions=rng.uniform(5e5, 1e6, many),
        core=rng.uniform(5e5, 2e6, many),
        mispredicted=rng.uniform(0, 1e4, many),
        counters=counters,
        has_l3=True,
    )


def samples(model: WindowModel, *, clocks: tuple[int, ...] = (1500,)) -> list[Sample]:
    """Rows whose times are what the model says."""
    made = []
    for seed, network in enumerate(NETWORKS):
        for clock in clocks:
            row = replace(ROW, network=network, clock_mhz=clock)
            sample = Sample(row, run(seed))
            made.append(replace(sample, row=replace(row, ms=model.ms(sample))))
    return made


@pytest.mark.parametrize("overlap", ["max", "sum"])
def test_known_coefficients_are_recovered(overlap: Overlap) -> None:
    known = Coefficients(l2=6.5, memory=17.0)
    shape = Shape(overlap, refill=12.0)
    made = samples(WindowModel(shape, known), clocks=(1500, 1800))
    fitted = fit_windows(shape)(made)
    assert isinstance(fitted, WindowModel)
    assert fitted.coefficients.l2 == pytest.approx(known.l2, rel=0.01)
    assert fitted.coefficients.memory == pytest.approx(known.memory, rel=0.01)
    assert errors(applied(made, fitted)).worst < 0.001


def test_a_third_level_and_a_factor_of_the_core_are_recovered_too() -> None:
    known = Coefficients(l2=6.5, memory=17.0, l3=4.0, core=1.1)
    shape = Shape("sum", refill=12.0, l3=True, core=True)
    fitted = fit_windows(shape)(samples(WindowModel(shape, known)))
    assert isinstance(fitted, WindowModel)
    assert fitted.coefficients.core == pytest.approx(known.core, rel=0.05)
    assert shape.names == ("l2", "l3", "memory", "core")


def test_a_transformer_takes_no_part_in_the_fit() -> None:
    shape = Shape("max", refill=12.0)
    made = samples(WindowModel(shape, Coefficients(l2=6.5, memory=17.0)))
    other = replace(made[0].row, network="vision_transformer", ms=3 * made[0].row.ms)
    alone, beside = (
        fit_windows(shape)(rows) for rows in (made, [*made, replace(made[0], row=other)])
    )
    assert beside == alone


def test_what_a_line_costs_the_first_cache_may_be_left_to_lines_of_l2() -> None:
    every, near = (
        prepare(Shape("max", 0.0, every_line=it), run(1), 1).filled for it in (True, False)
    )
    assert every.tolist() == run(1).main().missed(1).tolist()
    assert near.tolist() == (run(1).main().missed(1) - run(1).main().missed(2)).tolist()


def test_a_row_that_is_far_off_does_not_draw_the_others_with_it() -> None:
    shape = Shape("sum", refill=12.0)
    made = samples(WindowModel(shape, Coefficients(l2=6.5, memory=17.0)))
    made[0] = replace(made[0], row=replace(made[0].row, ms=3 * made[0].row.ms))
    fitted = fit_windows(shape)(made)
    assert errors(applied(made[1:], fitted)).median < 0.01


def test_memory_hides_behind_the_core_or_comes_after_it() -> None:
    sample = Sample(ROW, run(0))
    prepared = prepare(Shape("max", 0.0), sample.windows)
    free = Coefficients(l2=0.0, memory=0.0)
    dear = Coefficients(l2=0.0, memory=20.0)
    core = WindowModel(Shape("max", 0.0), free).cycles(prepared, 1500)
    assert core == pytest.approx(prepared.core)
    after = WindowModel(Shape("sum", 0.0), dear).cycles(prepared, 1500)
    assert after == pytest.approx(prepared.core + 30.0 * prepared.memory)
    hidden = WindowModel(Shape("max", 0.0), dear).cycles(prepared, 1500)
    assert hidden == pytest.approx(np.maximum(prepared.core, 30.0 * prepared.memory))


def test_memory_takes_as_long_at_any_clock() -> None:
    model = WindowModel(Shape("sum", 0.0), Coefficients(l2=0.0, memory=20.0))
    one = run(0)
    bound = Sample(ROW, replace(one, core=np.zeros_like(one.core)))
    faster = replace(bound, row=replace(ROW, clock_mhz=3000))
    assert model.ms(faster) == pytest.approx(model.ms(bound))


def test_lines_are_told_apart_by_the_level_that_gives_them() -> None:
    one = run(0)
    columns = {name: np.array([value]) for name, value in zip(COUNTERS, range(12), strict=True)}
    known = replace(one, counters=np.stack(list(columns.values()), axis=1), core=np.zeros(1))
    assert known.l2.tolist() == [2 + 3 + 4 - 5 - 6 - 7]
    assert known.l3.tolist() == [5 + 6 + 7 - 8]
    assert known.memory.tolist() == [8 + 9]
    without = replace(known, has_l3=False)
    assert without.l3.tolist() == [0]
    assert without.memory.tolist() == [5 + 6 + 7 + 9]


def test_a_model_without_windows_hides_more() -> None:
    value = Coefficients(l2=0.0, memory=20.0)
    sample = Sample(ROW, run(0))
    apart = WindowModel(Shape("max", 0.0), value).ms(sample)
    merged = WindowModel(Shape("max", 0.0, windows=False), value).ms(sample)
    assert merged < apart


def test_mispredictions_cost_a_refill_each_unless_they_are_left_out() -> None:
    one = run(0)
    nothing = Coefficients(l2=0.0, memory=0.0)
    shape = Shape("sum", refill=15.0)
    with_them = WindowModel(shape, nothing).cycles(prepare(shape, one), 1500)
    assert with_them == pytest.approx(one.core + 15.0 * one.mispredicted)
    right = replace(shape, mispredictions=False)
    assert WindowModel(right, nothing).cycles(prepare(right, one), 1500) == pytest.approx(one.core)


def test_the_first_thread_waits_for_memory_that_serves_all() -> None:
    one = run(0, threads=4)
    prepared = prepare(Shape("max", 0.0), one, threads=4)
    assert len(prepared.core) == len(one.core) // 4
    assert prepared.memory.sum() == pytest.approx(one.memory.sum())
    assert prepared.filled.sum() == pytest.approx(one.filled[: len(one.filled) // 4].sum())


def test_what_a_line_takes_with_several_threads_is_found_on_rows_with_several() -> None:
    known = Coefficients(l2=6.5, memory=17.0, shared_memory=9.0)
    shape = Shape("max", refill=12.0)
    model = WindowModel(shape, known)
    rows = samples(model)
    for seed, one in enumerate(list(rows)):
        four = Sample(replace(one.row, threads=4), run(seed, threads=4))
        rows.append(replace(four, row=replace(four.row, ms=model.ms(four))))
    found = fit_windows(shape)(rows)
    assert isinstance(found, WindowModel)
    assert found.coefficients.memory == pytest.approx(17.0, rel=0.01)
    assert found.coefficients.shared_memory == pytest.approx(9.0, rel=0.01)


def test_threads_share_what_the_core_does_and_no_line_from_memory() -> None:
    one = run(0)
    alone, shared = prepare(Shape("max", 9.0), one), prepare(Shape("max", 9.0), one, threads=4)
    assert shared.core == pytest.approx(alone.core / 4)
    assert shared.refill == pytest.approx(alone.refill / 4)
    assert shared.filled == pytest.approx(alone.filled / 4)
    assert shared.memory == pytest.approx(alone.memory)
    four = run(0, threads=4)
    assert prepare(Shape("max", 9.0), four, threads=4).core == pytest.approx(four.core[:50])


def test_constant_cycles_are_the_middle_of_the_rows() -> None:
    made = [
        Sample(replace(ROW, network=name, ms=ms), counted_only([1_500_000]))
        for name, ms in zip(NETWORKS, (1.0, 2.0, 9.0), strict=False)
    ]
    assert fit_constant_cycles(made) == ConstantCycles(2.0)
    assert ConstantCycles(2.0).ms(made[0]) == pytest.approx(2.0)
    four = replace(made[0], row=replace(made[0].row, threads=4))
    assert ConstantCycles(2.0).ms(four) == pytest.approx(0.5)


def test_a_family_is_never_on_both_sides() -> None:
    made = samples(WindowModel(Shape("sum", 0.0), Coefficients(l2=6.5, memory=17.0)))
    seen: list[tuple[set[str], str]] = []

    class Spy:
        def __init__(self, fitted_on: set[str]) -> None:
            self.fitted_on = fitted_on

        def ms(self, sample: Sample) -> float:
            seen.append((self.fitted_on, sample.row.family))
            return 1.0

    def fit(chosen: Sequence[Sample]) -> Fitted:
        return Spy({one.row.family for one in chosen})

    estimates = leave_one_family_out(made, fit)
    assert [one.row for one in estimates] == [one.row for one in made]
    assert len(seen) == len(made)
    families = {one.row.family for one in made}
    assert len(families) < len(made)
    for fitted_on, judged in seen:
        assert fitted_on == families - {judged}


def test_one_family_validates_nothing() -> None:
    made = samples(WindowModel(Shape("sum", 0.0), Coefficients(l2=1.0, memory=1.0)))
    with pytest.raises(ValueError, match="one family"):
        leave_one_family_out(made[:1], fit_constant_cycles)


def test_errors_are_relative_and_name_the_worst_row() -> None:
    rows = [replace(ROW, network=name) for name in NETWORKS]
    times = (1.0, 0.9, 1.2, 1.0, 1.0, 1.0, 1.0)
    found = errors([Estimate(row, ms) for row, ms in zip(rows, times, strict=True)])
    assert (found.rows, found.median) == (7, 0.0)
    assert found.worst == pytest.approx(0.2)
    assert found.worst_row.network == "alexnet"


def test_order_looks_at_pairs_of_one_board_that_clearly_differ() -> None:
    def estimate(ms: float, estimated: float, board: str = "rpi4") -> Estimate:
        return Estimate(replace(ROW, ms=ms, board=board), estimated)

    close = [estimate(1.0, 2.0), estimate(1.2, 1.0)]
    assert order(close).pairs == 0
    assert order([*close, estimate(2.0, 1.5)]) == order([estimate(1.0, 2.0), estimate(1.2, 1.0),
                                                         estimate(2.0, 1.5)])  # fmt: skip
    judged = order([*close, estimate(2.0, 1.5)])
    assert (judged.pairs, judged.right) == (2, 1)
    assert order([estimate(1.0, 1.0), estimate(9.0, 0.1, board="rpi3")]).pairs == 0
