"""What joins ranks: it takes tensors of every device that they have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import BackendConfig

from support.tiny_training import images, net
from toolchain.sparsity.policies import Pooled
from toolchain.sparsity.schedule import PolynomialSchedule
from toolchain.sparsity.search import MaskSearch
from toolchain.sparsity.sparsify import sparsify
from toolchain.train.ranks import Ranks, backend


@pytest.mark.parametrize(
    ("device", "parts"),
    [("cpu", {"cpu": "gloo"}), ("cuda", {"cpu": "gloo", "cuda": "nccl"})],
)
def test_tensors_of_the_cpu_are_joined_whatever_ranks_compute_on(
    device: str, parts: dict[str, str]
) -> None:
    found = BackendConfig(dist.Backend(backend(device))).get_device_backend_map()
    assert {name: found[name] for name in parts} == parts


@pytest.fixture(params=["cpu", "cuda"])
def group(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """A group of one rank; Gloo plays what this machine may not have."""
    joins = backend(request.param).replace("nccl", "gloo")
    dist.init_process_group(joins, init_method=(tmp_path / "meet").as_uri(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("group")
def test_masks_are_laid_and_judged_before_the_network_moves() -> None:
    model = net()
    example = images("train").tensors[0][:1]
    masks = sparsify(model, example, Pooled(), 0.25, share=0.0)
    search = MaskSearch(masks, PolynomialSchedule(8, frequency=2, settle=0))
    for _ in range(8):
        search.step(1.0)
    assert search.frozen
    assert search.best_loss == 1
    assert Ranks(0, 2, torch.device("cuda"))._reduced([3.0], dist.ReduceOp.SUM) == [3.0]
