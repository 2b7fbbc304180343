"""The sparsity that a time asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from toolchain.errors import ModelError
from toolchain.profile.estimator import Estimator
from toolchain.profile.time_target import (
    MOST,
    TimedSparsity,
    estimated_time,
    parse_target,
    sparsity_for,
)
from toolchain.progress import Silent
from toolchain.tflite_file.graph import read_model

STEPS = [round(0.05 * number, 2) for number in range(15)]


def timed(
    function: Callable[[float], float], asked: list[float]
) -> Callable[[float], TimedSparsity]:
    def time_of(sparsity: float) -> TimedSparsity:
        asked.append(sparsity)
        ms = function(sparsity)
        return TimedSparsity(sparsity=sparsity, ms=ms, low_ms=ms, high_ms=ms)

    return time_of


@pytest.mark.parametrize(
    ("text", "share"),
    [("30% less time", 0.3), ("30%", 0.3), ("12.5 % less latency", 0.125), (" 5% less ", 0.05)],
)
def test_a_target_is_a_share_of_the_time(text: str, share: float) -> None:
    assert parse_target(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "30", "0%", "100%", "-5%", "30% more time", "fast", "20 ms"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="30% less time"):
        parse_target(text)


@given(
    st.lists(st.floats(0.0, 10.0), min_size=14, max_size=14),
    st.floats(1.0, 100.0),
    st.floats(0.01, 0.95),
)
def test_it_is_the_smallest_step_that_reaches_the_goal_of_whatever_falling_times(
    drops: list[float], rest: float, less: float
) -> None:
    times = [rest + sum(drops[number:]) for number in range(15)]
    table = dict(zip(STEPS, times, strict=True))
    goal = (1 - less) * times[0]
    asked: list[float] = []
    if times[-1] > goal:
        with pytest.raises(ModelError, match="of the time by the estimate"):
            sparsity_for(less, timed(table.__getitem__, asked))
        return
    found, tried = sparsity_for(less, timed(table.__getitem__, asked))
    assert found.sparsity == next(step for step in STEPS[1:] if table[step] <= goal)
    assert len(asked) == len(set(asked)) == len(tried)  # each is asked for once
    assert tried[0].sparsity == 0


def test_where_times_fall_evenly_four_or_five_estimates_are_enough() -> None:
    asked: list[float] = []
    found, _ = sparsity_for(0.3, timed(lambda sparsity: 100 - 90 * sparsity, asked))
    assert found.sparsity == 0.35
    assert asked == [0.0, MOST, 0.35, 0.3]


def test_masks_that_save_nothing_are_told() -> None:
    with pytest.raises(ModelError, match="70% of the pixels save 0% of the time") as told:
        sparsity_for(0.1, timed(lambda _: 5.0, []))
    assert "--kernels all" in (told.value.hint or "")


class _Estimator:
    """Keeps the share of zeros in what it is to estimate; no board takes part."""

    def __init__(self) -> None:
        self.zeros: list[float] = []

    def models(self, paths: list[Path]) -> SimpleNamespace:
        graph = read_model(paths[0]).graph
        (conv,) = (op for op in graph.operators if op.op == "CONV_2D")
        weights = graph.tensors[conv.inputs[1]].data
        assert weights is not None
        self.zeros.append(float((weights == 0).mean()))
        return SimpleNamespace(models=[SimpleNamespace(ms=1.0, low_ms=1.0, high_ms=1.0)])


def test_weights_that_begin_as_zeros_are_estimated_as_those_that_are_trained() -> None:
    """The runtime computes nothing of zeros, as the last layers of residual branches begin."""
    last = nn.BatchNorm2d(4)
    nn.init.zeros_(last.weight)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), last).eval()
    estimator = _Estimator()
    example = torch.zeros(1, 3, 8, 8)
    estimated_time(cast("Estimator", estimator), lambda _: network, example, Silent())(0.0)
    assert estimator.zeros == [0.0]
