"""Pruning removes the channels that it says, and nothing else about the network changes."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from toolchain.errors import ModelError
from toolchain.sparsity.masked_conv import attach_masks, masked_layers, output_shapes
from toolchain.sparsity.pruning import Importance, prune_channels
from toolchain.zoo.efficientnet_lite import efficientnet_lite0
from toolchain.zoo.fashion_resnet import fashion_resnet
from toolchain.zoo.mobilenet import mobilenet_v2
from toolchain.zoo.resnet import BasicBlock, resnet18
from toolchain.zoo.yolov5 import yolov5n

NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int, int]]] = {
    "fashion_resnet": (fashion_resnet, (2, 1, 28, 28)),
    "resnet18": (resnet18, (2, 3, 32, 32)),
    "mobilenet_v2": (mobilenet_v2, (2, 3, 32, 32)),
    "efficientnet_lite0": (lambda: efficientnet_lite0(pretrained=False), (2, 3, 32, 32)),
    "yolov5n": (yolov5n, (2, 3, 64, 64)),
}
FASHION = torch.zeros(1, 1, 28, 28)


def network(name: str) -> tuple[nn.Module, Tensor]:
    """A network with random weights and BatchNorm statistics, and two images."""
    torch.manual_seed(0)
    factory, shape = NETWORKS[name]
    model = factory()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            scatter(layer)
    return model.eval(), torch.randn(shape)


def scatter(norm: nn.BatchNorm2d) -> None:
    """Statistics near the ones that the layer has, no two of them equal."""
    assert norm.running_mean is not None
    for tensor in (norm.running_mean, norm.weight.data, norm.bias.data):
        tensor.add_(torch.rand_like(tensor) * 0.1)


def mask_every_conv(model: nn.Module, example: Tensor) -> None:
    shapes = output_shapes(model, example)
    attach_masks(model, {n: torch.rand(tuple(s[-2:])) > 0.2 for n, s in shapes.items()})


def silenced(original: nn.Module, pruned: nn.Module) -> nn.Module:
    """The original with 0 behind the BatchNorm of each channel that is not in the pruned model.

    Channels are known again by their running means, of which no two are equal.
    """
    model = copy.deepcopy(original)
    for name, norm in model.named_modules():
        if isinstance(norm, nn.BatchNorm2d):
            left = pruned.get_submodule(name).running_mean
            assert isinstance(left, Tensor)
            assert norm.running_mean is not None
            gone = ~torch.isin(norm.running_mean, left)
            assert int(gone.sum()) == norm.num_features - len(left)
            norm.weight.data[gone] = 0
            norm.bias.data[gone] = 0
    return model


@torch.no_grad()
def outputs(model: nn.Module, x: Tensor) -> list[Tensor]:
    return list(pytree.tree_leaves(model(x)))


@pytest.mark.parametrize("across_layers", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_pruned_network_computes_what_the_whole_one_does_with_those_channels_at_zero(
    name: str, masked: bool, across_layers: bool
) -> None:
    model, images = network(name)
    if masked:
        mask_every_conv(model, images)
    whole = copy.deepcopy(model)
    prune_channels(model, images, 0.3, across_layers=across_layers)
    given, expected = outputs(model, images), outputs(silenced(whole, model), images)
    largest = max(float(output.abs().max()) for output in expected)
    torch.testing.assert_close(given, expected, rtol=0, atol=1e-4 * largest)
    assert not torch.allclose(given[0], outputs(whole, images)[0], rtol=0, atol=1e-2 * largest)
    assert list(masked_layers(model)) == list(masked_layers(whole))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_pruned_network_trains(name: str) -> None:
    model, images = network(name)
    prune_channels(model, images, 0.5)
    results: list[Tensor] = pytree.tree_leaves(model.train()(images.repeat(2, 1, 1, 1)))
    loss = torch.stack([(result - 1).square().mean() for result in results]).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.shape == parameter.shape
        assert parameter.grad.any(), name
    torch.optim.SGD(model.parameters(), 0.01).step()


@settings(max_examples=25, deadline=None)
@given(ratio=st.floats(0.26, 0.99), round_to=st.sampled_from([1, 2, 4, 8]), across=st.booleans())
def test_channels_left_are_a_multiple_and_the_classifier_is_whole(
    ratio: float, round_to: int, across: bool
) -> None:
    model = fashion_resnet()
    report = prune_channels(model, FASHION, ratio, round_to=round_to, across_layers=across)
    assert report.layers[-1].name == "fc"
    assert report.layers[-1].before == report.layers[-1].after == 10
    for layer in report.layers[:-1]:
        assert layer.after % round_to == 0
        assert 0 < layer.after <= layer.before
        if not across:
            wanted = (1 - ratio) * layer.before
            assert abs(layer.after - wanted) <= round_to / 2 or layer.after == round_to
        assert len(model.get_parameter(f"{layer.name}.weight")) == layer.after
    assert model.eval()(FASHION).shape == (1, 10)


def test_the_report_tells_the_cost_before_and_after() -> None:
    model = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 2, 1))
    report = prune_channels(model, torch.zeros(1, 1, 6, 6), 0.5)
    assert (report.before.macs, report.after.macs) == (16 * 16 * (9 + 2), 16 * 8 * (9 + 2))
    assert (report.before.parameters, report.after.parameters) == (160 + 34, 80 + 18)
    assert [(layer.name, layer.before, layer.after) for layer in report.layers] == [
        ("0", 16, 8),
        ("2", 2, 2),
    ]


@pytest.mark.parametrize("importance", ["magnitude", "taylor"])
def test_the_least_important_channels_go(importance: Importance) -> None:
    model = nn.Sequential(nn.Conv2d(1, 6, 1), nn.ReLU(), nn.Conv2d(6, 1, 1))
    weights = torch.tensor([3.0, 1.0, 5.0, 2.0, 6.0, 4.0])
    gradients = torch.tensor([9.0, 9.0, 0.1, 9.0, 0.1, 0.1])
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    first = model.get_parameter("0.weight")
    first.data = weights.view(6, 1, 1, 1)
    first.grad = gradients.view(6, 1, 1, 1)
    model.get_parameter("2.weight").data = weights.view(1, 6, 1, 1)
    prune_channels(model, torch.ones(1, 1, 2, 2), 0.5, round_to=1, importance=importance)
    assert model.get_parameter("0.weight").flatten().tolist() == (
        [5.0, 6.0, 4.0] if importance == "magnitude" else [3.0, 1.0, 2.0]
    )


def test_ratio_0_changes_nothing() -> None:
    model = fashion_resnet()
    before, parameters = copy.deepcopy(model.state_dict()), list(model.parameters())
    report = prune_channels(model, FASHION, 0)
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    assert report.before == report.after
    assert all(layer.before == layer.after for layer in report.layers)


def test_pruning_the_same_network_twice_gives_the_same_weights() -> None:
    models = []
    for _ in range(2):
        model, images = network("mobilenet_v2")
        prune_channels(model, images, 0.4, across_layers=True)
        models.append(model.state_dict())
    assert all(torch.equal(tensor, models[1][name]) for name, tensor in models[0].items())


def test_modes_and_frozen_parameters_stay_as_they_are() -> None:
    model = fashion_resnet().train()
    model.get_submodule("bn1").eval()
    model.get_submodule("conv1").requires_grad_(False)
    modes = [module.training for module in model.modules()]
    prune_channels(model, FASHION, 0.5)
    assert [module.training for module in model.modules()] == modes
    assert [n for n, p in model.named_parameters() if not p.requires_grad] == ["conv1.weight"]


@pytest.mark.parametrize("ignored", [["layer2.0.conv1"], ["layer2.*"], ["layer[13].*", "conv1"]])
def test_ignored_layers_stay_and_so_does_what_is_added_to_them(ignored: list[str]) -> None:
    report = prune_channels(fashion_resnet(), FASHION, 0.5, ignored=ignored)
    whole = [layer.name for layer in report.layers if layer.before == layer.after]
    assert (
        whole
        == {
            "layer2.0.conv1": ["layer2.0.conv1", "fc"],
            "layer2.*": ["layer2.0.conv1", "layer2.0.conv2", "layer2.0.downsample.0", "fc"],
            "layer[13].*": [
                "conv1",
                "layer1.0.conv1",
                "layer1.0.conv2",
                "layer3.0.conv1",
                "layer3.0.conv2",
                "layer3.0.downsample.0",
                "fc",
            ],
        }[ignored[0]]
    )


class _Forks(nn.Module):
    """Two outputs, one of which is used further; a concatenation; a flattened image."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 16, 1), nn.Conv2d(3, 24, 1)
        self.out = nn.Conv2d(40, 8, 1)
        self.hidden, self.last = nn.Linear(8 * 16, 32), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        joined = torch.cat([self.left(x).relu(), self.right(x).relu()], 1)
        out = self.out(joined)
        return out, self.last(self.hidden(out.flatten(1)).relu())


def test_every_output_is_whole_and_concatenated_channels_are_pruned() -> None:
    torch.manual_seed(0)
    model, x = _Forks(), torch.randn(1, 3, 4, 4)
    report = prune_channels(model, x, 0.5)
    assert {layer.name: layer.after for layer in report.layers} == {
        "left": 8,
        "right": 16,
        "out": 8,
        "hidden": 16,
        "last": 5,
    }
    assert [output.shape for output in model(x)] == [(1, 8, 4, 4), (1, 5)]


class _Views(nn.Module):
    """An output that is a reshaped view, as detection heads have them."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 32, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.body(x).relu())
        return y.view(len(y), 2, 16, *y.shape[2:]).permute(0, 1, 3, 4, 2)


def test_an_output_that_is_a_view_is_whole() -> None:
    report = prune_channels(_Views(), torch.zeros(1, 3, 4, 4), 0.5)
    assert [layer.after for layer in report.layers] == [8, 32]


@pytest.mark.parametrize(
    "between",
    [
        nn.Conv2d(32, 32, 3, groups=4),
        nn.GroupNorm(4, 32),
        nn.PReLU(32),
        nn.ConvTranspose2d(32, 32, 1),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_channels_that_pass_another_kind_of_layer_stay(between: nn.Module) -> None:
    model = nn.Sequential(nn.Conv2d(3, 32, 1), between, nn.Conv2d(32, 16, 1), nn.Conv2d(16, 2, 1))
    report = prune_channels(model, torch.zeros(1, 3, 8, 8), 0.5)
    after = {layer.name: layer.after for layer in report.layers}
    assert (after["0"], after["2"]) == (32, 8)


class _Constant(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.ones(1, 16, 1, 1)


def unprunable() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 16, 1), _Constant(), nn.Conv2d(16, 2, 1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ratio": 1.0}, "the share of channels to prune is 1"),
        ({"ratio": -0.1}, "the share of channels to prune is -0.1"),
        ({"ratio": float("nan")}, "the share of channels to prune is nan"),
        ({"round_to": 0}, "a multiple of 0"),
        ({"importance": "luck"}, "no importance called 'luck'"),
        ({"importance": "taylor"}, "'conv1.weight' has no gradient"),
        ({"ignored": ["layer9.*"]}, r"layer pattern 'layer9\.\*' matches none of the model's 10"),
        ({"ignored": ["*"]}, "there is nothing to prune"),
        ({"ratio": 0.1, "round_to": 64}, "pruning 0.1 of the channels removes none"),
    ],
)
def test_what_cannot_be_done_is_said_and_leaves_the_model_as_it_was(
    arguments: dict[str, object], message: str
) -> None:
    model = fashion_resnet()
    parameters = list(model.parameters())
    with pytest.raises(ModelError, match=message):
        prune_channels(model, FASHION, **{"ratio": 0.5, **arguments})  # type: ignore[arg-type]
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))


def test_a_model_that_counts_on_its_channels_is_left_as_it_was() -> None:
    model = unprunable()
    with pytest.raises(ModelError, match="does not run with fewer channels") as caught:
        prune_channels(model, torch.zeros(1, 1, 2, 2), 0.5)
    assert "'ignored'" in (caught.value.hint or "")
    assert model(torch.zeros(1, 1, 2, 2)).shape == (1, 2, 2, 2)


def test_statistics_without_weights_are_pruned_as_well() -> None:
    norm = nn.BatchNorm2d(16, affine=False)
    model = nn.Sequential(nn.Conv2d(1, 16, 1), norm, nn.Conv2d(16, 2, 1))
    prune_channels(model, torch.zeros(1, 1, 2, 2), 0.5)
    assert norm.running_mean is not None
    assert (norm.num_features, len(norm.running_mean)) == (8, 8)


def test_a_single_layer_has_nothing_to_prune() -> None:
    with pytest.raises(ModelError, match="there is nothing to prune"):
        prune_channels(nn.Conv2d(3, 64, 1), torch.zeros(1, 3, 2, 2), 0.5)


def test_a_residual_sum_stays_a_sum_of_the_same_channels() -> None:
    model = nn.Sequential(nn.Conv2d(1, 32, 1), BasicBlock(32, 32, 1), nn.Conv2d(32, 4, 1)).eval()
    report = prune_channels(model, torch.zeros(1, 1, 8, 8), 0.5)
    after = {layer.name: layer.after for layer in report.layers}
    assert after == {"0": 16, "1.conv1": 16, "1.conv2": 16, "2": 4}
