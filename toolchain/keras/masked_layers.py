"""Keras convolutions whose output keeps only the pixels of a fixed binary mask.

The method is that of Grimaldi, Ganji, Lazarevich and Sah (arXiv 2309.06626): one mask a layer, the
same for every channel and every image, laid on the convolution's output before BatchNorm. What
:class:`toolchain.sparsity.masked_conv.MaskedConv2d` is for torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from toolchain.errors import ModelError

Plane = npt.NDArray[np.bool_]

PACKAGE = "tileskip"
"""What the layers are registered under, so that a ``.keras`` file with them loads in safe mode."""
_SCOPE = re.compile(r"(?:^|/)tileskip\.(?P<name>.+?)\.mask(?:_\d+)?/")


@keras.saving.register_keras_serializable(package=PACKAGE)
class PixelMask(keras.layers.Layer):  # type: ignore[misc]
    """Keeps the pixels of a mask, and puts 0 in the place of the others.

    Its one weight ``mask``, bool ``[H, W]`` with ``True`` = kept, is not trained and is saved with
    the model. It is built for one size of image, and keeps every pixel at first.

    Args:
        data_format: ``channels_last`` or ``channels_first``, of its input.
        kwargs: of every layer.
    """

    mask: Any

    def __init__(self, data_format: str = "channels_last", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = data_format
        self.trainable = False

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the mask, for an input ``[N, H, W, C]`` or ``[N, C, H, W]``.

        Raises:
            ModelError: height or width is not known.
        """
        size = self._size(input_shape)
        if None in size:
            raise ModelError(
                f"the output of '{self._layer}' has no fixed height and width, and a mask needs it",
                hint="give the model's input a fixed size: keras.Input((224, 224, 3))",
            )
        self.mask = self.add_weight(
            shape=size, dtype="bool", initializer="ones", trainable=False, name="mask"
        )

    def call(self, inputs: Any) -> Any:
        """The images where the mask keeps a pixel, 0 where it does not.

        Raises:
            ModelError: the images' size is not the mask's.
        """
        size = self._size(inputs.shape)
        if None not in size and tuple(size) != tuple(self.mask.shape):
            raise wrong_size(self._layer, tuple(self.mask.shape), size)
        axis = 0 if self.data_format == "channels_first" else -1
        plane = ops.expand_dims(ops.expand_dims(ops.convert_to_tensor(self.mask), axis), 0)
        return ops.where(plane, inputs, ops.zeros((), inputs.dtype))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """What makes such a layer again."""
        return {**super().get_config(), "data_format": self.data_format}

    @property
    def _layer(self) -> str:
        return scoped_layer(f"{self.name}/") or self.name

    def _size(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return tuple(shape[2:4] if self.data_format == "channels_first" else shape[1:3])


class _Masked:
    """What the masked convolutions have in common; stands before Keras' class."""

    pixel_mask: PixelMask
    name: str
    data_format: str
    activation: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The scope of its operators, by which the layer is found again in a converted file.
        self.pixel_mask = PixelMask(self.data_format, name=f"tileskip.{self.name}.mask")

    def build(self, input_shape: Any) -> None:
        """Make the weights, and the mask for the size of the output."""
        super().build(input_shape)  # type: ignore[misc]
        self.pixel_mask.build(self.compute_output_shape(input_shape))  # type: ignore[attr-defined]

    def call(self, inputs: Any) -> Any:
        """Convolve, mask, and apply the layer's activation."""
        activation = self.activation
        object.__setattr__(self, "activation", None)  # it goes behind the mask
        try:
            outputs = super().call(inputs)  # type: ignore[misc]
        finally:
            object.__setattr__(self, "activation", activation)
        outputs = self.pixel_mask(outputs)
        return outputs if activation is None else activation(outputs)

    @property
    def mask(self) -> Plane:
        """The mask, bool ``[Hout, Wout]``, ``True`` = kept; a copy."""
        return np.array(ops.convert_to_numpy(self.pixel_mask.mask), np.bool_)

    def set_mask(self, mask: npt.ArrayLike) -> None:
        """Replace the mask by another one of the same size.

        Args:
            mask: ``[Hout, Wout]``, bool or numbers that are 0 or 1.

        Raises:
            ModelError: it has another size, or other values.
        """
        plane = np.asarray(mask)
        size = tuple(self.pixel_mask.mask.shape)
        if plane.shape != size:
            raise wrong_size(self.name, plane.shape, size)
        if plane.dtype != np.bool_ and not np.isin(plane, (0, 1)).all():
            raise ModelError(
                f"mask of layer '{self.name}' holds values that are not 0 or 1",
                hint="1 keeps a pixel, 0 skips it; where other numbers mean that, give mask > 0.5",
            )
        self.pixel_mask.mask.assign(plane.astype(np.bool_))


@keras.saving.register_keras_serializable(package=PACKAGE)
class MaskedConv2D(_Masked, keras.layers.Conv2D):  # type: ignore[misc]
    """``keras.layers.Conv2D`` whose output keeps only the pixels of a mask.

    ``activation(conv(x) * mask)``: a masked pixel is 0 in every channel, its bias included, before
    the activation. After BatchNorm it is the constant ``BN(0)`` of its channel, not 0. The
    arguments are those of ``Conv2D``; the mask keeps every pixel until :meth:`set_mask`.
    """


@keras.saving.register_keras_serializable(package=PACKAGE)
class MaskedDepthwiseConv2D(_Masked, keras.layers.DepthwiseConv2D):  # type: ignore[misc]
    """``keras.layers.DepthwiseConv2D`` whose output keeps only the pixels of a mask.

    See :class:`MaskedConv2D`.
    """


MaskedLayer = MaskedConv2D | MaskedDepthwiseConv2D
_KINDS: dict[type, type] = {
    keras.layers.Conv2D: MaskedConv2D,
    keras.layers.DepthwiseConv2D: MaskedDepthwiseConv2D,
    MaskedConv2D: MaskedConv2D,
    MaskedDepthwiseConv2D: MaskedDepthwiseConv2D,
}


def is_convolution(layer: Any) -> bool:
    """Whether a layer is a convolution that can carry a mask, or carries one."""
    return type(layer) in _KINDS


def masked_copy(layer: Any) -> MaskedLayer:
    """A masked layer with the configuration of a convolution; it is not built yet.

    Args:
        layer: one for which :func:`is_convolution` holds.
    """
    return cast(MaskedLayer, _KINDS[type(layer)].from_config(layer.get_config()))  # type: ignore[attr-defined]


def all_layers(model: Any) -> Iterator[Any]:
    """Every layer of a model, those inside of layers and of models in it, too."""
    yield from model._flatten_layers(include_self=False, recursive=True)


def masked_layers(model: Any) -> dict[str, MaskedLayer]:
    """Every masked convolution of a model by name, in the order of its layers."""
    kinds = (MaskedConv2D, MaskedDepthwiseConv2D)
    return {layer.name: layer for layer in all_layers(model) if isinstance(layer, kinds)}


def scoped_layer(tensor: str) -> str | None:
    """The masked layer whose mask made a tensor, by the tensor's name; ``None`` if none did."""
    found = _SCOPE.search(tensor)
    return found["name"] if found else None


def wrong_size(
    name: str, mask: tuple[int | None, ...], output: tuple[int | None, ...]
) -> ModelError:
    """A mask that does not fit a layer."""
    sizes = ("x".join(map(str, size)) for size in (mask, output))
    return ModelError(
        "mask of layer '{}' is {}, but the layer's output is {} (height x width)".format(
            name, *sizes
        ),
        hint="a mask fits one input size only: use the size that the masks were made for",
    )
