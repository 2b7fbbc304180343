"""Running statistics that are measured anew are averages over the batches, whatever was there."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from toolchain.errors import ModelError
from toolchain.sparsity.statistics import measure_statistics

CHANNELS = 3


def batches(count: int = 4, seed: int = 1, shape: tuple[int, ...] = (6, 5)) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        2 + 3 * torch.randn(8, CHANNELS, *shape, generator=generator) * (1 + number)
        for number in range(count)
    ]


def mean_of(layer: nn.Module) -> Tensor:
    return layer.get_buffer("running_mean")


def averages(given: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The mean of the batches' means and of their unbiased variances."""
    flat = [batch.transpose(0, 1).flatten(1) for batch in given]
    means, variances = ([f(one) for one in flat] for f in (_mean, _variance))
    return torch.stack(means).mean(0), torch.stack(variances).mean(0)


def _mean(values: Tensor) -> Tensor:
    return values.mean(1)


def _variance(values: Tensor) -> Tensor:
    return values.var(1)


class Subclassed(nn.BatchNorm2d):
    """With a forward pass of its own, and momentum the other way round, as TensorFlow has it."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, momentum=0.99)

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = self.running_mean, self.running_var
        assert mean is not None
        assert variance is not None
        if self.training:
            now, spread = x.mean((0, 2, 3)), x.var((0, 2, 3))
            mean.mul_(0.99).add_(now, alpha=0.01)
            variance.mul_(0.99).add_(spread, alpha=0.01)
            mean, variance = now, spread
        return (x - mean[:, None, None]) / (variance[:, None, None] + self.eps).sqrt()


class Written(nn.Module):
    """A user's own, derived from nothing; it assigns its buffers anew and changes its input."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3))
            self.running_mean = 0.95 * self.running_mean + 0.05 * mean
            self.running_var = 0.95 * self.running_var + 0.05 * variance
        else:
            mean, variance = self.running_mean, self.running_var
        return x.sub_(mean[:, None, None]).div_(variance[:, None, None].sqrt())


KINDS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "BatchNorm1d": (lambda: nn.BatchNorm1d(CHANNELS), (7,)),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(CHANNELS), (6, 5)),
    "BatchNorm3d": (lambda: nn.BatchNorm3d(CHANNELS), (3, 4, 2)),
    "SyncBatchNorm": (lambda: nn.SyncBatchNorm(CHANNELS), (6, 5)),
    "without affine": (lambda: nn.BatchNorm2d(CHANNELS, affine=False), (6, 5)),
    "momentum=None": (lambda: nn.BatchNorm2d(CHANNELS, momentum=None), (6, 5)),
    "momentum=0.001": (lambda: nn.BatchNorm2d(CHANNELS, momentum=0.001), (6, 5)),
    "a subclass": (lambda: Subclassed(CHANNELS), (6, 5)),
    "a user's own": (lambda: Written(CHANNELS), (6, 5)),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_layer_gets_the_average_of_its_batches(name: str) -> None:
    make, shape = KINDS[name]
    model = nn.Sequential(make())
    layer = model[0]
    layer.get_buffer("running_mean").fill_(torch.inf)  # as a training that went wrong leaves it
    momentum = getattr(layer, "momentum", "none")
    given = batches(shape=shape)
    assert measure_statistics(model, [batch.clone() for batch in given]) == ("0",)
    mean, variance = averages(given)
    torch.testing.assert_close(layer.get_buffer("running_mean"), mean, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(layer.get_buffer("running_var"), variance, rtol=1e-3, atol=1e-3)
    assert getattr(layer, "momentum", "none") == momentum
    if isinstance(layer, nn.modules.batchnorm._NormBase):
        assert int(layer.get_buffer("num_batches_tracked")) == len(given)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_instance_norm_that_keeps_statistics_is_measured(momentum: float | None) -> None:
    layer = nn.InstanceNorm2d(CHANNELS, momentum=momentum, track_running_stats=True)  # type: ignore[arg-type]
    given = batches()
    measure_statistics(nn.Sequential(layer), given)
    mean = torch.stack([batch.mean((0, 2, 3)) for batch in given]).mean(0)
    torch.testing.assert_close(layer.running_mean, mean)


def test_a_layer_that_is_called_twice_gets_the_average_of_all_calls() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(CHANNELS)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.norm(x) + self.norm(5 * x)
            return out

    model, given = Twice(), batches()
    measure_statistics(model, given)
    mean, _ = averages([*given, *(5 * batch for batch in given)])
    torch.testing.assert_close(model.norm.running_mean, mean)


def test_layers_see_each_other_as_in_training_and_dropout_draws_nothing() -> None:
    model = nn.Sequential(nn.BatchNorm2d(CHANNELS), nn.Dropout(0.5), nn.BatchNorm2d(CHANNELS))
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    measure_statistics(model, batches())
    assert torch.equal(torch.random.get_rng_state(), before)
    # Behind a layer that normalises by the batch.
    torch.testing.assert_close(model[2].running_var, torch.ones(CHANNELS), rtol=1e-2, atol=1e-2)


def test_weights_masks_and_modes_stay() -> None:
    from toolchain.sparsity.policies import Pooled
    from toolchain.sparsity.sparsify import sparsify

    model = nn.Sequential(
        nn.Conv2d(CHANNELS, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 4, 1)
    )
    sparsify(model, torch.zeros(1, CHANNELS, 6, 5), Pooled(), 0.3)
    model.train()
    model[2].eval()
    before = copy.deepcopy(model.state_dict())
    assert measure_statistics(model, batches()) == ("1",)
    changed = {name for name, value in model.state_dict().items() if (value != before[name]).any()}
    assert changed == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    assert [module.training for module in model] == [True, True, False, True]


class KeepsFirst(nn.Sequential):
    """Its first layer stays in eval mode, as who fine-tunes a backbone writes it."""

    def train(self, mode: bool = True) -> KeepsFirst:
        super().train(mode)
        self[0].eval()
        return self


@pytest.mark.parametrize("by", ["train", "hand"])
def test_a_layer_that_is_kept_in_eval_mode_is_left_as_it_is(by: str) -> None:
    layers = nn.BatchNorm2d(CHANNELS), nn.BatchNorm2d(CHANNELS)
    model = KeepsFirst(*layers) if by == "train" else nn.Sequential(*layers)
    if by == "hand":
        model.train()
        model[0].eval()
    else:
        model.eval()
    assert measure_statistics(model, batches()) == ("1",)
    assert torch.equal(mean_of(model[0]), torch.zeros(CHANNELS))
    assert not torch.equal(mean_of(model[1]), torch.zeros(CHANNELS))
    assert not model[0].training


def test_what_has_no_statistics_needs_no_batches() -> None:
    def never() -> Iterator[Tensor]:
        raise AssertionError
        yield torch.zeros(1)

    model = nn.Sequential(nn.BatchNorm2d(CHANNELS, track_running_stats=False), nn.GroupNorm(1, 3))
    assert measure_statistics(model, never()) == ()


def test_a_frozen_layer_of_a_users_own_stays_frozen() -> None:
    class FrozenNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("running_mean", torch.full((CHANNELS,), 7.0))

        def forward(self, x: Tensor) -> Tensor:
            return x - self.get_buffer("running_mean")[:, None, None]

    model = nn.Sequential(FrozenNorm(), nn.BatchNorm2d(CHANNELS))
    given = batches()
    measure_statistics(model, given)
    assert torch.equal(model[0].get_buffer("running_mean"), torch.full((CHANNELS,), 7.0))
    torch.testing.assert_close(model[1].running_mean, averages(given)[0] - 7)


def test_a_layer_that_no_batch_goes_through_keeps_what_it_has() -> None:
    class Auxiliary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.main, self.aside = nn.BatchNorm2d(CHANNELS), nn.BatchNorm2d(CHANNELS)

        def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
            return (self.main(x), self.aside(x)) if self.training else self.main(x)

    model = Auxiliary()
    model(batches()[0])
    before = copy.deepcopy(model.aside.state_dict())
    assert measure_statistics(model, batches()) == ("main",)
    assert all(torch.equal(before[n], value) for n, value in model.aside.state_dict().items())


def test_no_batches_and_a_batch_that_fails_change_nothing() -> None:
    model = nn.Sequential(nn.BatchNorm2d(CHANNELS), Written(CHANNELS))
    model(batches()[0])
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ModelError, match="no images"):
        measure_statistics(model, [])
    with pytest.raises(RuntimeError):
        measure_statistics(model, [batches()[0], torch.zeros(8, 5, 6, 5)])
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model[0].momentum == 0.1
    assert not model[0]._forward_pre_hooks


def test_batches_of_a_loader_and_of_several_inputs_are_run() -> None:
    given = batches()
    labelled = [(batch, torch.zeros(8)) for batch in given]
    one, other = nn.Sequential(nn.BatchNorm2d(CHANNELS)), nn.Sequential(nn.BatchNorm2d(CHANNELS))
    measure_statistics(one, labelled)
    measure_statistics(other, labelled, forward=lambda batch: other(batch[0] + 1))
    torch.testing.assert_close(mean_of(one[0]) + 1, mean_of(other[0]))


def test_a_wrapper_is_looked_through() -> None:
    given = batches()
    for kind in ("DataParallel", "compile"):
        model = nn.Sequential(nn.BatchNorm2d(CHANNELS))
        wrapped: Any = nn.DataParallel(model)
        if kind == "compile":
            wrapped = torch.compile(model, backend="eager")
        assert measure_statistics(wrapped, given) == ("0",)
        torch.testing.assert_close(model[0].running_mean, averages(given)[0])


def test_a_batch_gives_in_evaluation_mode_what_it_gave_in_training_mode() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm2d(CHANNELS), nn.Conv2d(CHANNELS, 8, 3), nn.BatchNorm2d(8))
    (batch,) = batches(1)
    wanted = model.train()(batch)
    assert not torch.allclose(model.eval()(batch), wanted, atol=0.1)
    measure_statistics(model, [batch])
    torch.testing.assert_close(model.eval()(batch), wanted, rtol=0.01, atol=0.01)


# --- in parallel -----------------------------------------------------------------------------


def _rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    model = nn.Sequential(nn.BatchNorm2d(CHANNELS), Written(CHANNELS))
    parallel = nn.parallel.DistributedDataParallel(model)
    measure_statistics(parallel, batches(2 + rank, seed=rank))
    torch.save(model.state_dict(), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_all_ranks_end_with_the_mean_over_all_batches(tmp_path: Path) -> None:
    spawn(_rank, (str(tmp_path),), nprocs=2)  # type: ignore[no-untyped-call]
    one, other = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert all(torch.equal(one[name], other[name]) for name in one if "batches" not in name)
    mean, variance = averages(batches(2, seed=0) + batches(3, seed=1))
    torch.testing.assert_close(one["0.running_mean"], mean)
    torch.testing.assert_close(one["0.running_var"], variance)
