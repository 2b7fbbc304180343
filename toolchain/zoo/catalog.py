"""The networks that ship with the project, by name.

The table itself needs no torch, which is slow to import: the command line lists and completes it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from toolchain.errors import ModelError
from toolchain.hints import did_you_mean

if TYPE_CHECKING:
    import torch
    from torch import nn

CHECKPOINTS = Path(__file__).resolve().parent / "checkpoints"
_FASHION_SHAPE = (1, 1, 28, 28)
_IMAGENET_SHAPE = (1, 3, 224, 224)
_DETECTION_SHAPE = (1, 3, 640, 640)
_IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class ZooModel:
    """A network that can be built with no more than its name."""

    name: str
    factory: str
    """``package.module:function``."""
    input_shape: tuple[int, int, int, int]
    """Of one example, ``[N, C, H, W]``."""
    description: str
    classes: int
    """That it tells apart."""
    sparsity: float = 0.0
    checkpoint: Path | None = None
    """Trained weights and masks, loaded into what the factory makes."""
    random_weights: bool = False
    """Whether the factory's weights are random, good for measuring speed and nothing else."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Of the factory's call, by name: which masks it lays on."""

    @property
    def weights(self) -> Literal["fashion-mnist", "imagenet", "random"]:
        """What its weights were trained on, or ``random``."""
        if self.random_weights:
            return "random"
        return "fashion-mnist" if self.checkpoint else "imagenet"

    def facts(self) -> dict[str, Any]:
        """What it is, for programs."""
        return {
            "name": self.name,
            "factory": self.factory,
            "input_shape": list(self.input_shape),
            "classes": self.classes,
            "sparsity": self.sparsity,
            "weights": self.weights,
            "description": self.description,
        }

    def example_input(self, seed: int = 0) -> torch.Tensor:
        """A random input of the right shape, float32, mean 0 and variance 1."""
        import torch

        return torch.randn(self.input_shape, generator=torch.Generator().manual_seed(seed))

    def build(self) -> nn.Module:
        """The model with its weights and masks, in eval mode.

        Raises:
            ModelError: the checkpoint is damaged or missing.
        """
        from toolchain.sparsity.checkpoint import load_checkpoint, load_model

        model = make(self.factory, self.arguments)
        if self.checkpoint:
            load_model(model, load_checkpoint(self.checkpoint), example_input=self.example_input())
        return model.eval()


def make(factory: str, arguments: Mapping[str, Any] | None = None) -> nn.Module:
    """Call a factory of this project, given as ``package.module:function``."""
    module, _, function = factory.partition(":")
    call = cast("Callable[..., nn.Module]", getattr(importlib.import_module(module), function))
    return call(**(arguments or {}))


def names() -> list[str]:
    """Every name that :func:`get` knows, in the order of the table."""
    return list(ZOO)


def get(name: str) -> ZooModel:
    """One network by name.

    Raises:
        ModelError: there is none of that name.
    """
    if name not in ZOO:
        raise ModelError(
            f"there is no network called '{name}'",
            hint=did_you_mean(
                name, ZOO, f"use one of {', '.join(ZOO)}, or package.module:function of your own"
            ),
        )
    return ZOO[name]


def by_factory(factory: str) -> ZooModel | None:
    """A network of this project by ``package.module:function``; ``None`` for code of others."""
    known = current_factory(factory)
    return next((entry for entry in ZOO.values() if entry.factory == known), None)


_EARLIER = "toolchain.models."
"""The package of the networks, as checkpoints and recipes of every version may name it."""


def current_factory(factory: str) -> str:
    """A factory by the name that it has now; one of others stays as it is."""
    if factory.startswith(_EARLIER):
        return f"{__package__}.{factory.removeprefix(_EARLIER)}"
    return factory


_SPARSITIES = (0.1, 0.2, 0.3, 0.5)


def _masked(
    name: str,
    factory: str,
    text: str,
    shape: tuple[int, int, int, int] = _IMAGENET_SHAPE,
    *,
    classes: int = _IMAGENET_CLASSES,
    sparsities: Sequence[float] = _SPARSITIES,
    random_weights: bool = True,
    arguments: Mapping[str, Any] | None = None,
) -> list[ZooModel]:
    """``<name>_s<percent>`` for each sparsity, which the factory takes as an argument."""
    return [
        ZooModel(
            f"{name}_s{round(100 * sparsity)}",
            f"toolchain.zoo.{factory}",
            shape,
            text,
            classes,
            sparsity,
            random_weights=random_weights,
            arguments={"sparsity": sparsity, **(arguments or {})},
        )
        for sparsity in sparsities
    ]


def _variants(
    name: str,
    module: str,
    text: str,
    shape: tuple[int, int, int, int] = _IMAGENET_SHAPE,
    *,
    classes: int = _IMAGENET_CLASSES,
    random_weights: bool = True,
) -> list[ZooModel]:
    """The dense network, called ``name``, and its masked ones."""
    factory = f"{module}:{name}"
    dense = ZooModel(
        name, f"toolchain.zoo.{factory}", shape, text, classes, random_weights=random_weights
    )
    return [
        dense,
        *_masked(name, factory, text, shape, classes=classes, random_weights=random_weights),
    ]


_ALL = [
    *(
        ZooModel(
            f"fashion_resnet_{variant}",
            "toolchain.zoo.fashion_resnet:fashion_resnet",
            _FASHION_SHAPE,
            "small residual network, trained on Fashion-MNIST; every 3x3 masked",
            10,
            sparsity,
            CHECKPOINTS / f"fashion_resnet_{variant}.safetensors",
        )
        for variant, sparsity in (("dense", 0.0), ("s20", 0.2), ("s30", 0.3))
    ),
    *_variants("resnet18", "resnet", "ResNet18, random weights; every 3x3 masked"),
    *_masked(
        "resnet18_all",
        "resnet:resnet18",
        "ResNet18, random weights; every layer masked, the 7x7 and 1x1 ones too",
        arguments={"kernels": "all"},
    ),
    *_masked(
        "resnet18_lattice",
        "resnet:resnet18",
        "ResNet18, random weights; every layer masked, by lattices",
        sparsities=(0.2, 0.4),
        arguments={"kernels": "all", "policy": "lattice"},
    ),
    *_variants("resnet50", "resnet", "ResNet50, random weights; every layer masked, 1x1 ones too"),
    *_variants("mobilenet_v2", "mobilenet", "MobileNetV2, random weights; every layer masked"),
    *_variants(
        "efficientnet_lite0",
        "efficientnet_lite",
        "EfficientNet-Lite0, ImageNet weights; every layer masked without training",
        random_weights=False,
    ),
    *_variants(
        "yolov5n",
        "yolov5",
        "YOLOv5n detector, 80 classes, random weights; every layer masked but the head's three",
        _DETECTION_SHAPE,
        classes=80,
    ),
]
ZOO = {model.name: model for model in _ALL}
