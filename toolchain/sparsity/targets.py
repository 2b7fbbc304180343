"""The sparsity that each of the chosen layers gets: a global one, or one by the layer's name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

from toolchain.errors import ModelError
from toolchain.hints import did_you_mean

_Value = TypeVar("_Value")


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
                hint=did_you_mean(pattern, names, f"they are {listed(names)}"),
            )
    found = {name: [v for p, v in values.items() if fnmatchcase(name, p)] for name in names}
    return {name: matching[0] for name, matching in found.items() if matching}


def check_patterns(names: Sequence[str], patterns: Sequence[str]) -> None:
    """Make sure that each name pattern matches one of a model's convolutions.

    Args:
        names: of all convolutions of the model.
        patterns: such as ``layer3.*.conv1``.

    Raises:
        ModelError: one does not.
    """
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ModelError(
                f"layer pattern '{pattern}' matches none of the model's {len(names)} convolutions",
                hint=did_you_mean(pattern, names, f"they are {listed(names)}")
                if names
                else "the model has none",
            )


def listed(names: Sequence[str], most: int = 6) -> str:
    """Names for a message, the first ones of many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
