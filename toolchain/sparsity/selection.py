"""Which convolutions of a model get a mask: by name, by kernel, or by what they stand in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

from torch import nn

from toolchain.errors import ModelError
from toolchain.hints import did_you_mean

_Value = TypeVar("_Value")

Select = Callable[[str, nn.Conv2d], bool]
"""``select(name, convolution)``: whether the convolution gets a mask."""


def every_conv(name: str, conv: nn.Conv2d) -> bool:  # noqa: ARG001
    """Choose every convolution."""
    return True


def not_1x1(name: str, conv: nn.Conv2d) -> bool:  # noqa: ARG001
    """Choose every convolution with a kernel larger than 1x1."""
    return tuple(conv.kernel_size) != (1, 1)


def only_3x3(name: str, conv: nn.Conv2d) -> bool:  # noqa: ARG001
    """Choose the convolutions with a 3x3 kernel."""
    return tuple(conv.kernel_size) == (3, 3)


KERNELS: dict[str, Select] = {"all": every_conv, "not-1x1": not_1x1, "3x3": only_3x3}
"""Selections by kernel size, under the names that a recipe uses."""


def inside(model: nn.Module, *types: type[nn.Module]) -> Select:
    """Choose the convolutions that stand in a module of one of these types, at any depth."""
    parents = [name for name, module in model.named_modules() if isinstance(module, types)]
    return lambda name, _: any(not p or name.startswith(f"{p}.") for p in parents)


def select_layers(
    model: nn.Module,
    select: Select = not_1x1,
    *,
    names: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
) -> dict[str, nn.Conv2d]:
    """The chosen convolutions by name, in the order of the model's modules.

    Args:
        model: any module.
        select: by name and convolution.
        names: of those, the ones whose name matches a pattern such as ``layer3.*.conv1``.
        exclude: of those, not the ones whose name matches a pattern.

    Raises:
        ModelError: a pattern matches no convolution, or nothing is left.
    """
    convs = {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    for pattern in (*names, *exclude):
        if not any(fnmatchcase(name, pattern) for name in convs):
            raise ModelError(
                f"layer pattern '{pattern}' matches none of the model's {len(convs)} convolutions",
                hint=did_you_mean(pattern, convs, f"they are {_listed(list(convs))}")
                if convs
                else "the model has none",
            )
    chosen = {
        name: conv
        for name, conv in convs.items()
        if select(name, conv)
        and any(fnmatchcase(name, pattern) for pattern in names)
        and not any(fnmatchcase(name, pattern) for pattern in exclude)
    }
    if not chosen:
        raise ModelError(
            f"none of the model's {len(convs)} convolutions is chosen to be masked",
            hint="choose by another kernel size or name pattern",
        )
    return chosen


def layer_targets(
    names: Sequence[str], sparsity: float, targets: Mapping[str, float]
) -> dict[str, float]:
    """The target sparsity of each layer: that of the first pattern it matches, else the global one.

    Args:
        names: of the chosen layers.
        sparsity: of layers that no pattern matches.
        targets: name pattern -> sparsity.

    Raises:
        ModelError: a sparsity is not in [0, 1), or a pattern matches no chosen layer.
    """
    for value in (sparsity, *targets.values()):
        if not 0 <= value < 1:
            raise ModelError(
                f"sparsity {value:g} is not in [0, 1)", hint="0.2 skips a fifth of the pixels"
            )
    own = by_pattern(names, targets, "a target")
    return {name: own.get(name, sparsity) for name in names}


def by_pattern(names: Sequence[str], values: Mapping[str, _Value], what: str) -> dict[str, _Value]:
    """The value of the first pattern that each layer matches; those that match none are left out.

    Args:
        names: of the chosen layers.
        values: name pattern -> value.
        what: the patterns are of, for messages: ``a target``.

    Raises:
        ModelError: a pattern matches no chosen layer.
    """
    for pattern in values:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ModelError(
                f"layer pattern '{pattern}' of {what} matches none of the layers to mask",
                hint=did_you_mean(pattern, names, f"they are {_listed(names)}"),
            )
    found = {name: [v for p, v in values.items() if fnmatchcase(name, p)] for name in names}
    return {name: matching[0] for name, matching in found.items() if matching}


def _listed(names: Sequence[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
