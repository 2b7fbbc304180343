from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from support.bundles import write_masked_model, write_two_input_model
from toolchain.board.arrays import random_inputs
from toolchain.board.verify import Verification, compare_outputs, run_here
from toolchain.errors import ModelError, VerificationError
from toolchain.model.graph import read_model


def verification(difference: float, largest: float = 10.0) -> Verification:
    return Verification("m.tflite", 3, 7, difference, largest, 1e-5)


def test_the_difference_counts_relative_to_the_largest_output() -> None:
    verification(9e-5).require()
    with pytest.raises(VerificationError, match=r"0\.0002, 2e-05 of the largest output") as caught:
        verification(2e-4).require()
    assert "--seed 7" in (caught.value.hint or "")


def quantised(steps: float, *, only_steps: bool = False) -> Verification:
    return dataclasses.replace(verification(0.5), max_steps=steps, only_steps=only_steps)


def test_quantised_outputs_are_compared_in_their_steps() -> None:
    quantised(2.0, only_steps=True).require()
    with pytest.raises(VerificationError, match=r"by up to 3 steps; 2 are let through") as caught:
        quantised(3.0, only_steps=True).require()
    assert "--steps" in (caught.value.hint or "")
    assert not quantised(math.inf, only_steps=True).passed


def test_of_mixed_outputs_the_floats_count_as_floats() -> None:
    assert not quantised(0.0).passed
    assert dataclasses.replace(verification(0.0), max_steps=0.0).passed
    assert not dataclasses.replace(verification(0.0), max_steps=3.0).passed


def test_outputs_of_zero_are_compared_absolutely() -> None:
    assert verification(0.0, 0.0).passed
    assert not verification(1.0, 0.0).passed


def test_a_nan_on_one_side_is_never_equal() -> None:
    nan, one = np.array([np.nan], np.float32), np.array([1.0], np.float32)
    assert compare_outputs([nan], [one])[0] == math.inf
    assert compare_outputs([one], [nan])[0] == math.inf
    assert compare_outputs([nan], [nan])[0] == 0.0


def test_infinities_are_equal_to_themselves_only() -> None:
    inf = np.array([np.inf], np.float32)
    assert compare_outputs([inf], [inf])[0] == 0.0
    assert compare_outputs([inf], [-inf])[0] == math.inf


def test_unsigned_outputs_do_not_wrap_around() -> None:
    assert compare_outputs([np.array([0], np.uint8)], [np.array([255], np.uint8)]) == (255.0, 255.0)


def test_the_stock_interpreter_gives_one_output_for_each_input(tmp_path: Path) -> None:
    model = read_model(write_two_input_model(tmp_path / "pair.tflite"))
    batch = random_inputs(model, 4, 0)
    (output,) = run_here(model, batch)
    assert np.array_equal(output, batch.arrays[0] + batch.arrays[1])


def test_a_model_that_cannot_run_here_is_named(tmp_path: Path) -> None:
    path = write_masked_model(tmp_path / "m.tflite", size=4, channels=2)
    model = read_model(path)
    batch = random_inputs(model, 1, 0)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ModelError, match=r"m\.tflite"):
        run_here(model, batch)
