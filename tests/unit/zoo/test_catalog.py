"""Every network that ships: its size, its published names, its masks, and that it exports."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from toolchain.errors import ModelError
from toolchain.sparsity.checkpoint import load_checkpoint, load_metadata
from toolchain.sparsity.masked_conv import MaskedConv2d, masked_layers, summary
from toolchain.zoo import catalog
from toolchain.zoo.efficientnet_lite import efficientnet_lite0, imagenet_weights
from toolchain.zoo.mobilenet import mobilenet_v2
from toolchain.zoo.resnet import resnet18, resnet50


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("resnet18", 11_689_512),
        ("resnet50", 25_557_032),
        ("mobilenet_v2", 3_504_872),
        ("efficientnet_lite0", 4_652_008),
        ("yolov5n", 1_872_157),
        ("fashion_resnet_dense", 77_754),
    ],
)
def test_networks_have_the_published_number_of_parameters(name: str, count: int) -> None:
    assert parameters(catalog.get(name).build()) == count


def test_resnet18_has_the_published_names() -> None:
    state = resnet18().state_dict()
    assert len(state) == 122
    shapes = {
        "conv1.weight": [64, 3, 7, 7],
        "bn1.running_var": [64],
        "layer1.0.conv1.weight": [64, 64, 3, 3],
        "layer2.0.downsample.0.weight": [128, 64, 1, 1],
        "layer2.0.downsample.1.bias": [128],
        "layer4.1.conv2.weight": [512, 512, 3, 3],
        "layer4.1.bn2.num_batches_tracked": [],
        "fc.weight": [1000, 512],
    }
    assert {name: list(state[name].shape) for name in shapes} == shapes


def test_resnet50_has_the_published_names() -> None:
    model = resnet50()
    state = model.state_dict()
    assert len(state) == 320
    shapes = {
        "conv1.weight": [64, 3, 7, 7],
        "layer1.0.conv1.weight": [64, 64, 1, 1],
        "layer1.0.conv2.weight": [64, 64, 3, 3],
        "layer1.0.conv3.weight": [256, 64, 1, 1],
        "layer1.0.bn3.running_var": [256],
        "layer1.0.downsample.0.weight": [256, 64, 1, 1],
        "layer1.0.downsample.1.num_batches_tracked": [],
        "layer3.5.conv1.weight": [256, 1024, 1, 1],
        "layer4.0.downsample.0.weight": [2048, 1024, 1, 1],
        "layer4.2.bn3.bias": [2048],
        "fc.weight": [1000, 2048],
    }
    assert {name: list(state[name].shape) for name in shapes} == shapes
    strides = [model.get_submodule(f"layer2.0.conv{i}").stride for i in (1, 2, 3)]
    assert strides == [(1, 1), (2, 2), (1, 1)]


def test_mobilenet_v2_has_the_published_names() -> None:
    state = mobilenet_v2().state_dict()
    assert len(state) == 314
    shapes = {
        "features.0.0.weight": [32, 3, 3, 3],
        "features.1.conv.0.0.weight": [32, 1, 3, 3],
        "features.1.conv.1.weight": [16, 32, 1, 1],
        "features.2.conv.0.0.weight": [96, 16, 1, 1],
        "features.2.conv.2.weight": [24, 96, 1, 1],
        "features.2.conv.3.running_mean": [24],
        "features.17.conv.1.0.weight": [960, 1, 3, 3],
        "features.18.0.weight": [1280, 320, 1, 1],
        "classifier.1.bias": [1000],
    }
    assert {name: list(state[name].shape) for name in shapes} == shapes


def test_efficientnet_lite0_has_the_names_of_its_published_weights() -> None:
    published = imagenet_weights()
    state = efficientnet_lite0(pretrained=False).state_dict()
    assert {n: t.shape for n, t in state.items()} == {n: t.shape for n, t in published.items()}


def test_efficientnet_lite0_computes_what_its_package_does() -> None:
    package = pytest.importorskip("efficientnet_lite_pytorch")
    theirs = package.EfficientNet.from_name("efficientnet-lite0").eval()
    theirs.load_state_dict(imagenet_weights())
    x = catalog.get("efficientnet_lite0").example_input()
    with torch.no_grad():
        assert torch.allclose(efficientnet_lite0()(x), theirs(x), atol=1e-5)


@pytest.mark.parametrize("name", catalog.names())
def test_every_network_builds_and_has_its_masks(name: str) -> None:
    entry = catalog.get(name)
    model = entry.build()
    assert not model.training
    rows = summary(model)
    assert bool(rows) == (entry.sparsity > 0)
    for row in rows:
        # A lattice masks whole classes: the share is that of a class or two, borders aside.
        slack = 0.02 * row.pixels + 1 if entry.arguments.get("policy") == "lattice" else 0
        assert abs(row.kept - (row.pixels - round(entry.sparsity * row.pixels))) <= slack


@pytest.mark.parametrize(
    "name", [n for n in catalog.names() if catalog.get(n).sparsity in (0.0, 0.2)]
)
def test_networks_export_and_their_outputs_are_bounded_and_alive(name: str) -> None:
    entry = catalog.get(name)
    model, x = entry.build(), entry.example_input()
    program = torch.export.export(model, (x,))
    with torch.no_grad():
        exported, direct = tree_leaves(program.module()(x)), tree_leaves(model(x))
    for y, same in zip(exported, direct, strict=True):
        assert torch.allclose(y, same, atol=1e-5)
        assert bool(y.isfinite().all())
        # A comparison of outputs would otherwise prove little.
        assert 1e-3 < float(y.std()) < 100


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("resnet18", 16),
        ("resnet18_all", 20),
        ("resnet18_lattice", 20),
        ("resnet50", 53),
        ("mobilenet_v2", 52),
        ("efficientnet_lite0", 49),
        ("yolov5n", 57),
        ("fashion_resnet", 7),
    ],
)
def test_masks_are_on_the_layers_that_the_description_says(name: str, count: int) -> None:
    model = catalog.get(f"{name}_s20").build()
    masked = masked_layers(model)
    assert len(masked) == count
    dense = [
        layer
        for layer in model.modules()
        if isinstance(layer, nn.Conv2d) and not isinstance(layer, MaskedConv2d)
    ]
    assert all(tuple(layer.kernel_size) != (3, 3) for layer in dense)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v2", "yolov5n"])
def test_random_weights_do_not_depend_on_the_masks(name: str) -> None:
    dense, masked = (catalog.get(name + suffix).build().state_dict() for suffix in ("", "_s30"))
    assert all(torch.equal(masked[key], dense[key]) for key in dense)


@pytest.mark.parametrize(
    "name", [f"{n}_s20" for n in ("resnet18", "resnet50", "mobilenet_v2", "efficientnet_lite0")]
)
def test_every_masked_layer_is_filled_with_constants_that_are_not_zero(name: str) -> None:
    model = catalog.get(name).build()
    before: nn.Module | None = None
    filled = 0
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d) and isinstance(before, MaskedConv2d):
            with torch.no_grad():
                fill = layer(torch.zeros(1, layer.num_features, 1, 1))
            assert torch.count_nonzero(fill) > 0.9 * layer.num_features
            filled += 1
        before = layer
    assert filled > 0


@pytest.mark.parametrize(
    "name", [name for name, entry in catalog.ZOO.items() if not entry.sparsity]
)
def test_an_entry_says_how_many_classes_its_network_tells_apart(name: str) -> None:
    entry = catalog.get(name)
    with torch.no_grad():
        outputs = tree_leaves(entry.build()(entry.example_input()[..., :64, :64]))
    if name == "yolov5n":
        assert {output.shape[1] for output in outputs} == {3 * (5 + entry.classes)}
    else:
        assert [list(output.shape) for output in outputs] == [[1, entry.classes]]


def test_an_entry_says_where_its_weights_are_from() -> None:
    assert {entry.weights for entry in catalog.ZOO.values()} == {
        "fashion-mnist",
        "imagenet",
        "random",
    }
    for entry in catalog.ZOO.values():
        assert (entry.weights == "random") == ("random weights" in entry.description)
        assert (entry.weights == "fashion-mnist") == (entry.checkpoint is not None)


@pytest.mark.parametrize("package", [".".join(["toolchain", "models"]), catalog.__package__])
def test_a_factory_is_known_by_the_name_that_any_version_wrote(package: str) -> None:
    found = catalog.by_factory(f"{package}.fashion_resnet:fashion_resnet")
    assert found is not None
    assert found.name == "fashion_resnet_dense"
    assert catalog.current_factory(f"{package}.resnet:resnet18") == catalog.get("resnet18").factory


def test_a_factory_of_others_stays_as_it_is() -> None:
    assert catalog.current_factory("models.resnet:resnet18") == "models.resnet:resnet18"
    assert catalog.by_factory("models.resnet:resnet18") is None


def test_a_name_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(ModelError, match="no network called 'alexnet'") as caught:
        catalog.get("alexnet")
    assert "resnet18_s20" in str(caught.value.hint)


@pytest.mark.parametrize("variant", ["dense", "s20", "s30"])
def test_committed_checkpoints_are_small_and_say_how_they_were_made(variant: str) -> None:
    entry = catalog.get(f"fashion_resnet_{variant}")
    assert entry.checkpoint is not None
    assert entry.checkpoint.stat().st_size < 1_000_000
    metadata = load_metadata(entry.checkpoint)
    assert catalog.current_factory(metadata["factory"]) == entry.factory
    assert metadata["input_shape"] == ",".join(str(size) for size in entry.input_shape)
    assert float(metadata["sparsity"]) == entry.sparsity
    assert 0.91 < float(metadata["test_accuracy"]) < 1
    assert metadata["command"] == f"deploy train fashion_resnet_{variant}.toml"
    masks = [name for name in load_checkpoint(entry.checkpoint) if name.endswith(".mask")]
    assert len(masks) == (7 if entry.sparsity else 0)


def test_fashion_masks_are_shared_by_layers_of_equal_resolution() -> None:
    layers = masked_layers(catalog.get("fashion_resnet_s20").build())
    by_size: dict[torch.Size, torch.Tensor] = {}
    for layer in layers.values():
        assert torch.equal(by_size.setdefault(layer.mask.shape, layer.mask), layer.mask)
    assert sorted(math.prod(size) for size in by_size) == [49, 196]
