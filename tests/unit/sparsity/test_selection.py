"""Which convolutions are masked, and how far each."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from toolchain.errors import ModelError
from toolchain.sparsity.selection import (
    KERNELS,
    every_conv,
    inside,
    only_3x3,
    select_layers,
)
from toolchain.sparsity.targets import layer_targets
from toolchain.zoo.fashion_resnet import fashion_resnet
from toolchain.zoo.resnet import BasicBlock

MODEL = fashion_resnet()
ALL_3X3 = [
    "conv1", "layer1.0.conv1", "layer1.0.conv2", "layer2.0.conv1",
    "layer2.0.conv2", "layer3.0.conv1", "layer3.0.conv2",
]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, ALL_3X3),
        ({"select": only_3x3}, ALL_3X3),
        ({"names": ["layer2.*", "conv1"]}, ["conv1", "layer2.0.conv1", "layer2.0.conv2"]),
        ({"names": ["*.conv2"], "exclude": ["layer1*"]}, ["layer2.0.conv2", "layer3.0.conv2"]),
        (
            {"select": every_conv, "names": ["*downsample*"]},
            ["layer2.0.downsample.0", "layer3.0.downsample.0"],
        ),
        ({"select": inside(MODEL.get_submodule("layer2"), BasicBlock), "names": ["*"]}, None),
    ],
)
def test_layers_are_chosen_by_kernel_and_name(
    options: dict[str, Any], names: list[str] | None
) -> None:
    if names is None:
        assert list(select_layers(MODEL.get_submodule("layer2"), **options)) == [
            "0.conv1", "0.conv2", "0.downsample.0",
        ]  # fmt: skip
    else:
        assert list(select_layers(MODEL, **options)) == names


def test_layers_are_chosen_by_the_type_of_module_that_they_stand_in() -> None:
    chosen = select_layers(MODEL, inside(MODEL, BasicBlock))
    assert "conv1" not in chosen
    assert len(chosen) == 8
    assert list(select_layers(nn.Conv2d(1, 1, 3), inside(nn.Conv2d(1, 1, 3), nn.Conv2d))) == [""]


def test_recipes_know_the_kernels_by_name() -> None:
    assert {name: len(select_layers(MODEL, select)) for name, select in KERNELS.items()} == {
        "all": 9,
        "not-1x1": 7,
        "3x3": 7,
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"names": ["layer9.*"]}, "'layer9.*' matches none of the model's 9 convolutions"),
        ({"exclude": ["fc"]}, "'fc' matches none"),
        ({"names": ["*downsample*"]}, "none of the model's 9 convolutions is chosen"),
    ],
)
def test_a_choice_of_nothing_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError) as error:
        select_layers(MODEL, **options)
    assert said in str(error.value)


def test_a_model_without_convolutions_says_so() -> None:
    with pytest.raises(ModelError) as error:
        select_layers(nn.Linear(1, 1))
    assert error.value.hint == "the model has none"


def test_the_first_pattern_that_matches_gives_a_layer_its_target() -> None:
    targets = {"layer3.0.conv1": 0.0, "layer3.*": 0.5}
    assert layer_targets(["conv1", "layer3.0.conv1", "layer3.0.conv2"], 0.2, targets) == {
        "conv1": 0.2,
        "layer3.0.conv1": 0.0,
        "layer3.0.conv2": 0.5,
    }


@pytest.mark.parametrize(
    ("sparsity", "targets", "said"),
    [
        (1.0, {}, "sparsity 1 is not in [0, 1)"),
        (-0.1, {}, "sparsity -0.1 is not in"),
        (float("nan"), {}, "sparsity nan is not in"),
        (0.2, {"conv1": 1.5}, "sparsity 1.5 is not in"),
        (0.2, {"convX": 0.5}, "'convX' of a target matches none of the layers to mask"),
    ],
)
def test_targets_out_of_range_or_without_a_layer_are_refused(
    sparsity: float, targets: dict[str, float], said: str
) -> None:
    with pytest.raises(ModelError) as error:
        layer_targets(["conv1"], sparsity, targets)
    assert said in str(error.value)
