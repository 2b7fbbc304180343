"""The cost of a network is that of the published tables, and a mask's share of it is its pixels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from toolchain.sparsity.cost import ModelCost, model_cost
from toolchain.sparsity.masked_conv import MaskedConv2d
from toolchain.zoo.mobilenet import mobilenet_v2
from toolchain.zoo.resnet import resnet18

IMAGE = torch.zeros(1, 3, 224, 224)


def test_resnet18_costs_what_is_published() -> None:
    cost = model_cost(resnet18(), IMAGE)
    assert cost == ModelCost(1_814_073_344, 1_814_073_344, 11_689_512)


def test_mobilenet_v2_costs_what_is_published() -> None:
    cost = model_cost(mobilenet_v2(), IMAGE)
    assert cost == ModelCost(300_774_272, 300_774_272, 3_504_872)


@pytest.mark.parametrize(
    ("layer", "macs"),
    [
        (nn.Conv2d(4, 6, 3, padding=1), 4 * 6 * 9 * 100),
        (nn.Conv2d(4, 6, 3, stride=2, bias=False), 4 * 6 * 9 * 16),
        (nn.Conv2d(4, 8, 1, groups=2), 2 * 8 * 100),
        (nn.Conv2d(4, 4, 5, padding=2, groups=4), 4 * 25 * 100),
        (nn.Linear(10, 7), 4 * 10 * 10 * 7),
        (nn.BatchNorm2d(4), 0),
    ],
)
@pytest.mark.parametrize("images", [1, 3])
def test_a_layer_is_counted_for_one_image(layer: nn.Module, macs: int, images: int) -> None:
    assert model_cost(layer, torch.zeros(images, 4, 10, 10)).macs == macs


def test_a_masked_layer_keeps_the_share_of_its_pixels() -> None:
    mask = torch.ones(6, 6)
    mask[0] = 0
    masked = MaskedConv2d.from_conv(nn.Conv2d(2, 4, 1), mask)
    cost = model_cost(nn.Sequential(masked, nn.Conv2d(4, 2, 1)), torch.zeros(1, 2, 6, 6))
    assert (cost.macs, cost.macs_kept) == (36 * (8 + 8), 30 * 8 + 36 * 8)


def test_what_a_hook_makes_of_an_output_costs_nothing() -> None:
    layer = nn.Conv2d(2, 4, 1)
    layer.register_forward_hook(lambda _, __, output: output[..., :1])
    assert model_cost(layer, torch.zeros(1, 2, 6, 6)).macs == 36 * 8


class _Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layer(self.layer(x))
        return result


def test_a_layer_that_is_used_twice_costs_twice_and_has_its_parameters_once() -> None:
    assert model_cost(_Twice(), torch.zeros(1, 2, 3, 3)) == ModelCost(72, 72, 6)


def test_counting_leaves_the_model_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)).train()
    model[1].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model_cost(model, torch.ones(1, 1, 2, 2))
    assert (model.training, model[0].training, model[1].training) == (True, True, False)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not model[0]._forward_hooks
