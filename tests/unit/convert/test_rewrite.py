from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, fx, nn

from support.conv_nets import MASK_HOWS, Block, HandMaskedConv2d, MaskHow, Net, nets
from toolchain.convert.masks import MaskedLayer
from toolchain.convert.rewrite import rewrite
from toolchain.errors import ModelError

aten = torch.ops.aten


def _rewritten(
    model: nn.Module, *inputs: Tensor
) -> tuple[fx.GraphModule, list[MaskedLayer], list[object]]:
    module, layers = rewrite(torch.export.export(model.eval(), inputs))
    targets = [
        node.target if node.op == "call_function" else "layer"
        for node in module.graph.nodes
        if node.op in ("call_function", "call_module")
    ]
    return module, layers, targets


def _hand_masked(mask: Tensor, how: MaskHow = "left_factor") -> HandMaskedConv2d:
    layer = HandMaskedConv2d(3, 4, 3, padding=1)
    layer.how = how
    layer.register_buffer("mask", mask)
    return layer


@settings(max_examples=15, deadline=None)
@given(net=nets())
def test_a_rewritten_network_computes_what_the_original_does(net: Net) -> None:
    model = net.build()
    module, layers, _ = _rewritten(model, net.input())
    masked = [i for i, block in enumerate(net.blocks) if block.mask != "none"]
    assert [layer.name for layer in layers] == [f"convs.{i}" for i in masked]
    with torch.no_grad():
        for seed in range(3):
            torch.testing.assert_close(module(net.input(seed)), model(net.input(seed)))


@pytest.mark.parametrize("how", MASK_HOWS)
def test_a_mask_is_found_however_it_is_multiplied(how: MaskHow) -> None:
    net = Net((Block(how=how),), classifier=False)
    _, (layer,), targets = _rewritten(net.build(), net.input())
    assert layer.rewritten
    assert aten.mul.Tensor not in targets
    assert targets[-1] is aten.where.self


@pytest.mark.parametrize("activation", ["relu", "relu6", "hardtanh"])
def test_an_activation_that_tflite_fuses_moves_in_front_of_the_mask(activation: str) -> None:
    net = Net((Block(activation=activation),), classifier=False)
    _, (layer,), targets = _rewritten(net.build(), net.input())
    assert targets[-1] is aten.where.self
    low, high = {"relu": (0, torch.inf), "relu6": (0, 6), "hardtanh": (-1, 1)}[activation]
    assert low <= layer.fill.min()
    assert layer.fill.max() <= high


@pytest.mark.parametrize("activation", ["hardswish", "silu", "sigmoid", "leaky_relu"])
def test_any_other_activation_stays_behind_it(activation: str) -> None:
    net = Net((Block(activation=activation),), classifier=False)
    _, _, targets = _rewritten(net.build(), net.input())
    assert targets[-1] is not aten.where.self
    assert targets[-2] is aten.where.self


def test_the_fill_is_what_batch_norm_makes_of_zero() -> None:
    net = Net((Block(activation="none"),), classifier=False)
    model = net.build()
    _, (layer,), _ = _rewritten(model, net.input())
    norm = model.get_submodule("norms.0")
    assert torch.equal(layer.fill, norm(torch.zeros(1, 4, 1, 1)).flatten())
    assert layer.fill.abs().min() > 0


def test_a_full_mask_leaves_a_plain_convolution() -> None:
    net = Net((Block(mask="full"),), classifier=False)
    _, (layer,), targets = _rewritten(net.build(), net.input())
    assert layer.rewritten
    assert aten.where.self not in targets
    assert aten.mul.Tensor not in targets


def test_a_convolution_that_is_used_twice_keeps_its_multiplication() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.register_buffer("mask", torch.eye(7))

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.conv(x)
            return y * self.get_buffer("mask") + y

    model, x = Twice(), torch.randn(1, 3, 9, 9)
    module, (layer,), targets = _rewritten(model, x)
    assert not layer.rewritten
    assert "used elsewhere" in (layer.reason or "")
    assert aten.mul.Tensor in targets
    assert torch.equal(module(x), model(x))


def test_a_masked_output_that_is_used_twice_is_masked_without_its_batch_norm() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = _hand_masked(torch.eye(9)), nn.BatchNorm2d(4)
            nn.init.normal_(self.norm.bias)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            z: Tensor = self.norm(y) + y
            return z

    model, x = Branches(), torch.randn(1, 3, 9, 9)
    module, (layer,), _ = _rewritten(model, x)
    assert layer.rewritten
    assert not layer.fill.any()
    torch.testing.assert_close(module(x), model(x))


@pytest.mark.parametrize(
    "factor",
    [torch.rand(4, 1, 1), torch.rand(9, 9), torch.tensor([1.0, 0, 1, 0])[:, None, None]],
    ids=["a scale a channel", "a weight a pixel", "channels that are left out"],
)
def test_a_factor_that_is_no_mask_stays(factor: Tensor) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)
            self.register_buffer("scale", factor)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.conv(x)
            return y * self.get_buffer("scale")

    model, x = Scaled(), torch.randn(1, 3, 9, 9)
    module, layers, targets = _rewritten(model, x)
    assert not layers
    assert aten.mul.Tensor in targets
    torch.testing.assert_close(module(x), model(x))


def test_two_inputs_multiplied_are_no_mask() -> None:
    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, x: Tensor, gate: Tensor) -> Tensor:
            y: Tensor = self.conv(x)
            return y * gate

    _, layers, _ = _rewritten(Gate(), torch.randn(1, 3, 9, 9), torch.ones(9, 9))
    assert not layers


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.full((9, 9), 2), r"layer 'conv' holds 81 values that are not 0 or 1"),
        (torch.full((9, 9), 0.5), r"layer 'conv' holds 81 values that are not 0 or 1"),
        (torch.full((9, 9), torch.nan), r"layer 'conv' holds 81 values that are not 0 or 1"),
        (torch.ones(1, 9), r"mask of layer 'conv' is 1x9, but the layer's output is 9x9"),
        (torch.ones(9, 1), r"mask of layer 'conv' is 9x1, but the layer's output is 9x9"),
        (torch.ones(()), r"mask of layer 'conv' has shape \[\]"),
    ],
)
def test_a_bad_mask_names_its_layer(mask: Tensor, message: str) -> None:
    model = nn.Sequential()
    model.add_module("conv", _hand_masked(mask))
    with pytest.raises(ModelError, match=message):
        _rewritten(model, torch.randn(1, 3, 9, 9))


def test_a_program_in_training_mode_is_refused() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    program = torch.export.export(model, (torch.randn(1, 3, 9, 9),))
    with pytest.raises(ModelError, match="training mode") as caught:
        rewrite(program)
    assert "eval()" in (caught.value.hint or "")
