from __future__ import annotations

import math

import numpy as np
import pytest

from toolchain.agreement.differences import (
    NOISE,
    Array,
    compare_output,
    judged_axes,
    output_name,
    rounding_noise,
    worst,
)


def _arrays(*shape: int) -> tuple[Array, Array]:
    """Two equal outputs ``[2 inferences, *shape]``, the first to be changed."""
    expected = np.random.default_rng(0).uniform(0.5, 1.0, (2, *shape)).astype(np.float32)
    return expected.copy(), expected


def test_a_small_channel_is_not_hidden_by_a_large_one() -> None:
    found, expected = _arrays(1, 4, 4, 3)
    found[..., 1] *= 60_000
    expected[..., 1] *= 60_000
    found[1, 0, 2, 3, 2] += 0.4
    difference = compare_output(found, expected)
    assert 0.4 <= difference.relative_diff <= 0.8
    assert (difference.axis, difference.index, difference.slice) == (3, 2, "channel 2")
    assert (difference.inference, difference.position) == (1, (0, 2, 3, 2))
    assert difference.found - difference.expected == pytest.approx(0.4)
    assert difference.max_output > 30_000


@pytest.mark.parametrize("axis", [1, 2])
def test_scales_may_lie_along_any_axis_but_the_batch(axis: int) -> None:
    found, expected = _arrays(1, 6, 8)
    large = [slice(None)] * 4
    large[axis + 1] = slice(0, 4)
    found[tuple(large)] *= 1e6
    expected[tuple(large)] *= 1e6
    at = [1, 0, 1, 1]
    at[axis + 1] = 5
    found[tuple(at)] += 0.4
    difference = compare_output(found, expected)
    assert difference.relative_diff > 0.3
    assert (difference.axis, difference.index) == (axis, 5)
    assert f"{5}" in difference.slice


def test_examples_of_a_batch_have_one_scale() -> None:
    found, expected = _arrays(2, 5)
    expected[:, 0] = found[:, 0] = 1e6
    found[0, 1, 3] += 1.0
    assert compare_output(found, expected).relative_diff == pytest.approx(1e-6)
    assert list(judged_axes((3, 7))) == [1]
    assert list(judged_axes((3,))) == []
    assert list(judged_axes((3, 1, 0, 4))) == []


def test_the_worst_is_relative_to_its_own_scale() -> None:
    found, expected = _arrays(1, 2, 2, 1)
    depth = compare_output(found * 60_000 + 0.5, expected * 60_000, output=0)
    score = compare_output(found + 0.3, expected, output=1, name="['score']")
    chief = worst([depth, score])
    assert chief is score
    assert depth.max_abs_diff > score.max_abs_diff
    assert score.name == "output 1 ['score']"
    assert worst([]) is None
    assert output_name(1, "[1]") == output_name(1) == "output 1"


def test_channels_are_named_where_another_axis_is_no_worse() -> None:
    found, expected = _arrays(1, 4, 4, 3)
    found[0, 0, 1, 2, 0] = 3.0
    assert compare_output(found, expected).slice == "channel 0"


def test_what_rounding_moves_is_no_difference() -> None:
    """A channel of terms that cancel: 1e-7 is left, and that is rounding."""
    found, expected = _arrays(1, 4, 4, 2)
    expected[..., 0], found[..., 0] = 1e-7, -1e-7
    noise = np.zeros(expected.shape)
    noise[..., 0] = 1e-7
    assert compare_output(found, expected).relative_diff == pytest.approx(2.0)
    difference = compare_output(found, expected, noise=noise)
    assert difference.relative_diff == pytest.approx(2 * NOISE)
    assert difference.scale > difference.largest
    assert "what is summed up in channel 0" in difference.describe("torch")


def test_noise_of_one_channel_excuses_no_other() -> None:
    found, expected = _arrays(1, 4, 4, 2)
    found[0, 0, 1, 1, 1] += 1e-3
    noise = np.zeros(expected.shape)
    noise[..., 0] = 1.0
    difference = compare_output(found, expected, noise=noise)
    assert difference.relative_diff > 1e-3
    assert difference.slice == "channel 1"


def test_zeros_are_compared_as_they_are() -> None:
    zeros = np.zeros((2, 1, 3), np.float32)
    assert compare_output(zeros, zeros).relative_diff == 0
    other = zeros.copy()
    other[0, 0, 1] = 1e-30
    assert compare_output(other, zeros).relative_diff == math.inf


@pytest.mark.parametrize(("one", "other"), [(math.nan, 1.0), (1.0, math.nan), (math.inf, 1.0)])
def test_what_is_no_number_on_one_side_is_infinitely_far(one: float, other: float) -> None:
    difference = compare_output(np.full((1, 2), one), np.full((1, 2), other))
    assert difference.relative_diff == difference.max_abs_diff == math.inf


def test_equal_infinities_and_nan_on_both_sides_are_equal() -> None:
    same = np.array([[math.nan, math.inf, -math.inf, 1.0]])
    assert compare_output(same, same.copy()).relative_diff == 0
    assert compare_output(same, -same).relative_diff == math.inf


def test_unsigned_values_do_not_wrap_around() -> None:
    found, expected = np.array([[0]], np.uint8), np.array([[255]], np.uint8)
    difference = compare_output(found, expected)
    assert (difference.max_abs_diff, difference.max_output) == (255.0, 255.0)


def test_numbers_and_outputs_of_no_size_are_compared_too() -> None:
    assert compare_output(np.array([1.0, 2.0]), np.array([1.0, 4.0])).relative_diff == 0.5
    nothing = np.zeros((1, 0, 3))
    assert compare_output(nothing, nothing).relative_diff == 0


def test_whole_numbers_are_equal_or_wrong_however_large_they_are() -> None:
    expected = np.full((1, 1, 4, 4), 262_144, np.int32)
    found = expected.copy()
    assert compare_output(found, expected, whole=True).relative_diff == 0
    found[0, 0, 2, 3] += 1
    difference = compare_output(found, expected, whole=True)
    assert difference.max_output == 262_144
    assert difference.relative_diff == 1
    assert difference.describe("torch") == (
        "output 0 is not torch's, and whole numbers have to be: 262145 where it should be 262144, "
        "at [0, 2, 3] of inference 0"
    )


def test_flags_are_compared_as_numbers() -> None:
    expected = np.zeros((1, 1, 4), np.bool_)
    assert compare_output(expected, expected, whole=True).relative_diff == 0
    assert compare_output(~expected, expected, whole=True).relative_diff == 1


def test_a_message_says_which_output_where_and_what() -> None:
    found, expected = _arrays(1, 2, 2, 3)
    expected[0, 0, 1, 0, 2], found[0, 0, 1, 0, 2] = 0.25, 3.0
    text = compare_output(found, expected, output=1).describe("torch")
    assert text.startswith("output 1 differs from torch by 2.75, ")
    assert "of the largest value of channel 2" in text
    assert "3 where it should be 0.25, at [0, 1, 0, 2] of inference 0" in text


def test_small_slices_are_drawn_more_often() -> None:
    drawn: list[int] = []

    def run(draw: int) -> list[Array]:
        drawn.append(draw)
        return [expected + draw]

    expected = np.zeros((5, 1, 10))
    (noise,) = rounding_noise(run, [expected])
    assert len(set(drawn)) == len(drawn) > 3
    assert (noise == max(drawn)).all()
    drawn.clear()
    expected = np.zeros((5, 1, 8, 8, 2))
    rounding_noise(run, [expected])
    assert len(drawn) == 3
