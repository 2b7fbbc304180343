from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support.masked_case import SMALL
from toolchain.agreement.inputs import random_arrays, random_inputs
from toolchain.tflite_file.graph import Model, read_model


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return read_model(SMALL.write(tmp_path / "model.tflite"))


def test_random_inputs_depend_on_nothing_but_the_seed(model: Model) -> None:
    one, same, other = (random_inputs(model, 2, seed) for seed in (5, 5, 6))
    assert np.array_equal(one.arrays[0], same.arrays[0])
    assert not np.array_equal(one.arrays[0], other.arrays[0])
    (index,) = model.graph.inputs
    assert one.arrays[0].shape == (2, *model.graph.tensors[index].shape)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint8", "int64", "bool"])
def test_random_numbers_are_of_the_type_and_all_over_its_range(dtype: str) -> None:
    (array,) = random_arrays([((1, 40, 40, 3), dtype)], 2, 0)
    assert array.shape == (2, 1, 40, 40, 3)
    assert array.dtype == dtype
    if array.dtype.kind == "f":
        assert abs(float(array.mean())) < 0.1
        assert 0.9 < float(array.astype(np.float64).std()) < 1.1
    elif dtype == "bool":
        assert {False, True} == set(array.ravel().tolist())
    else:
        span = np.iinfo(dtype)
        assert array.min() < 0.9 * span.min or span.min == 0
        assert array.max() > 0.9 * span.max


def test_the_last_inferences_are_like_images() -> None:
    (array,) = random_arrays([((1, 30, 30, 3), "float32")], 5, 0, images=2)
    assert array[:3].min() < -1
    assert 0 <= array[3:].min() < 0.01
    assert 0.99 < array[3:].max() <= 1
    assert not np.array_equal(array[3], array[4])
