"""Weights of networks that are only timed, or not trained yet."""

from __future__ import annotations

import torch

from toolchain.zoo.init import initialise, randomise
from toolchain.zoo.resnet import ResNet


def small(seed: int) -> ResNet:
    model = ResNet((1, 1), (8, 16), (1, 2), classes=4)
    randomise(model, seed)
    return model


def test_the_same_seed_gives_the_same_weights_and_statistics() -> None:
    one, same, other = (small(seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["conv1.weight"], other["conv1.weight"])


def test_nothing_is_drawn_from_the_global_generator() -> None:
    model = ResNet((1,), (8,), (1,), classes=4)
    before = torch.get_rng_state()
    randomise(model, 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_batchnorm_sees_inputs_like_those_that_it_was_measured_on() -> None:
    model = small(0)
    x = torch.randn(16, 3, 96, 96, generator=torch.Generator().manual_seed(5))
    assert model.bn1.running_mean is not None
    assert model.bn1.running_var is not None
    with torch.no_grad():
        y = model.conv1(x)
    assert torch.allclose(y.mean((0, 2, 3)), model.bn1.running_mean, atol=0.1)
    assert torch.allclose(y.var((0, 2, 3)), model.bn1.running_var, rtol=0.1)
    assert model.bn1.momentum == 0.1
    assert not model.training


def test_training_begins_from_weights_of_the_right_size() -> None:
    torch.manual_seed(0)
    model = small(0)
    initialise(model)
    assert torch.equal(model.bn1.weight, torch.ones(8))
    assert model.bn1.running_mean is not None
    assert not model.bn1.running_mean.any()
    deep = model.get_submodule("layer2.0.conv2")
    assert isinstance(deep.weight, torch.Tensor)
    assert abs(deep.weight.std().item() - (2 / (16 * 9)) ** 0.5) < 0.02
