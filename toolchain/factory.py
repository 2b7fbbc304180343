"""``package.module:function``: how users name code of their own."""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from toolchain.errors import DeployError, ModelError, failure


def resolve(
    text: str,
    option: str,
    *,
    fault: type[DeployError] = ModelError,
    otherwise: str = "",
) -> Callable[..., Any]:
    """The function that ``package.module:function`` names; modules of the current folder are found.

    Args:
        text: what the user wrote; the function may be a method or class (``module:Class.method``).
        option: where it was written, for messages: ``--model``.
        fault: the class of the errors raised.
        otherwise: what else could be written there, for the hint: ``", or a folder"``.

    Returns:
        The function. Where it fails, ``fault`` is raised with its message; errors of our own pass.

    Raises:
        DeployError: ``fault``: the text names nothing, or something that cannot be called.
    """
    name, _, path = text.partition(":")
    if not path or not all(part.isidentifier() for part in name.split(".")):
        raise fault(f"'{text}' names no factory", hint=f"write package.module:function{otherwise}")
    with _current_folder():
        try:
            found: Any = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
                raise fault(
                    f"there is no module called '{error.name}' (for {option} {text})",
                    hint="run deploy in the folder that holds it, or install its package",
                ) from error
            raise failure(fault, f"importing '{name}'", error) from error
        except Exception as error:
            raise failure(fault, f"importing '{name}'", error) from error
    try:
        for part in path.split("."):
            found = getattr(found, part)
    except AttributeError as error:
        raise fault(
            f"module '{name}' has no function called '{path}'",
            hint=f"{option} is package.module:function",
        ) from error
    if not callable(found):
        raise fault(f"'{text}' is a {type(found).__name__}, not a function")
    function: Callable[..., Any] = found

    @functools.wraps(function)
    def call(*arguments: object, **named: object) -> Any:
        given = [*map(repr, arguments), *(f"{name}={value!r}" for name, value in named.items())]
        shown = "with " + ", ".join(given) if given else "without arguments"
        with _current_folder():  # for what the function itself imports
            try:
                return function(*arguments, **named)
            except DeployError:
                raise
            except Exception as error:
                raise failure(fault, f"calling '{text}' {shown}", error) from error

    return call


def needs_an_argument(function: Callable[..., Any]) -> bool:
    """Whether a function has one argument that has to be given; no where that is not known."""
    try:
        signature = inspect.signature(function)
        signature.bind(None)
    except (TypeError, ValueError):
        return False
    return any(
        parameter.default is parameter.empty
        for parameter in signature.parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    )


def make_module(
    text: str, option: str, arguments: Mapping[str, Any] | None = None, *, otherwise: str = ""
) -> nn.Module:
    """Call the function that ``package.module:function`` names; it has to give a model.

    Args:
        text: what the user wrote.
        option: see :func:`resolve`.
        arguments: of the call, by name.
        otherwise: see :func:`resolve`.

    Raises:
        ModelError: there is no such module or function, it fails, or gives no ``nn.Module``.
    """
    module = resolve(text, option, otherwise=otherwise)(**(arguments or {}))
    if not isinstance(module, nn.Module):
        raise ModelError(f"'{text}' gives a {type(module).__name__}, not a torch.nn.Module")
    return module


@contextmanager
def _current_folder() -> Iterator[None]:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)
