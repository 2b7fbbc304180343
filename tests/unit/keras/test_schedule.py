"""Masks that are searched and frozen while ``fit`` runs."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow")

import keras
from keras import layers

from toolchain.errors import DeployError, ModelError
from toolchain.keras import MaskSchedule, MaskSet, sparsify
from toolchain.keras.schedule import _Losses

RNG = np.random.default_rng(2)
IMAGES = RNG.normal(size=(64, 10, 10, 1)).astype(np.float32)
LABELS = RNG.integers(0, 3, 64)


def network(sparsity: float = 0.5) -> tuple[Any, MaskSet]:
    keras.utils.set_random_seed(0)
    plain = keras.Sequential(
        [
            keras.Input((10, 10, 1)),
            layers.Conv2D(4, 3, padding="same", name="conv"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )
    model, masks = sparsify(plain, sparsity)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss)
    return model, masks


class Watch(keras.callbacks.Callback):  # type: ignore[misc]
    """The masks after each step; stands behind the schedule."""

    def __init__(self, masks: MaskSet) -> None:
        super().__init__()
        self.masks = masks
        self.planes: list[Any] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        self.planes.append(self.masks.layers["conv"].mask)


def train(schedule: MaskSchedule, model: Any, *others: Any, epochs: int = 5) -> None:
    model.fit(IMAGES, LABELS, batch_size=8, epochs=epochs, verbose=0, callbacks=[schedule, *others])


def test_sparsity_grows_to_its_target_and_the_masks_are_frozen_there() -> None:
    model, masks = network()
    schedule = MaskSchedule(masks, begin=0.1, end=0.6, frequency=4, settle=0)
    watch = Watch(masks)
    train(schedule, model, watch)
    shares = [1 - plane.mean() for plane in watch.planes]
    assert shares[2] == 0
    assert all(one <= other for one, other in pairwise(shares))
    assert 0 < shares[8] < 0.5
    assert shares[23:] == [pytest.approx(0.5)] * 17
    assert all(np.array_equal(watch.planes[23], plane) for plane in watch.planes[24:])
    assert schedule.frozen
    changes = [
        number + 1
        for number, (one, other) in enumerate(pairwise(watch.planes), start=1)
        if not np.array_equal(one, other)
    ]
    assert changes == [8, 12, 16, 20, 24]  # that of step 4 masks no pixel yet


def test_the_draw_with_the_lowest_loss_is_the_one_that_is_kept() -> None:
    model, masks = network()
    schedule = MaskSchedule(masks, begin=0, end=0.8, frequency=8, settle=0)
    seeds: list[int] = []
    drawn = masks.draw

    def noted(seed: int, share: float = 1.0) -> None:
        seeds.append(seed)
        drawn(seed, share)

    masks.draw = noted  # type: ignore[method-assign]
    # Steps of a training that is only played: the third draw has the lowest loss.
    schedule.set_params({"epochs": 5, "steps": 8})
    schedule.set_model(model)
    schedule.on_train_begin()
    for epoch, loss in enumerate([3.0, 2.0, 0.5, 2.0, 2.0]):
        schedule.on_epoch_begin(epoch)
        for batch in range(8):
            schedule.on_train_batch_end(batch, {"loss": loss})
    assert len(seeds) == 5
    assert seeds[4] == schedule.best_draw == seeds[2]
    assert schedule.best_loss == pytest.approx(0.5)


def test_a_training_that_is_ended_early_ends_with_the_masks_of_its_target() -> None:
    model, masks = network()
    schedule = MaskSchedule(masks, begin=0.5, end=0.9, frequency=4)
    train(schedule, model, epochs=1)
    assert schedule.frozen
    assert masks.sparsity == pytest.approx(0.5)


def test_steps_that_are_done_several_at_a_time_change_masks_as_well() -> None:
    model, masks = network()
    model.compile("sgd", "sparse_categorical_crossentropy", steps_per_execution=3)
    schedule = MaskSchedule(masks, begin=0.1, end=0.5, frequency=4, settle=0)
    train(schedule, model)
    assert schedule.best_draw is not None
    assert np.isfinite(schedule.best_loss)
    assert masks.sparsity == pytest.approx(0.5)


def test_the_loss_of_some_steps_is_told_from_means_over_epochs() -> None:
    losses = _Losses()
    losses.mean(2.0, 1)
    losses.mean(3.0, 2)  # 2 and 4
    assert losses.since_last() == 3.0
    losses.mean(4.0, 3)  # and 6
    losses.new_epoch()
    losses.mean(10.0, 1)
    assert losses.since_last() == 8.0
    assert losses.since_last() is None


def test_a_schedule_that_makes_no_sense_is_refused_before_training() -> None:
    _, masks = network()
    with pytest.raises(DeployError, match=r"begin 0.9 and end 0.1"):
        MaskSchedule(masks, begin=0.9, end=0.1)


def test_data_of_unknown_length_is_refused() -> None:
    model, masks = network()

    def endless() -> Any:
        while True:
            yield IMAGES, LABELS

    with pytest.raises(ModelError, match="how many steps an epoch has"):
        model.fit(endless(), epochs=1, verbose=0, callbacks=[MaskSchedule(masks)])


def test_one_schedule_is_not_for_two_trainings() -> None:
    model, masks = network()
    schedule = MaskSchedule(masks)
    train(schedule, model, epochs=1)
    with pytest.raises(ModelError, match="good for one training"):
        train(schedule, model, epochs=1)
