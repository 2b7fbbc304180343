"""A network takes on the channel counts of a checkpoint; what cannot be one is refused by name."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from toolchain.errors import ModelError
from toolchain.sparsity.checkpoint import load_checkpoint, load_model, save_checkpoint
from toolchain.sparsity.masked_conv import attach_masks, masked_layers, output_shapes
from toolchain.sparsity.pruning import prune_channels
from toolchain.sparsity.resize import resize_to
from toolchain.zoo.mobilenet import mobilenet_v2
from toolchain.zoo.resnet import resnet18

IMAGE = torch.zeros(1, 3, 8, 8)


def net() -> nn.Sequential:
    """A convolution of each kind, a BatchNorm and a linear layer."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.Conv2d(8, 16, 3, padding=1, groups=8),
        nn.Conv2d(16, 4, 1, groups=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 5),
    ).eval()


def narrow(width: int, hidden: int) -> nn.Sequential:
    """:func:`net` with other channel counts; ``hidden`` is even."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.Conv2d(width, width, 3, padding=1, groups=width),
        nn.Conv2d(width, 2 * width, 3, padding=1, groups=width),
        nn.Conv2d(2 * width, hidden, 1, groups=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(hidden, 5),
    ).eval()


@settings(max_examples=20, deadline=None)
@given(width=st.integers(1, 12), hidden=st.integers(1, 6).map(lambda half: 2 * half))
def test_a_network_takes_on_any_channel_counts(width: int, hidden: int) -> None:
    wanted, x = narrow(width, hidden), torch.randn(2, 3, 8, 8)
    loaded = load_model(net(), wanted.state_dict(), resize=True, example_input=IMAGE)
    assert torch.equal(loaded(x), wanted(x))
    assert str(loaded) == str(wanted)


def test_only_layers_that_differ_are_touched() -> None:
    model = net()
    assert resize_to(model, model.state_dict()) == []
    parameters = list(model.parameters())
    assert resize_to(model, narrow(8, 6).state_dict()) == ["4", "7"]
    assert all(a is b for a, b in zip(parameters[:7], list(model.parameters())[:7], strict=True))


@pytest.mark.parametrize("factory", [resnet18, mobilenet_v2])
def test_a_pruned_and_masked_network_comes_back_from_its_file(
    factory: type[nn.Module], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 3, 32, 32)
    model = factory()
    prune_channels(model, x, 0.4)
    masks = {n: torch.rand(tuple(s[-2:])) > 0.2 for n, s in output_shapes(model, x).items()}
    attach_masks(model, masks)
    save_checkpoint(tmp_path / "a.safetensors", model)
    state = load_checkpoint(tmp_path / "a.safetensors")
    loaded = load_model(factory(), state, resize=True, example_input=x)
    assert torch.equal(loaded(x), model.eval()(x))
    assert list(masked_layers(loaded)) == list(masks)


def test_a_masked_network_can_be_resized_too() -> None:
    model, pruned = net(), narrow(4, 2)
    attach_masks(model, {"0": torch.eye(8), "2": torch.eye(8)})
    attach_masks(pruned, {"0": torch.eye(8), "2": torch.eye(8)})
    x = torch.randn(1, 3, 8, 8)
    assert torch.equal(load_model(model, pruned.state_dict(), resize=True)(x), pruned(x))


def test_frozen_parameters_stay_frozen() -> None:
    model = net().requires_grad_(False)
    resize_to(model, narrow(4, 2).state_dict())
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_another_width_is_refused_unless_it_is_asked_for() -> None:
    with pytest.raises(ModelError, match=r"'0.weight' has shape \[4, 3, 3, 3\] in") as caught:
        load_model(net(), narrow(4, 2).state_dict())
    assert "pruned" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("0.weight", torch.ones(4, 3, 5, 5), r"'0.weight' has shape \[4, 3, 5, 5\] .*8, 3, 3, 3"),
        ("0.weight", torch.ones(4, 27), r"'0.weight' has shape \[4, 27\]"),
        ("0.weight", torch.ones(0, 3, 3, 3), r"'0.weight' has shape \[0, 3, 3, 3\]"),
        ("1.weight", torch.ones(2, 4), r"'1.weight' has shape \[2, 4\]"),
        ("1.weight", torch.tensor(1.0), r"'1.weight' has shape \[\]"),
        ("1.running_var", torch.ones(5), r"'1.running_var' has shape \[5\] .* \[4\] in the model"),
        ("2.weight", torch.ones(4, 2, 3, 3), r"'2.weight' has shape \[4, 2, 3, 3\]"),
        ("3.weight", torch.ones(7, 1, 3, 3), r"'3.weight' has shape \[7, 1, 3, 3\]"),
        ("4.weight", torch.ones(3, 4, 1, 1), r"'4.weight' has shape \[3, 4, 1, 1\]"),
        ("4.bias", torch.ones(3), r"'4.bias' has shape \[3\] .* \[2\] in the model"),
        ("7.weight", torch.ones(5), r"'7.weight' has shape \[5\]"),
        ("2.weight", torch.ones(5, 1, 3, 3), "layer '2' takes 5 channels and is given 4"),
        ("7.weight", torch.ones(5, 9), "layer '7' takes 9 channels and is given 2"),
        ("0.weight", torch.ones(5, 3, 3, 3), "layer '1' takes 4 channels and is given 5"),
        ("0.weight", torch.ones(4, 1, 3, 3), "layer '0' takes 1 channels and is given 3"),
    ],
)
def test_widths_that_fit_to_nothing_are_refused_by_name(
    name: str, tensor: Tensor, message: str
) -> None:
    state = {**narrow(4, 2).state_dict(), name: tensor}
    with pytest.raises(ModelError, match=message):
        load_model(net(), state, resize=True, example_input=IMAGE)


class _Sum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.a(x) + self.b(x)
        return result


def test_a_sum_of_different_widths_is_told_in_torchs_words() -> None:
    state = copy.deepcopy(_Sum().state_dict())
    state["a.weight"], state["a.bias"] = torch.ones(4, 3, 1, 1), torch.ones(4)
    with pytest.raises(
        ModelError, match="the layers do not fit to each other: The size of tensor"
    ) as caught:
        load_model(_Sum(), state, resize=True, example_input=IMAGE)
    assert "its pruning went wrong" in (caught.value.hint or "")
