"""``deploy train``: a recipe in, a checkpoint out; stopped and resumed at will."""

from __future__ import annotations

import json
import os
import shlex
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import filelock
import torch
from pydantic import BaseModel, ConfigDict

from toolchain.errors import DataError, ModelError, OutputError, RecipeError, first_line
from toolchain.models import zoo
from toolchain.progress import Progress, Silent
from toolchain.sparsity.checkpoint import PRUNED, save_checkpoint
from toolchain.sparsity.cost import model_cost
from toolchain.sparsity.masked_conv import summary
from toolchain.train.data import Data, load_data
from toolchain.train.interrupt import StopRequest
from toolchain.train.recipe import Recipe
from toolchain.train.setup import Student, build_student
from toolchain.train.tensorboard import ScalarLog
from toolchain.train.trainer import Epoch, Trainer

_VERSION = 1
_STATE = "state.pt"
_FREE = {"training": {"workers", "checkpoint_every"}}
"""What may differ between a saved state and the recipe that resumes it."""


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True)


class TrainedLayer(_Result):
    """A masked layer of the trained model."""

    name: str
    pixels: int
    kept: int
    macs: int
    macs_kept: int
    tiles: int
    """That the board computes without the mask."""
    tiles_kept: int
    """That it computes with the mask."""


class NetworkReport(_Result):
    """What a recipe's network costs with its masks."""

    factory: str
    parameters: int
    macs: int
    """Multiply-accumulates of one image, without masks."""
    macs_kept: int
    tile_rows: int
    """Pixels that the board's micro-kernel computes at once."""
    layers: list[TrainedLayer]
    """The masked ones."""


class PlanReport(_Result):
    """What :func:`plan_recipe` found."""

    dataset: str
    training_images: int
    test_images: int
    classes: int
    epochs: int
    steps: int
    """Optimizer steps of the whole run."""
    network: NetworkReport
    """With the masks of one draw at the targets."""


class TrainingReport(_Result):
    """What :func:`train_recipe` did."""

    path: Path
    """The checkpoint."""
    run_folder: Path
    convert_command: str
    """What makes a model for the board out of it."""
    accuracy: float
    """On the test images, 0 to 1."""
    loss: float
    """Mean training loss of the last epoch."""
    epochs: list[Epoch]
    network: NetworkReport
    resumed_at: int | None
    """The step that the run went on from; ``None`` where it began anew."""
    seconds: float
    """Of this call."""


def plan_recipe(
    recipe: Recipe, *, base: Path | None = None, progress: Progress | None = None
) -> PlanReport:
    """Try everything about a recipe but the training.

    Args:
        recipe: to try.
        base: the folder that relative paths in it start from.
        progress: where stages are shown.

    Raises:
        DeployError: as :func:`train_recipe` does before it trains.
    """
    data = _data(recipe, base, progress or Silent())
    trainer = Trainer(recipe, data, build_student(recipe, data, base=base))
    if trainer.student.search:
        trainer.student.search.freeze()
    return PlanReport(
        dataset=data.name,
        training_images=len(data.train),
        test_images=len(data.test),
        classes=len(data.classes),
        epochs=recipe.training.epochs,
        steps=trainer.total_steps,
        network=_network(trainer),
    )


def train_recipe(
    recipe: Recipe,
    output: Path,
    folder: Path,
    *,
    base: Path | None = None,
    name: str = "recipe",
    restart: bool = False,
    progress: Progress | None = None,
) -> TrainingReport:
    """Train what a recipe says, or go on where an earlier call was stopped.

    Args:
        recipe: how to train.
        output: the safetensors file to write; its folder has to exist.
        folder: where the run keeps its state and its TensorBoard log.
        base: the folder that relative paths in it start from.
        name: of the recipe, for messages.
        restart: forget the state of an earlier call.
        progress: where stages are shown.

    Raises:
        RecipeError: ``folder`` holds the state of another recipe.
        DataError, ModelError: the data or the model have a fault; before any training starts.
        OutputError: the output or the folder cannot be written, or another run works there.
        toolchain.train.interrupt.Stopped: by a signal; the state is saved.
    """
    started = time.monotonic()
    progress = progress or Silent()
    _check_output(output)
    if recipe.training.threads:
        torch.set_num_threads(recipe.training.threads)
    with _locked(folder):
        state = None if restart else _load_state(folder, recipe)
        data = _data(recipe, base, progress)
        if state is not None and state["data"] != _identity(data):
            raise DataError(
                f"{data.name}: is not what the run in {folder} was trained on until now",
                hint="bring the images back, or begin anew with --restart",
            )
        weights = state["trainer"]["model"] if state else None
        student = build_student(recipe, data, base=base, resume_from=weights)
        trainer = Trainer(recipe, data, student)
        resumed_at = None
        if state is not None:
            _resume(trainer, state["trainer"], folder)
            resumed_at = trainer.steps_done
            progress.note(f"resumed after step {trainer.steps_done} of {trainer.total_steps}")

        if restart:
            (folder / _STATE).unlink(missing_ok=True)
        log = ScalarLog(folder / "tensorboard", trainer.steps_done)

        def save() -> None:
            log.flush()
            _save_state(folder, recipe, data, trainer)

        with log, StopRequest() as stop:
            trainer.train(
                progress=progress, title=f"train {name}", on_step=log.step, on_epoch=log.epoch,
                save=save, stop=stop,
            )  # fmt: skip
    report = _report(trainer, output, folder, resumed_at, started)
    save_checkpoint(output, trainer.model.cpu(), metadata(recipe, data, student, report, name))
    return report.model_copy(update={"seconds": time.monotonic() - started})


def metadata(
    recipe: Recipe, data: Data, student: Student, report: TrainingReport, name: str
) -> dict[str, str]:
    """What a trained checkpoint says about itself; enough for ``deploy convert``."""
    known = recipe.model_dump(mode="json", exclude_defaults=True)
    said = {
        "factory": student.factory,
        "input_shape": ",".join(map(str, data.input_shape)),
        "dataset": _without_folders(data.name),
        "sparsity": f"{recipe.masks.sparsity if recipe.masks else 0:g}",
        "epochs": str(recipe.training.epochs),
        "seed": str(recipe.training.seed),
        "test_accuracy": f"{report.accuracy:.4f}",
        "recipe": json.dumps(_without_folders(known)),
        "command": f"deploy train {name}",
        "torch": torch.__version__,
    }
    if recipe.masks:
        said["policy"] = recipe.masks.policy
    if recipe.model.arguments:
        said["arguments"] = json.dumps(recipe.model.arguments)
    if student.pruned:
        said |= PRUNED
    return said


def _without_folders(value: Any) -> Any:
    """Texts and texts in tables, absolute paths cut to their names: a file is given to others."""
    if isinstance(value, Mapping):
        return {key: _without_folders(part) for key, part in value.items()}
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _report(
    trainer: Trainer, output: Path, folder: Path, resumed_at: int | None, started: float
) -> TrainingReport:
    factory = trainer.student.factory
    foreign = zoo.by_factory(factory) is None
    command = ["deploy", "convert", str(output), *(["--model", factory] if foreign else [])]
    return TrainingReport(
        path=output,
        run_folder=folder,
        convert_command=shlex.join(command),
        accuracy=trainer.history[-1].accuracy,
        loss=trainer.history[-1].loss,
        epochs=trainer.history,
        network=_network(trainer),
        resumed_at=resumed_at,
        seconds=time.monotonic() - started,
    )


def _network(trainer: Trainer) -> NetworkReport:
    rows = trainer.student.tile_rows
    example = torch.zeros(trainer.data.input_shape, device=trainer.device)
    cost = model_cost(trainer.model, example)
    return NetworkReport(
        factory=trainer.student.factory,
        parameters=cost.parameters,
        macs=cost.macs,
        macs_kept=cost.macs_kept,
        tile_rows=rows,
        layers=[
            TrainedLayer(
                name=layer.name,
                pixels=layer.pixels,
                kept=layer.kept,
                macs=layer.macs,
                macs_kept=layer.macs_kept,
                tiles=layer.tiles,
                tiles_kept=layer.tiles_kept,
            )
            for layer in summary(trainer.model, tile_rows=rows)
        ],
    )


def _data(recipe: Recipe, base: Path | None, progress: Progress) -> Data:
    chosen = recipe.data
    return load_data(
        chosen.source,
        image_size=chosen.image_size,
        test_share=chosen.test_share,
        seed=recipe.training.seed,
        base=base,
        progress=progress,
    )


# --- the state on disk -----------------------------------------------------------------------


def _check_output(output: Path) -> None:
    hint = "give a file in a folder that exists and that you may write to"
    if output.is_dir():
        raise OutputError(f"{output}: is a folder", hint=hint)
    try:
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise OutputError(f"{output}: cannot be written: {error.strerror}", hint=hint) from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a run's folder, which is made, and taken away again if nothing came to lie in it."""
    lock = filelock.FileLock(folder / ".lock", timeout=0)
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout as error:
        raise OutputError(
            f"{folder}: another training is at work there",
            hint="wait for it, or give this one another --run-dir",
        ) from error
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}") from error
    try:
        for scratch in folder.glob(f".{_STATE}-*"):  # of a run that was killed as it saved
            scratch.unlink()
        yield
    finally:
        with suppress(OSError):
            if {path.name for path in folder.iterdir()} <= {".lock"}:
                (folder / ".lock").unlink(missing_ok=True)
                for path in new:
                    path.rmdir()
        lock.release()


def _save_state(folder: Path, recipe: Recipe, data: Data, trainer: Trainer) -> None:
    state = {
        "version": _VERSION,
        "recipe": recipe.model_dump_json(),
        "data": _identity(data),
        "trainer": trainer.state_dict(),
    }
    try:
        descriptor, scratch = tempfile.mkstemp(prefix=f".{_STATE}-", dir=folder)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                torch.save(state, stream)
                stream.flush()
                os.fsync(stream.fileno())
            Path(scratch).replace(folder / _STATE)
        finally:
            Path(scratch).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}") from error


def _load_state(folder: Path, recipe: Recipe) -> dict[str, Any] | None:
    path = folder / _STATE
    if not path.is_file():
        return None
    try:
        state = _read(path)
        version, known = state["version"], Recipe.model_validate_json(state["recipe"])
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


def _read(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()  # torch.load does not look at checksums
    if damaged:
        raise ValueError(f"the checksum of {damaged} is wrong")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _resume(trainer: Trainer, state: Mapping[str, Any], folder: Path) -> None:
    try:
        trainer.load_state_dict(state)
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


def _identity(data: Data) -> list[Any]:
    return [data.name, len(data.train), len(data.test), list(data.classes), list(data.input_shape)]
