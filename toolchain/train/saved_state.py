"""The state of a training on disk, by which it goes on where it was stopped."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import filelock
import torch
from torch import Tensor

from toolchain.errors import DataError, ModelError, OutputError, RecipeError, first_line
from toolchain.storage.cache import sha256_file
from toolchain.storage.files import make_folder, write_whole
from toolchain.storage.scratch import sweep
from toolchain.train.data import Data
from toolchain.train.recipe import Recipe
from toolchain.train.rounding import Rounding
from toolchain.train.trainer import Trainer

_STATE = "state.pt"
LOCK = ".lock"
RANKS_LOCK = ".ranks.lock"
"""Held by the first of several ranks; the process that began them holds the other one."""
_VERSION = 3
_FREE = {"training": {"workers", "checkpoint_every"}}
"""What may differ between a saved state and the recipe that resumes it."""


@contextmanager
def locked(folder: Path, name: str = LOCK, *, patience: float = 0.0) -> Iterator[None]:
    """Hold a run's folder, which is made, and taken away again if nothing came to lie in it.

    Args:
        folder: of the run.
        name: of the lock's file.
        patience: seconds to wait for another one that holds it.

    Raises:
        OutputError: the folder cannot be written, or another run works there.
    """
    lock = filelock.FileLock(folder / name, timeout=patience)
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    make_folder(folder)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise OutputError(
            f"{folder}: another training is at work there",
            hint="wait for it, or give this one another --run-dir",
        ) from error
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}") from error
    try:
        sweep(folder / _STATE)
        yield
    finally:
        with suppress(OSError):
            if name == LOCK and {path.name for path in folder.iterdir()} <= {LOCK, RANKS_LOCK}:
                for left in (LOCK, RANKS_LOCK):
                    (folder / left).unlink(missing_ok=True)
                for path in new:
                    path.rmdir()
        lock.release()


def save_state(
    folder: Path, recipe: Recipe, data: Data, trainer: Trainer, checkpoints: Sequence[str | None]
) -> None:
    """Write the state of a run between two of its steps.

    Args:
        folder: of the run.
        recipe: how it trains.
        data: what it is trained on.
        trainer: where it stands.
        checkpoints: what :func:`check_checkpoints` gave.

    Raises:
        OutputError: it cannot be written; the state of before is still there.
    """
    state = {
        "version": _VERSION,
        "recipe": recipe.model_dump_json(),
        "rounding": _rounding_text(trainer.student.rounding),
        "data": _identity(data),
        "labels": data.labels,
        "checkpoints": list(checkpoints),
        "trainer": trainer.state_dict(),
    }
    write_whole(folder / _STATE, partial(torch.save, state))


def load_state(folder: Path, recipe: Recipe) -> dict[str, Any] | None:
    """Read the state that a run of this recipe left; ``None`` where there is none.

    Raises:
        ModelError: it is damaged or of another version.
        RecipeError: it is of another recipe.
    """
    path = folder / _STATE
    if not path.is_file():
        return None
    try:
        state = _read(path)
        version, known = state["version"], Recipe.model_validate_json(state["recipe"])
        if version == _VERSION:
            decided(state)
    except Exception as error:
        raise ModelError(
            f"{path}: is no saved training, or a damaged one ({first_line(error)})",
            hint="begin anew with --restart",
        ) from error
    if version != _VERSION:
        raise ModelError(f"{path}: is of another version", hint="begin anew with --restart")
    different = _differences(known.model_dump(), recipe.model_dump())
    if different:
        raise RecipeError(
            f"{folder}: holds the run of another recipe (it differs in {', '.join(different)})",
            hint="give another --run-dir, or begin anew with --restart",
        )
    return state


def forget_state(folder: Path) -> None:
    """Remove the state of a run, if there is one."""
    (folder / _STATE).unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()  # torch.load does not look at checksums
    if damaged:
        raise ValueError(f"the checksum of {damaged} is wrong")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def check_data(state: Mapping[str, Any], data: Data, folder: Path) -> None:
    """Make sure that a run goes on with the data that it began with.

    Raises:
        DataError: it would not.
    """
    labels = state.get("labels")  # earlier versions did not save it
    if state["data"] != _identity(data) or (labels and data.labels and labels != data.labels):
        raise DataError(
            f"{data.name}: is not what the run in {folder} was trained on until now",
            hint="bring the images back, or begin anew with --restart",
        )


def check_checkpoints(
    state: Mapping[str, Any] | None, recipe: Recipe, base: Path | None, folder: Path
) -> list[str | None]:
    """Make sure that a run goes on with the weights that it began with.

    Those that it started from may be gone: they are in the state.

    Args:
        state: of the run; ``None`` where it begins.
        recipe: names the checkpoints.
        base: the folder that relative paths in the recipe start from.
        folder: of the run.

    Returns:
        The SHA-256 of each checkpoint, as the run began with it; ``None`` of one that was never
        seen.

    Raises:
        ModelError: one is another.
    """
    paths = recipe.checkpoints(base)
    now = [_sha256(path) for path in paths]
    known = (state or {}).get("checkpoints") or now  # earlier versions did not save it
    for path, one, other in zip(paths, known, now, strict=True):
        if one and other and one != other:
            raise ModelError(
                f"{path}: is not what the run in {folder} began with",
                hint="bring those weights back, or begin anew with --restart",
            )
    return [one or other for one, other in zip(known, now, strict=True)]


def _sha256(path: Path) -> str | None:
    with suppress(OSError):
        return sha256_file(path)
    return None  # whoever needs it says what is wrong


def weights(state: Mapping[str, Any]) -> Mapping[str, Tensor]:
    """The model's state_dict in a state."""
    found: Mapping[str, Tensor] = state["trainer"]["model"]
    return found


def decided(state: Mapping[str, Any]) -> Rounding | None:
    """What was decided on rounding when the run began; ``None`` where no board's plan was asked."""
    text = state["rounding"]
    return Rounding.model_validate_json(text) if text is not None else None


def resume(trainer: Trainer, state: Mapping[str, Any], folder: Path) -> None:
    """Bring a trainer to where a state was saved.

    Raises:
        ModelError: the state does not fit the model.
    """
    try:
        trainer.load_state_dict(state["trainer"])
    except Exception as error:
        raise ModelError(
            f"{folder / _STATE}: does not fit {trainer.student.factory} ({first_line(error)})",
            hint="if its code has changed, bring it back, or begin anew with --restart",
        ) from error


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    names = []
    for table in one:
        a, b = one[table], other[table]
        if isinstance(a, dict) and isinstance(b, dict):
            free = _FREE.get(table, set())
            names += [f"{table}.{key}" for key in a if key not in free and a[key] != b[key]]
        elif a != b:
            names.append(table)
    return names


def _rounding_text(rounding: Rounding | None) -> str | None:
    return rounding.model_dump_json() if rounding is not None else None


def _identity(data: Data) -> list[Any]:
    return [data.name, len(data.train), len(data.test), list(data.classes), list(data.input_shape)]
