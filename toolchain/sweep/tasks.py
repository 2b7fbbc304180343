"""The tasks of a sweep, and which needs which: training, conversion, accuracy, times.

A task's key is a hash of all that its result depends on, so that a result is found again whoever
made it, and is made anew when something of that has changed.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import itertools
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

import toolchain
from toolchain.errors import DataError, RecipeError
from toolchain.storage.cache import digest, sha256_file

Kind = Literal["train", "convert", "evaluate", "estimate", "measure"]
KINDS: tuple[Kind, ...] = ("train", "convert", "evaluate", "estimate", "measure")
"""In the order in which a network goes through them."""
_FORMAT = "1"
"""Of results; another one makes all anew."""
_PACKAGES = ("ai-edge-litert", "ai-edge-quantizer", "litert-torch", "numpy", "torch")
_MOST_FILES = 1_000_000


class Resources(BaseModel):
    """What a task holds while it is at work."""

    model_config = ConfigDict(frozen=True)

    cpus: int
    """Threads, of each rank."""
    gpus: float = 0
    """Likewise."""
    ranks: int = 1
    """Processes that train together."""
    board: str | None = None
    """The board that it has for itself."""


class Task(BaseModel):
    """One piece of work, a function of what is in it."""

    model_config = ConfigDict(frozen=True)

    kind: Kind
    name: str
    """What its files are called: letters, digits and ``.=+-_`` only."""
    key: str
    """Of its result: hex."""
    needs: tuple[str, ...]
    """Keys of the tasks whose results it takes."""
    settings: dict[str, Any]
    """How it is done; in the key."""
    places: dict[str, str] = {}
    """Where files lie that the settings name by what is in them; not in the key."""
    resources: Resources
    versions: dict[str, str]
    """Of the packages that compute; in the key."""

    @property
    def folder(self) -> str:
        """The name of the folder of its result."""
        return f"{self.kind}-{self.key[:24]}"


def make_task(
    kind: Kind,
    name: str,
    settings: Mapping[str, Any],
    resources: Resources,
    *,
    needs: Iterable[str] = (),
    places: Mapping[str, str] | None = None,
) -> Task:
    """A task with its key.

    Args:
        kind: what is done.
        name: of its files; part of the result, so of the key.
        settings: all that the result depends on, besides ``needs``; as JSON has it.
        resources: what it holds.
        needs: keys of other tasks.
        places: where files are.
    """
    found, wanted = versions(), tuple(needs)
    text = json.dumps([settings, found, resources.cpus], sort_keys=True)
    return Task(
        kind=kind,
        name=name,
        key=digest(_FORMAT, kind, name, text, *wanted),
        needs=wanted,
        settings=dict(settings),
        places=dict(places or {}),
        resources=resources,
        versions=found,
    )


def versions() -> dict[str, str]:
    """Packages whose versions results depend on, of those that are installed."""
    found = {"tileskip": toolchain.__version__}
    for name in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


# --- what files hold -------------------------------------------------------------------------


def file_identity(path: Path) -> str:
    """The SHA-256 of a file that a task reads.

    Raises:
        RecipeError: it cannot be read.
    """
    try:
        return sha256_file(path)
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror or error}") from error


def data_identity(source: str, base: Path) -> str:
    """What tells data from other data: of a folder the names and sizes of its files.

    Args:
        source: as in a recipe's ``[data]``, or a file.
        base: the folder that it counts from.

    Raises:
        DataError: a folder with more files than a sweep looks at.
        RecipeError: a file that cannot be read.
    """
    folder = base / os.path.expanduser(source)  # noqa: PTH111 (never fails)
    if ":" in source and not folder.exists():
        return code_identity(source, base)
    if folder.is_file():
        return file_identity(folder)
    if not folder.is_dir():
        return source  # data of ours, or a fault that the training tells
    total, count = hashlib.sha256(), 0
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            path = Path(place, name)
            with suppress(OSError):
                said = f"{path.relative_to(folder)}\0{path.stat().st_size}\0"
                total.update(os.fsencode(said))
            count += 1
            if count > _MOST_FILES:
                raise DataError(
                    f"{folder}: has more than {_MOST_FILES:,} files",
                    hint="give the data as package.module:function",
                )
    return total.hexdigest()


def code_identity(factory: str, base: Path) -> str:
    """What tells a function from one of the same name: the hash of its module's file, where found.

    Args:
        factory: ``package.module:function``, or a name.
        base: the folder that it counts from; the current folder comes next.
    """
    module, colon, _ = factory.rpartition(":")
    if not colon:
        return factory
    place, _, name = module.rpartition("/")
    inside = Path(*name.removesuffix(".py").split("."))
    for folder in (base / os.path.expanduser(place), Path.cwd()):  # noqa: PTH111 (never fails)
        for path in (folder / inside.with_suffix(".py"), folder / inside / "__init__.py"):
            if path.is_file():
                return f"{factory} {file_identity(path)}"
    return factory


def combinations(axes: Mapping[str, Iterable[Any]]) -> list[dict[str, Any]]:
    """Every combination of values, the last axis the fastest.

    Args:
        axes: values by name.
    """
    names = list(axes)
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*axes.values())]
