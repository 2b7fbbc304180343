"""The processes that train one network together, each on its share of every batch.

They are joined by ``torch.distributed``. Without it there is one, whose share is all of it, and
every call gives back what it was given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

from toolchain.errors import OutputError


class RankLost(Exception):  # noqa: N818 - the training may go on from its last saved state
    """Another rank has died, so that nothing can be computed together any more."""


def backend(device: str) -> str:
    """What joins the ranks of a process group, as ``init_process_group`` takes it.

    Args:
        device: that they compute on, ``cpu`` or ``cuda``. Beside a GPU's tensors there are always
            some of the CPU's: masks are laid before the network moves, and figures are numbers.
    """
    return "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"


@dataclass(frozen=True)
class Ranks:
    """Which of the processes this is."""

    number: int = 0
    """From 0."""
    count: int = 1
    device: torch.device | None = None
    """That this one computes on; ``None`` leaves it to the recipe."""

    @classmethod
    def joined(cls, device: torch.device) -> Ranks:
        """Those of the process group that this process is in; see :func:`backend`."""
        return cls(distributed.get_rank(), distributed.get_world_size(), device)

    @property
    def first(self) -> bool:
        """Whether this is the one that writes files."""
        return self.number == 0

    @property
    def seeds(self) -> tuple[int, ...]:
        """What a seed has beside its other parts, so that ranks draw different numbers."""
        return (self.number,) if self.count > 1 else ()

    def share(self, images: Tensor) -> Tensor:
        """The part of a batch that this one computes."""
        return torch.tensor_split(images, self.count)[self.number]

    def turns(self, numbers: Sequence[int]) -> Sequence[int]:
        """Every so many of some numbers, so that each is one rank's."""
        return numbers[self.number :: self.count]

    def totals(self, values: Sequence[float]) -> list[float]:
        """Sums over the ranks, the same on all of them."""
        return self._reduced(values, distributed.ReduceOp.SUM) if self.count > 1 else list(values)

    def mean(self, value: float) -> float:
        """The mean over the ranks, the same on all of them."""
        return self.totals([value])[0] / self.count if self.count > 1 else value

    def most(self, value: int) -> int:
        """The largest one of the ranks."""
        if self.count == 1:
            return value
        return int(self._reduced([value], distributed.ReduceOp.MAX)[0])

    def wait(self) -> None:
        """Wait until all ranks are here."""
        self.most(0)

    def check_same(self, value: int, folder: object) -> None:
        """Make sure that all ranks go on from the same step.

        Args:
            value: the step.
            folder: that it was read from, for the message.

        Raises:
            OutputError: they do not.
        """
        if self.count > 1 and (most := self.most(value)) != -self.most(-value):
            raise OutputError(
                f"{folder}: not all machines see the same files there: one goes on from step "
                f"{-self.most(-value)}, another from step {most}",
                hint="put it on a file system that all machines share",
            )

    def share_buffers(self, model: nn.Module) -> None:
        """Give all ranks the buffers of the first one, as DistributedDataParallel does."""
        if self.count == 1:
            return
        alike: dict[torch.dtype, list[Tensor]] = {}
        for buffer in model.buffers():
            if buffer.numel():
                seen = buffer.view(torch.uint8) if buffer.dtype == torch.bool else buffer
                alike.setdefault(seen.dtype, []).append(seen)
        for buffers in alike.values():
            joined = torch.cat([buffer.reshape(-1) for buffer in buffers])
            distributed.broadcast(joined, src=0)
            parts = torch.split(joined, [buffer.numel() for buffer in buffers])
            for buffer, part in zip(buffers, parts, strict=True):
                buffer.copy_(part.view_as(buffer))

    def parallel(self, model: nn.Module) -> nn.Module:
        """The model whose gradients are means over the ranks.

        Buckets of gradients stay as they are (``find_unused_parameters``): their order decides the
        last digits of sums over more than two ranks, and a training that goes on has to have those
        of one that was never stopped.
        """
        if self.count == 1:
            return model
        device = self.device
        gpu = [device] if device is not None and device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(
            model, device_ids=gpu, broadcast_buffers=False, find_unused_parameters=True
        )

    def blamed(self, error: Exception) -> None:
        """Tell an error of the connection between ranks from one of a network's code.

        Raises:
            RankLost: another rank has died.
        """
        said = str(error)
        of_torch = isinstance(error, distributed.DistError)
        if self.count > 1 and (of_torch or "gloo/" in said or "by peer" in said):
            raise RankLost(said) from error

    def _reduced(self, values: Sequence[float], how: distributed.ReduceOp.RedOpType) -> list[float]:
        tensor = torch.tensor(list(values), dtype=torch.float64)
        distributed.all_reduce(tensor, op=how)
        found: list[float] = tensor.tolist()
        return found
