"""What grids and searches of a sweep share: the values that a recipe's keys may be given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from toolchain.hints import did_you_mean
from toolchain.sparsity.policies import POLICIES
from toolchain.train.recipe import Argument

NetworkType = Literal["float32", "int8", "fp16", "dynamic"]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Value = str | int | float | bool
_Settings = TypeVar("_Settings", bound=Mapping[str, Any])


class NetworkChoice(BaseModel):
    """A network of ``models`` with arguments."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    factory: str
    """``package.module:function``, or the name of a network of the zoo."""
    arguments: dict[str, Argument] = {}
    """Arguments of the factory, by name."""


def check_policies(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names, which are of policies.

    Raises:
        ValueError: one is not.
    """
    for name in names:
        if name not in POLICIES:
            said = [f"there is no policy '{name}'", f"use {', '.join(POLICIES)}"]
            raise ValueError("; ".join(filter(None, [*said, did_you_mean(name, POLICIES)])))
    return names


def check_settings(settings: _Settings, axes: Mapping[str, str]) -> _Settings:
    """The settings, whose keys are of a recipe.

    Args:
        settings: by key.
        axes: keys that are set elsewhere, and where.

    Raises:
        ValueError: a key is one of those, or none of a recipe.
    """
    for key in settings:
        if key in axes:
            raise ValueError(f"'{key}' has a key of its own: {axes[key]}")
        if key.count(".") < 1:
            raise ValueError(f"'{key}' is no key of a recipe, such as optimizer.learning_rate")
    return settings
