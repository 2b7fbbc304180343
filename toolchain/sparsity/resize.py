"""Give a model the channel counts of a state_dict: how a pruned checkpoint loads.

Pruning leaves a network's layers and their names as they are and only makes them narrower. So the
factory of the whole network and the shapes in the file are all that is needed to build it again.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from toolchain.errors import ModelError, first_line
from toolchain.sparsity.modes import evaluating


def resize_to(model: nn.Module, state_dict: Mapping[str, Tensor]) -> list[str]:
    """Make each layer as wide as its tensors in a state_dict are, in place.

    A ``Conv2d`` (masked ones too), ``BatchNorm2d`` or ``Linear`` whose weight has other channel
    counts in the state_dict gets parameters and buffers of that size, all zero, and its attributes
    say so (``in_channels``, ``out_channels``, ``groups`` of a depthwise convolution,
    ``num_features``, ``in_features``, ``out_features``). Whatever else differs is left for
    :func:`~toolchain.sparsity.checkpoint.load_model` to refuse.

    Args:
        model: the network as its factory makes it; nothing may hold its parameters yet, as an
            optimiser does.
        state_dict: names and tensors; no more is allocated than these tensors hold.

    Returns:
        The names of the layers that were resized.

    Raises:
        ModelError: a tensor that differs in more than its channels (its kernel, its dimensions),
            has none, or does not go with the layer's groups; names the tensor.
    """
    resized = []
    for name, layer in model.named_modules():
        if not isinstance(layer, nn.Conv2d | nn.BatchNorm2d | nn.Linear):
            continue
        known = "running_mean" if getattr(layer, "weight", None) is None else "weight"
        entry = f"{name}.{known}" if name else known
        given, own = state_dict.get(entry), getattr(layer, known)
        if given is None or own is None or given.shape == own.shape:
            continue
        if given.dim() != own.dim() or given.shape[2:] != own.shape[2:] or given.numel() == 0:
            raise _refused(entry, given, own, "only the numbers of channels may differ")
        if isinstance(layer, nn.Conv2d):
            _resize_conv(layer, entry, given)
        elif isinstance(layer, nn.Linear):
            layer.out_features, layer.in_features = given.shape
            _resize(layer, {"weight": given.shape, "bias": given.shape[:1]})
        else:
            layer.num_features = len(given)
            each = ("weight", "bias", "running_mean", "running_var")
            _resize(layer, dict.fromkeys(each, given.shape))
        resized.append(name)
    return resized


def check_channels(model: nn.Module, example_input: Tensor) -> None:
    """Run a model once, so that layers that do not fit to each other are told by name.

    Raises:
        ModelError: a layer takes another number of channels than it is given, or the model cannot
            be run on this input.
    """

    def check(name: str, layer: nn.Module, x: Tensor) -> None:
        if isinstance(layer, nn.Conv2d):
            wanted, given = layer.in_channels, x.shape[-3]
        elif isinstance(layer, nn.BatchNorm2d):
            wanted, given = layer.num_features, x.shape[1]
        elif isinstance(layer, nn.Linear):
            wanted, given = layer.in_features, x.shape[-1]
        else:
            return
        if wanted != given:
            raise ModelError(
                f"layer '{name}' takes {wanted} channels and is given {given}", hint=_DAMAGED
            )

    handles = [
        layer.register_forward_pre_hook(
            lambda layer, inputs, name=name: check(name, layer, inputs[0])
        )
        for name, layer in model.named_modules()
    ]
    try:
        with evaluating(model):
            model(example_input.clone())  # it may write into it
    except RuntimeError as error:
        raise ModelError(
            f"the layers do not fit to each other: {first_line(error)}", hint=_DAMAGED
        ) from error
    finally:
        for handle in handles:
            handle.remove()


_DAMAGED = "the checkpoint was made for another model, or its pruning went wrong"


def _resize_conv(layer: nn.Conv2d, entry: str, given: Tensor) -> None:
    channels, inputs = given.shape[:2]
    groups = layer.groups
    if groups > 1 and groups == layer.in_channels:  # depthwise: as many groups as channels
        groups = channels * layer.in_channels // layer.out_channels
        if inputs != 1 or groups * layer.out_channels != channels * layer.in_channels:
            raise _refused(entry, given, layer.weight, "the convolution is a depthwise one")
    if groups == 0 or channels % groups:
        raise _refused(entry, given, layer.weight, f"the convolution has {groups} groups")
    layer.out_channels, layer.in_channels, layer.groups = channels, inputs * groups, groups
    _resize(layer, {"weight": given.shape, "bias": given.shape[:1]})


def _resize(layer: nn.Module, shapes: Mapping[str, torch.Size]) -> None:
    """Replace the parameters and buffers that the layer has; what is ``None`` stays so."""
    for name, shape in shapes.items():
        old = getattr(layer, name)
        if isinstance(old, nn.Parameter):
            setattr(layer, name, nn.Parameter(old.new_zeros(shape), old.requires_grad))
        elif old is not None:
            setattr(layer, name, old.new_zeros(shape))


def _refused(entry: str, given: Tensor, own: Tensor, hint: str) -> ModelError:
    return ModelError(
        f"'{entry}' has shape {list(given.shape)} in the checkpoint and {list(own.shape)} in the "
        "model",
        hint=hint,
    )
