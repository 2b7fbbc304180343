"""A run of ``deploy profile`` as a folder of files, which appears whole or not at all.

It is filled beside its place under a hidden name and renamed, so that nothing that looks finished
is left by a fault, a full disk or Ctrl-C.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from toolchain.errors import DeployError, ModelError, OutputError
from toolchain.hints import quoted
from toolchain.profile.document import Measurement, Profile
from toolchain.profile.export.model_explorer import node_data
from toolchain.profile.export.perfetto_trace import perfetto_trace
from toolchain.profile.export.profiled_models import unique_names
from toolchain.profile.export.tables_csv import models_csv, operators_csv, samples_csv
from toolchain.storage.cache import sha256_file
from toolchain.storage.files import check_folder, disk_full, same_place
from toolchain.storage.scratch import scratch_folder
from toolchain.tflite_file.graph import read_model

PROFILE = "profile.json"
MODELS = "models.csv"
OPERATORS = "operators.csv"
SAMPLES = "samples.csv"
TRACE = "trace.json"
MODEL_EXPLORER = "model-explorer"
_LONGEST_NAME = 100


@dataclass(frozen=True)
class SavedRun:
    """What was saved."""

    folder: Path
    files: list[str]
    """Names in the folder."""
    notes: list[str]
    """What is not among them, and why."""


def check_save(folder: Path, *, outputs: Sequence[Path] = ()) -> None:
    """Make sure that a run can be saved in a folder, before it is measured.

    Args:
        folder: the place.
        outputs: files that the same command writes, none of which may lie in it.

    Raises:
        OutputError: it cannot: something is there, or it cannot be written to.
    """
    check_folder(folder)
    _check_free(folder)
    for output in outputs:
        if same_place(output.parent, folder) or same_place(output, folder):
            raise OutputError(
                f"{folder}: is to hold a run alone, and {output} would be written there, too",
                hint=f"give one of the two another name; the folder gets {PROFILE} anyway",
            )


def save(folder: Path, profile: Profile, models: Sequence[Path] = ()) -> SavedRun:
    """Write all files of a run.

    Args:
        folder: is made; one that is there has to be empty.
        profile: what was measured.
        models: the ``.tflite`` files that were, in any order: they are told by their hashes.

    Raises:
        OutputError: it cannot be written; the hint is where the files are kept instead.
    """
    files, notes = _contents(profile, models)
    try:
        _write(folder, files)
    except DeployError as error:
        raise OutputError(error.what, hint=_keep(folder.name or "run", files, error)) from error
    return SavedRun(folder, list(files), notes)


def _contents(profile: Profile, models: Sequence[Path]) -> tuple[Mapping[str, str], list[str]]:
    """Text of each file by its name, and notes on what is not there."""
    files: dict[str, str] = {
        PROFILE: profile.to_json() + "\n",
        MODELS: models_csv(profile),
        SAMPLES: samples_csv(profile),
        TRACE: perfetto_trace(profile),
    }
    if (operators := operators_csv(profile)) is not None:
        files[OPERATORS] = operators
    notes = []
    timed = any(item.output.ops is not None for item in profile.measurements)
    paths = dict(_by_hash(models)) if timed else {}
    names = unique_names(profile)
    for item, name, file in zip(profile.measurements, names, _file_names(names), strict=True):
        if item.output.ops is None:
            continue
        try:
            files[f"{MODEL_EXPLORER}/{file}.json"] = _node_data(
                profile, item, name, paths.get(item.sha256)
            )
        except ModelError as error:
            notes.append(f"{name}: no data for Model Explorer: {error.what}")
    return files, notes


def _node_data(profile: Profile, item: Measurement, name: str, path: Path | None) -> str:
    if path is None:
        raise ModelError("its file is no longer the one that was measured")
    made = node_data(
        name, read_model(path), item.output.ops or [], emulated=profile.by_instructions
    )
    if made is None:
        raise ModelError(f"other layers than those of {path} were run")
    return made


def _by_hash(models: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    for path in models:
        try:
            yield sha256_file(path), path
        except OSError:
            continue  # told as a file that is not the one any more


def _file_names(names: Sequence[str]) -> list[str]:
    """A file name without suffix for each model: plain letters, each of its own in any case."""
    found: list[str] = []
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:_LONGEST_NAME] or "model"
        taken = {one.casefold() for one in found}
        numbered = (plain if n == 1 else f"{plain}-{n}" for n in count(1))
        found.append(next(one for one in numbered if one.casefold() not in taken))
    return found


def _write(folder: Path, files: Mapping[str, str]) -> None:
    try:
        place = Path(os.path.realpath(folder))
        place.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(place) as scratch:
            filled = scratch / "run"  # with the user's permissions; scratch folders are private
            filled.mkdir()
            for name, text in files.items():
                path = filled / name
                path.parent.mkdir(exist_ok=True)
                _write_file(path, text.encode())
            _check_free(folder)
            filled.replace(place)  # an empty folder is replaced
    except OSError as error:
        raise disk_full(error, folder) or OutputError(
            f"{folder}: cannot be written: {error.strerror or error}",
            hint="choose a folder that you may write to",
        ) from error


def _write_file(path: Path, content: bytes) -> None:
    with path.open("xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())  # a rename may reach the disk before what was written does


def _keep(name: str, files: Mapping[str, str], error: DeployError) -> str:
    """Write them among the temporary files, and say where.

    Raises:
        OutputError: not even there.
    """
    try:
        place = Path(tempfile.mkdtemp(prefix="tileskip-"))
        try:
            _write(place / name, files)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
    except (DeployError, OSError) as second:
        raise OutputError(
            f"{error.what}; nor can it be kept among the temporary files: {second}",
            hint=error.hint,
        ) from error
    return f"what it was to hold is kept in {place / name}"


def _check_free(folder: Path) -> None:
    """Raise an error for a folder that has something in it."""
    try:
        there = folder.is_dir() and any(folder.iterdir())
    except OSError as error:
        raise OutputError(f"{folder}: cannot be read: {error.strerror or error}") from error
    if same_place(folder, Path.cwd()):
        raise OutputError(
            f"{folder}: is the working folder, which would be replaced",
            hint="give the name of a folder in it: --save run",
        )
    if there:
        free = next(
            name
            for n in count(2)
            if not os.path.lexists(name := folder.with_name(f"{folder.name}-{n}"))
        )
        raise OutputError(
            f"{folder}: is there already, and is not empty",
            hint=f"give a folder of its own to each run: --save {quoted(str(free))}",
        )
