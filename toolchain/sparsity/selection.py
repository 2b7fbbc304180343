"""Which convolutions of a model get a mask: by name, by kernel, or by what they stand in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from torch import nn

from toolchain.errors import ModelError
from toolchain.sparsity.targets import check_patterns

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
    check_patterns(list(convs), (*names, *exclude))
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
