"""``package.module:function``: how users name code of their own.

Modules are looked for in the folder that the name counts from, a recipe's for example, then in the
current one; ``folder/package.module:function`` names a folder of its own.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from toolchain.errors import DeployError, ModelError, failure
from toolchain.hints import did_you_mean


def resolve(
    text: str,
    option: str,
    *,
    fault: type[DeployError] = ModelError,
    otherwise: str = "",
    base: Path | None = None,
) -> Callable[..., Any]:
    """The function that ``package.module:function`` names; modules of the current folder are found.

    Args:
        text: what the user wrote; the function may be a method or class (``module:Class.method``).
            A folder may stand before it: ``../nets/module:function``.
        option: where it was written, for messages: ``--model``.
        fault: the class of the errors raised.
        otherwise: what else could be written there, for the hint: ``", or a folder"``.
        base: the folder that the name counts from; its modules go before the current folder's.

    Returns:
        The function. Where it fails, ``fault`` is raised with its message; errors of our own pass.

    Raises:
        DeployError: ``fault``: the text names nothing, or something that cannot be called.
    """
    place, name, path = _taken_apart(text)
    folders = [Path.cwd()] if base is None else [base.resolve(), Path.cwd()]
    if place is not None:
        folders.insert(0, folders[0] / os.path.expanduser(place))  # noqa: PTH111 (never fails)
        if not folders[0].is_dir():
            raise fault(f"{folders[0]}: there is no such folder (for {option} {text})")
    if not path or not all(part.isidentifier() for part in name.split(".")):
        raise fault(f"'{text}' names no factory", hint=f"write package.module:function{otherwise}")
    with _found_in(folders):
        try:
            found: Any = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
                raise fault(
                    f"there is no module called '{error.name}' (for {option} {text}) in "
                    + " or ".join(dict.fromkeys(map(str, folders))),
                    hint="put its folder before it, as in folder/module:function, or install it",
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
            hint=did_you_mean(
                path, vars(sys.modules[name]), f"{option} is package.module:function"
            ),
        ) from error
    if not callable(found):
        raise fault(f"'{text}' is a {type(found).__name__}, not a function")
    function: Callable[..., Any] = found

    @functools.wraps(function)
    def call(*arguments: object, **named: object) -> Any:
        given = [*map(repr, arguments), *(f"{name}={value!r}" for name, value in named.items())]
        shown = "with " + ", ".join(given) if given else "without arguments"
        with _found_in(folders):  # for what the function itself imports
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
    text: str,
    option: str,
    arguments: Mapping[str, Any] | None = None,
    *,
    otherwise: str = "",
    base: Path | None = None,
) -> nn.Module:
    """Call the function that ``package.module:function`` names; it has to give a model.

    Args:
        text: what the user wrote.
        option: see :func:`resolve`.
        arguments: of the call, by name.
        otherwise: see :func:`resolve`.
        base: see :func:`resolve`.

    Raises:
        ModelError: there is no such module or function, it fails, or gives no ``nn.Module``.
    """
    module = resolve(text, option, otherwise=otherwise, base=base)(**(arguments or {}))
    if not isinstance(module, nn.Module):
        raise ModelError(f"'{text}' gives a {type(module).__name__}, not a torch.nn.Module")
    return module


def without_folder(text: str) -> str:
    """``module:function`` of ``folder/module:function``."""
    _, name, path = _taken_apart(text)
    return f"{name}:{path}"


def from_here(text: str, base: Path) -> str:
    """A name that counts from ``base``, written so that it is found from the current folder.

    Args:
        text: what :func:`resolve` has found.
        base: the folder that it counted from.
    """
    place, name, path = _taken_apart(text)
    home = base.resolve() / os.path.expanduser(place or "")  # noqa: PTH111 (never fails)
    module = sys.modules.get(name.partition(".")[0])
    origin = getattr(getattr(module, "__spec__", None), "origin", None)
    at_home = origin is not None and Path(origin).resolve().is_relative_to(home.resolve())
    if not at_home or home.resolve() == Path.cwd():
        return f"{name}:{path}"
    return f"{os.path.relpath(home)}/{name}:{path}"


def _taken_apart(text: str) -> tuple[str | None, str, str]:
    """Folder, module and function of what a user wrote; ``module.py`` is taken, too."""
    module, _, path = text.rpartition(":")
    place, slash, name = module.rpartition("/")
    return (place or "/") if slash else None, name.removesuffix(".py"), path


@contextmanager
def _found_in(folders: Iterable[Path]) -> Iterator[None]:
    added = list(dict.fromkeys(map(str, folders)))
    sys.path[:0] = added
    try:
        yield
    finally:
        for folder in added:
            if folder in sys.path:
                sys.path.remove(folder)
