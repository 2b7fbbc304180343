"""Keras convolutions with masks: what they compute, and how they are saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow")

import keras

from toolchain.errors import ModelError
from toolchain.keras import MaskedConv2D, MaskedDepthwiseConv2D, masked_layers
from toolchain.keras.masked_layers import scoped_layer

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(2, 6, 5, 3)).astype(np.float32)
KEPT = RNG.random((6, 5)) < 0.6
KINDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "convolution": (MaskedConv2D, keras.layers.Conv2D, {"filters": 4, "kernel_size": 3}),
    "depthwise": (MaskedDepthwiseConv2D, keras.layers.DepthwiseConv2D, {"kernel_size": 3}),
}


def pair(kind: str, **options: Any) -> tuple[Any, Any]:
    """A masked layer, and Keras' own with the same weights; biases are not 0."""
    masked_class, plain_class, arguments = KINDS[kind]
    both: list[Any] = []
    for layer_class in (masked_class, plain_class):
        layer = layer_class(**arguments, padding="same", name="conv", **options)
        layer.build(IMAGES.shape)
        both.append(layer)
    masked, plain = both
    kernel, bias = plain.get_weights()
    for layer in both:
        layer.kernel.assign(kernel)
        layer.bias.assign(bias + 1.5)
    return masked, plain


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", [None, "relu", "sigmoid"])
def test_a_masked_pixel_is_the_activation_of_nothing_its_bias_included(
    kind: str, activation: str | None
) -> None:
    masked, plain = pair(kind, activation=activation)
    masked.set_mask(KEPT)
    found, wanted = np.asarray(masked(IMAGES)), np.asarray(plain(IMAGES))
    assert np.array_equal(found[:, KEPT], wanted[:, KEPT])
    assert np.all(found[:, ~KEPT] == (0.5 if activation == "sigmoid" else 0))


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_keeps_every_pixel_until_it_gets_a_mask(kind: str) -> None:
    masked, plain = pair(kind)
    assert masked.mask.all()
    assert np.array_equal(masked(IMAGES), plain(IMAGES))


def test_behind_batchnorm_a_masked_pixel_is_a_constant_of_its_channel_and_not_zero() -> None:
    masked, _ = pair("convolution")
    masked.set_mask(KEPT)
    norm = keras.layers.BatchNormalization()
    norm.build((None, 6, 5, 4))
    norm.set_weights([np.full(4, 2.0), np.arange(4), np.full(4, 3.0), np.full(4, 4.0)])
    found = np.asarray(norm(masked(IMAGES), training=False))[:, ~KEPT]
    assert found == pytest.approx(np.broadcast_to(np.arange(4) - 3, found.shape), abs=1e-2)


def test_a_mask_is_saved_with_the_model_and_loads_in_safe_mode(tmp_path: Path) -> None:
    images = keras.Input((6, 5, 3))
    hidden = MaskedConv2D(4, 3, padding="same", activation="relu", name="first")(images)
    model = keras.Model(images, MaskedDepthwiseConv2D(3, name="second")(hidden))
    first, second = masked_layers(model).values()
    first.set_mask(KEPT)
    second.set_mask(KEPT[:4, :3])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    assert {name: layer.mask.tolist() for name, layer in masked_layers(loaded).items()} == {
        "first": KEPT.tolist(),
        "second": KEPT[:4, :3].tolist(),
    }
    assert np.array_equal(loaded(IMAGES), model(IMAGES))


def test_a_mask_is_not_trained() -> None:
    masked, _ = pair("convolution")
    assert len(masked.trainable_weights) == 2
    assert len(masked.non_trainable_weights) == 1


def test_no_gradient_comes_from_a_masked_pixel() -> None:
    import tensorflow

    masked, _ = pair("convolution")
    masked.set_mask(np.zeros((6, 5)))
    with tensorflow.GradientTape() as tape:
        loss = tensorflow.reduce_sum(masked(IMAGES) ** 2 + masked(IMAGES))
    kernel, bias = tape.gradient(loss, masked.trainable_weights)
    assert not np.any(kernel)
    assert not np.any(bias)


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (np.ones((5, 6)), "mask of layer 'conv' is 5x6, but the layer's output is 6x5"),
        (np.ones(30), "mask of layer 'conv' is 30, but"),
        (np.full((6, 5), 0.5), "values that are not 0 or 1"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(mask: Any, said: str) -> None:
    masked, _ = pair("convolution")
    with pytest.raises(ModelError, match=said):
        masked.set_mask(mask)


def test_a_layer_without_a_fixed_size_is_told_what_it_lacks() -> None:
    images = keras.Input((None, None, 3))
    with pytest.raises(ModelError, match="'conv' has no fixed height and width") as caught:
        MaskedConv2D(4, 3, name="conv")(images)
    assert "keras.Input((224, 224, 3))" in str(caught.value.hint)


def test_a_layer_that_is_used_for_two_sizes_is_refused() -> None:
    layer = MaskedConv2D(4, 3, name="conv")
    layer(np.zeros((1, 8, 8, 3)))
    with pytest.raises(ModelError, match="is 6x6, but the layer's output is 4x4"):
        layer(np.zeros((1, 6, 6, 3)))


@pytest.mark.parametrize(
    ("tensor", "name"),
    [
        ("net_1/conv_2_1/tileskip.conv_2.mask_1/SelectV2", "conv_2"),
        ("tileskip.a.mask/SelectV2;other", "a"),
        ("net/conv/SelectV2", None),
    ],
)
def test_the_name_of_a_tensor_tells_whose_mask_made_it(tensor: str, name: str | None) -> None:
    assert scoped_layer(tensor) == name
