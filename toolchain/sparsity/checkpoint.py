"""Read and write checkpoints: safetensors, or a PyTorch ``state_dict``, with masks in them.

A masked layer adds one entry to the state_dict: ``<layer>.mask``, ``[Hout, Wout]``.
"""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from torch import Tensor, nn

from toolchain.errors import ModelError, failure
from toolchain.sparsity.checkpoint_file import (
    StandIn,
    read_checkpoint_file,
    read_safetensors_metadata,
    save_again,
)
from toolchain.sparsity.masked_conv import (
    MASK_SUFFIX,
    attach_masks,
    clean_mask,
    mask_entries,
    own_mask_entries,
)
from toolchain.sparsity.resize import check_channels, resize_to
from toolchain.sparsity.state_dicts import (
    Checkpoint,
    Versions,
    find_modules,
    find_state_dicts,
    match,
)
from toolchain.storage.files import make_folder, write_whole

PRUNED = {"pruned": "channels"}
"""Metadata of a checkpoint whose layers have fewer channels than its factory makes."""

_Model = TypeVar("_Model", bound=nn.Module)
_ANOTHER_MODEL = "the checkpoint was made for another model"
_SHOWN = 5


def load_checkpoint(path: str | os.PathLike[str], *, weights: str | None = None) -> Checkpoint:
    """Read the tensors of a checkpoint, by name.

    The kind of file is told by its content: safetensors, or what ``torch.save`` writes, of which
    nothing is executed. State_dicts in wrappers are found; :func:`load_model` takes the one that
    fits its model, whatever prefix its names have.

    Args:
        path: the file.
        weights: which state_dict to take where there are several: its key, or ``ema`` for averaged
            weights.

    Raises:
        ModelError: the file is not there, truncated, of another kind, or holds no state_dict.
    """
    path = Path(path)
    content = read_checkpoint_file(path)
    found = find_state_dicts(content)
    if not found:
        raise _without_state_dict(path, content)
    size = path.stat().st_size
    for one in found:
        for name, tensor in one.tensors.items():
            # A stride of 0, or another layout, lets a few bytes stand for a tensor of any size.
            if isinstance(tensor, Tensor) and (
                tensor.layout != torch.strided
                or tensor.device.type != "cpu"
                or tensor.numel() * tensor.element_size() > size
            ):
                raise ModelError(
                    f"{path}: '{name}' has shape {list(tensor.shape)}, more than the file holds",
                    hint="save dense tensors: "
                    "torch.save({n: t.contiguous() for n, t in ...}, path)",
                )
    return Checkpoint(found, weights)


def load_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The metadata of a safetensors file; empty where there is none, or for another kind of file.

    Files made by this project name there the model (``factory``, as ``package.module:function``),
    ``input_shape`` (as ``1,1,28,28``), ``sparsity``, ``seed``, ``epochs``, ``test_accuracy`` and
    the ``command`` that made them, and ``pruned`` (:data:`PRUNED`).

    Raises:
        ModelError: the file cannot be read, or is a truncated or damaged safetensors file.
    """
    return read_safetensors_metadata(Path(path))


def masks_in(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The masks of a state_dict, ``<layer>.mask``, as bool ``[H, W]`` by layer name.

    A mask may be stored once a channel, ``[C, H, W]``, as the paper's own code stores it.

    Raises:
        ModelError: a mask has a fault, or is not the same in all channels; names the layer.
    """
    masks = {}
    for entry, tensor in state_dict.items():
        if not entry.endswith(MASK_SUFFIX):
            continue
        name = entry.removesuffix(MASK_SUFFIX)
        if tensor.dim() == 3 and tensor.numel():
            masks[name] = clean_mask(tensor[0], name)
            differing = int((tensor != tensor[0]).flatten(1).any(1).sum())
            if differing:
                raise ModelError(
                    f"mask of layer '{name}' differs between channels: {differing} of "
                    f"{tensor.shape[0]} are not as the first",
                    hint="one mask serves all channels and all images of a layer",
                )
        else:
            masks[name] = clean_mask(tensor, name)
    return masks


def has_pruned_channels(metadata: Mapping[str, str]) -> bool:
    """Whether a file's metadata say that channels were pruned, so that it is loaded resized."""
    return metadata.get("pruned") == PRUNED["pruned"]


def load_model(
    model: _Model,
    state_dict: Mapping[str, Tensor],
    *,
    example_input: Tensor | None = None,
    resize: bool = False,
) -> _Model:
    """Load a state_dict into a model, which is changed in place and returned in eval mode.

    Convolutions with a ``<layer>.mask`` in the state_dict become masked ones, unless the model has
    something of that name itself: then it is loaded like any other buffer. A state_dict without
    any mask leaves the masks that the model has. Weights are turned into the model's own type
    (fp16 becomes fp32). Names in a model's attribute ``unneeded`` are passed over. Which of a
    file's weights are taken, and behind which prefix, :func:`~.state_dicts.match` says; modules
    with load hooks of their own get what the file says about their versions.

    Args:
        model: a fresh model, as its factory makes it.
        state_dict: what :func:`load_checkpoint` gives.
        example_input: ``[N, C, H, W]``; where given, the sizes of the masks, and the channels of a
            resized model, are checked against it.
        resize: give the model the channel counts of the state_dict first, which is how a
            checkpoint with pruned channels loads (:func:`~toolchain.sparsity.resize.resize_to`).

    Raises:
        ModelError: missing or unknown names, a tensor of another shape, a value that is not
            finite, or a mask with a fault; names the tensor or layer.
    """
    matched = match(model, state_dict)
    given: dict[str, Any] = matched
    own = own_mask_entries(model)
    masks = masks_in({name: tensor for name, tensor in given.items() if name not in own})
    if resize:
        resize_to(model, given)
        if example_input is not None:
            check_channels(model, example_input)
    attach_masks(model, masks, example_input=example_input)
    wanted = model.state_dict()
    unneeded: Collection[str] = getattr(model, "unneeded", ())
    given = {name: tensor for name, tensor in given.items() if name not in unneeded}
    named = mask_entries(model)
    masked = {layer for entry, layer in named.items() if entry.removesuffix(MASK_SUFFIX) in masks}
    for entry, layer in named.items():
        if not masks or layer in masked:
            given[entry] = layer.mask
    _check_values(given, _infinite_buffers(model))
    _check_types(given, dict(model.named_parameters()))
    missing, unknown = _load(model, given, wanted, matched.versions)
    missing = [
        name for name in missing if not name.endswith(("num_batches_tracked", "_extra_state"))
    ]
    if missing:
        raise ModelError(f"the checkpoint lacks {_listed(missing)}", hint=_why(missing, given))
    if unknown:
        raise ModelError(
            f"the checkpoint holds {_listed(unknown)}, which the model does not have",
            hint="a mask is called <layer>.mask, after its convolution"
            if any("mask" in name.rpartition(".")[2] for name in unknown)
            else _ANOTHER_MODEL,
        )
    return model.eval()


def _infinite_buffers(model: nn.Module) -> set[str]:
    """Buffers with infinity in them as the model makes them, such as a mask of attention."""
    return {
        name
        for name, buffer in model.named_buffers(remove_duplicate=False)
        if buffer.is_floating_point() and bool(buffer.isinf().any())
    }


def _check_values(given: Mapping[str, Any], infinite: Collection[str]) -> None:
    for name, tensor in given.items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            continue
        if bool((tensor.isnan() if name in infinite else ~tensor.isfinite()).any()):
            raise ModelError(
                f"'{name}' holds values that are not finite (NaN or infinity)",
                hint="half precision ends at 65504: save the weights again as float32"
                if tensor.dtype == torch.float16
                else None,
            )


def _check_types(given: Mapping[str, Any], parameters: Mapping[str, Tensor]) -> None:
    for name, parameter in parameters.items():
        tensor = given.get(name)
        if not isinstance(tensor, Tensor) or not parameter.is_floating_point():
            continue
        if tensor.is_quantized or not tensor.is_floating_point():
            kind = str(tensor.dtype).removeprefix("torch.")
            raise ModelError(
                f"'{name}' is of type {kind} in the checkpoint, and a float in the model",
                hint="quantized weights say nothing without their scales: give the weights from "
                "before, and quantize with deploy convert --quantize",
            )


def _load(
    model: nn.Module,
    given: Mapping[str, Any],
    wanted: Mapping[str, Any],
    versions: Versions | None,
) -> tuple[list[str], list[str]]:
    """Load by torch, and so by the modules' own hooks, which may rename and reshape.

    Returns:
        The names that are missing and those that are unknown.
    """
    state: OrderedDict[str, Any] = OrderedDict()
    for name, value in given.items():
        own = wanted.get(name)
        state[name] = value
        if isinstance(value, Tensor) and isinstance(own, Tensor):
            state[name] = value.to(own.dtype)
    # A file that does not tell the versions of its modules (safetensors cannot) is of these ones.
    current = getattr(wanted, "_metadata", {})
    state._metadata = {**current, **(versions or {})}  # type: ignore[attr-defined]
    try:
        result = model.load_state_dict(state, strict=False)
    except Exception as error:  # of torch where shapes differ, and of the modules' own hooks
        for name, tensor in given.items():
            own = wanted.get(name)
            if isinstance(own, Tensor) and isinstance(tensor, Tensor) and own.shape != tensor.shape:
                raise ModelError(
                    f"'{name}' has shape {list(tensor.shape)} in the checkpoint "
                    f"and {list(own.shape)} in the model",
                    hint="the checkpoint was made for another model or number of classes, or its "
                    "channels were pruned and its metadata do not say so (pruned = channels)",
                ) from error
        doing = f"loading the checkpoint into {type(model).__name__}"
        raise failure(ModelError, doing, error, hint=_ANOTHER_MODEL) from error
    return list(result.missing_keys), list(result.unexpected_keys)


def _why(missing: list[str], given: Mapping[str, Any]) -> str:
    """What may be the matter with a checkpoint that lacks names."""
    for name in missing:
        parent, _, leaf = name.rpartition(".")
        if f"{name}_orig" in given and f"{name}_mask" in given:
            return (
                f"'{name}' was pruned and lies there as {leaf}_orig and {leaf}_mask: make that "
                f"permanent before saving, torch.nn.utils.prune.remove(module, '{leaf}')"
            )
        if any(f".parametrizations.{leaf}." in f".{other}" for other in given) or (
            f"{name}_g" in given or f"{name}_v" in given or f"{name}_orig" in given
        ):
            return (
                f"'{name}' was saved as the parts of a parametrization: let the factory make the "
                f"model with it, or remove it before saving, "
                f"torch.nn.utils.parametrize.remove_parametrizations(module, '{leaf}')"
            )
        del parent
    return _ANOTHER_MODEL


def save_checkpoint(
    path: str | os.PathLike[str], model: nn.Module, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a model's state_dict, masks included, as safetensors; whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    path = Path(path)
    # Copies: the format has no tensors that share memory, as the weights of tied layers do.
    tensors = {
        name: tensor.clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
        if isinstance(tensor, Tensor)  # the format has no place for a module's extra state
    }
    raw = _canonical(safetensors.torch.save(tensors, metadata=dict(metadata or {})))
    make_folder(path.parent)
    write_whole(path, raw)


def _canonical(raw: bytes) -> bytes:
    """The same file with its metadata sorted: the library writes it in a random order."""
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + raw[8 + length :]


def _without_state_dict(path: Path, content: object) -> ModelError:
    modules = find_modules(content)
    if modules:
        keys, module = modules[0]
        at = "".join(f"[{json.dumps(key)}]" for key in keys)
        load = f'torch.load({{}}, map_location="cpu", weights_only=False){at}.float()'
        return ModelError(
            f"{path}: holds Python objects that are not tensors: a whole pickled model "
            f"({module.kind}), which its own code would have to load",
            hint=f"where that code is, and if you trust the file, for loading it runs what is in "
            f"it: {save_again(path, load)}",
        )
    if isinstance(content, list | tuple) and any(isinstance(one, Tensor) for one in content):
        return ModelError(
            f"{path}: holds no state_dict but {len(content)} tensors without names",
            hint="save the weights with their names: torch.save(model.state_dict(), path)",
        )
    kind = content.kind if isinstance(content, StandIn) else type(content).__name__
    if isinstance(content, dict) and content:
        kind = f"dict of {_listed([str(key) for key in dict.keys(content)])}"
    return ModelError(
        f"{path}: holds no state_dict (names and tensors), but a {kind}",
        hint="save the weights alone: torch.save(model.state_dict(), path)",
    )


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
