"""Operators that TFLite has no counterpart of: many settings in one network, converted once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from support.conversion import convert_module
from toolchain.convert.operators import (
    MaxOfWindows,
    TransposedAxis,
    TransposedConvolution,
    adaptive_windows,
)
from toolchain.convert.rewrite import rewrite
from toolchain.tflite_file.graph import read_model

Function = Callable[[Tensor], Tensor]
resize = F.interpolate


class _All(nn.Module):
    """Every function of one input, an output each."""

    def __init__(self, functions: Mapping[str, Function]) -> None:
        super().__init__()
        self._functions = list(functions.values())

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(function(x) for function in self._functions)


_RESIZES: dict[str, Function] = {
    "nearest, larger": lambda x: resize(x, size=(20, 22)),
    "nearest, smaller": lambda x: resize(x, size=(7, 6)),
    "nearest, half": lambda x: resize(x, scale_factor=0.5),
    "nearest, scale": lambda x: resize(x, scale_factor=1.7),
    "nearest, scale of sizes": lambda x: resize(x, scale_factor=1.7, recompute_scale_factor=True),
    "nearest, one axis": lambda x: resize(x, size=(15, 40)),
    "nearest-exact": lambda x: resize(x, size=(20, 22), mode="nearest-exact"),
    "nearest-exact, whole": lambda x: resize(x, scale_factor=2, mode="nearest-exact"),
    "bilinear, larger": lambda x: resize(x, size=(20, 22), mode="bilinear"),
    "bilinear, smaller": lambda x: resize(x, size=(7, 6), mode="bilinear"),
    "bilinear, scale": lambda x: resize(x, scale_factor=1.3, mode="bilinear"),
    "bilinear, scale of sizes": lambda x: resize(
        x, scale_factor=1.3, mode="bilinear", recompute_scale_factor=True
    ),
    "bilinear, corners": lambda x: resize(x, size=(20, 9), mode="bilinear", align_corners=True),
    "bilinear, antialias": lambda x: resize(x, size=(7, 6), mode="bilinear", antialias=True),
    "bicubic": lambda x: resize(x, scale_factor=2, mode="bicubic"),
    "bicubic, corners": lambda x: resize(x, size=(7, 40), mode="bicubic", align_corners=True),
    "bicubic, antialias": lambda x: resize(x, size=(9, 22), mode="bicubic", antialias=True),
    "area": lambda x: resize(x, size=(7, 6), mode="area"),
    "linear": lambda x: resize(x[:, :, 0], size=20, mode="linear"),
    "trilinear": lambda x: resize(torch.stack([x, -x], 2), size=(3, 8, 9), mode="trilinear"),
}
_WHOLE: dict[str, Function] = {
    "nearest, twice": lambda x: resize(x, scale_factor=2),
    "nearest, three times": lambda x: resize(x, size=(45, 51)),
    "bilinear, twice": lambda x: resize(x, scale_factor=2, mode="bilinear"),
    "bilinear, four times": lambda x: resize(x, scale_factor=4, mode="bilinear"),
}
_POOLS: dict[str, Function] = {
    "average": lambda x: F.adaptive_avg_pool2d(x, (4, 6)),
    "average, one axis": lambda x: F.adaptive_avg_pool2d(x, (5, 11)),
    "average, one dimension": lambda x: F.adaptive_avg_pool1d(x[:, :, 0], 5),
    "average, larger": lambda x: F.adaptive_avg_pool2d(x, 20),
    "largest": lambda x: F.adaptive_max_pool2d(x, (4, 6)),
    "largest, that divides": lambda x: F.adaptive_max_pool2d(x, (5, 17)),
    "largest, global": lambda x: F.adaptive_max_pool2d(x, 1),
    "largest, larger": lambda x: F.adaptive_max_pool2d(x, 20),
    "largest, one dimension": lambda x: F.adaptive_max_pool1d(x[:, :, 0], 5),
    "average, padding not counted": lambda x: F.avg_pool2d(
        x, 3, 2, 1, ceil_mode=True, count_include_pad=False
    ),
    "average, of a ResNet-D": lambda x: F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False),
    "average, padding not counted, of a stride": lambda x: F.avg_pool2d(
        x, 3, 2, 1, count_include_pad=False
    ),
    "average, padding not counted, of one axis": lambda x: F.avg_pool2d(
        x, 3, 1, (0, 1), count_include_pad=False
    ),
    "average, one dimension, rounded up": lambda x: F.avg_pool1d(
        x[:, :, 0], 3, 2, 1, ceil_mode=True, count_include_pad=False
    ),
    "average, three dimensions": lambda x: F.avg_pool3d(torch.stack([x, -x, x], 2), 2, 1, 1),
    "average of neighbouring channels": lambda x: F.local_response_norm(x, 3),
    "average, another divisor": lambda x: F.avg_pool2d(x, (3, 2), 2, 1, divisor_override=5),
    "largest, dilated": lambda x: F.max_pool2d(x, 2, 1, 1, dilation=(1, 2)),
    "largest, dilated, one dimension": lambda x: F.max_pool1d(x[:, :, 0], 2, 1, 1, dilation=2),
    "places": lambda x: x[:, :, 0].argsort(1, descending=True).float(),
    "top-k": lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1).topk(3).values,
}


def test_resizes_and_pools_of_every_ratio_equal_torch_on_every_runtime(tmp_path: Path) -> None:
    model = _All(_RESIZES | _WHOLE | _POOLS)
    done = convert_module(model, [(2, 4, 15, 17)], tmp_path / "net.tflite")
    assert done.relative_diff <= 1e-6


def test_resizes_to_whole_multiples_stay_operators_of_tflite(tmp_path: Path) -> None:
    convert_module(_All(_WHOLE), [(1, 4, 15, 17)], tmp_path / "net.tflite")
    operators = [op.op for op in read_model(tmp_path / "net.tflite").graph.operators]
    assert operators.count("RESIZE_NEAREST_NEIGHBOR") == 2
    assert operators.count("RESIZE_BILINEAR") == 2
    assert not {"FULLY_CONNECTED", "GATHER_ND"} & set(operators)


@pytest.mark.parametrize("name", [*_RESIZES, *_POOLS])
def test_what_replaces_an_operator_computes_the_same(name: str) -> None:
    function = (_RESIZES | _POOLS)[name]
    for size in ((15, 17), (16, 33), (3, 3)) if "top" not in name else ((15, 17),):
        x = torch.randn(2, 4, *size)
        module, _ = rewrite(torch.export.export(_All({name: function}).eval(), (x,)))
        torch.testing.assert_close(module(x)[0], function(x), rtol=1e-5, atol=1e-5)


def test_windows_of_any_size_have_their_largest() -> None:
    for size, count in itertools.product((1, 2, 5, 7, 12), (1, 2, 3, 5, 9)):
        x = torch.randn(2, 3, size, 6)
        windows = [adaptive_windows(size, count), adaptive_windows(6, 4)]
        found = MaxOfWindows(windows, [size, 6], 2)(x)
        assert torch.equal(found, F.adaptive_max_pool2d(x, (count, 4)))


def _in_windows(x: Tensor, channels: int = 4) -> Tensor:
    """Cut into windows of 4x4, as a Swin transformer does, and put together again."""
    cut = x.permute(0, 2, 3, 1).reshape(2, 2, 4, 3, 4, channels).transpose(2, 3)
    windows = cut.reshape(-1, 16, channels) * torch.arange(16.0)[:, None]
    joined = windows.reshape(2, 2, 3, 4, 4, channels).transpose(2, 3)
    return joined.reshape(2, 8, 12, channels).permute(0, 3, 1, 2)


class _Attention(nn.Module):
    """With its weights, which are an average over the heads."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.register_buffer("bias", torch.randn(4, 3, 2))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        tokens = x.flatten(2).transpose(1, 2)
        # A table that is laid out otherwise than it is read: a view of it is none.
        bias = self.get_buffer("bias").permute(2, 0, 1).contiguous().view(2, 12)
        return *self.attention(tokens, tokens, tokens), x[:, :2, 0] + bias


def test_what_is_laid_out_anew_equals_torch(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), _All({"windows": _in_windows}))
    done = convert_module(model, [(2, 3, 8, 12)], tmp_path / "windows.tflite")
    assert done.relative_diff <= 1e-6
    done = convert_module(_Attention(), [(2, 4, 8, 12)], tmp_path / "attention.tflite")
    assert done.relative_diff <= 2e-6


class _Context(nn.Module):
    """Of a GCNet block: each channel's mean, weighted by pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.weigh = nn.Conv2d(3, 1, 1)
        self.register_buffer("column", torch.randn(35, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        pixels = x.flatten(2)[:, None]
        weights = self.weigh(x).flatten(2).softmax(2)[..., None]
        return torch.matmul(pixels, weights), pixels @ self.get_buffer("column")


@pytest.mark.parametrize("batch", [1, 2])
def test_a_matrix_by_a_column_equals_torch(batch: int, tmp_path: Path) -> None:
    done = convert_module(_Context(), [(batch, 3, 5, 7)], tmp_path / "net.tflite")
    assert done.relative_diff <= 2e-6


# --- transposed convolutions -------------------------------------------------------------------


def _transposed_layers() -> dict[str, nn.Module]:
    """16 settings of kernel, stride and padding, and what else there is."""
    torch.manual_seed(0)
    layers: dict[str, nn.Module] = {}
    for kernel, stride, padding, extra in (
        (1, 1, 0, 0), (2, 2, 0, 0), (3, 1, 1, 0), (3, 2, 0, 0), (3, 2, 1, 0), (3, 2, 1, 1),
        (4, 2, 0, 0), (4, 2, 1, 0), (4, 2, 1, 1), (5, 2, 2, 0), (5, 2, 2, 1), (5, 3, 1, 2),
        (4, 1, 0, 0), (2, 3, 0, 0), (1, 2, 0, 1), (6, 4, 1, 0),
    ):  # fmt: skip
        layers[f"k{kernel} s{stride} p{padding} o{extra}"] = nn.ConvTranspose2d(
            4, 3, kernel, stride, padding, extra
        )
    layers["no bias"] = nn.ConvTranspose2d(4, 3, 3, 2, 1, 1, bias=False)
    layers["more added than there is"] = nn.ConvTranspose2d(4, 3, 2, 3, 0, 2)
    layers["each axis another"] = nn.ConvTranspose2d(4, 3, (3, 5), (1, 2), (1, 2), (0, 1))
    layers["two groups"] = nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2)
    layers["depthwise"] = nn.ConvTranspose2d(4, 4, 3, 2, 1, 1, groups=4)
    layers["dilated"] = nn.ConvTranspose2d(4, 3, 3, 2, 2, 1, dilation=2)
    layers["dilated, stride 1"] = nn.ConvTranspose2d(4, 3, 3, 1, 2, dilation=(1, 3))
    return layers


class _Transposed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_transposed_layers().values())
        self.sized = nn.ConvTranspose2d(4, 3, 3, 2, 1)
        self.line = nn.ConvTranspose1d(4, 3, 3, 2, 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        sized: Tensor = self.sized(x, output_size=[10, 13])
        line: Tensor = self.line(x[:, :, 0])
        return (*(layer(x) for layer in self.layers), sized, line)


def test_transposed_convolutions_of_every_setting_equal_torch_on_every_runtime(
    tmp_path: Path,
) -> None:
    done = convert_module(_Transposed(), [(2, 4, 5, 7)], tmp_path / "net.tflite")
    assert done.relative_diff <= 1e-6


def test_a_transposed_convolution_computes_the_same_in_any_setting() -> None:
    torch.manual_seed(1)
    x = torch.randn(2, 4, 5, 6)
    for kernel, stride, padding, extra, dilation, groups in itertools.product(
        (1, 2, 3, 5), (1, 2, 3), (0, 1, 2), (0, 1, 2), (1, 2), (1, 2)
    ):
        if extra >= max(stride, dilation) or dilation * (kernel - 1) < padding:
            continue
        layer = nn.ConvTranspose2d(
            4, 4, kernel, stride, padding, extra, groups=groups, dilation=dilation
        )
        with torch.no_grad():
            wanted = layer(x)
            axes = [
                TransposedAxis(stride, dilation, size, padding, extra) for size in wanted.shape[2:]
            ]
            found = TransposedConvolution(layer.weight, layer.bias, axes, groups)(x)
        torch.testing.assert_close(found, wanted)


def test_a_transposed_convolution_keeps_its_name_and_its_bias_inside(tmp_path: Path) -> None:
    model = nn.Sequential()
    model.add_module("up", nn.ConvTranspose2d(4, 3, 3, 2, 1, 1))
    convert_module(model, [(1, 4, 5, 7)], tmp_path / "net.tflite")
    graph = read_model(tmp_path / "net.tflite").graph
    assert [op.op for op in graph.operators] == ["TRANSPOSE_CONV", "SLICE", "SLICE"]
