"""Batches to train on, each a pure function of the seed and its step.

So a training that was stopped after any step goes on with the batches that it would have had,
whatever the number of worker processes.
"""

from __future__ import annotations

import multiprocessing
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, TensorDataset

from toolchain.errors import DataError, DeployError
from toolchain.storage.cache import digest
from toolchain.train.ranks import Ranks

WORKER_S = 600
"""Seconds that a process which reads images may take for a batch."""
Batch = tuple[Tensor, Tensor]
"""Images ``[N, C, H, W]`` float32, and labels ``[N]`` int64."""

Augment = Callable[[Tensor, torch.Generator], Tensor]
"""``augment(images [N, C, H, W], generator)``, images of the same shape."""


class Examples(Protocol):
    """A map-style dataset: ``dataset[i]`` is (image ``[C, H, W]`` float32, label)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class Batches:
    """The batches of a training, numbered by step from 0 on, epoch after epoch.

    Each epoch takes the images in an order of its own, drawn from (seed, epoch); a last odd batch
    is left out. Augmentation draws from (seed, step). A dataset may itself draw from the global
    generators of ``random``, numpy and torch: they are seeded by (seed, step) while it is read.

    Args:
        dataset: what to train on; a ``TensorDataset`` is indexed with a whole batch at once.
        batch_size: images in a batch.
        seed: of the order, the augmentation and what the dataset draws.
        augment: changes each batch.
        workers: processes that read ahead in :meth:`iterate`; a ``TensorDataset`` needs none.
        limit: take so many of the images only, drawn from the seed.
        ranks: the processes that share each batch; ``batch_size`` is a multiple of their number.
            What they draw differs from what one process would draw.

    Raises:
        DataError: there are fewer images than a batch holds.
    """

    def __init__(
        self,
        dataset: Examples,
        batch_size: int,
        *,
        seed: int,
        augment: Augment | None = None,
        workers: int = 0,
        limit: int | None = None,
        ranks: Ranks = Ranks(),  # noqa: B008 (frozen)
    ) -> None:
        self._dataset, self._batch_size, self._seed = dataset, batch_size, seed
        self._ranks = ranks
        self._augment = augment
        self._workers = 0 if type(dataset) is TensorDataset else workers
        self._images = torch.randperm(len(dataset), generator=_generator("limit", seed))[:limit]
        self.steps_per_epoch = len(self._images) // batch_size
        if not self.steps_per_epoch:
            raise DataError(
                f"{len(self._images)} images do not fill one batch of {batch_size}",
                hint="use more images or a smaller batch",
            )
        self._epoch, self._order = -1, self._images

    def batch(self, step: int) -> Batch:
        """The batch of one step, or this rank's share; whatever was asked for before.

        Raises:
            DataError: an image cannot be read.
        """
        epoch, number = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            drawn = torch.randperm(
                len(self._images), generator=_generator("order", self._seed, epoch)
            )
            self._epoch, self._order = epoch, self._images[drawn]
        first = number * self._batch_size
        chosen = self._ranks.share(self._order[first : first + self._batch_size])
        parts = (self._seed, step, *self._ranks.seeds)
        images, labels = _read(self._dataset, chosen, derived_seed("read", *parts))
        if self._augment:
            images = self._augment(images, _generator("augment", *parts))
        return images, labels

    def iterate(self, first: int, last: int) -> Iterator[Batch]:
        """The batches of the steps ``first`` to ``last - 1``, in order.

        Raises:
            DataError: an image cannot be read, or a worker was killed.
        """
        return _in_order(self.batch, range(first, last), self._workers)

    def unchanged(self, most: int) -> Iterator[Batch]:
        """Training images without augmentation, the same whenever they are asked for.

        They are drawn from the seed; batches are of ``batch_size`` images or a few more, so that
        none is left out for a last one that is not full. Ranks take them in turns.

        Args:
            most: how many images, at most.

        Raises:
            DataError: an image cannot be read, or a worker was killed.
        """
        drawn = torch.randperm(len(self._images), generator=_generator("unchanged", self._seed))
        chosen = self._images[drawn[:most]]
        ranks, size = self._ranks, self._batch_size // self._ranks.count
        parts = torch.tensor_split(chosen, max(ranks.count, len(chosen) // size))

        def batch(number: int) -> Batch:
            return _read(
                self._dataset, parts[number], derived_seed("unchanged", self._seed, number)
            )

        return _in_order(batch, ranks.turns(range(len(parts))), self._workers)


def evaluation_batches(
    dataset: Examples,
    batch_size: int,
    *,
    workers: int = 0,
    ranks: Ranks = Ranks(),  # noqa: B008 (frozen)
) -> Iterator[Batch]:
    """Every image once, in the order of the dataset; the last batch may be smaller.

    Ranks take the batches in turns.

    Raises:
        DataError: an image cannot be read, or a worker was killed.
    """
    images = torch.arange(len(dataset))

    def batch(first: int) -> Batch:
        return _read(dataset, images[first : first + batch_size], derived_seed("test", first))

    firsts = ranks.turns(range(0, len(dataset), batch_size))
    return _in_order(batch, firsts, 0 if type(dataset) is TensorDataset else workers)


# --- augmentation ----------------------------------------------------------------------------


def mirror(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image with a chance of one half; ``[N, C, H, W]``, left to right."""
    chosen = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(chosen[:, None, None, None], images.flip(3), images)


def shift(pixels: int) -> Augment:
    """Move each image by up to so many pixels in each direction; its edge is repeated behind it.

    This is a random crop after padding.
    """

    def move(images: Tensor, generator: torch.Generator) -> Tensor:
        height, width = images.shape[2:]
        padded = functional.pad(images, (pixels,) * 4, mode="replicate")
        corners = torch.randint(2 * pixels + 1, (len(images), 2), generator=generator).tolist()
        return torch.stack(
            [
                image[:, y : y + height, x : x + width]
                for image, (y, x) in zip(padded, corners, strict=True)
            ]
        )

    return move


def in_turn(*augments: Augment) -> Augment:
    """One augmentation after the other."""

    def change(images: Tensor, generator: torch.Generator) -> Tensor:
        for augment in augments:
            images = augment(images, generator)
        return images

    return change


# --- random numbers --------------------------------------------------------------------------


def derived_seed(*parts: object) -> int:
    """A seed of 64 bits for one use, told from others by its parts: a name, a seed, a step."""
    return int(digest(*map(str, parts))[:16], 16)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators of ``random``, numpy and torch's CPU; put them back at the end."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    # Not torch.manual_seed, which also seeds the GPU's.
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def _generator(*parts: object) -> torch.Generator:
    return torch.Generator().manual_seed(derived_seed(*parts))


# --- reading ---------------------------------------------------------------------------------


def _read(dataset: Examples, chosen: Tensor, seed: int) -> Batch:
    if type(dataset) is TensorDataset:
        images, labels = dataset.tensors
        return images[chosen], labels[chosen].long()
    with seeded(seed):
        pairs = [dataset[index] for index in chosen.tolist()]
    labels = torch.tensor([int(label) for _, label in pairs])
    return torch.stack([image for image, _ in pairs]), labels


class _Jobs(Dataset[Batch | DeployError]):
    """A job a number, as what torch's loader hands out to its workers."""

    def __init__(self, job: Callable[[int], Batch]) -> None:
        self._job = job

    def __getitem__(self, number: int) -> Batch | DeployError:
        try:
            return self._job(number)
        except DeployError as error:  # as a value: the loader would put a traceback into its text
            return error


def _in_order(job: Callable[[int], Batch], numbers: Sequence[int], workers: int) -> Iterator[Batch]:
    if not workers:
        yield from map(job, numbers)
        return
    loader: DataLoader[Any] = DataLoader(
        _Jobs(job),
        batch_size=None,
        sampler=numbers,
        num_workers=workers,
        collate_fn=_as_it_is,
        worker_init_fn=_ignore_interrupts,
        generator=torch.Generator(),  # or it draws from the global one
        timeout=WORKER_S,
    )
    others = set(multiprocessing.active_children())
    results = iter(loader)
    own = set(multiprocessing.active_children()) - others
    try:
        for result in results:
            if isinstance(result, DeployError):
                raise result
            yield result
    except RuntimeError as error:
        if "DataLoader timed out" in str(error):
            for worker in own:  # the loader asks them to end, which one that is stopped does not
                worker.kill()
            raise DataError(
                f"a process that reads images has given none for {WORKER_S} s",
                hint="it may have been stopped, or the disk hang: the same command goes on from "
                "the last checkpoint",
            ) from error
        if "DataLoader worker (pid" not in str(error):
            raise
        raise DataError(
            "a process that reads images was killed",
            hint="memory (or /dev/shm) may have run out: use fewer workers",
        ) from error


def _as_it_is(result: Any) -> Any:
    return result


def _ignore_interrupts(_worker: int) -> None:
    """Ctrl-C goes to every process of the terminal; this one ends when its parent says so."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
