from __future__ import annotations

import math

import numpy as np
import pytest

from toolchain.agreement.differences import Array
from toolchain.convert.quality import decibels, output_quality


@pytest.mark.parametrize(
    ("signal", "noise", "ratio"),
    [
        (100.0, 1.0, 20.0),
        (1.0, 1.0, 0.0),
        (1.0, 0.0, math.inf),
        (0.0, 0.0, math.inf),
        (0.0, 1.0, -math.inf),
        (1.0, math.nan, -math.inf),
        (1.0, math.inf, -math.inf),
    ],
)
def test_the_ratio_of_powers(signal: float, noise: float, ratio: float) -> None:
    assert decibels(signal, noise) == pytest.approx(ratio)


def _boxes_and_scores() -> Array:
    generator = np.random.default_rng(0)
    boxes = generator.uniform(0, 640, (5, 1, 50, 4))
    return np.concatenate([boxes, generator.uniform(0, 1, (5, 1, 50, 2))], -1).astype(np.float32)


def test_scores_that_a_step_for_boxes_drops_are_weak_but_not_wrong() -> None:
    wanted = _boxes_and_scores()
    step = 640 / 255
    found = np.round(wanted / step) * step
    quality = output_quality(found, wanted, wanted, step)
    assert quality.sqnr_db > 40
    assert quality.max_steps == pytest.approx(0.5, abs=0.01)
    assert quality.weak is not None
    assert quality.weak.indices == (4, 5)
    assert str(quality.weak) == "channels 4, 5"
    assert quality.weak.sqnr_db == pytest.approx(0, abs=0.1)
    assert not quality.weak.wrong


def test_a_channel_of_noise_is_wrong_however_good_the_whole_is() -> None:
    wanted = _boxes_and_scores()
    found = wanted.copy()
    found[..., 4] -= 5
    quality = output_quality(found, wanted, wanted, None)
    assert quality.sqnr_db > 30
    assert quality.weak is not None
    assert quality.weak.wrong
    assert (quality.weak.axis, quality.weak.indices) == (2, (4,))


def test_a_class_that_is_small_by_chance_is_not_weak() -> None:
    generator = np.random.default_rng(0)
    wanted = generator.standard_normal((5, 1, 8))
    wanted[..., 3] *= 0.01
    found = wanted + 0.1 * generator.standard_normal(wanted.shape)
    assert output_quality(found, wanted, wanted, None).weak is not None
    noise = np.abs(generator.standard_normal(wanted.shape)) * 1e-6
    assert output_quality(found, wanted, wanted, None, noise).weak is None


def test_an_output_that_is_equal_has_no_weak_part() -> None:
    wanted = _boxes_and_scores()
    quality = output_quality(wanted, wanted, wanted, None)
    assert (quality.sqnr_db, quality.max_steps, quality.weak) == (math.inf, None, None)


def test_many_weak_slices_are_counted() -> None:
    wanted = np.ones((2, 1, 9, 3))
    found = np.where(np.arange(9)[:, None] < 7, -1.0, wanted)
    quality = output_quality(found, wanted, wanted, None)
    assert str(quality.weak) == "indices 0, 1, 2 and 4 more of axis 1"


@pytest.mark.parametrize(("others", "ratio"), [(0, math.inf), (10, math.inf), (11, 9.59), (100, 0)])
def test_classes_of_a_quantised_file_may_be_others_in_one_of_ten_places(
    others: int, ratio: float
) -> None:
    wanted = np.arange(100, dtype=np.int32).reshape(1, 1, 100)
    found = wanted.copy()
    found[..., :others] += 1
    quality = output_quality(found, wanted, wanted, None)
    assert quality.sqnr_db == pytest.approx(ratio, abs=0.01)
    assert quality.weak is None
