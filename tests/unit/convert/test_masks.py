"""Masks as users write them: where they stand, what they are made of, what is made of them."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, fx, nn

from support.conversion import convert_module
from toolchain.convert.conversion import convert
from toolchain.convert.masks import MaskedLayer
from toolchain.convert.rewrite import rewrite
from toolchain.tflite_file.inspection import inspect_model

aten = torch.ops.aten
Forward = Callable[["_Masked", Tensor], Tensor]


class _Masked(nn.Module):
    """A convolution, a second one, BatchNorm, and a mask; ``how`` puts them together."""

    def __init__(self, how: Forward) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.how = how
        self.inner = nn.Conv2d(4, 4, 3, padding=1)
        self.conv, self.other = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1)
        self.line = nn.Conv1d(3, 4, 3, padding=1)
        self.norm, self.group = nn.BatchNorm2d(4), nn.GroupNorm(2, 4)
        for tensor in (self.norm.weight, self.norm.bias, self.norm.running_mean):
            assert tensor is not None
            nn.init.normal_(tensor, 0.5, 0.5)
        self.shift = nn.Parameter(torch.randn(4, 1, 1))
        self.soft = nn.Parameter(torch.rand(9, 9))
        self.register_buffer("keep", torch.rand(9, 9) > 0.4)
        self.register_buffer("field", torch.rand(1, 4, 9, 9))

    @property
    def plane(self) -> Tensor:
        return self.get_buffer("keep")

    @property
    def other_plane(self) -> Tensor:
        return self.plane.T

    @property
    def map(self) -> Tensor:
        return self.get_buffer("field")

    def forward(self, x: Tensor) -> Tensor:
        return self.how(self, x)


def _rewritten(how: Forward) -> tuple[_Masked, list[MaskedLayer], list[object], fx.GraphModule]:
    """The module, its layers, and the operators behind the rewriting, which change no number."""
    model, x = _Masked(how).eval(), torch.randn(2, 3, 9, 9)
    with torch.no_grad():
        wanted = model(x)
        module, layers = rewrite(torch.export.export(model, (x,)))
        torch.testing.assert_close(module(x), wanted, rtol=1e-4, atol=1e-5)
    targets = [
        node.target if node.op == "call_function" else "layer"
        for node in module.graph.nodes
        if node.op in ("call_function", "call_module")
    ]
    return model, layers, targets, module


_MASKED_RIGHT_BEHIND: dict[str, Forward] = {
    "where": lambda m, x: torch.where(m.plane, m.conv(x), 0.0),
    "where, zeros_like": lambda m, x: _where_zeros(m, m.conv(x)),
    "where, exchanged": lambda m, x: torch.where(~m.plane, torch.zeros(()), m.conv(x)),
    "masked_fill": lambda m, x: m.conv(x).masked_fill(~m.plane, 0),
    "masked_fill in place": lambda m, x: m.conv(x).masked_fill_(m.plane == 0, 0.0),
    "an index": lambda m, x: _indexed(m, m.conv(x)),
    "[C, H, W]": lambda m, x: m.conv(x) * m.plane.repeat(4, 1, 1),
    "[1, C, H, W]": lambda m, x: m.plane.float().expand(1, 4, 9, 9) * m.conv(x),
    "expand_as": lambda m, x: _expand_as(m, m.conv(x)),
    "type_as": lambda m, x: _type_as(m, m.conv(x)),
    "of its device and type": lambda m, x: _moved(m, m.conv(x)),
    "int": lambda m, x: m.conv(x) * m.plane.int(),
    "a comparison": lambda m, x: m.conv(x) * (m.soft > 0.4),
    "in place": lambda m, x: m.conv(x).mul_(m.plane),
    "NHWC": lambda m, x: (m.conv(x).permute(0, 2, 3, 1) * m.plane[..., None]).permute(0, 3, 1, 2),
    "a product of letters": lambda m, x: torch.einsum("nchw,hw->nchw", m.conv(x), m.plane.float()),
    "a product of letters, turned": lambda m, x: torch.einsum(
        "wh,nchw->nchw", m.plane.float().T, m.conv(x)
    ),
    "twice": lambda m, x: m.conv(x) * m.plane * m.plane,
    "detached, dropped out": lambda m, x: F.dropout(m.conv(x).clone(), training=False) * m.plane,
}


def _where_zeros(m: _Masked, y: Tensor) -> Tensor:
    return torch.where(m.plane, y, torch.zeros_like(y))


def _indexed(m: _Masked, y: Tensor) -> Tensor:
    y[:, :, ~m.plane] = 0
    return y


def _expand_as(m: _Masked, y: Tensor) -> Tensor:
    return y * m.plane.expand_as(y)


def _type_as(m: _Masked, y: Tensor) -> Tensor:
    return y * m.plane.type_as(y)


def _moved(m: _Masked, y: Tensor) -> Tensor:
    return y.float() * m.plane.to(y)


@pytest.mark.parametrize("how", _MASKED_RIGHT_BEHIND.values(), ids=_MASKED_RIGHT_BEHIND)
def test_a_mask_right_behind_its_convolution_becomes_the_pair(how: Forward) -> None:
    model, (layer,), targets, _ = _rewritten(lambda m, x: F.relu(m.norm(how(m, x))))
    assert layer.name == "conv"
    assert layer.rewritten
    plane = model.soft > 0.4 if not torch.equal(layer.mask, model.plane) else model.plane
    assert torch.equal(layer.mask, plane)
    # BatchNorm and ReLU are in front of it, so that they can be fused.
    assert targets[-1] is aten.where.self
    assert torch.equal(layer.fill, F.relu(model.norm(torch.zeros(1, 4, 1, 1))).detach().flatten())


_MASKED_LATER: dict[str, Forward] = {
    "behind BatchNorm": lambda m, x: F.relu(m.norm(m.conv(x)) * m.plane),
    "behind the activation": lambda m, x: F.relu(m.norm(m.conv(x))) * m.plane,
    "behind BatchNorm, filled": lambda m, x: m.norm(m.conv(x)).masked_fill(~m.plane, 0.5),
    "behind the activation, NHWC": lambda m, x: (
        F.relu(m.norm(m.conv(x))).permute(0, 2, 3, 1) * m.plane[None, :, :, None]
    ).permute(0, 3, 1, 2),
    "a value a channel": lambda m, x: torch.where(m.plane, F.relu(m.conv(x)), m.shift),
    "before the bias": lambda m, x: F.relu(m.conv(x) * m.plane + m.shift),
    "scaled and shifted before": lambda m, x: (m.conv(x) * 2 + m.shift) * m.plane,
}


@pytest.mark.parametrize("how", _MASKED_LATER.values(), ids=_MASKED_LATER)
def test_a_mask_behind_what_is_fused_becomes_the_pair(how: Forward) -> None:
    _, (layer,), targets, _ = _rewritten(how)
    assert layer.rewritten
    assert targets[-1] is aten.where.self
    assert targets.count(aten.where.self) == 1


@pytest.mark.parametrize("activation", [F.silu, F.hardswish, F.gelu, F.leaky_relu, torch.tanh])
def test_a_mask_behind_an_activation_that_keeps_zero_moves_in_front_of_it(
    activation: Callable[[Tensor], Tensor],
) -> None:
    _, (layer,), targets, _ = _rewritten(lambda m, x: activation(m.norm(m.conv(x))) * m.plane)
    assert layer.rewritten
    assert targets.count(aten.where.self) == 1
    assert aten.mul.Tensor not in targets
    assert targets[-1] is not aten.where.self


_MASKED_AGAIN: dict[str, Forward] = {
    "a sigmoid": lambda m, x: torch.sigmoid(m.norm(m.conv(x))) * m.plane,
    "a sum": lambda m, x: F.relu(m.norm(m.conv(x)) + m.map) * m.plane,
    "a sum with the input": lambda m, x: F.relu(m.conv(x) + x[:, :1]) * m.plane,
    "another value a pixel": lambda m, x: torch.where(m.plane, m.conv(x), m.map),
    "a factor that also scales": lambda m, x: m.conv(x) * (m.plane * 1.25),
    "a fill that is no activation's": lambda m, x: F.silu(m.conv(x)).masked_fill(~m.plane, 2.0),
}


@pytest.mark.parametrize("how", _MASKED_AGAIN.values(), ids=_MASKED_AGAIN)
def test_a_mask_that_cannot_move_stays_and_its_convolution_is_masked_too(how: Forward) -> None:
    model, (layer,), targets, _ = _rewritten(how)
    assert layer.rewritten
    assert torch.equal(layer.mask, model.plane)
    position = targets.index(aten.where.self)
    assert "layer" in targets[:position]
    again = (aten.mul.Tensor, aten.where.self, aten.masked_fill.Scalar)
    assert any(target in again for target in targets[position + 1 :])


def test_both_branches_of_a_masked_sum_are_masked() -> None:
    _, layers, targets, _ = _rewritten(
        lambda m, x: F.relu(m.norm(m.conv(x)) + m.other(x)) * m.plane
    )
    assert [layer.name for layer in layers] == ["conv", "other"]
    assert all(layer.rewritten for layer in layers)
    assert targets.count(aten.where.self) == 2
    assert aten.mul.Tensor not in targets  # relu(0 + 0) is what it would put there


def test_masked_channels_put_together_are_masked_each() -> None:
    _, layers, _, _ = _rewritten(
        lambda m, x: torch.cat([m.conv(x), F.relu(m.other(x))], 1) * m.plane
    )
    assert [(layer.name, layer.rewritten) for layer in layers] == [("conv", True), ("other", True)]


_MASKED_BEFORE: dict[str, tuple[Forward, list[tuple[str, bool]]]] = {
    "behind the activation": (
        lambda m, x: F.relu(m.norm(m.conv(x) * m.other_plane)) * m.plane,
        [("conv", True), ("conv", False)],
    ),
    "on one branch of a sum": (
        lambda m, x: F.relu(m.norm(m.conv(x) * m.other_plane) + m.other(x)) * m.plane,
        [("conv", True), ("conv", False), ("other", True)],
    ),
    "on both": (
        lambda m, x: (m.conv(x) * m.other_plane + m.other(x) * m.other_plane) * m.plane,
        [("conv", True), ("other", True), ("conv", False), ("other", False)],
    ),
}


@pytest.mark.parametrize(("how", "told"), _MASKED_BEFORE.values(), ids=_MASKED_BEFORE)
def test_a_second_mask_on_a_layer_is_told_with_the_reason(
    how: Forward, told: list[tuple[str, bool]]
) -> None:
    model, layers, _, _ = _rewritten(how)
    assert [(layer.name, layer.rewritten) for layer in layers] == told
    for layer in layers:
        first = layer.rewritten and layer.name in [name for name, done in told if not done]
        assert torch.equal(layer.mask, model.other_plane if first else model.plane)
        assert layer.rewritten or "another mask in front" in (layer.reason or "")


_NOTHING_MORE: dict[str, Forward] = {
    "the same": lambda m, x: F.relu(m.norm(m.conv(x) * m.plane)) * m.plane,
    "of fewer pixels": lambda m, x: F.relu(m.norm(m.conv(x) * m.plane)) * (m.plane | m.other_plane),
    "of all": lambda m, x: F.relu(m.norm(m.conv(x) * m.plane)) * (m.soft > -1),
}


@pytest.mark.parametrize("how", _NOTHING_MORE.values(), ids=_NOTHING_MORE)
def test_a_second_mask_that_masks_no_more_is_not_told(how: Forward) -> None:
    _, (layer,), _, _ = _rewritten(how)
    assert layer.rewritten


def test_a_convolution_with_a_second_mask_that_is_used_twice_is_found_twice_in_the_file(
    tmp_path: Path,
) -> None:
    model = _Masked(
        lambda m, x: m.inner(F.relu(m.inner(m.conv(x)) * m.plane) * m.other_plane) * m.other_plane
    )
    layers = convert_module(model, [(1, 3, 9, 9)], tmp_path / "net.tflite").layers
    assert [(layer.name, layer.form) for layer in layers] == [
        ("inner", "select"),
        ("inner", "changed"),
        ("inner", "select"),
    ]


_LEFT: dict[str, tuple[Forward, str, str]] = {
    "channels that differ": (
        lambda m, x: m.conv(x) * (m.map > 0.5),
        "conv",
        "the mask differs between channels",
    ),
    "read without the mask too": (
        lambda m, x: _twice(m, F.relu(m.conv(x))),
        "conv",
        "used elsewhere",
    ),
    "behind a pool": (
        lambda m, x: F.max_pool2d(m.conv(x), 3, 1, 1) * m.plane,
        "max_pool2d",
        "max_pool2d stands between",
    ),
    "behind a norm that mixes": (
        lambda m, x: m.group(m.conv(x)) * m.plane,
        "group",
        "group_norm stands between",
    ),
    "behind a transposed convolution": (
        lambda m, x: F.conv_transpose2d(x, m.other.weight.transpose(0, 1)) * m.plane,
        "conv_transpose2d",
        "masks the output of a conv_transpose2d",
    ),
    "of one axis": (lambda m, x: m.line(x[:, :, 0]) * m.plane[0], "line", "output of a conv1d"),
    "on the input": (lambda m, x: m.conv(x * m.plane), "x", "masks an input"),
}


def _twice(m: _Masked, y: Tensor) -> Tensor:
    return y * m.plane + y


@pytest.mark.parametrize(("how", "name", "reason"), _LEFT.values(), ids=_LEFT)
def test_a_mask_that_reaches_no_convolution_is_told_with_the_reason(
    how: Forward, name: str, reason: str
) -> None:
    _, (layer,), _, _ = _rewritten(how)
    assert not layer.rewritten
    assert reason in (layer.reason or "")
    assert name in layer.name


_READ_TOO: dict[str, Forward] = {
    "by a convolution": lambda m, x: _residual(m, F.relu(m.conv(x))),
    "by a mean": lambda m, x: _gated(m, F.relu(m.norm(m.conv(x)))),
    "by a pool": lambda m, x: _pooled(m, m.conv(x)),
}


def _residual(m: _Masked, y: Tensor) -> Tensor:
    return F.relu(m.inner(y) + y) * m.plane


def _gated(m: _Masked, y: Tensor) -> Tensor:
    return y * torch.sigmoid(y.mean((2, 3), keepdim=True)) * m.plane


def _pooled(m: _Masked, y: Tensor) -> Tensor:
    return (y + F.max_pool2d(y, 3, 1, 1)) * m.plane


@pytest.mark.parametrize("how", _READ_TOO.values(), ids=_READ_TOO)
def test_a_convolution_whose_masked_pixels_are_read_on_the_way_is_not_masked(how: Forward) -> None:
    _, layers, _, _ = _rewritten(how)
    (layer,) = [layer for layer in layers if layer.name == "conv"]
    assert not layer.rewritten
    assert "used elsewhere" in (layer.reason or "")


@pytest.mark.parametrize("seed", range(30))
def test_networks_of_any_shape_with_masks_anywhere_compute_the_same(seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311 (no secret)

    def grow(m: _Masked, x: Tensor) -> Tensor:
        draw.seed(seed)
        values: list[Tensor] = [m.conv(x)]
        for _ in range(9):
            y, z = draw.choice(values), draw.choice(values)
            values.append(draw.choice(_STEPS)(m, y, z))
        return values[-1]

    _rewritten(grow)


_STEPS: list[Callable[[_Masked, Tensor, Tensor], Tensor]] = [
    lambda m, y, _: m.inner(y),
    lambda m, y, _: m.norm(y),
    lambda _, y, __: F.relu(y),
    lambda _, y, __: F.silu(y),
    lambda m, y, _: y * m.plane,
    lambda m, y, _: y * m.plane,
    lambda m, y, _: y.masked_fill(~m.plane, 0.25),
    lambda m, y, z: torch.where(m.plane, y, z),
    lambda _, y, z: y + z,
    lambda _, y, z: torch.maximum(y, z),
    lambda _, y, __: F.max_pool2d(y, 3, 1, 1),
    lambda _, y, __: y * torch.sigmoid(y.mean((2, 3), keepdim=True)),
    lambda m, y, _: (y.permute(0, 2, 3, 1) * m.plane[..., None]).permute(0, 3, 1, 2),
    lambda m, y, z: (torch.cat([y, z], 1) * m.plane)[:, 2:6],
    lambda m, y, _: y + m.shift,
]


def test_a_program_whose_batch_may_vary_keeps_its_masks(tmp_path: Path) -> None:
    model = _Masked(lambda m, x: F.relu(m.norm(m.conv(x) * m.plane))).eval()
    dynamic = {"x": {0: torch.export.Dim("batch", min=1, max=8)}}
    program = torch.export.export(model, (torch.randn(2, 3, 9, 9),), dynamic_shapes=dynamic)
    torch.export.save(program, tmp_path / "net.pt2")
    done = convert(tmp_path / "net.pt2", tmp_path / "net.tflite", input_shapes=[(1, 3, 9, 9)])
    assert [(layer.name, layer.form) for layer in done.layers] == [("conv", "select")]


def test_a_mask_of_attention_is_none_of_a_convolution() -> None:
    class Attention(nn.Module):
        def forward(self, q: Tensor) -> Tensor:
            causal = torch.ones(9, 9).tril().bool()
            scores = (q @ q.transpose(-1, -2)).masked_fill(~causal, -1e9)
            result: Tensor = scores.softmax(-1) @ q
            return result

    program = torch.export.export(Attention().eval(), (torch.randn(1, 2, 9, 4),))
    _, layers = rewrite(program)
    assert not layers


def test_a_hook_that_masks_is_found() -> None:
    model, x = _Masked(lambda m, x: F.relu(m.norm(m.conv(x)))).eval(), torch.randn(1, 3, 9, 9)
    mask = model.plane.float()
    model.conv.register_forward_hook(lambda *given: given[-1] * mask)
    _, (layer,) = rewrite(torch.export.export(model, (x,)))
    assert layer.rewritten
    assert torch.equal(layer.mask, model.plane)


class _Several(nn.Module):
    """A masked convolution of each way of writing it, one behind the other."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        ways = _MASKED_RIGHT_BEHIND | _MASKED_LATER | _MASKED_AGAIN | _FILE_WAYS
        self.blocks = nn.ModuleList(_Masked(how) for how in ways.values())
        for block in self.blocks:
            assert isinstance(block, _Masked)
            block.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = F.relu(block(x))
        result: Tensor = self.last(x)
        return result


_FILE_WAYS: dict[str, Forward] = {
    "flattened": lambda m, x: (m.conv(x).flatten(2) * m.plane.flatten()).view(-1, 4, 9, 9),
    "in front of silu": lambda m, x: F.silu(m.norm(m.conv(x))) * m.plane,
    "in front of hardswish": lambda m, x: F.hardswish(m.norm(m.conv(x)) * m.plane),
}


def test_every_way_is_a_pair_in_the_file_and_inspect_agrees(tmp_path: Path) -> None:
    model, path = _Several(), tmp_path / "net.tflite"
    done = convert_module(model, [(1, 4, 9, 9)], path)
    assert len(done.layers) == len(model.blocks)
    assert [(layer.form, layer.detail) for layer in done.layers] == [("select", None)] * len(
        done.layers
    )
    found = [layer for layer in inspect_model(path).layers if layer.mask is not None]
    assert len(found) == len(done.layers)
    assert all(layer.mask.skipped for layer in found if layer.mask)


def test_what_is_told_in_conversion_is_told_by_inspect(tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    model = _Masked(lambda m, x: m.conv(x) * (m.map > 0.5))
    (layer,) = convert_module(model, [(1, 3, 9, 9)], path).layers
    assert (layer.form, layer.skipped) == ("changed", False)
    assert layer.detail == "left as it is: the mask differs between channels or images"
    (inspected,) = inspect_model(path).layers
    assert inspected.mask is not None
    assert inspected.mask.reason == "the mask differs between channels or images"
