"""Masks out of one random plane."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from toolchain.errors import ModelError
from toolchain.sparsity.masked_conv import MaskedConv2d, masked_layers
from toolchain.sparsity.planes import (
    every_conv,
    kept_pixels,
    mask_from_plane,
    only_3x3,
    random_plane,
    sparsify,
)


def net() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1),
        nn.Conv2d(2, 2, 3, padding=1),
        nn.Conv2d(2, 2, 1),
        nn.Conv2d(2, 2, 5, stride=2, padding=2),
        nn.Conv2d(2, 2, 3, padding=1),
    )


EXAMPLE = torch.zeros(1, 1, 14, 14)


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 1), st.integers(0, 2**31))
@settings(max_examples=100, deadline=None)
def test_a_mask_keeps_exactly_the_pixels_that_its_sparsity_leaves(
    height: int, width: int, sparsity: float, seed: int
) -> None:
    plane = random_plane((56, 56), torch.Generator().manual_seed(seed))
    mask = mask_from_plane(plane, (height, width), sparsity)
    assert mask.shape == (height, width)
    assert int(mask.sum()) == height * width - round(sparsity * height * width)


def test_the_lowest_pooled_scores_are_masked() -> None:
    plane = random_plane((28, 28), torch.Generator().manual_seed(0))
    mask = mask_from_plane(plane, (7, 7), 0.2)
    scores = functional.avg_pool2d(plane[None, None], 4)[0, 0]
    assert int(mask.sum()) == 39
    assert scores[~mask].max() <= scores[mask].min()


def test_equal_scores_still_give_the_exact_count() -> None:
    assert int(mask_from_plane(torch.zeros(8, 8), (8, 8), 0.5).sum()) == 32


def test_layers_of_equal_resolution_share_a_mask() -> None:
    model = net()
    layers = sparsify(model, EXAMPLE, 0.2, select=every_conv)
    assert torch.equal(layers["0"].mask, layers["1"].mask)
    assert torch.equal(layers["0"].mask, layers["2"].mask)
    assert torch.equal(layers["3"].mask, layers["4"].mask)
    assert [int(layer.mask.sum()) for layer in layers.values()] == [157, 157, 157, 39, 39]


def test_masks_of_layers_are_not_tied_to_each_other_in_memory() -> None:
    layers = sparsify(net(), EXAMPLE, 0.2)
    before = layers["1"].mask.clone()
    layers["0"].mask.fill_(True)
    assert torch.equal(layers["1"].mask, before)


def test_the_same_seed_gives_the_same_masks_and_another_seed_others() -> None:
    masks = [sparsify(net(), EXAMPLE, 0.2, seed=seed)["0"].mask for seed in (5, 5, 6)]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_a_generator_goes_on_where_it_is() -> None:
    generator = torch.Generator().manual_seed(5)
    first = sparsify(net(), EXAMPLE, 0.2, generator=generator)["0"].mask
    second = sparsify(net(), EXAMPLE, 0.2, generator=generator)["0"].mask
    assert torch.equal(first, sparsify(net(), EXAMPLE, 0.2, seed=5)["0"].mask)
    assert not torch.equal(first, second)


def test_laying_masks_draws_nothing_from_the_global_generator() -> None:
    torch.manual_seed(9)
    wanted = torch.rand(3)
    torch.manual_seed(9)
    model = nn.Sequential(nn.Identity())
    sparsify(model, EXAMPLE, 0.2)
    assert torch.equal(torch.rand(3), wanted)


@pytest.mark.parametrize(
    ("select", "names"),
    [(None, ["0", "1", "3", "4"]), (only_3x3, ["0", "1", "4"]), (every_conv, list("01234"))],
)
def test_layers_are_chosen_by_a_function(select: object, names: list[str]) -> None:
    model = net()
    chosen = {"select": select} if select else {}
    assert list(sparsify(model, EXAMPLE, 0.2, **chosen)) == names  # type: ignore[arg-type]
    assert list(masked_layers(model)) == names


def test_modes_are_as_before_and_statistics_untouched() -> None:
    norm = nn.BatchNorm2d(2)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), norm, nn.Conv2d(2, 2, 3)).train()
    norm.eval()
    sparsify(model, torch.ones(1, 1, 14, 14), 0.2)
    assert [layer.training for layer in model] == [True, False, True]
    assert norm.running_mean is not None
    assert not norm.running_mean.any()


def test_masks_can_be_laid_anew_on_a_masked_model() -> None:
    model = net()
    sparsify(model, EXAMPLE, 0.2)
    sparsify(model, EXAMPLE, 0.5)
    first = model[0]
    assert isinstance(first, MaskedConv2d)
    assert int(first.mask.sum()) == 98


@pytest.mark.parametrize("sparsity", [-0.1, 1.1, float("nan")])
def test_a_sparsity_out_of_range_is_refused(sparsity: float) -> None:
    with pytest.raises(ModelError, match="is not between 0 and 1"):
        sparsify(net(), EXAMPLE, sparsity)


@pytest.mark.parametrize(
    ("pixels", "sparsity", "kept"), [(49, 0.1, 44), (49, 0.2, 39), (196, 0.2, 157), (9, 1.0, 0)]
)
def test_kept_pixels(pixels: int, sparsity: float, kept: int) -> None:
    assert kept_pixels(pixels, sparsity) == kept
