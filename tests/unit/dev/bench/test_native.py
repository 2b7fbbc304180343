"""Medians of ratios, and their quartiles."""

from __future__ import annotations

import subprocess
import sys

import pytest

from toolchain.dev.bench.native import Machine, ratios, spread, this_machine


def test_a_spread_is_the_median_and_the_quartiles() -> None:
    found = spread([5, 1, 4, 2, 3])
    assert (found.low, found.median, found.high, found.samples) == (2, 3, 4, 5)


def test_one_sample_is_all_of_its_spread() -> None:
    found = spread([7.0])
    assert (found.low, found.median, found.high) == (7, 7, 7)


def test_ratios_are_those_of_neighbours() -> None:
    # The second half was measured while the machine was three times as slow.
    found = ratios([10, 10, 30, 30, 30], [8, 8, 24, 24, 24])
    assert (found.low, found.median, found.high) == (1.25, 1.25, 1.25)


def test_samples_without_a_neighbour_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratios([1, 2], [1])


def test_a_machine_with_other_work_is_not_quiet() -> None:
    assert Machine(cpu="x", cores=2, load=0.2).quiet
    assert not Machine(cpu="x", cores=2, load=1.2).quiet


def test_this_machine_is_told() -> None:
    found = this_machine(seconds=0.1)
    assert found.cpu
    assert found.cores >= 1
    assert found.load >= 0.0


def test_a_process_that_runs_beside_is_noticed() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            assert this_machine(seconds=1.0).load > 0.3
        finally:
            busy.kill()
