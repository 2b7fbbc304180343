"""Read and write checkpoints: safetensors, or a PyTorch ``state_dict``, with masks in them.

A masked layer adds one entry to the state_dict: ``<layer>.mask``, ``[Hout, Wout]``.
"""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TypeVar

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from toolchain.errors import ModelError
from toolchain.files import make_folder, write_whole
from toolchain.sparsity.masked_conv import MASK_SUFFIX, attach_masks, clean_mask, masked_layers
from toolchain.sparsity.resize import check_channels, resize_to

PRUNED = {"pruned": "channels"}
"""Metadata of a checkpoint whose layers have fewer channels than its factory makes."""

_Model = TypeVar("_Model", bound=nn.Module)
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_SHOWN = 5
_MAX_HEADER = 100_000_000  # the format's own limit


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint, by name.

    The kind of file is told by its content: safetensors, or what ``torch.save`` writes (read with
    ``weights_only``, so that nothing in the file is executed). A state_dict inside a training
    checkpoint (``{"state_dict": ...}``) and the prefix ``module.`` of ``DataParallel`` are undone.

    Raises:
        ModelError: the file is not there, truncated, of another kind, or holds no state_dict.
    """
    path = Path(path)
    head = _head(path)
    if _is_safetensors(head):
        try:
            tensors = safetensors.torch.load_file(path)
        except (safetensors.SafetensorError, ValueError, KeyError) as error:
            raise ModelError(
                f"{path}: is a truncated or damaged safetensors file ({error})",
                hint="copy or download it again",
            ) from error
    elif head[:2] == b"PK" or head[:1] == b"\x80":
        tensors = _load_torch(path)
    else:
        raise ModelError(
            f"{path}: is neither a safetensors file nor a PyTorch checkpoint",
            hint="save one with safetensors.torch.save_file(model.state_dict(), path)",
        )
    if not tensors:
        raise ModelError(f"{path}: holds no tensors")
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return tensors


def load_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The metadata of a safetensors file; empty where there is none, or for another kind of file.

    Files made by this project name there the model (``factory``, as ``package.module:function``),
    ``input_shape`` (as ``1,1,28,28``), ``sparsity``, ``seed``, ``epochs``, ``test_accuracy`` and
    the ``command`` that made them, and ``pruned`` (:data:`PRUNED`).

    Raises:
        ModelError: the file cannot be read, or is a truncated or damaged safetensors file.
    """
    path = Path(path)
    if not _is_safetensors(_head(path)):
        return {}
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return dict(sorted((file.metadata() or {}).items()))
    except safetensors.SafetensorError as error:
        raise ModelError(
            f"{path}: is a truncated or damaged safetensors file ({error})",
            hint="copy or download it again",
        ) from error


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

    Convolutions with a ``<layer>.mask`` in the state_dict become masked ones. A state_dict without
    any mask leaves the masks that the model has. Weights are turned into the model's own type
    (fp16 becomes fp32). Names in a model's attribute ``unneeded`` are passed over.

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
    masks = masks_in(state_dict)
    if resize:
        resize_to(model, state_dict)
        if example_input is not None:
            check_channels(model, example_input)
    attach_masks(model, masks, example_input=example_input)
    wanted = model.state_dict()
    unneeded: Collection[str] = getattr(model, "unneeded", ())
    given = {name: tensor for name, tensor in state_dict.items() if name not in unneeded}
    for name, layer in masked_layers(model).items():
        if not masks or name in masks:
            given[name + MASK_SUFFIX] = layer.mask
    missing = [n for n in wanted if n not in given and not n.endswith("num_batches_tracked")]
    if missing:
        raise ModelError(
            f"the checkpoint lacks {_listed(missing)}",
            hint="the checkpoint was made for another model",
        )
    unknown = [name for name in given if name not in wanted]
    if unknown:
        raise ModelError(
            f"the checkpoint holds {_listed(unknown)}, which the model does not have",
            hint="the checkpoint was made for another model",
        )
    for name, tensor in given.items():
        if tensor.shape != wanted[name].shape:
            raise ModelError(
                f"'{name}' has shape {list(tensor.shape)} in the checkpoint "
                f"and {list(wanted[name].shape)} in the model",
                hint="the checkpoint was made for another model or number of classes, or its "
                "channels were pruned and its metadata do not say so (pruned = channels)",
            )
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ModelError(
                f"'{name}' holds values that are not finite (NaN or infinity)",
                hint="half precision ends at 65504: save the weights again as float32"
                if tensor.dtype == torch.float16
                else None,
            )
    cast = {name: tensor.to(wanted[name].dtype) for name, tensor in given.items()}
    # strict=False lets only num_batches_tracked be absent: all else was checked above.
    model.load_state_dict(cast, strict=False)
    return model.eval()


def save_checkpoint(
    path: str | os.PathLike[str], model: nn.Module, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a model's state_dict, masks included, as safetensors; whole or not at all.

    Raises:
        ModelError: the file cannot be written.
    """
    path = Path(path)
    # Copies: the format has no tensors that share memory, as the weights of tied layers do.
    tensors = {
        name: tensor.clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }
    raw = _canonical(safetensors.torch.save(tensors, metadata=dict(metadata or {})))
    make_folder(path.parent, ModelError)
    write_whole(path, raw, ModelError)


def _canonical(raw: bytes) -> bytes:
    """The same file with its metadata sorted: the library writes it in a random order."""
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + raw[8 + length :]


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            head = stream.read(9)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    if not head:
        raise ModelError(f"{path}: is empty", hint="copy or download it again")
    return head


def _is_safetensors(head: bytes) -> bool:
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _MAX_HEADER


def _load_torch(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path}: holds Python objects that are not tensors, or is truncated",
            hint="save the weights alone: torch.save(model.state_dict(), path); where the file "
            "holds a whole model, as YOLOv5's do, and you trust it, model is "
            "torch.load(path, weights_only=False)['model'] where the package that made it is",
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{path}: is a truncated or damaged PyTorch checkpoint "
            f"({str(error).splitlines()[0] if str(error) else type(error).__name__})",
            hint="copy or download it again",
        ) from error
    if isinstance(content, Mapping):
        for key in _WRAPPERS:
            if isinstance(content.get(key), Mapping):
                content = content[key]
                break
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in content.items()
    ):
        raise ModelError(
            f"{path}: holds no state_dict (names and tensors, nothing else)",
            hint="save the weights alone: torch.save(model.state_dict(), path)",
        )
    size = path.stat().st_size
    for name, tensor in content.items():
        # A stride of 0, or a sparse layout, lets a few bytes stand for a tensor of any size.
        if tensor.layout != torch.strided or tensor.numel() * tensor.element_size() > size:
            raise ModelError(
                f"{path}: '{name}' has shape {list(tensor.shape)}, more than the file holds",
                hint="save dense tensors: torch.save({n: t.contiguous() for n, t in ...}, path)",
            )
    return dict(content)


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
