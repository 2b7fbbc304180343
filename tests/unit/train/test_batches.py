"""A batch depends on the seed and its step, and on nothing that happened before."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import random
import signal
from collections.abc import Iterable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from support.patience import PATIENCE
from toolchain.errors import DataError
from toolchain.train.batches import (
    Batch,
    Batches,
    Examples,
    derived_seed,
    evaluation_batches,
    in_turn,
    mirror,
    seeded,
    shift,
)


class Drawing(Dataset[tuple[Tensor, int]]):
    """A user's dataset that augments by itself, from every global generator there is."""

    def __init__(self, count: int = 10) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        drawn = [random.random(), float(np.random.rand()), float(torch.rand(()))]  # noqa: S311 - no secret
        return torch.tensor([index, *drawn]).view(1, 2, 2), index


def tensors(count: int = 10) -> TensorDataset:
    images = torch.arange(count * 16, dtype=torch.float32).view(count, 1, 4, 4)
    return TensorDataset(images, torch.arange(count))


def same(one: Iterable[Batch], other: Iterable[Batch]) -> bool:
    return all(
        torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(one, other, strict=True)
    )


def batches(dataset: Examples, *, seed: int = 0, workers: int = 0) -> Batches:
    change = in_turn(mirror, shift(1))
    return Batches(dataset, 3, seed=seed, augment=change, workers=workers)


@given(
    dataset=st.sampled_from([tensors(), Drawing()]),
    first=st.integers(0, 8),
    count=st.integers(0, 8),
    seed=st.integers(-(2**70), 2**70),
)
def test_a_batch_is_the_same_whatever_was_read_before(
    dataset: Examples, first: int, count: int, seed: int
) -> None:
    one, other = batches(dataset, seed=seed), batches(dataset, seed=seed)
    several = list(one.iterate(first, first + count))
    alone = [other.batch(step) for step in reversed(range(first, first + count))]
    assert same(several, reversed(alone))
    assert same(several, one.iterate(first, first + count))


@pytest.mark.parametrize("dataset", [tensors(), Drawing()])
def test_the_number_of_workers_changes_nothing(dataset: Examples) -> None:
    alone = list(batches(dataset).iterate(0, 9))
    assert same(alone, batches(dataset, workers=2).iterate(0, 9))
    assert same(alone[4:7], batches(dataset, workers=1).iterate(4, 7))


@given(
    images=st.integers(1, 40), size=st.integers(1, 12), epoch=st.integers(0, 3), seed=st.integers()
)
def test_an_epoch_sees_each_image_once(images: int, size: int, epoch: int, seed: int) -> None:
    if images < size:
        with pytest.raises(DataError, match=f"{images} images do not fill one batch of {size}"):
            Batches(tensors(images), size, seed=seed)
        return
    made = Batches(tensors(images), size, seed=seed)
    steps = made.steps_per_epoch
    assert steps == images // size
    seen = torch.cat([labels for _, labels in made.iterate(epoch * steps, (epoch + 1) * steps)])
    assert len(set(seen.tolist())) == len(seen) == steps * size


def test_images_keep_their_labels() -> None:
    for images, labels in (*Batches(tensors(), 3, seed=1).iterate(0, 3), *evaluated(tensors(), 4)):
        assert images.dtype == torch.float32
        assert labels.dtype == torch.int64
        assert torch.equal(images[:, 0, 0, 0], 16.0 * labels)


def test_epochs_and_seeds_differ_in_their_order() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        made = Batches(tensors(100), 100, seed=seed)
        return made.batch(epoch)[1].tolist()

    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_a_limit_takes_the_same_few_images_every_epoch() -> None:
    made = Batches(tensors(100), 5, seed=3, limit=20)
    assert made.steps_per_epoch == 4
    epochs = [
        set(torch.cat([labels for _, labels in made.iterate(at, at + 4)]).tolist())
        for at in (0, 4, 8)
    ]
    assert len(epochs[0]) == 20
    assert epochs[0] == epochs[1] == epochs[2] != set(range(20))
    assert Batches(tensors(), 5, seed=3, limit=1000).steps_per_epoch == 2


@pytest.mark.parametrize("workers", [0, 1])
def test_reading_leaves_the_global_generators_alone(workers: int) -> None:
    def state() -> bytes:
        return pickle.dumps(
            (random.getstate(), np.random.get_state(), torch.get_rng_state().tolist())
        )

    before = state()
    list(batches(Drawing(), workers=workers).iterate(0, 2))
    list(evaluation_batches(Drawing(), 4, workers=workers))
    assert state() == before
    with contextlib.suppress(ZeroDivisionError), seeded(5):
        assert state() != before
        raise ZeroDivisionError
    assert state() == before


# --- evaluation ------------------------------------------------------------------------------


def evaluated(dataset: Examples, size: int, workers: int = 0) -> list[Batch]:
    return list(evaluation_batches(dataset, size, workers=workers))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("dataset", [tensors(), Drawing()])
def test_evaluation_sees_every_image_in_order(dataset: Examples, workers: int) -> None:
    got = evaluated(dataset, 4, workers)
    assert [len(labels) for _, labels in got] == [4, 4, 2]
    assert torch.cat([labels for _, labels in got]).tolist() == list(range(10))
    assert same(got, evaluated(dataset, 4))


# --- workers ---------------------------------------------------------------------------------


class Faulty(Drawing):
    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if index == 7:
            raise DataError("image 7 has a fault", hint="mend it")
        return super().__getitem__(index)


class Deadly(Drawing):
    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if index == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_fault_is_said_in_its_own_words_wherever_it_was_found(workers: int) -> None:
    with pytest.raises(DataError, match=r"^image 7 has a fault$") as caught:
        list(batches(Faulty(9), workers=workers).iterate(0, 3))
    assert caught.value.hint == "mend it"


def test_a_worker_that_is_killed_is_an_error() -> None:
    with pytest.raises(DataError, match="process that reads images was killed") as caught:
        list(batches(Deadly(9), workers=1).iterate(0, 3))
    assert "fewer workers" in (caught.value.hint or "")


def test_workers_end_when_reading_is_given_up_and_outlive_an_interrupt() -> None:
    others = set(multiprocessing.active_children())
    reading = batches(Drawing(90), workers=2).iterate(0, 30)
    next(reading), next(reading)  # from each worker one, so both have begun
    workers = set(multiprocessing.active_children()) - others
    assert len(workers) == 2
    for worker in workers:
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGINT)
    for _ in range(20):
        next(reading)
    reading.close()  # type: ignore[attr-defined]
    for worker in workers:
        worker.join(PATIENCE)
    assert not any(worker.is_alive() for worker in workers)


# --- augmentation ----------------------------------------------------------------------------


def test_about_half_of_the_images_are_mirrored() -> None:
    image = torch.arange(64.0).view(1, 8, 8)
    changed = mirror(image.repeat(50, 1, 1, 1), torch.Generator().manual_seed(0))
    flipped = [torch.equal(one, image.flip(2)) for one in changed]
    assert 10 < sum(flipped) < 40
    assert all(
        torch.equal(one, image) for one, flip in zip(changed, flipped, strict=True) if not flip
    )


@given(pixels=st.integers(0, 3), seed=st.integers(0, 99))
def test_an_image_moves_by_so_many_pixels_and_repeats_its_edge(pixels: int, seed: int) -> None:
    images = torch.randn(4, 2, 5, 6, generator=torch.Generator().manual_seed(seed))
    moved = shift(pixels)(images, torch.Generator().manual_seed(seed))
    rows, columns = torch.arange(5), torch.arange(6)
    for image, got in zip(images, moved, strict=True):
        places = [
            (y, x)
            for y in range(-pixels, pixels + 1)
            for x in range(-pixels, pixels + 1)
            if torch.equal(got, image[:, (rows + y).clamp(0, 4)][:, :, (columns + x).clamp(0, 5)])
        ]
        assert places


def test_images_of_a_batch_move_each_by_itself_in_every_direction() -> None:
    image = torch.arange(25.0).view(1, 5, 5)
    moved = shift(1)(image.repeat(200, 1, 1, 1), torch.Generator().manual_seed(0))
    assert set(moved[:, 0, 2, 2].tolist()) == {6.0, 7, 8, 11, 12, 13, 16, 17, 18}


def test_augmentations_happen_in_turn() -> None:
    def add(images: Tensor, _: torch.Generator) -> Tensor:
        return images + 1

    def double(images: Tensor, _: torch.Generator) -> Tensor:
        return images * 2

    one = torch.ones(1, 1, 1, 1)
    generator = torch.Generator()
    assert in_turn(add, double)(one, generator).item() == 4
    assert in_turn()(one, generator) is one


def test_seeds_differ_by_each_of_their_parts() -> None:
    parts = [("a", 1, 2), ("a", 12), ("a1", 2), ("b", 1, 2), ("a", 2, 1)]
    assert len({derived_seed(*part) for part in parts}) == len(parts)
    assert derived_seed("order", 0, 0) == derived_seed("order", 0, 0)
