"""One convolution under a mask: drawn by hypothesis, written as a file, computed by torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from hypothesis import strategies as st

from support.masks import MASK_KINDS, MaskKind, make_mask
from support.tflite_writer import Array, GraphWriter

Form = Literal["select", "select_swapped", "select_then_relu", "scalar_fill", "multiply"]
FORMS: tuple[Form, ...] = (
    "select",
    "select_swapped",
    "select_then_relu",
    "scalar_fill",
    "multiply",
)


def _same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    total = max(0, (-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size)
    return total // 2, total - total // 2


@dataclass(frozen=True)
class Case:
    """A convolution ``[batch, height, width, channels_in]`` and what masks its output."""

    batch: int
    height: int
    width: int
    channels_in: int
    channels_out: int
    kernel: tuple[int, int]
    stride: int
    dilation: int
    padding: Literal["SAME", "VALID"]
    depthwise: bool
    activation: Literal["relu", "relu6"] | None
    form: Form | None
    """``None``: dense."""
    mask_kind: MaskKind
    sparsity: float
    seed: int

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        """``[batch, height, width, channels_out]`` of the output."""
        sizes = []
        for size, kernel in zip((self.height, self.width), self.kernel, strict=True):
            if self.padding == "SAME":
                sizes.append(-(-size // self.stride))
            else:
                sizes.append((size - (kernel - 1) * self.dilation - 1) // self.stride + 1)
        return self.batch, sizes[0], sizes[1], self.channels_out

    def _rng(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, purpose])

    def input(self) -> Array:
        """Random input."""
        shape = (self.batch, self.height, self.width, self.channels_in)
        return self._rng(0).uniform(-1, 1, shape).astype(np.float32)

    @property
    def filters(self) -> Array:
        """``[O, kh, kw, I]``, or ``[1, kh, kw, O]`` for a depthwise convolution."""
        shape = (self.channels_out, *self.kernel, self.channels_in)
        if self.depthwise:
            shape = (1, *self.kernel, self.channels_out)
        return self._rng(1).uniform(-1, 1, shape).astype(np.float32)

    @property
    def bias(self) -> Array:
        """``[O]``."""
        return self._rng(2).uniform(-1, 1, self.channels_out).astype(np.float32)

    @property
    def fill(self) -> Array:
        """``[O]``, beyond the range of every activation."""
        if self.form == "multiply":
            return np.zeros(self.channels_out, np.float32)
        fill = self._rng(3).uniform(-3, 9, self.channels_out).astype(np.float32)
        return np.full_like(fill, fill[0]) if self.form == "scalar_fill" else fill

    @property
    def mask(self) -> Array:
        """``[height, width]`` of the output, True where it is kept."""
        _, height, width, _ = self.output_shape
        return make_mask(self.mask_kind, (height, width), self.sparsity, self._rng(4))

    def write(self, path: Path, *, signature: bool = False) -> Path:
        """The case as a .tflite file; ``signature`` as in :meth:`GraphWriter.write`."""
        graph = GraphWriter()
        shape = self.output_shape
        x = graph.tensor((self.batch, self.height, self.width, self.channels_in))
        output = graph.conv_2d(
            x,
            self.filters,
            self.bias,
            shape,
            stride=self.stride,
            dilation=self.dilation,
            padding=self.padding,
            activation=self.activation,
            depthwise=self.depthwise,
        )
        mask = self.mask[None, :, :, None]
        fill = self.fill[None, None, None, :]
        match self.form:
            case "select" | "select_then_relu":
                output = graph.select(graph.constant(mask), output, graph.constant(fill), shape)
            case "select_swapped":
                output = graph.select(graph.constant(~mask), graph.constant(fill), output, shape)
            case "scalar_fill":
                scalar = np.asarray(fill[0, 0, 0, 0])
                output = graph.select(graph.constant(mask), output, graph.constant(scalar), shape)
            case "multiply":
                output = graph.multiply(output, graph.constant(mask.astype(np.float32)), shape)
            case None:
                pass
        if self.form == "select_then_relu":
            output = graph.operator("RELU", [output], shape)
        return graph.write(path, [x], [output], signature=signature)

    def expected(self, x: Array) -> Array:
        """What torch computes for the case, ``[batch, height, width, channels_out]``."""
        pads = (0, 0, 0, 0)
        if self.padding == "SAME":
            sizes = ((self.width, self.kernel[1]), (self.height, self.kernel[0]))
            (left, right), (top, bottom) = (
                _same_padding(size, kernel, self.stride, self.dilation) for size, kernel in sizes
            )
            pads = (left, right, top, bottom)
        source = torch.nn.functional.pad(torch.from_numpy(x).permute(0, 3, 1, 2), pads)
        order = (3, 0, 1, 2) if self.depthwise else (0, 3, 1, 2)
        output = torch.nn.functional.conv2d(
            source,
            torch.from_numpy(self.filters).permute(*order),
            torch.from_numpy(self.bias),
            stride=self.stride,
            dilation=self.dilation,
            groups=self.channels_in if self.depthwise else 1,
        )
        if self.activation is not None:
            output = output.clamp(0, 6 if self.activation == "relu6" else None)
        if self.form is not None:
            fill = torch.from_numpy(self.fill)[:, None, None]
            output = torch.where(torch.from_numpy(self.mask), output, fill)
        if self.form == "select_then_relu":
            output = output.relu()
        result: Array = output.permute(0, 2, 3, 1).numpy()
        return result


SMALL = Case(
    batch=1, height=6, width=5, channels_in=3, channels_out=4, kernel=(3, 3), stride=1, dilation=1,
    padding="SAME", depthwise=False, activation="relu", form="select", mask_kind="random",
    sparsity=0.3, seed=1,
)  # fmt: skip
"""One of them, for tests that want any."""


@st.composite
def cases(draw: st.DrawFn, *, masks: bool = True, max_size: int = 15) -> Case:
    """Any convolution that XNNPACK takes: odd sizes, channels that are no multiple of anything."""
    depthwise = draw(st.booleans())
    padding: Literal["SAME", "VALID"] = draw(st.sampled_from(["SAME", "VALID"]))
    kernel = (draw(st.integers(1, 7)), draw(st.integers(1, 7)))
    stride = draw(st.sampled_from([1, 1, 2, 2, 3]))
    dilation = draw(st.sampled_from([1, 2])) if stride == 1 else 1
    least = [(side - 1) * dilation + 1 if padding == "VALID" else 1 for side in kernel]
    channels_in = draw(st.integers(1, 40))
    multiplier = draw(st.sampled_from([1, 1, 2, 3]))
    return Case(
        batch=draw(st.integers(1, 3)),
        height=draw(st.integers(least[0], least[0] + max_size)),
        width=draw(st.integers(least[1], least[1] + max_size)),
        channels_in=channels_in,
        channels_out=channels_in * multiplier if depthwise else draw(st.integers(1, 40)),
        kernel=kernel,
        stride=stride,
        dilation=dilation,
        padding=padding,
        depthwise=depthwise,
        activation=draw(st.sampled_from([None, "relu", "relu6"])),
        form=draw(st.sampled_from(FORMS)) if masks else None,
        mask_kind=draw(st.sampled_from(MASK_KINDS)),
        sparsity=draw(st.floats(0.05, 0.95)),
        seed=draw(st.integers(0, 2**32 - 1)),
    )
