"""Measure the running statistics of BatchNorm and its kin anew, with the weights as they are now.

In training they follow the weights at a distance: each step moves them by a tenth (``momentum``)
of the way. After few steps, or after masks or channels have just changed, they still describe an
earlier network, and in eval mode, where they count, the network is a worse one than it was trained
to be. Measured anew they are plain averages over the batches given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils._pytree import tree_map
from torch.utils.hooks import RemovableHandle

from toolchain.errors import ModelError

_FROZEN = 1e-6  # a layer that takes less than this of a batch takes nothing
_TORCHS_OWN = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
)


def measure_statistics(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    forward: Callable[[Any], object] | None = None,
) -> tuple[str, ...]:
    """Give every layer with running statistics their average over some batches, in place.

    Such a layer is any that has buffers called ``running_...``: BatchNorm and InstanceNorm of
    torch (``track_running_stats``), classes derived from them, a user's own. Whatever their
    ``momentum`` is, what they measure is the average of their batches. They normalise by the
    batch meanwhile, as in training; all other layers are in eval mode, so that dropout draws
    nothing. Layers that are in eval mode while the model is in training mode are left as they
    are. Weights, masks and modes do not change.

    Under ``DistributedDataParallel`` every rank has to call it; they end with the mean of all.

    Args:
        model: any module; a wrapper (``DistributedDataParallel``, ``DataParallel``,
            ``torch.compile``) is looked through.
        batches: images ``[N, C, H, W]``, or tuples that begin with them, as loaders give them.
            They are moved to the model's device. A few thousand images are enough.
        forward: runs the model on a batch, where it takes more than images.

    Returns:
        The names of the layers that were measured; without any no batch is read.

    Raises:
        ModelError: there are layers to measure and no batch.
    """
    model = _unwrapped(model)
    with _measuring(model) as layers:
        if not layers:
            return ()
        run = forward or _runner(model)
        meters = {name: _meter(layer) for name, layer in layers.items()}
        before = {name: _buffers(layer) for name, layer in layers.items()}
        try:
            for meter in meters.values():
                meter.begin()
            _run_all(run, batches)
        except BaseException:
            for name, layer in layers.items():
                _restore(layer, before[name])
            raise
        finally:
            for meter in meters.values():
                meter.end()
        return tuple(
            name for name in layers if _settle(layers[name], before[name], meters[name].calls)
        )


def _run_all(run: Callable[[Any], object], batches: Iterable[Any]) -> None:
    number = -1
    for number, batch in enumerate(batches):  # noqa: B007 (counts)
        run(batch)
    if number < 0:
        raise ModelError("there are no images to measure BatchNorm's statistics on")


# --- modes -----------------------------------------------------------------------------------


@contextmanager
def _measuring(model: nn.Module) -> Iterator[dict[str, nn.Module]]:
    """Eval mode but for the layers to measure, which are given by name; modes are put back."""
    modes = {module: module.training for module in model.modules()}
    try:
        if not model.training:
            model.train()  # a model that keeps layers in eval mode does so here
        layers = {
            name: module
            for name, module in model.named_modules()
            if module.training and _running(module)
        }
        model.eval()
        for layer in layers.values():
            layer.training = True  # the layer alone, not what it contains
        with torch.no_grad():
            yield layers
    finally:
        for module, mode in modes.items():
            module.training = mode


def _unwrapped(model: nn.Module) -> nn.Module:
    while True:
        if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        else:
            return model


def _runner(model: nn.Module) -> Callable[[Any], object]:
    device = next((t.device for t in (*model.parameters(), *model.buffers())), None)

    def run(batch: Any) -> object:
        images = batch if isinstance(batch, Tensor) else batch[0]
        return model(images.to(device))

    return run


# --- what a layer has ------------------------------------------------------------------------


def _running(layer: nn.Module) -> list[str]:
    """The names of a layer's own running statistics."""
    return [
        name
        for name, buffer in layer.named_buffers(recurse=False)
        if name.startswith("running_") and buffer.is_floating_point()
    ]


def _buffers(layer: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in layer.named_buffers()}


def _restore(layer: nn.Module, buffers: Mapping[str, Tensor]) -> None:
    for name, value in buffers.items():
        layer.get_buffer(name).copy_(value)


def _settle(layer: nn.Module, before: Mapping[str, Tensor], calls: int) -> bool:
    """Average over ranks; what no batch went through keeps what it had. Says whether any did."""
    total = calls
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        name = _running(layer)[0]
        count = layer.get_buffer(name).new_tensor(calls, dtype=torch.float64)
        torch.distributed.all_reduce(count)
        total = int(count)
        for name in _running(layer):
            buffer = layer.get_buffer(name)
            value = buffer.double() * calls
            torch.distributed.all_reduce(value)
            buffer.copy_(value / max(total, 1))
    if total == 0:
        _restore(layer, before)
    return total > 0


# --- measuring -------------------------------------------------------------------------------


class _Meter:
    """Averages what one layer measures, over all times that it is called."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer, self.calls = layer, 0
        self._handles: list[RemovableHandle] = []

    def begin(self) -> None:
        raise NotImplementedError

    def end(self) -> None:
        for handle in self._handles:
            handle.remove()


class _TorchMeter(_Meter):
    """Of torch's own layers: the n-th batch gets 1/n of the weight."""

    def __init__(self, layer: _NormBase) -> None:
        super().__init__(layer)
        self.norm = layer
        self._momentum = layer.momentum

    def begin(self) -> None:
        self.norm.reset_running_stats()  # what is not finite would stay so
        self._handles = [self.norm.register_forward_pre_hook(self._next)]

    def end(self) -> None:
        super().end()
        self.norm.momentum = self._momentum

    def _next(self, _layer: nn.Module, _inputs: object) -> None:
        self.calls += 1
        self.norm.momentum = 1 / self.calls


class _ForeignMeter(_Meter):
    """Of any other layer, whatever it calls momentum.

    Its rule is taken to be ``running = a * running + (1 - a) * batch``. Called again with zeros and
    with ones for ``running`` it tells ``a``, and by that the batch's own value.
    """

    def begin(self) -> None:
        self._names = _running(self.layer)
        self._sums = {
            name: torch.zeros_like(self.layer.get_buffer(name), dtype=torch.float64)
            for name in self._names
        }
        self._handles = [
            self.layer.register_forward_pre_hook(self._before, with_kwargs=True),
            self.layer.register_forward_hook(self._after, with_kwargs=True),
        ]

    def _before(self, layer: nn.Module, args: Any, kwargs: Any) -> None:
        self._kept = _buffers(layer)
        self._given = tree_map(_copy, (args, kwargs))  # the layer may change them in place

    def _after(self, layer: nn.Module, _args: object, _kwargs: object, _output: object) -> None:
        self.calls += 1
        zeros, ones = (self._called_with(layer, value) for value in (0.0, 1.0))
        _restore(layer, self._kept)
        for name in self._names:
            taken = 1 - (ones[name] - zeros[name])
            buffer = layer.get_buffer(name)
            frozen = taken.abs() < _FROZEN
            batch = torch.where(frozen, self._kept[name].double(), zeros[name] / taken)
            self._sums[name] += batch
            buffer.copy_(self._sums[name] / self.calls)
        if "num_batches_tracked" in self._kept:
            layer.get_buffer("num_batches_tracked").fill_(self.calls)

    def _called_with(self, layer: nn.Module, value: float) -> dict[str, Tensor]:
        _restore(layer, self._kept)
        for name in self._names:
            layer.get_buffer(name).fill_(value)
        args, kwargs = tree_map(_copy, self._given)
        layer.forward(*args, **kwargs)
        return {name: layer.get_buffer(name).double() for name in self._names}


def _meter(layer: nn.Module) -> _Meter:
    if isinstance(layer, _NormBase) and any(
        type(layer).forward is kind.forward for kind in _TORCHS_OWN
    ):
        return _TorchMeter(layer)
    return _ForeignMeter(layer)


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value
