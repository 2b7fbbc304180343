"""The layers of a TFLite model: shapes, multiply-accumulates, masks, and what a runtime skips.

A masked convolution is, in a file, ``CONV_2D | DEPTHWISE_CONV_2D -> SELECT_V2(mask, conv, fill)``.
This module knows the forms in which converters write that pair, and the look-alikes that the
runtime has to leave alone; for each of those it says why.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, computed_field

from toolchain.tflite_file.graph import (
    ACTIVATIONS,
    PADDINGS,
    Graph,
    Model,
    Operator,
    Quantization,
    Tensor,
)

Plane = npt.NDArray[np.bool_]

_MARK = re.compile(r"tileskip\[([^\]]*)\]")
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
_MEDIAPIPE_TRANSPOSED = "Convolution2DTransposeBias"
"""MediaPipe's own transposed convolution; its options are not read."""
_TRANSPOSED = ("TRANSPOSE_CONV", _MEDIAPIPE_TRANSPOSED)
_COUNTED = (*_CONVOLUTIONS, *_TRANSPOSED, "FULLY_CONNECTED", "BATCH_MATMUL")
MAX_PIXELS = 1 << 26
"""Of a plane that is looked at; a damaged file may declare any."""
_SKIPPED_TYPES = ("float32", "int8", "uint8")
"""Types of convolutions that the patched runtime skips masked pixels of."""
_FUSED = ("NONE", "RELU", "RELU6", "RELU_N1_TO_1")
"""Fused activations that XNNPACK's convolution applies."""
_ELEMENTWISE = (
    *("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1"),
    *("LOGISTIC", "TANH", "HARD_SWISH", "ELU", "GELU", "LEAKY_RELU", "PRELU", "ABS", "NEG"),
    *("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARE"),
)


class FillRange(BaseModel):
    """What a fill holds, in a document."""

    model_config = ConfigDict(frozen=True)

    values: int
    """How many: 1, or one for each channel."""
    minimum: float
    maximum: float


def fill_range(fill: npt.NDArray[Any]) -> FillRange | None:
    """The range of a fill; ``None`` for a layer without channels."""
    if not fill.size:
        return None
    numbers = np.nan_to_num(fill.astype(np.float64))
    return FillRange(values=fill.size, minimum=float(numbers.min()), maximum=float(numbers.max()))


@dataclass(frozen=True, eq=False)
class Mask:
    """The mask of a convolution as the file has it; in a document without its arrays."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(arbitrary_types_allowed=True)

    kept: Annotated[Plane, Field(exclude=True)]
    """``[H, W]``; True = computed."""
    fill: Annotated[npt.NDArray[Any], PlainSerializer(fill_range, return_type=FillRange | None)]
    """What a skipped pixel holds, as real numbers: ``[C]``, or ``[1]`` for all channels alike. In a
    document its range."""
    form: str
    """The operators: ``CONV_2D -> SELECT_V2`` ..."""
    skipped: bool
    """Whether the runtime computes the kept pixels only."""
    reason: str | None
    """Why it does not; ``None`` where it does."""
    fill_step: Annotated[float, Field(exclude=True)] = 0.0
    """The scale of a quantised fill; 0 where the fill is stored as the number that it is."""


@dataclass(frozen=True, eq=False)
class Layer:
    """One operator with multiply-accumulates; also what a document holds of it."""

    index: int
    """The operator's index in the graph."""
    name: str
    op: str
    dtype: str
    """Type of the output: ``float32``, ``int8`` ..."""
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    kernel: tuple[int, int] | None
    """Height and width; ``None`` for layers without a window."""
    stride: tuple[int, int] | None
    dilation: tuple[int, int] | None
    padding: str | None
    activation: str
    """Fused into the operator: ``NONE``, ``RELU`` ..."""
    macs: int
    """Multiply-accumulates of one inference, without a mask."""
    mask: Mask | None = field(repr=False)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def pixels(self) -> int:
        """Output pixels of one image: height x width; 1 for layers without a window."""
        return math.prod(self.output_shape[1:3]) if self.kernel else 1

    @computed_field  # type: ignore[prop-decorator]
    @property
    def kept(self) -> int:
        """Output pixels that have to be computed."""
        return int(self.mask.kept.sum()) if self.mask else self.pixels

    @computed_field  # type: ignore[prop-decorator]
    @property
    def sparsity(self) -> float:
        """The share of masked pixels, 0 to 1."""
        return 1 - self.kept / self.pixels if self.pixels else 0.0

    @property
    def macs_masked(self) -> int:
        """Multiply-accumulates whose result the mask throws away."""
        return self.macs // self.pixels * (self.pixels - self.kept) if self.pixels else 0

    @computed_field  # type: ignore[prop-decorator]
    @property
    def macs_saved(self) -> int:
        """Multiply-accumulates that the runtime saves: those of the mask, where it skips them."""
        return self.macs_masked if self.mask and self.mask.skipped else 0


@dataclass(frozen=True)
class Totals:
    """Sums over the layers of a model, for one inference."""

    layers: int
    masked: int
    """Layers with a mask."""
    skipped: int
    """Layers with a mask that the runtime skips."""
    macs: int
    macs_saved: int

    @property
    def ideal_speedup(self) -> float:
        """Dense over remaining multiply-accumulates: 1 if nothing is saved."""
        left = self.macs - self.macs_saved
        return self.macs / left if left else (1.0 if not self.macs else math.inf)


def totals(layers: list[Layer]) -> Totals:
    """Sum up what :func:`find_layers` found."""
    return Totals(
        layers=len(layers),
        masked=sum(layer.mask is not None for layer in layers),
        skipped=sum(layer.mask is not None and layer.mask.skipped for layer in layers),
        macs=sum(layer.macs for layer in layers),
        macs_saved=sum(layer.macs_saved for layer in layers),
    )


def find_layers(model: Model) -> list[Layer]:
    """Every operator with multiply-accumulates, in the graph's order.

    Operators with shapes that make no sense for them (a convolution of one dimension) are left
    out; names that occur twice get a number.
    """
    layers: list[Layer] = []
    seen: dict[str, int] = {}
    for op in model.graph.operators:
        if op.op in _COUNTED and (layer := _layer(model.graph, op)):
            seen[layer.name] = count = seen.get(layer.name, 0) + 1
            numbered = f"{layer.name}#{count}" if count > 1 else layer.name
            layers.append(dataclasses.replace(layer, name=numbered))
    return layers


def layer_name(tensor_name: str) -> str:
    """A short name for a layer out of its output tensor's name.

    ``deploy convert`` marks the layer's own name (``tileskip[layer1.0.conv1]``). Other files of
    litert-torch hold a path of ``Class_instance`` steps, of which the last is kept; Keras' files
    hold a list of fused names, of which the first is kept.
    """
    if marked := _MARK.search(tensor_name):
        return marked[1]
    litert = re.search(r"([^/;]+);\d*$", tensor_name)
    if litert:
        return litert[1].rpartition(".")[2]
    return tensor_name.partition(";")[0]


def _layer(graph: Graph, op: Operator) -> Layer | None:
    if len(op.inputs) < 2 or min(op.inputs[:2]) < 0 or not op.outputs:
        return None
    transposed = op.op == "TRANSPOSE_CONV"  # its inputs: output shape, weights, input
    if transposed and (len(op.inputs) < 3 or op.inputs[2] < 0):
        return None
    source = graph.tensors[op.inputs[2 if transposed else 0]]
    weights = graph.tensors[op.inputs[1]]
    result = graph.tensors[op.outputs[0]]
    windowed = op.op in (*_CONVOLUTIONS, *_TRANSPOSED)
    if windowed and {len(source.shape), len(weights.shape), len(result.shape)} != {4}:
        return None
    macs = _macs(op, source, weights, result)
    if macs is None:
        return None
    options = op.options
    return Layer(
        index=op.index,
        name=_name(op, result, weights),
        op=op.op,
        dtype=result.dtype,
        input_shape=source.shape,
        output_shape=result.shape,
        kernel=(weights.shape[1], weights.shape[2]) if windowed else None,
        stride=_stride(op, source, result) if windowed else None,
        dilation=(
            (options.get("DilationHFactor", 1), options.get("DilationWFactor", 1))
            if op.op in _CONVOLUTIONS
            else None
        ),
        padding=PADDINGS.get(options.get("Padding", 0))
        if windowed and op.op != _MEDIAPIPE_TRANSPOSED
        else None,
        activation=_activation(op),
        macs=macs,
        mask=_MaskFinder(graph, op, result).find() if op.op in _CONVOLUTIONS else None,
    )


def _stride(op: Operator, source: Tensor, result: Tensor) -> tuple[int, int]:
    if op.op == _MEDIAPIPE_TRANSPOSED:
        sizes = zip(result.shape[1:3], source.shape[1:3], strict=True)
        height, width = (whole // part if part else 1 for whole, part in sizes)
        return height, width
    return op.options.get("StrideH", 1), op.options.get("StrideW", 1)


def _name(op: Operator, result: Tensor, weights: Tensor) -> str:
    # The output of the last layer is called after the signature; its weights are not.
    for tensor in (result, weights):
        if marked := _MARK.search(tensor.name):
            return marked[1]
    return layer_name(result.name) or f"{op.op.lower()}_{op.index}"


def _macs(op: Operator, source: Tensor, weights: Tensor, result: Tensor) -> int | None:
    if op.op == "CONV_2D":  # weights [Cout, kh, kw, Cin / groups]
        return math.prod(result.shape[:3]) * weights.elements
    if op.op == "DEPTHWISE_CONV_2D":  # weights [1, kh, kw, Cout]
        return math.prod(result.shape[:3]) * weights.elements
    if op.op in _TRANSPOSED:  # weights [Cout, kh, kw, Cin], used once for each input pixel
        return math.prod(source.shape[:3]) * weights.elements
    if not weights.shape or not source.shape or not result.shape:
        return None
    if op.op == "FULLY_CONNECTED":  # weights [Cout, Cin]
        return result.elements * weights.shape[-1]
    return result.elements * source.shape[-1]


def _activation(op: Operator) -> str:
    number = op.options.get("FusedActivationFunction", 0)
    return ACTIVATIONS.get(number, str(number))


@dataclass(frozen=True, eq=False)
class _Match:
    kept: Plane
    fill: npt.NDArray[Any]
    fault: str | None
    fill_step: float = 0.0


class _MaskFinder:
    """Looks behind one convolution for a mask."""

    def __init__(self, graph: Graph, conv: Operator, result: Tensor) -> None:
        self._graph, self._conv, self._result = graph, conv, result

    def find(self) -> Mask | None:
        tensor, path, shared = self._result, [self._conv.op], self._shared(self._result)
        joined: str | None = None
        # An activation that no convolution can fuse may stand before the mask, and a sum with
        # another branch: two steps at most (MINIMUM and MAXIMUM of a clamp).
        for _ in range(3):
            for op in self._graph.consumers.get(tensor.index, ()):
                if found := self._match(op, tensor):
                    form = " -> ".join([*path, op.op])
                    fault = (
                        self._blocked(path, shared, joined) or found.fault or self._unsupported()
                    )
                    return Mask(found.kept, found.fill, form, fault is None, fault, found.fill_step)
            step = self._graph.sole_consumer(tensor.index)
            if step is None or step.op not in _ELEMENTWISE or len(step.outputs) != 1:
                return None
            others = [index for index in step.inputs if index not in (tensor.index, -1)]
            if not all(self._graph.tensors[index].constant for index in others):
                joined = step.op
            tensor = self._graph.tensors[step.outputs[0]]
            if tensor.shape != self._result.shape:
                return None
            path.append(step.op)
        return None

    def _shared(self, tensor: Tensor) -> str | None:
        if tensor.index in self._graph.outputs:
            return "the convolution's own output is an output of the model"
        readers = sum(
            op.inputs.count(tensor.index) for op in self._graph.consumers.get(tensor.index, ())
        )
        if readers > 1:
            return f"the convolution's output is read {readers} times"
        return None

    def _match(self, op: Operator, tensor: Tensor) -> _Match | None:
        if op.op in ("SELECT_V2", "SELECT"):
            return self._match_select(op, tensor) if op.outputs else None
        return self._match_multiply(op, tensor) if op.op == "MUL" else None

    def _match_select(self, op: Operator, tensor: Tensor) -> _Match | None:
        if len(op.inputs) != 3 or min(op.inputs) < 0 or op.inputs.count(tensor.index) != 1:
            return None
        condition, on_true, on_false = (self._graph.tensors[index] for index in op.inputs)
        swapped = on_false.index == tensor.index
        other, packed = self._stored(on_true if swapped else on_false)
        if condition.data is None or condition.dtype != "bool":
            return None
        if self._graph.tensors[op.outputs[0]].shape != self._result.shape:
            return None
        kept = ~condition.data if swapped else condition.data
        plane, uneven = self._plane(condition, kept)
        if plane is None:
            return None
        if other.data is None:
            return _Match(plane, np.zeros(1, np.float32), "what the mask puts in is computed")
        fault = uneven
        if op.op == "SELECT":
            fault = "the mask is a SELECT, an old operator; SELECT_V2 is recognised"
        elif not self._per_channel(other):
            fault = f"the fill's shape is {list(other.shape)}, not one value a channel"
        elif packed:
            fault = f"the fill is stored as {other.dtype}"
        elif not _one_scale(tensor, other, self._graph.tensors[op.outputs[0]]):
            fault = "the convolution, the fill and the masked output differ in scale or zero point"
        step = float(other.quantization.scale[0]) if other.quantization is not None else 0.0
        return _Match(plane, _real(other), fault, step)

    def _match_multiply(self, op: Operator, tensor: Tensor) -> _Match | None:
        others = [index for index in op.inputs if index != tensor.index]
        if len(op.inputs) != 2 or len(others) != 1 or others[0] < 0 or not op.outputs:
            return None
        factor, packed = self._stored(self._graph.tensors[others[0]])
        if factor.data is None or self._graph.tensors[op.outputs[0]].shape != self._result.shape:
            return None
        values = _real(factor).reshape(factor.data.shape)
        plane, uneven = self._plane(factor, values != 0)
        if plane is None or plane.all():
            return None
        fused, ones = _activation(op), np.unique(values[values != 0])
        fault = uneven
        if factor.dtype != "float32" or packed:
            fault = f"the mask is multiplied as {factor.dtype}"
        elif ones.size and not np.array_equal(ones, [1]):
            fault = "the mask's factor holds other numbers than 0 and 1"
        elif fused != "NONE":
            fault = f"the mask's MUL fuses {fused}"
        return _Match(plane, np.zeros(1, np.float32), fault)

    def _plane(
        self, tensor: Tensor, kept: npt.NDArray[np.bool_]
    ) -> tuple[Plane | None, str | None]:
        """A constant as one ``[H, W]`` plane, and why it is none for all images and channels.

        ``None`` for one that masks no pixels: of another size, or of whole channels.
        """
        shape = (1,) * (4 - len(tensor.shape)) + tensor.shape
        height, width = self._result.shape[1:3]
        if len(shape) != 4 or height * width > MAX_PIXELS:
            return None, None
        if any(
            size not in (1, whole) for size, whole in zip(shape, self._result.shape, strict=True)
        ):
            return None, None
        if shape[1:] != (1, 1, 1) and shape[1:3] == (1, 1) != (height, width):
            return None, None  # a number for each channel is no mask
        values = kept.reshape(shape)
        plane: Plane = np.asarray(values.any(axis=(0, 3)))
        uneven = None
        if not (values == plane[None, :, :, None]).all():
            uneven = "the mask differs between channels or images"
            if (values == values[:, :1, :1]).all():
                return None, None  # channels that are left out
        elif shape[0] != 1 or shape[3] != 1:
            uneven = f"the mask's shape is {list(tensor.shape)}, not one plane"
        return np.broadcast_to(plane, (height, width)), uneven

    def _stored(self, tensor: Tensor) -> tuple[Tensor, bool]:
        """A tensor, or the constant that a DEQUANTIZE unpacks to it; and whether one does."""
        packed = unpacked(self._graph, tensor.index)
        return (tensor, False) if packed is None else (packed, True)

    def _per_channel(self, fill: Tensor) -> bool:
        """Whether a constant is one value, or one for each channel."""
        channels = self._result.shape[3]
        return fill.elements == 1 or (fill.elements == channels and fill.shape[-1] == channels)

    def _blocked(self, path: list[str], shared: str | None, joined: str | None) -> str | None:
        """Why the pair is no pair: something between the two, or another reader."""
        if shared:
            return shared
        if joined:
            return f"{joined} of two tensors between the convolution and its mask"
        if len(path) > 1:
            return f"{' and '.join(path[1:])} between the convolution and its mask"
        if _activation(self._conv) not in _FUSED:
            return f"XNNPACK has no fused {_activation(self._conv)}"
        return None

    def _unsupported(self) -> str | None:
        """Why XNNPACK's delegate does not take the convolution, masked or not."""
        if self._result.dtype not in _SKIPPED_TYPES:
            return f"only {', '.join(_SKIPPED_TYPES)} are skipped, this is {self._result.dtype}"
        if not self._static(self._conv.inputs[1]):
            return "the weights are no constant"
        weights = self._graph.tensors[self._conv.inputs[1]].dtype
        if weights != self._result.dtype:
            return f"weights are {weights} and outputs {self._result.dtype} (dynamic range)"
        bias = self._conv.inputs[2] if len(self._conv.inputs) > 2 else -1
        if bias < 0:
            return "the convolution has no bias tensor, which XNNPACK's delegate needs"
        return None if self._static(bias) else "the bias is no constant"

    def _static(self, index: int) -> bool:
        """A constant, or one that is only unpacked (fp16 weights behind a DEQUANTIZE)."""
        tensor, _ = self._stored(self._graph.tensors[index])
        return tensor.constant


def quantization_of(graph: Graph, index: int) -> Quantization | None:
    """Scale and zero point of a tensor's values.

    Its own, or those of the tensor that a DEQUANTIZE unpacks to it: a model of int8 whose outputs
    are float32 has steps all the same.
    """
    tensor, packed = graph.tensors[index], unpacked(graph, index)
    if tensor.quantization is None and packed is not None:
        return packed.quantization
    return tensor.quantization


def unpacked(graph: Graph, index: int) -> Tensor | None:
    """The tensor that a DEQUANTIZE unpacks to a tensor; ``None`` where none does."""
    maker = graph.producers.get(index)
    if maker is None or maker.op != "DEQUANTIZE" or not maker.inputs or maker.inputs[0] < 0:
        return None
    return graph.tensors[maker.inputs[0]]


def _one_scale(*tensors: Tensor) -> bool:
    """Whether tensors are quantised alike, or are none of them."""
    found = {
        None if one is None else (one.scale.tobytes(), one.zero_point.tobytes())
        for one in (tensor.quantization for tensor in tensors)
    }
    return len(found) == 1


def _real(tensor: Tensor) -> npt.NDArray[Any]:
    """A constant's values, flat; quantised ones as the real numbers that they stand for."""
    assert tensor.data is not None  # noqa: S101 (the caller looked)
    flat = tensor.data.reshape(-1)
    quantization = tensor.quantization
    if quantization is None or quantization.scale.size != 1 or flat.dtype.kind not in "iu":
        return flat
    offset = quantization.zero_point[0] if quantization.zero_point.size else 0
    real: npt.NDArray[Any] = quantization.scale[0] * (flat.astype(np.float64) - offset)
    return real
