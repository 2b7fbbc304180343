"""Tileskip: networks with spatial masks from PyTorch to small ARM boards.

The words of the command line are functions here: ``from toolchain import Board, convert, build,
profile``. Each is imported when it is asked for first, so that importing this takes no time.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolchain.api.board import Board as Board
    from toolchain.api.board import ConnectedBoard as ConnectedBoard
    from toolchain.api.commands import build as build
    from toolchain.api.commands import convert as convert
    from toolchain.api.commands import estimate as estimate
    from toolchain.api.commands import gain as gain
    from toolchain.api.commands import inspect as inspect
    from toolchain.api.commands import profile as profile
    from toolchain.errors import DeployError as DeployError

__version__ = "0.1.0"

_PLACES = {
    "Board": "toolchain.api.board",
    "ConnectedBoard": "toolchain.api.board",
    "DeployError": "toolchain.errors",
    "build": "toolchain.api.commands",
    "convert": "toolchain.api.commands",
    "estimate": "toolchain.api.commands",
    "gain": "toolchain.api.commands",
    "inspect": "toolchain.api.commands",
    "profile": "toolchain.api.commands",
}
"""Where each name is."""
_PACKAGES = ("build", "convert", "profile")
"""Names of functions that packages of this one have, too: such a package is called as its function,
whichever of the two was meant."""

__all__ = ["__version__", *_PLACES]


class _Called(ModuleType):
    """A package that is called as the function of its name."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return _function(self.__name__)(*arguments, **options)

    @property
    def __signature__(self) -> Any:
        import inspect

        return inspect.signature(_function(self.__name__))


class _Package(ModuleType):
    """This package: importing one of its own makes an attribute of it here."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _PACKAGES and isinstance(value, ModuleType):
            value.__class__ = _Called
        super().__setattr__(name, value)


def _function(package: str) -> Any:
    name = package.rpartition(".")[2]
    return getattr(importlib.import_module(_PLACES[name]), name)


if not TYPE_CHECKING:  # or a type checker would take any name for one of ours

    def __getattr__(name: str) -> Any:
        if name in _PACKAGES:
            return importlib.import_module(f"{__name__}.{name}")
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(importlib.import_module(_PLACES[name]), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


sys.modules[__name__].__class__ = _Package
