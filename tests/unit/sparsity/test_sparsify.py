"""Laying masks on a model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from support.conv_nets import SharedConvolution
from toolchain.errors import ModelError
from toolchain.sparsity.masked_conv import MaskedConv2d, masked_layers, summary
from toolchain.sparsity.policies import Pooled, Random
from toolchain.sparsity.selection import every_conv, only_3x3
from toolchain.sparsity.sparsify import MaskSet, sparsify

EXAMPLE = torch.zeros(1, 1, 14, 14)


def net() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1),
        nn.Conv2d(2, 2, 3, padding=1),
        nn.Conv2d(2, 2, 1),
        nn.Conv2d(2, 2, 5, stride=2, padding=2),
        nn.Conv2d(2, 2, 3, padding=1),
    )


def masked(sparsity: float = 0.2, **options: object) -> MaskSet:
    return sparsify(net(), EXAMPLE, Pooled(), sparsity, **options)  # type: ignore[arg-type]


def test_each_layer_gets_a_mask_of_its_own_resolution() -> None:
    layers = masked(select=every_conv).layers
    assert torch.equal(layers["0"].mask, layers["2"].mask)
    assert torch.equal(layers["3"].mask, layers["4"].mask)
    assert [int(layer.mask.sum()) for layer in layers.values()] == [157, 157, 157, 39, 39]


def test_a_layer_under_two_names_has_one_mask() -> None:
    model = SharedConvolution()
    masks = sparsify(model, EXAMPLE, Pooled(), 0.25)
    assert list(masks.layers) == ["first"]
    assert model.first is model.second is masks.layers["first"]
    assert not model(torch.randn(1, 1, 14, 14))[..., ~masks.layers["first"].mask].any()


def test_masks_of_layers_are_not_tied_to_each_other_in_memory() -> None:
    layers = masked().layers
    before = layers["1"].mask.clone()
    layers["0"].mask.fill_(True)
    assert torch.equal(layers["1"].mask, before)


def test_laying_masks_draws_nothing_from_the_global_generator() -> None:
    torch.manual_seed(9)
    wanted = torch.rand(3)
    model = net()
    torch.manual_seed(9)
    sparsify(model, EXAMPLE, Random(), 0.2)
    assert torch.equal(torch.rand(3), wanted)


def test_layers_are_chosen_and_have_targets_of_their_own() -> None:
    masks = masked(0.2, select=only_3x3, exclude=["1"], targets={"4": 0.5})
    assert {name: int(layer.mask.sum()) for name, layer in masks.layers.items()} == {
        "0": 157,
        "4": 49 - 24,
    }


def test_modes_are_as_before_and_statistics_untouched() -> None:
    norm = nn.BatchNorm2d(2)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), norm, nn.Conv2d(2, 2, 3)).train()
    norm.eval()
    sparsify(model, torch.ones(1, 1, 14, 14), Pooled(), 0.2)
    assert [layer.training for layer in model] == [True, False, True]
    assert norm.running_mean is not None
    assert not norm.running_mean.any()


def test_masks_can_be_laid_anew_on_a_masked_model() -> None:
    model = net()
    sparsify(model, EXAMPLE, Pooled(), 0.2)
    sparsify(model, EXAMPLE, Pooled(), 0.5)
    first = model[0]
    assert isinstance(first, MaskedConv2d)
    assert int(first.mask.sum()) == 98
    assert list(masked_layers(model)) == ["0", "1", "3", "4"]


def test_at_share_zero_every_pixel_is_kept() -> None:
    masks = masked(0.5, share=0.0)
    assert all(layer.mask.all() for layer in masks.layers.values())
    masks.draw(3)
    assert int(masks.layers["0"].mask.sum()) == 98


def test_the_summary_counts_tiles_and_the_rows_that_they_waste() -> None:
    model = net()
    sparsify(model, EXAMPLE, Pooled(), 0.2)
    first = summary(model, tile_rows=4)[0]
    assert (first.tiles, first.tiles_kept, first.rows_wasted) == (49, 40, 3)
    sparsify(model, EXAMPLE, Pooled(tile_rows=4), 0.2)
    first = summary(model, tile_rows=4)[0]
    assert (first.kept, first.tiles_kept, first.rows_wasted) == (156, 39, 0)


class Unused(nn.Module):
    """Has a layer that its forward pass leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.spare = nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.used(x)
        return y


def test_a_layer_that_is_never_run_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match="layer 'spare' is not used when the model runs"):
        sparsify(Unused(), EXAMPLE, Pooled(), 0.2)
    assert list(sparsify(Unused(), EXAMPLE, Pooled(), 0.2, exclude=["spare"]).layers) == ["used"]
