"""What networks give and take besides float32 images: kinds, containers, types, layouts."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from support.conversion import convert_module
from toolchain.agreement.runtimes import Litert
from toolchain.convert.conversion import convert
from toolchain.convert.interface import describe_outputs
from toolchain.convert.layout import channels_last_inputs, channels_last_outputs
from toolchain.errors import ModelError


@dataclass
class _Heads:
    logits: Tensor
    hidden: Tensor | None = None


class _Dict(dict[str, Any]):
    """As libraries derive theirs."""


_Pair = namedtuple("_Pair", "first second")


class _Net(nn.Module):
    def __init__(self, outputs: Callable[[Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self._outputs = nn.Conv2d(3, 4, 3, padding=1), outputs

    def forward(self, x: Tensor) -> Any:
        return self._outputs(self.conv(x))


def _everything(y: Tensor) -> Any:
    return {
        "heads": _Heads(y.mean((2, 3))),
        "more": _Dict(classes=y.argmax(1), above=y > 0.5, double=y.double()),
        "pair": _Pair(y.amax((2, 3)), None),
        "stride": 8,
        "best": list(y.flatten(1).topk(3)),
        "worst": y.topk(2, dim=1, largest=False).values,
        "order": y.mean((2, 3)).sort(-1).indices,
        "small": y.argmax(1).to(torch.uint8),
    }


def test_every_kind_of_output_is_in_the_file_or_is_said_not_to_be(tmp_path: Path) -> None:
    model, path = _Net(_everything), tmp_path / "net.tflite"
    done = convert_module(model, [(1, 3, 8, 8)], path)
    assert [tensor.dtype for tensor in done.outputs] == [
        "float32", "int32", "bool", "float32", "float32", "float32", "int32", "float32", "int32",
        "uint8",
    ]  # fmt: skip
    notes = "\n".join(done.notes)
    for text in (
        "['heads'].hidden is None in torch, and is not in the file",
        "['pair'].second is None",
        "['stride'] is 8, always",
        "['more']['classes'] is int64 in torch, int32 in the file",
        "['more']['double'] is float64 in torch, float32 in the file",
    ):
        assert text in notes
    x = torch.randn(1, 3, 8, 8)
    y = model.conv(x).detach()
    (found,) = Litert("builtin").run(path, [[x.permute(0, 2, 3, 1).contiguous().numpy()]])
    assert np.array_equal(found[1], y.argmax(1).numpy())
    assert np.array_equal(found[2], (y > 0.5).permute(0, 2, 3, 1).numpy())


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (lambda y: {"a": y, "b": object()}, r"output \['b'\] is of type object"),
        (lambda y: (y, torch.complex(y, y)), r"output \[1\] is of type torch.complex64"),
        (lambda _: None, "gives no tensor"),
        (lambda _: [None, 3], "gives no tensor"),
    ],
)
def test_an_output_that_no_file_holds_is_named(
    outputs: Callable[[Tensor], Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        describe_outputs(outputs(torch.zeros(1)), "net:make")


# --- other floats ------------------------------------------------------------------------------


class _Mixed(nn.Module):
    """Casts to every float inside, weights too, and a region of autocast."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.low = nn.Conv2d(3, 4, 3).half()
        self.brain = nn.Conv2d(4, 4, 3).to(torch.bfloat16)
        self.high = nn.Conv2d(4, 4, 3).double()
        self.plain = nn.Conv2d(4, 4, 3)
        self.register_buffer("scale", torch.rand(4, 1, 1, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        y = self.brain(self.low(x.half()).to(torch.bfloat16))
        y = self.high(y.double()) * self.get_buffer("scale")
        with torch.autocast("cpu", torch.bfloat16):
            y = self.plain(y.float())
        return F.relu(y.to(torch.float32))


def test_floats_of_other_types_are_float32_in_the_file(tmp_path: Path) -> None:
    model = _Mixed()
    done = convert_module(model, [(1, 3, 12, 12)], tmp_path / "net.tflite")
    assert done.outputs[0].dtype == "float32"
    (note,) = done.notes
    assert "bfloat16 and float16 and float64 in torch is float32 in the file" in note
    assert model.low.weight.dtype == torch.float16  # the user's model is left as it is


def test_a_network_of_half_weights_is_converted_with_float32_ones(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).half()
    done = convert_module(model, [(1, 3, 9, 9)], tmp_path / "net.tflite")
    assert done.notes == ["weights are float16 in torch, float32 in the file"]


def test_a_program_of_half_precision_takes_float32_in_the_file(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).half().eval()
    program = torch.export.export(model, (torch.zeros(1, 3, 9, 9, dtype=torch.float16),))
    torch.export.save(program, tmp_path / "half.pt2")
    done = convert(tmp_path / "half.pt2", tmp_path / "net.tflite")
    assert (done.inputs[0].dtype, done.outputs[0].dtype) == ("float32", "float32")
    assert done.notes == ["inputs are float16 in torch, float32 in the file, as all is"]


# --- channels last in torch ------------------------------------------------------------------


class _Camera(nn.Module):
    """Takes bytes' range, channels last, and gives a map that has them last too."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = ((x / 255 - 0.5) * 2).flip(-1).permute(0, 3, 1, 2)
        return torch.sigmoid(self.conv(y).permute(0, 2, 3, 1))


def test_images_that_are_channels_last_in_torch_are_so_in_the_file(tmp_path: Path) -> None:
    model, path = _Camera(), tmp_path / "net.tflite"
    done = convert_module(model, [(1, 6, 8, 3)], path)
    (taken,), (given,) = done.inputs, done.outputs
    assert taken.shape == taken.torch_shape == (1, 6, 8, 3)
    assert given.shape == given.torch_shape == (1, 6, 8, 4)
    assert done.notes == [
        "input 0 is N,H,W,C in torch, 1x6x8x3: so it is in the file",
        "output 0 is N,H,W,C in torch, 1x6x8x4: so it is in the file",
    ]
    x = torch.rand(1, 6, 8, 3) * 255
    ((found,),) = Litert("builtin").run(path, [[x.numpy()]])
    np.testing.assert_allclose(found, model(x).detach().numpy(), atol=1e-5)


class _Layout(nn.Module):
    def __init__(self, function: Callable[[nn.Module, Tensor], Any]) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3, 3)
        self._function = function

    def forward(self, x: Tensor) -> Any:
        return self._function(self, x)


@pytest.mark.parametrize(
    ("function", "inputs", "outputs"),
    [
        (lambda m, x: m.conv(x), False, False),
        (lambda m, x: m.conv(x.permute(0, 3, 1, 2)), True, False),
        (lambda m, x: m.conv(torch.movedim(x, -1, 1)), True, False),
        (lambda m, x: m.conv(x.transpose(1, 3).transpose(2, 3)), True, False),
        (lambda m, x: m.conv(x.float().contiguous().permute(0, 3, 1, 2)), True, False),
        (lambda m, x: m.conv(x[..., [2, 1, 0]].permute(0, 3, 1, 2)), True, False),
        (lambda m, x: m.conv((x - x.mean((1, 2), True)).permute(0, 3, 1, 2)), True, False),
        (lambda m, x: m.conv(F.pad(x, (0, 0, 1, 1, 1, 1)).permute(0, 3, 1, 2)), True, False),
        (lambda m, x: m.conv(x).permute(0, 2, 3, 1), False, True),
        (lambda m, x: m.linear(m.conv(x).permute(0, 2, 3, 1)).softmax(-1), False, True),
        (lambda m, x: m.linear(x), True, True),
        (lambda m, x: m.conv(x) + x.permute(0, 1, 3, 2), False, False),
        (lambda m, x: m.conv(x.permute(0, 3, 1, 2)) + m.conv(x), False, False),
        (lambda m, x: m.conv(x.to(memory_format=torch.channels_last)), False, False),
    ],
)
def test_the_layout_of_images_is_seen_in_what_moves_their_channels(
    function: Callable[[nn.Module, Tensor], Any], inputs: bool, outputs: bool
) -> None:
    program = torch.export.export(_Layout(function).eval(), (torch.randn(1, 3, 3, 3),))
    assert channels_last_inputs(program) == ({0} if inputs else set())
    assert channels_last_outputs(program) == ({0} if outputs else set())


@pytest.mark.parametrize(
    ("shape", "last"), [((1, 8, 6, 3), True), ((1, 3, 8, 6), False), ((1, 3, 8, 3), False)]
)
def test_where_the_network_does_not_tell_the_shape_does(shape: tuple[int, ...], last: bool) -> None:
    model = _Layout(lambda _, x: x.flatten(1) * 2)
    program = torch.export.export(model.eval(), (torch.randn(shape),))
    assert channels_last_inputs(program) == ({0} if last else set())


def test_a_shape_that_is_channels_last_by_mistake_is_told_the_right_one(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        convert_module(_Net(lambda y: y), [(1, 8, 8, 3)], tmp_path / "net.tflite")
    assert caught.value.hint == "the model takes channels behind the batch: --input-shape 1,3,8,8"
