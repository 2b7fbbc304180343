"""Masks in training loops of others: compiled, in mixed precision, in parallel."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.nn import functional

from toolchain.sparsity.masked_conv import masked_layers
from toolchain.sparsity.policies import POLICIES, Magnitude, Policy, Pooled
from toolchain.sparsity.schedule import PolynomialSchedule
from toolchain.sparsity.search import MaskSearch
from toolchain.sparsity.sparsify import sparsify

SCHEDULE = PolynomialSchedule(20, frequency=4, settle=0)  # updates at 2, 6, 10, 14 and 18


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 2)
    )


def batch(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(8, 1, 8, 8, generator=generator), torch.randint(2, (8,), generator=generator)


def train(
    model: nn.Module, forward: nn.Module, *, policy: Policy | None = None, rank: int = 0
) -> MaskSearch:
    masks = sparsify(model, batch(0)[0], policy or Pooled(), 0.25, share=0.0)
    search = MaskSearch(masks, SCHEDULE, seed=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for step in range(20):
        images, labels = batch(100 * rank + step)
        loss = functional.cross_entropy(forward(images).float(), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        search.step(loss)
    search.freeze()
    return search


def test_a_compiled_model_follows_its_masks_without_compiling_again() -> None:
    model = net()
    compiled: list[int] = []

    def count(graph: torch.fx.GraphModule, _inputs: object) -> object:
        compiled.append(1)
        return graph.forward

    masks = sparsify(model, batch(0)[0], Pooled(), 0.25, share=0.0)
    forward = torch.compile(model, backend=count, fullgraph=True)
    for seed in range(5):
        masks.draw(seed, 0.2 * seed)
        images, _ = batch(seed)
        assert torch.equal(forward(images), model(images))
    assert len(compiled) == 1


def test_mixed_precision_keeps_masked_pixels_at_exactly_zero() -> None:
    model = net()
    seen: list[Tensor] = []
    masks = sparsify(model, batch(0)[0], Pooled(), 0.25)
    model[0].register_forward_hook(lambda *args: seen.append(args[2]))
    with torch.autocast("cpu", torch.bfloat16):
        model(batch(0)[0])
    assert seen[0].dtype == torch.bfloat16
    assert not seen[0][:, :, ~masks.layers["0"].mask].any()
    assert seen[0][:, :, masks.layers["0"].mask].all()


def test_training_in_mixed_precision_ends_at_the_target() -> None:
    model = net()

    class Mixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                out: Tensor = model(x)
            return out

    train(model, Mixed())
    assert int(masked_layers(model)["0"].mask.sum()) == 48


def test_data_parallel_replicas_use_the_masks() -> None:
    # Without a GPU the wrapper runs the module itself; its replicas copy buffers, as masks are.
    model = net()
    train(model, nn.DataParallel(model))
    assert int(masked_layers(model)["0"].mask.sum()) == 48
    assert "0.mask" in dict(model.named_buffers())


def _rank(rank: int, folder: str, name: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    model = net()
    policy = Magnitude(lambda: [batch(100 * rank)[0]]) if name == "magnitude" else POLICIES[name]()
    # Only so that ranks would differ if they did not share: another image, another loss.
    search = train(model, model, policy=policy, rank=rank)
    torch.save(
        {"mask": masked_layers(model)["0"].mask, "loss": search.best_loss}, f"{folder}/{rank}.pt"
    )
    dist.destroy_process_group()


@pytest.mark.parametrize("name", ["pooled", "magnitude"])
def test_all_ranks_share_their_masks_and_what_they_think_of_them(tmp_path: Path, name: str) -> None:
    spawn(_rank, (str(tmp_path), name), nprocs=2)  # type: ignore[no-untyped-call]
    one, other = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert torch.equal(one["mask"], other["mask"])
    assert one["loss"] == other["loss"]
    assert int(one["mask"].sum()) == 48
