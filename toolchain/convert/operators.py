"""Operators that TFLite has no counterpart of, as modules of operators that it computes right.

Each module gives torch's numbers, on any runtime:

    resize by a ratio that is not whole    rows and columns by constant indices (nearest), or two
                                           products with constant matrices (all others)
    average over windows of several sizes  two such products
    largest of windows of several sizes    rows and columns, repeated so that all windows are alike
    sort, top-k of any axis, the smallest  TOPK_V2, which knows the last axis and the largest
    a matrix by a column, of rank 4        a row by the transposed matrix
    transposed convolution                 one without padding, and a crop

Indices and matrices are what torch's own operator makes of counting numbers and of the identity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from toolchain.convert.converter import litert_torch

PerAxis = Callable[[Tensor], Tensor]
"""Torch's operator along one axis: ``[1, C, in, 1]`` -> ``[1, C, out, 1]``."""


class Gather(nn.Module):
    """Takes pixels by constant indices.

    Args:
        indices: int64 ``[out]`` for each axis behind ``[N, C]``; ``None`` leaves an axis.
        sizes: of these axes in the input.
        batch: ``N``.
    """

    def __init__(self, indices: Sequence[Tensor | None], sizes: Sequence[int], batch: int) -> None:
        super().__init__()
        whole = [
            torch.arange(size) if index is None else index
            for index, size in zip(indices, sizes, strict=True)
        ]
        self._shape = [batch, *(len(index) for index in whole)]
        # One index a pixel, of all images, channels last as the file's tensors are: one copy of a
        # row of channels each, and no transpose.
        flat = torch.arange(batch)
        for index, size in zip(whole, sizes, strict=True):
            flat = (flat[:, None] * size + index).flatten()
        self.register_buffer("index", flat)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, *in]`` -> ``[N, C, *out]``."""
        channels = x.shape[1]
        pixels = x.movedim(1, -1).reshape(-1, channels).index_select(0, self.get_buffer("index"))
        return pixels.reshape(*self._shape, channels).movedim(-1, 1)


class Weigh(nn.Module):
    """Multiplies each spatial axis by a constant matrix.

    Args:
        matrices: float32 ``[out, in]`` for each axis behind ``[N, C]``; ``None`` leaves an axis.
        sizes: of the axes of the input.
    """

    def __init__(self, matrices: Sequence[Tensor | None], sizes: Sequence[int]) -> None:
        super().__init__()
        given = [axis for axis, matrix in enumerate(matrices) if matrix is not None]
        # The axis that shrinks most (or grows least) first: later products are smaller.
        growth = {axis: cast(Tensor, matrices[axis]).shape[0] / sizes[axis] for axis in given}
        self._order = sorted(given, key=lambda axis: growth[axis])
        for axis in given:
            self.register_buffer(f"matrix_{axis}", cast(Tensor, matrices[axis]).clone())

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, *in]`` -> ``[N, C, *out]``."""
        for axis in self._order:
            x = F.linear(x.transpose(2 + axis, -1), self.get_buffer(f"matrix_{axis}"))
            x = x.transpose(2 + axis, -1)
        return x


Windows = list[list[int]]
"""Of one axis: the indices that each output is made of."""


class MaxOfWindows(nn.Module):
    """The largest of each window, whatever their sizes and distances.

    Args:
        windows: of each spatial axis, none of them empty.
        sizes: of the axes of the input.
        batch: ``N``.
    """

    def __init__(self, windows: Sequence[Windows], sizes: Sequence[int], batch: int) -> None:
        super().__init__()
        self._kernel = [max(len(window) for window in axis) for axis in windows]
        # Windows in a row, each filled up to the longest with its last index.
        indices = [
            torch.tensor(
                [window[min(k, len(window) - 1)] for window in axis for k in range(longest)]
            )
            for axis, longest in zip(windows, self._kernel, strict=True)
        ]
        even = all(
            torch.equal(index, torch.arange(size))
            for index, size in zip(indices, sizes, strict=True)
        )
        self._gather = nn.Identity() if even else Gather(indices, sizes, batch)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, *in]`` -> ``[N, C, *out]``."""
        x = self._gather(x)
        if len(self._kernel) == 1:
            return F.max_pool2d(x[:, :, None], [1, *self._kernel])[:, :, 0]
        return F.max_pool2d(x, self._kernel)


def adaptive_windows(size: int, count: int) -> Windows:
    """Of adaptive pooling of an axis to ``count``."""
    return [
        list(range(i * size // count, -(-(i + 1) * size // count)))  # rounded down, and up
        for i in range(count)
    ]


def sliding_windows(
    size: int, count: int, kernel: int, stride: int, padding: int, dilation: int
) -> Windows:
    """Of pooling with a kernel: what lies in the padding is left out."""
    starts = [i * stride - padding for i in range(count)]
    return [
        [at for k in range(kernel) if 0 <= (at := start + k * dilation) < size] for start in starts
    ]


class Largest(nn.Module):
    """The ``k`` largest (or smallest) of an axis, in order, and where they stand.

    Args:
        k: how many.
        axis: of what.
        largest: or smallest.
    """

    def __init__(self, k: int, axis: int, largest: bool) -> None:
        super().__init__()
        # Defines TFLite's operator for torch.
        litert_torch("backend.experimental.torch_tfl")
        self._k, self._axis, self._largest = k, axis, largest

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Values and int64 indices."""
        x = x.transpose(self._axis, -1)
        values, indices = torch.ops.tfl.topk_v2(x if self._largest else -x, self._k)
        values = values if self._largest else -values
        return values.transpose(self._axis, -1), indices.transpose(self._axis, -1).to(torch.int64)


class ColumnProduct(nn.Module):
    """A matrix by a column, each a batch of one of rank 4, as a row by the transposed matrix.

    As it is, litert-torch makes a product of another rank of it.
    """

    def forward(self, x: Tensor, column: Tensor) -> Tensor:
        """``[1, 1, M, K]`` by ``[1, 1, K, 1]`` or ``[K, 1]``."""
        return torch.matmul(column.transpose(-1, -2), x.transpose(-1, -2)).transpose(-1, -2)


class TransposedConvolution(nn.Module):
    """A transposed convolution of any padding, output padding and dilation.

    TFLite has those without padding, and those whose output is ``stride`` times their input. So
    all others are computed without padding, and cropped; a dilated kernel is one with zeros in it.

    Args:
        weight: ``[Cin, Cout / groups, *kernel]``, of one axis or two.
        bias: ``[Cout]``.
        numbers: of each axis.
        groups: of channels.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        numbers: Sequence[TransposedAxis],
        groups: int,
    ) -> None:
        super().__init__()
        self._alone = len(numbers) == 1
        if self._alone:
            weight, numbers = weight[:, :, None], [TransposedAxis(1, 1, 1), *numbers]
        for axis, number in enumerate(numbers):
            weight = _spread(weight, 2 + axis, number.dilation)
        self.register_buffer("weight", weight.clone())
        self.register_buffer("bias", None if bias is None else bias.clone())
        self._numbers, self._groups = list(numbers), groups

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, *in]`` -> ``[N, Cout, *out]``."""
        return self._planes(x[:, :, None])[:, :, 0] if self._alone else self._planes(x)

    def _planes(self, x: Tensor) -> Tensor:
        weight, bias = self.get_buffer("weight"), cast(Tensor | None, self.bias)
        stride = [number.stride for number in self._numbers]
        axes = list(zip(x.shape[2:], weight.shape[2:], self._numbers, strict=True))
        if all(number.is_same(kernel) for _, kernel, number in axes):
            padding = [number.padding for number in self._numbers]
            return F.conv_transpose2d(x, weight, bias, stride, padding, 0, self._groups)
        # Rows and columns behind the last that an input reaches, where the output padding is larger
        # than the padding: they are the bias alone.
        ends = [(size - 1) * number.stride + kernel for size, kernel, number in axes]
        missing = [
            max(0, number.padding + number.size - end)
            for end, (_, _, number) in zip(ends, axes, strict=True)
        ]
        late = bias is not None and any(missing)
        y = F.conv_transpose2d(x, weight, None if late else bias, stride, 0, 0, self._groups)
        (top, left), (height, width) = zip(
            *((n.padding, n.size) for n in self._numbers), strict=True
        )
        y = y[:, :, top : top + height, left : left + width]
        if any(missing):
            y = F.pad(y, [0, missing[1], 0, missing[0]])
        return y + bias[:, None, None] if late and bias is not None else y


@dataclass(frozen=True)
class TransposedAxis:
    """The numbers of a transposed convolution along one axis."""

    stride: int
    dilation: int
    size: int
    """Of the output."""
    padding: int = 0
    output_padding: int = 0

    def is_same(self, kernel: int) -> bool:
        """Whether TFLite has it: with its padding ``SAME``."""
        spare = kernel - self.stride
        return spare >= 0 and 2 * self.padding == spare and self.output_padding == 0


def _spread(weight: Tensor, axis: int, step: int) -> Tensor:
    """A kernel with ``step - 1`` zeros between two of its elements along an axis."""
    size = weight.shape[axis]
    if step == 1 or size == 1:
        return weight
    shape = list(weight.shape)
    shape[axis] = (size - 1) * step + 1
    return weight.new_zeros(shape).index_copy(axis, torch.arange(size) * step, weight)


# --- what torch's operators do along one axis -------------------------------------------------


def gather_or_none(operation: PerAxis, size: int) -> Tensor | None:
    """Indices that an operator takes along an axis; ``None`` where it takes each once, in order."""
    counted = operation(torch.arange(size, dtype=torch.float32).reshape(1, 1, size, 1))
    index = counted.flatten().to(torch.int64)
    return None if torch.equal(index, torch.arange(size)) else index


def matrix_or_none(operation: PerAxis, size: int) -> Tensor | None:
    """The matrix ``[out, in]`` of a linear operator along an axis; ``None`` for the identity."""
    matrix = operation(torch.eye(size).reshape(1, size, size, 1))[0, :, :, 0].T.contiguous()
    identity = matrix.shape == (size, size) and torch.equal(matrix, torch.eye(size))
    return None if identity else matrix


def is_repeated(index: Tensor | None, size: int) -> bool:
    """Whether an axis has each element the same number of times in a row, as TFLite resizes."""
    if index is None:
        return True
    times, rest = divmod(len(index), size)
    return rest == 0 and torch.equal(index, torch.arange(size).repeat_interleave(times))
