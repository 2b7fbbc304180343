"""Advice by the size of the data."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.train.advice import Start, advise, mask_steps

STARTS: list[Start] = ["nothing", "other data", "this data"]


@given(st.integers(1, 2_000_000), st.sampled_from(STARTS))
def test_whatever_the_size_an_epoch_has_a_step_and_the_run_an_end(
    images: int, start: Start
) -> None:
    advice = advise(images, start)
    assert 1 <= advice.batch_size <= min(images, 128)
    assert advice.steps == advice.epochs * (images // advice.batch_size) > 0
    assert 5 <= advice.epochs <= 200
    assert 0 < advice.learning_rate <= 0.1


@pytest.mark.parametrize(
    ("images", "batch"), [(5, 5), (100, 8), (500, 16), (1000, 32), (3200, 128), (1_200_000, 128)]
)
def test_an_epoch_has_some_25_steps_before_batches_grow(images: int, batch: int) -> None:
    assert advise(images, "this data").batch_size == batch


def test_more_images_take_fewer_epochs_and_no_fewer_steps() -> None:
    found = [advise(images, "nothing") for images in (2_000, 10_000, 50_000, 1_000_000)]
    epochs = [one.epochs for one in found]
    assert epochs == sorted(epochs, reverse=True)
    assert epochs[0] > epochs[-1]
    steps = [one.steps for one in found]
    assert steps == sorted(steps)


def test_fine_tuning_takes_smaller_steps_and_fewer_of_them() -> None:
    begun, tuned = (advise(10_000, start) for start in ("nothing", "this data"))
    assert tuned.learning_rate <= begun.learning_rate / 2
    assert tuned.steps < begun.steps / 2


def test_the_rate_goes_with_the_batch() -> None:
    small, large = advise(1000, "nothing"), advise(50_000, "nothing")
    assert small.learning_rate / large.learning_rate == small.batch_size / large.batch_size


def test_epochs_of_the_user_are_taken_and_those_advised_told() -> None:
    advice = advise(1000, "this data", epochs=3)
    assert (advice.epochs, advice.steps) == (3, 3 * 31)
    assert f"advised: {advise(1000, 'this data').epochs}" in advice.epochs_why


@given(st.integers(1, 1_000_000))
def test_masks_are_final_in_the_first_half_of_a_run(steps: int) -> None:
    chosen = mask_steps(steps)
    assert 0 <= chosen.begin_step < chosen.end_step
    assert chosen.end_step <= max(1, steps / 2)
    assert chosen.end_step <= 1100  # however long the run
    assert chosen.frequency >= 1
    assert steps - chosen.end_step >= chosen.settle or steps < 4
