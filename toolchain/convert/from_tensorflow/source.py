"""A Keras model or a SavedModel as what is converted, and as what its file is compared with."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from toolchain.agreement.silence import quiet
from toolchain.convert.from_tensorflow.framework import Framework, framework
from toolchain.convert.kinds import is_saved_model
from toolchain.convert.original import Original, Shape
from toolchain.convert.ports import channel_last_array
from toolchain.errors import DeployError, ModelError, failure, first_line
from toolchain.formats.input_file import LARGEST, check_readable
from toolchain.tflite_file.layers import Plane

Call = Callable[..., list[Any]]
"""Tensors of TensorFlow to such tensors, as the framework has their axes."""

_SIGNATURE = "serving_default"
_SINGLE = ("float16", "bfloat16", "float64")
_INDICES = ("int64", "uint32", "uint64", "int16")
_SHOWN = 120
_WRITE = "write one with model.save('model.keras') of Keras 3"
_MOST_UNPACKED = 10
"""What is in a ``.keras`` file over its size."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TensorFlowSource(Original):
    """A model of TensorFlow."""

    call: Call
    """What is converted; gives float32 and int32, whatever the model does."""
    planes: dict[str, Plane] | None
    """The masks of its layers by name; ``None`` where the model does not say which they are."""


class Reference(nn.Module):
    """Runs a model of TensorFlow for whoever knows torch only; its weights are buffers.

    Images are ``[N, C, H, W]`` outside.

    Args:
        call: the model.
        weights: its variables of floating point.
        tensorflow: the module.
    """

    def __init__(self, call: Call, weights: Sequence[Any], tensorflow: Any) -> None:
        super().__init__()
        self._call, self._weights, self._tensorflow = call, list(weights), tensorflow
        for number, weight in enumerate(self._weights):
            self.register_buffer(f"weight_{number}", torch.from_numpy(np.array(weight.numpy())))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Tensors to tensors."""
        for weight, (_, value) in zip(self._weights, self.named_buffers(), strict=True):
            weight.assign(value.numpy())
        arrays = (channel_last_array(tensor) for tensor in inputs)
        results = self._call(*map(self._tensorflow.constant, arrays))
        found = (torch.from_numpy(np.array(result.numpy())) for result in results)
        return tuple(one.permute(0, 3, 1, 2) if one.dim() == 4 else one for one in found)


@dataclass(frozen=True)
class _Loaded:
    """What was in a file."""

    call: Callable[..., Any]
    """Takes the inputs one after the other, gives a structure of tensors."""
    inputs: list[tuple[str, Any, tuple[int | None, ...]]]
    """Name, type and shape of each."""
    weights: list[Any]
    planes: dict[str, Plane] | None


def load_tensorflow(path: Path, shapes: Sequence[Shape] | None = None) -> TensorFlowSource:
    """Load a model and try it once.

    Args:
        path: a ``.keras`` file, which is loaded in Keras' safe mode, or the folder of a
            SavedModel, whose operators can read and write files: only if whoever made it is
            trusted.
        shapes: of the inputs, as the model has them (``[N, H, W, C]``); needed where the model
            does not fix all of it but the batch, which is 1 then.

    Raises:
        ModelError: it cannot be read, needs code that is not in it, or takes or gives what no file
            can hold; says what to do.
    """
    modules = framework()
    saved = is_saved_model(path)
    loaded = _saved_model(path, modules) if saved else _keras_model(path, modules)
    wrong = [f"'{name}' is {kind}" for name, kind, _ in loaded.inputs if kind != "float32"]
    if wrong:
        raise ModelError(
            f"{path}: its inputs have to be float32: {', '.join(wrong)}",
            hint="let the model take float32, and cast it itself",
        )
    fixed = _fixed(path, [shape for _, _, shape in loaded.inputs], shapes)
    notes, names = [], []
    tensorflow = modules.tensorflow

    def call(*inputs: Any) -> list[Any]:
        return [_plain(one, tensorflow) for one in modules.keras.tree.flatten(loaded.call(*inputs))]

    try:
        with quiet():
            result = loaded.call(*map(tensorflow.zeros, fixed))
    except DeployError:
        raise
    except Exception as error:
        doing = f"running {path} on an input of {' and '.join(map(_text, fixed))}"
        hint = "--input-shape gives the input's shape as the model has it: N,H,W,C"
        raise failure(ModelError, doing, error, hint=hint) from error
    leaves = modules.keras.tree.flatten_with_path(result)
    for way, value in leaves:
        name = "".join(f"[{step!r}]" for step in way)
        plain = _plain(value, tensorflow).dtype.name
        if plain != value.dtype.name:
            what = f"output {name}" if name else "the output"
            notes.append(f"{what} is {value.dtype.name} in the model, {plain} in the file")
        names.append(name)
    outputs = [tuple(int(size) for size in value.shape) for _, value in leaves]
    return TensorFlowSource(
        description=str(path),
        framework="TensorFlow" if saved else "Keras",
        reference=Reference(call, loaded.weights, tensorflow),
        inputs=tuple(map(_first, fixed)),
        outputs=tuple(map(_first, outputs)),
        torch_inputs=tuple(fixed),
        torch_outputs=tuple(outputs),
        output_names=tuple(names) if len(names) > 1 else ("",),
        notes=tuple(notes),
        call=call,
        planes=loaded.planes,
    )


# --- Keras -----------------------------------------------------------------------------------


def _keras_model(path: Path, modules: Framework) -> _Loaded:
    from toolchain.keras.masked_layers import masked_layers

    check_readable(path, ModelError)
    _check_size(path)
    try:
        with quiet():
            model = modules.keras.models.load_model(path, compile=False, safe_mode=True)
    except DeployError:
        raise
    except Exception as error:
        raise _not_loaded(path, error) from error
    if not getattr(model, "inputs", None):
        raise ModelError(
            f"{path}: the model does not say what its inputs are",
            hint="save one that was made with keras.Input, or that was called before it was saved",
        )
    tree = modules.keras.tree
    inputs = tree.flatten(model.inputs)
    like = getattr(model, "_inputs_struct", None)

    def call(*given: Any) -> Any:
        packed = list(given) if like is None else tree.pack_sequence_as(like, list(given))
        return model(packed[0] if like is None and len(given) == 1 else packed, training=False)

    return _Loaded(
        call,
        [(one.name, str(one.dtype), tuple(one.shape)) for one in inputs],
        [weight for weight in model.weights if "float" in str(weight.dtype)],
        {name: layer.mask for name, layer in masked_layers(model).items()},
    )


def _check_size(path: Path) -> None:
    """Refuse an archive that is much larger than its file; Keras packs nothing tighter."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ModelError(
            f"{path}: is no model that Keras can load ({first_line(error)[:_SHOWN]})", hint=_WRITE
        ) from error
    if size > _MOST_UNPACKED * path.stat().st_size + LARGEST:
        raise ModelError(
            f"{path}: would unpack to {size / 1e9:.1f} GB, which no model that Keras wrote does",
            hint=_WRITE,
        )


def _not_loaded(path: Path, error: Exception) -> ModelError:
    """Why Keras does not load a file, in the user's words."""
    said = str(error)
    trusted = (
        "where you trust whoever made it: load it in Python, model.export('folder'), and convert "
        "that folder"
    )
    if "safe_mode" in said or "Lambda" in said:
        return ModelError(
            f"{path}: holds Python code (a Lambda layer), which is not run",
            hint=f"write the Lambda as a layer; or, {trusted}",
        )
    if "Could not locate" in said or "Could not deserialize" in said:
        return ModelError(
            f"{path}: needs a layer or function that is not Keras' own "
            f"({first_line(error)[:_SHOWN]})",
            hint=trusted,
        )
    return ModelError(
        f"{path}: is no model that Keras can load ({first_line(error)[:_SHOWN]})",
        hint=_WRITE,
    )


# --- SavedModels -----------------------------------------------------------------------------


def _saved_model(path: Path, modules: Framework) -> _Loaded:
    check_readable(path / "saved_model.pb", ModelError)
    try:
        with quiet():
            loaded = modules.tensorflow.saved_model.load(str(path))
            signatures = dict(loaded.signatures)
    except Exception as error:
        raise ModelError(
            f"{path}: is no SavedModel that TensorFlow can load ({first_line(error)[:_SHOWN]})",
            hint="write one with model.export('folder')",
        ) from error
    name = _SIGNATURE if _SIGNATURE in signatures else next(iter(signatures), None)
    if name is None or (name != _SIGNATURE and len(signatures) > 1):
        known = ", ".join(signatures) or "none"
        raise ModelError(
            f"{path}: has no signature '{_SIGNATURE}' (it has: {known})",
            hint="write it with model.export('folder'), or tf.saved_model.save(..., signatures=f)",
        )
    function = signatures[name]
    specs = function.structured_input_signature[1]

    def call(*given: Any) -> Any:
        # The signature goes away with what was loaded.
        assert loaded is not None  # noqa: S101 (for the type checker: it never is)
        return function(**dict(zip(specs, given, strict=True)))

    inputs = [(key, spec.dtype.name, _known_rank(path, key, spec)) for key, spec in specs.items()]
    weights = [weight for weight in function.variables if weight.dtype.is_floating]
    return _Loaded(call, inputs, weights, None)


def _known_rank(path: Path, name: str, spec: Any) -> tuple[int | None, ...]:
    if spec.shape.rank is None:
        raise ModelError(
            f"{path}: input '{name}' has no fixed number of axes",
            hint="save the model with an input signature: model.export does",
        )
    return tuple(spec.shape.as_list())


# --- both ------------------------------------------------------------------------------------


def _fixed(
    path: Path, own: Sequence[tuple[int | None, ...]], given: Sequence[Shape] | None
) -> list[Shape]:
    """The shapes that the file gets."""
    if given:
        if len(given) != len(own) or not all(map(_fits, given, own)):
            shown = (" and ".join(map(_text, shapes)) for shapes in (own, given))
            raise ModelError(
                "{}: was made for input shape {}, not {}".format(path, *shown),
                hint="shapes are as the model has them: N,H,W,C",
            )
        return [tuple(shape) for shape in given]
    if any(None in shape[1:] for shape in own):
        raise ModelError(
            f"{path}: takes inputs of any size ({' and '.join(map(_text, own))}), a file has one",
            hint="give it: --input-shape 1,224,224,3 (N,H,W,C)",
        )
    return [tuple(1 if size is None else size for size in shape) for shape in own]


def _fits(shape: Shape, own: tuple[int | None, ...]) -> bool:
    return len(shape) == len(own) and all(
        known in (None, size) for size, known in zip(shape, own, strict=True)
    )


def _plain(value: Any, tensorflow: Any) -> Any:
    """A tensor as the file has it."""
    tensor = tensorflow.convert_to_tensor(value)
    if tensor.dtype.name in _SINGLE:
        return tensorflow.cast(tensor, tensorflow.float32)
    return tensorflow.cast(tensor, tensorflow.int32) if tensor.dtype.name in _INDICES else tensor


def _first(shape: Shape) -> Shape:
    """``[N, H, W, C]`` as ``[N, C, H, W]``; others stay."""
    return (shape[0], shape[3], shape[1], shape[2]) if len(shape) == 4 else shape


def _text(shape: Sequence[int | None]) -> str:
    return "x".join("?" if size is None else str(size) for size in shape) or "a number"
