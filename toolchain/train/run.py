"""``deploy train``: a recipe in, a checkpoint out; stopped and resumed at will."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict

from toolchain.factory import from_here, without_folder
from toolchain.files import check_writable
from toolchain.hints import command
from toolchain.models import zoo
from toolchain.progress import Progress, Silent
from toolchain.sparsity.checkpoint import PRUNED, save_checkpoint
from toolchain.sparsity.cost import model_cost
from toolchain.sparsity.masked_conv import summary
from toolchain.train.data import Data, load_data
from toolchain.train.interrupt import StopRequest
from toolchain.train.recipe import Recipe
from toolchain.train.saved_state import (
    check_data,
    forget_state,
    load_state,
    locked,
    resume,
    save_state,
    weights,
)
from toolchain.train.setup import Student, build_student
from toolchain.train.tensorboard import ScalarLog
from toolchain.train.trainer import Epoch, Trainer


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
    check_writable(output)
    if recipe.training.threads:
        torch.set_num_threads(recipe.training.threads)
    with locked(folder):
        state = None if restart else load_state(folder, recipe)
        data = _data(recipe, base, progress)
        if state is not None:
            check_data(state, data, folder)
        student = build_student(
            recipe, data, base=base, resume_from=weights(state) if state else None
        )
        trainer = Trainer(recipe, data, student)
        resumed_at = None
        if state is not None:
            resume(trainer, state, folder)
            resumed_at = trainer.steps_done
            progress.note(f"resumed after step {trainer.steps_done} of {trainer.total_steps}")

        if restart:
            forget_state(folder)
        log = ScalarLog(folder / "tensorboard", trainer.steps_done)

        def save() -> None:
            log.flush()
            save_state(folder, recipe, data, trainer)

        with log, StopRequest() as stop:
            trainer.train(
                progress=progress, title=f"train {name}", on_step=log.step, on_epoch=log.epoch,
                save=save, stop=stop,
            )  # fmt: skip
    report = _report(trainer, output, folder, resumed_at, started, base)
    save_checkpoint(output, trainer.model.cpu(), metadata(recipe, data, student, report, name))
    return report.model_copy(update={"seconds": time.monotonic() - started})


def metadata(
    recipe: Recipe, data: Data, student: Student, report: TrainingReport, name: str
) -> dict[str, str]:
    """What a trained checkpoint says about itself; enough for ``deploy convert``."""
    known = recipe.model_dump(mode="json", exclude_defaults=True)
    said = {
        "factory": without_folder(student.factory),
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
    trainer: Trainer,
    output: Path,
    folder: Path,
    resumed_at: int | None,
    started: float,
    base: Path | None,
) -> TrainingReport:
    factory = trainer.student.factory
    foreign = zoo.by_factory(factory) is None
    model = ["--model", from_here(factory, base or Path())] if foreign else []
    return TrainingReport(
        path=output,
        run_folder=folder,
        convert_command=command("convert", output, *model),
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
