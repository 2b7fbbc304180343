"""Masks laid on Keras models."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

pytest.importorskip("tensorflow")

import keras
from keras import layers

from toolchain.errors import ModelError
from toolchain.keras import MaskedConv2D, Policy, mask_set, masked_layers, sparsify
from toolchain.sparsity.site import Site

IMAGES = np.random.default_rng(1).normal(size=(2, 20, 20, 3)).astype(np.float32)


def network() -> Any:
    """A functional model with a model in it; weights and BatchNorm are random."""
    inner_images = keras.Input((10, 10, 8))
    hidden = layers.Conv2D(8, 3, padding="same", name="inner")(inner_images)
    inner = keras.Model(inner_images, layers.BatchNormalization()(hidden), name="block")
    images = keras.Input((20, 20, 3))
    hidden = layers.Conv2D(8, 3, strides=2, padding="same", name="stem")(images)
    hidden = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(hidden)
    hidden = layers.Conv2D(8, 1, name="pointwise")(inner(hidden))
    model = keras.Model(images, layers.GlobalAveragePooling2D()(hidden))
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.5, 1, weight.shape) for weight in model.get_weights()])
    return model


def sparsities(model: Any) -> dict[str, Any]:
    return {
        name: pytest.approx(1 - layer.mask.mean(), abs=1e-9)
        for name, layer in masked_layers(model).items()
    }


def test_a_copy_with_masks_that_keep_every_pixel_computes_what_the_model_does() -> None:
    model = network()
    copy, _ = sparsify(model, 0.2)
    assert np.array_equal(copy(IMAGES), model(IMAGES))
    assert all(layer.mask.all() for layer in masked_layers(copy).values())


def test_every_convolution_but_1x1_ones_is_masked_in_models_within_the_model_too() -> None:
    copy, masks = sparsify(network(), 0.2, share=1.0)
    assert sparsities(copy) == {"stem": 0.2, "depthwise": 0.2, "inner": 0.2}
    assert masks.sparsity == pytest.approx(0.2)


def test_the_model_itself_stays_as_it_is() -> None:
    model = network()
    before = np.asarray(model(IMAGES))
    sparsify(model, 0.2, share=1.0)
    assert masked_layers(model) == {}
    assert np.array_equal(model(IMAGES), before)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"kernels": "all"}, {"stem", "depthwise", "inner", "pointwise"}),
        ({"names": ["s*", "inner"]}, {"stem", "inner"}),
        ({"exclude": ["inner"]}, {"stem", "depthwise"}),
    ],
)
def test_layers_are_chosen_by_kernel_and_name(options: dict[str, Any], names: set[str]) -> None:
    copy, _ = sparsify(network(), 0.2, **options)
    assert set(masked_layers(copy)) == names


def test_a_layer_may_have_a_target_of_its_own() -> None:
    copy, _ = sparsify(network(), 0.2, targets={"st*": 0.5}, share=1.0)
    assert sparsities(copy) == {"stem": 0.5, "depthwise": 0.2, "inner": 0.2}


def test_layers_of_equal_resolution_have_one_mask_with_the_policy_of_the_paper() -> None:
    copy, _ = sparsify(network(), 0.3, "pooled", share=1.0)
    first, *others = (layer.mask for layer in masked_layers(copy).values())
    assert all(np.array_equal(first, other) for other in others)


def test_the_same_seed_gives_the_same_masks_and_another_one_others() -> None:
    planes = [
        next(iter(masked_layers(sparsify(network(), 0.3, seed=seed, share=1.0)[0]).values())).mask
        for seed in (1, 1, 2)
    ]
    assert np.array_equal(planes[0], planes[1])
    assert not np.array_equal(planes[0], planes[2])


def test_a_lattice_that_grows_masks_whole_classes_of_the_lattice_of_its_target() -> None:
    site = Site("conv", (20, 20), (20, 20), 0.4)
    planes = [Policy("lattice").mask(site, 0, share) for share in (0.5, 1.0)]
    assert [plane.mean() for plane in planes] == [pytest.approx(0.8), pytest.approx(0.6)]
    assert not np.any(planes[1] & ~planes[0])  # what was masked stays so


def test_a_lattice_is_that_of_the_target_however_little_of_it_is_masked() -> None:
    site = Site("conv", (20, 20), (20, 20), 0.5)  # of two classes
    assert Policy("lattice").mask(site, 0, 0.7).mean() == pytest.approx(0.5)


def test_kept_pixels_are_rounded_to_tiles() -> None:
    site = Site("conv", (7, 7), (7, 7), 0.1)
    assert Policy(tile_rows=6, tile_share=0.1).mask(site, 0).sum() == 42
    assert Policy(tile_rows={"other": 6}, tile_share=0.1).mask(site, 0).sum() == 44


def test_a_sequential_model_is_copied_too() -> None:
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3, name="conv")])
    copy, _ = sparsify(model, 0.5, share=1.0)
    assert sparsities(copy) == {"conv": 0.5}


class Own(keras.Model):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.conv = MaskedConv2D(4, 3, name="conv")

    def call(self, images: Any) -> Any:
        return self.conv(images)


def test_masked_layers_of_a_model_with_code_of_its_own_get_their_masks() -> None:
    model = Own()
    model(IMAGES)
    masks = mask_set(model, 0.5, image=(20, 20), share=1.0)
    assert masks.sparsity == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: sparsify(Own(), 0.2), "the model is a Own, whose own code"),
        (lambda: mask_set(Own(), 0.2), "layer 'conv' is not built yet"),
        (lambda: mask_set(network(), 0.2), "the model has no masked layers"),
        (lambda: sparsify(network(), 1.0), r"sparsity 1 is not in \[0, 1\)"),
        (lambda: sparsify(network(), 0.2, "pool"), "there is no policy 'pool'"),
        (lambda: sparsify(network(), 0.2, kernels=cast(Any, "5x5")), "there are no kernels '5x5'"),
        (lambda: sparsify(network(), 0.2, names=["head"]), "pattern 'head' matches none"),
        (lambda: sparsify(network(), 0.2, exclude=["*"]), "none of the model's 4 convolutions"),
        (lambda: Policy(tile_rows=0), "tile_rows 0 is not at least 1"),
    ],
)
def test_what_cannot_be_masked_is_told(make: Any, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        make()
