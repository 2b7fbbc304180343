"""Lay masks on a Keras model's convolutions, as a policy chooses them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal, cast

import keras
import numpy as np

from toolchain.errors import ModelError
from toolchain.keras.masked_layers import (
    MaskedLayer,
    all_layers,
    is_convolution,
    masked_copy,
    masked_layers,
)
from toolchain.keras.policies import Policy
from toolchain.sparsity.site import Site
from toolchain.sparsity.targets import check_patterns, layer_targets, listed

Kernels = Literal["all", "not-1x1", "3x3"]
_KERNELS: dict[str, Callable[[tuple[int, int]], bool]] = {
    "all": lambda kernel: True,  # noqa: ARG005
    "not-1x1": lambda kernel: kernel != (1, 1),
    "3x3": lambda kernel: kernel == (3, 3),
}


class MaskSet:
    """The masked layers of a model, and the policy that draws their masks.

    :func:`sparsify` and :func:`mask_set` make one.
    """

    def __init__(
        self, layers: Mapping[str, MaskedLayer], sites: Sequence[Site], policy: Policy
    ) -> None:
        self.layers = dict(layers)
        self.sites = tuple(sites)
        self.policy = policy

    def draw(self, seed: int, share: float = 1.0) -> None:
        """Give every layer the mask of this seed, in place.

        Args:
            seed: the same seed gives the same masks.
            share: of the way from no masked pixel to each layer's target, 0 to 1.
        """
        for site in self.sites:
            plane = self.policy.mask(site, seed, share) if share > 0 else np.ones(site.size)
            self.layers[site.name].set_mask(plane)

    @property
    def sparsity(self) -> float:
        """The share of masked pixels, a mean over the masked layers."""
        return float(np.mean([1 - layer.mask.mean() for layer in self.layers.values()]))


def sparsify(
    model: Any,
    sparsity: float,
    policy: str | Policy = "pooled",
    *,
    kernels: Kernels = "not-1x1",
    names: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
    targets: Mapping[str, float] | None = None,
    seed: int = 0,
    share: float = 0.0,
) -> tuple[Any, MaskSet]:
    """A copy of a model whose convolutions are masked, with the model's weights.

    The copy is not compiled.

    Args:
        model: a functional or sequential model with an input of fixed height and width. Models in
            it are copied, too. For one with a ``call`` of its own see :func:`mask_set`.
        sparsity: the share of output pixels to skip, in [0, 1).
        policy: which pixels, by name or as :class:`toolchain.keras.policies.Policy`.
        kernels: which convolutions, by the size of their kernels.
        names: of those, the ones whose name matches one of these patterns.
        exclude: of those, not the ones whose name matches one of these.
        targets: name pattern -> sparsity, where a layer has one of its own.
        seed: of the masks that are laid on; the same one gives the same masks.
        share: lay the masks on at this share of the way to the target; 0 keeps every pixel, which
            is where training begins (:class:`toolchain.keras.schedule.MaskSchedule`).

    Returns:
        The copy, and its masked layers with their policy.

    Raises:
        ModelError: a sparsity is out of range, a pattern matches nothing, or the model cannot be
            copied.
    """
    kinds = {cls.__name__ for cls in type(model).__mro__}
    if not kinds & {"Functional", "Sequential"}:
        raise ModelError(
            f"the model is a {type(model).__name__}, whose own code says what its layers do",
            hint="use toolchain.keras.MaskedConv2D in that code, and mask_set for the masks",
        )
    chosen = _chosen(model, kernels, names, exclude)
    pairs: list[tuple[Any, Any]] = []

    def copied(layer: Any) -> Any:
        if layer.name in chosen and is_convolution(layer):
            new: Any = masked_copy(layer)
        else:
            new = type(layer).from_config(layer.get_config())
        pairs.append((layer, new))
        return new

    copy = keras.models.clone_model(model, clone_function=copied, recursive=True)
    for old, new in pairs:
        _take_weights(old, new)
    return copy, _mask_set(copy, chosen, sparsity, policy, targets, seed, share)


def mask_set(
    model: Any,
    sparsity: float,
    policy: str | Policy = "pooled",
    *,
    image: tuple[int, int] | None = None,
    targets: Mapping[str, float] | None = None,
    seed: int = 0,
    share: float = 0.0,
) -> MaskSet:
    """Draw masks for a model that has masked layers already; they are changed in place.

    Args:
        model: with :class:`toolchain.keras.masked_layers.MaskedConv2D` in it, built.
        sparsity: see :func:`sparsify`, as the others.
        policy: which pixels.
        image: height and width of the model's input, where the model does not say it.
        targets: name pattern -> sparsity.
        seed: of the masks.
        share: of the way to the target.

    Raises:
        ModelError: there are no masked layers, two have one name, or one is not built yet.
    """
    names = [layer.name for layer in all_layers(model) if hasattr(layer, "pixel_mask")]
    if not names:
        raise ModelError(
            "the model has no masked layers",
            hint="toolchain.keras.sparsify makes a copy of a model that has",
        )
    _check_unique(names)
    for layer in masked_layers(model).values():
        if not layer.built:
            raise ModelError(
                f"layer '{layer.name}' is not built yet",
                hint="call the model on one image, so that its layers know their sizes",
            )
    return _mask_set(model, names, sparsity, policy, targets, seed, share, image)


def _chosen(model: Any, kernels: str, names: Sequence[str], exclude: Sequence[str]) -> list[str]:
    """The names of the convolutions to mask, in the order of the model's layers."""
    if kernels not in _KERNELS:
        raise ModelError(f"there are no kernels '{kernels}'", hint=f"one of {', '.join(_KERNELS)}")
    convs = [layer for layer in all_layers(model) if is_convolution(layer)]
    known = [layer.name for layer in convs]
    check_patterns(known, (*names, *exclude))
    chosen = [
        layer.name
        for layer in convs
        if _KERNELS[kernels](tuple(layer.kernel_size))
        and any(fnmatchcase(layer.name, pattern) for pattern in names)
        and not any(fnmatchcase(layer.name, pattern) for pattern in exclude)
    ]
    if not chosen:
        raise ModelError(
            f"none of the model's {len(convs)} convolutions is chosen to be masked",
            hint="choose by another kernel size or name pattern",
        )
    _check_unique(chosen)
    return chosen


def _check_unique(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ModelError(
            f"the model has several layers called {listed(twice)}",
            hint="give each convolution a name of its own, by which its mask is known",
        )


def _take_weights(old: Any, new: Any) -> None:
    """The weights of a layer for its copy, which may have a mask besides."""
    if not hasattr(new, "pixel_mask"):
        new.set_weights(old.get_weights())
        return
    for name in ("kernel", "bias"):
        weight = getattr(old, name, None)
        if weight is not None:
            getattr(new, name).assign(weight)


def _mask_set(
    model: Any,
    names: Sequence[str],
    sparsity: float,
    policy: str | Policy,
    targets: Mapping[str, float] | None,
    seed: int,
    share: float,
    image: tuple[int, int] | None = None,
) -> MaskSet:
    wanted = layer_targets(names, sparsity, targets or {})
    layers = {name: layer for name, layer in masked_layers(model).items() if name in wanted}
    size = image or _image_size(model)
    sites = [
        Site(name, cast(tuple[int, int], tuple(layer.pixel_mask.mask.shape)), size, wanted[name])
        for name, layer in layers.items()
    ]
    masks = MaskSet(layers, sites, Policy(policy) if isinstance(policy, str) else policy)
    masks.draw(seed, share)
    return masks


def _image_size(model: Any) -> tuple[int, int]:
    """Height and width of a model's first image."""
    shape = tuple(model.inputs[0].shape) if getattr(model, "inputs", None) else ()
    first = keras.config.image_data_format() == "channels_first"
    size = shape[2:4] if first else shape[1:3]
    if len(shape) != 4 or None in size:
        raise ModelError(
            "the model does not say how high and wide its images are",
            hint="give the model an input of fixed size: keras.Input((224, 224, 3)); "
            "mask_set takes it as image=(224, 224)",
        )
    return int(size[0]), int(size[1])
