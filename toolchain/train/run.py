"""``deploy train``: a recipe in, a checkpoint out; stopped and resumed at will."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict

from toolchain.errors import RecipeError
from toolchain.factory import from_here, without_folder
from toolchain.hints import command
from toolchain.progress import Progress, Silent
from toolchain.sparsity.checkpoint import PRUNED, save_checkpoint
from toolchain.sparsity.cost import model_cost
from toolchain.sparsity.masked_conv import summary
from toolchain.storage.files import STDOUT, check_writable, write_whole
from toolchain.train.data import Data, load_data
from toolchain.train.interrupt import Stop, StopRequest
from toolchain.train.ranks import Ranks
from toolchain.train.recipe import Recipe
from toolchain.train.rounding import Planner, Rounding, announced
from toolchain.train.saved_state import (
    RANKS_LOCK,
    check_checkpoints,
    check_data,
    decided,
    forget_state,
    load_state,
    locked,
    resume,
    save_state,
    weights,
)
from toolchain.train.setup import Student, build_student
from toolchain.train.tensorboard import ScalarLog
from toolchain.train.trainer import Epoch, SameImages, Trainer
from toolchain.zoo import catalog, libraries

LAST = "last.safetensors"
"""The checkpoint of the last epoch, in the folder of the run."""

BEST = "best.safetensors"
"""That of the best epoch, likewise, where several ranks have trained it."""
ROUNDING = "rounding.json"
"""What was decided by the plan of a recipe's board, likewise."""
_DYING_S = 60.0
"""Seconds within which ranks end whose command was killed."""


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True)


class TrainedLayer(_Result):
    """A masked layer of the trained model."""

    name: str
    pixels: int
    kept: int
    macs: int
    macs_kept: int
    tile_rows: int
    """What its kept pixels are rounded down to a multiple of; 1: they are not rounded."""
    tiles: int
    """Of so many rows, without the mask."""
    tiles_kept: int
    """With the mask."""


class NetworkReport(_Result):
    """What a recipe's network costs with its masks."""

    factory: str
    parameters: int
    macs: int
    """Multiply-accumulates of one image, without masks."""
    macs_kept: int
    layers: list[TrainedLayer]
    """The masked ones."""
    rounding: Rounding | None
    """Which of them are rounded to tiles and why; ``None`` where the recipe names no board."""


class ScheduleReport(_Result):
    """When masks change, in optimizer steps."""

    first_step: int
    """From which on they grow."""
    final_step: int
    """From which on they are final."""
    steps: int
    """Of the whole run."""

    @property
    def steps_left(self) -> int:
        """With final masks."""
        return self.steps - self.final_step


class PlanReport(_Result):
    """What :func:`plan_recipe` found."""

    dataset: str
    training_images: int
    test_images: int
    classes: int
    epochs: int
    steps: int
    """Optimizer steps of the whole run."""
    schedule: ScheduleReport | None
    """``None`` where the recipe has no masks."""
    notes: list[str]
    """What may be wrong with the recipe, and what to set."""
    network: NetworkReport
    """With the masks of one draw at the targets."""


class LastEpoch(_Result):
    """The network as it was when training ended; :func:`train_recipe` keeps it, too."""

    path: Path
    """Its checkpoint, in the run's folder."""
    epoch: int
    accuracy: float
    """On the test images, 0 to 1."""
    loss: float
    """Mean training loss of its epoch."""
    convert_command: str
    """What makes a model for the board out of it."""


class TrainingReport(_Result):
    """What :func:`train_recipe` did."""

    path: Path
    """The checkpoint of the best epoch: of those with final masks, the most accurate one."""
    run_folder: Path
    convert_command: str
    """What makes a model for the board out of it."""
    epoch: int
    """The number of the best epoch."""
    accuracy: float
    """Its accuracy on the test images, 0 to 1; they also chose it, so that it flatters a little."""
    loss: float
    """Its mean training loss."""
    last: LastEpoch
    """What is beside it."""
    same_images: SameImages
    """How the best epoch's network does on training images in both modes."""
    schedule: ScheduleReport | None
    """``None`` where the recipe has no masks."""
    notes: list[str]
    """What may be wrong, and what to do about it."""
    epochs: list[Epoch]
    network: NetworkReport
    resumed_at: int | None
    """The step that the run went on from; ``None`` where it began anew."""
    seconds: float
    """Of this call."""


@dataclass(frozen=True)
class Part:
    """What one of several ranks is told by the process that began them."""

    ranks: Ranks
    stop: Stop
    """Asks for the end."""
    rounding: Rounding | None
    """What was decided by the plan of the recipe's board."""


def plan_recipe(
    recipe: Recipe,
    *,
    base: Path | None = None,
    planner: Planner | None = None,
    progress: Progress | None = None,
) -> PlanReport:
    """Try everything about a recipe but the training.

    Args:
        recipe: to try.
        base: the folder that relative paths in it start from.
        planner: as in :func:`train_recipe`.
        progress: where stages are shown.

    Raises:
        DeployError: as :func:`train_recipe` does before it trains.
    """
    progress = progress or Silent()
    data = _data(recipe, base, progress)
    asking = announced(planner, progress)
    trainer = Trainer(recipe, data, build_student(recipe, data, base=base, planner=asking))
    if trainer.student.search:
        trainer.student.search.freeze()
    return PlanReport(
        dataset=data.name,
        training_images=len(data.train),
        test_images=len(data.test),
        classes=len(data.classes),
        epochs=recipe.training.epochs,
        steps=trainer.total_steps,
        schedule=_schedule(trainer),
        notes=_notes_before(trainer),
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
    planner: Planner | None = None,
    progress: Progress | None = None,
    part: Part | None = None,
) -> TrainingReport:
    """Train what a recipe says, or go on where an earlier call was stopped.

    Two checkpoints are written: of the best epoch with final masks, and of the last one.
    :func:`toolchain.train.together.train_network` does so for recipes of any number of ranks.

    Args:
        recipe: how to train.
        output: the safetensors file to write, of the best epoch; its folder has to exist.
        folder: where the run keeps its state, its TensorBoard log and ``last.safetensors``.
        base: the folder that relative paths in it start from.
        name: of the recipe, for messages.
        restart: forget the state of an earlier call.
        planner: asks the runtime of the recipe's board which masks gain by being rounded to tiles,
            such as :func:`toolchain.board.network_plan.network_plan`. Without it none is rounded
            for a board. A run that goes on keeps what was decided when it began.
        progress: where stages are shown.
        part: of a training of several ranks, each of which makes this call. The first one writes
            all files, and the best epoch's checkpoint as ``best.safetensors`` into ``folder``, not
            as ``output``.

    Raises:
        RecipeError: ``folder`` holds the state of another recipe, or the recipe is for another
            number of ranks.
        DataError, ModelError: the data or the model have a fault, or are not those of the state;
            before any training starts.
        OutputError: the output or the folder cannot be written, or another run works there.
        toolchain.train.interrupt.Stopped: by a signal; the state is saved.
    """
    started = time.monotonic()
    progress = progress or Silent()
    ranks = part.ranks if part else Ranks()
    if recipe.training.ranks != ranks.count:
        count = recipe.training.ranks
        raise RecipeError(f"training.ranks: the recipe is for {count}, and there are {ranks.count}")
    if part is None:
        check_writable(output, inputs=recipe.checkpoints(base))
    if recipe.training.threads:
        torch.set_num_threads(recipe.training.threads)
    with ExitStack() as stack:
        if part is None:
            stack.enter_context(locked(folder))
        elif ranks.first:  # one of a command that was killed may be at work yet
            stack.enter_context(locked(folder, RANKS_LOCK, patience=_DYING_S))
        ranks.wait()
        state = None if restart else load_state(folder, recipe)
        checkpoints = check_checkpoints(state, recipe, base, folder)
        asking = announced(planner, progress)
        trainer = _trainer(recipe, folder, state, base, asking, progress, part)
        resumed_at = trainer.steps_done if state is not None else None
        _tell(trainer, resumed_at, progress)
        if restart:
            forget_state(folder)
            (folder / ROUNDING).unlink(missing_ok=True)
        if trainer.student.rounding is not None and ranks.first:
            text = trainer.student.rounding.model_dump_json(indent=1) + "\n"
            write_whole(folder / ROUNDING, text.encode())
        stop = part.stop if part else None
        _run(trainer, folder, checkpoints, f"train {name}", progress, stop)
        _save(trainer, folder / LAST, trainer.history[-1], name)
        best = trainer.take_best()
        _save(trainer, output if part is None else folder / BEST, best, name)
        report = _report(trainer, best, output, folder, resumed_at, base)
    return report.model_copy(update={"seconds": time.monotonic() - started})


def decide_rounding(
    recipe: Recipe,
    state: Mapping[str, Any] | None,
    planner: Planner | None,
    *,
    base: Path | None,
    progress: Progress,
) -> Rounding | None:
    """What ranks are told of the recipe's board; ``None`` where the recipe names none.

    Args:
        recipe: how to train.
        state: of a run that goes on, which keeps what was decided.
        planner: asks the board's runtime.
        base: the folder that relative paths in the recipe start from.
        progress: where stages are shown.

    Raises:
        DeployError: as :func:`train_recipe` does before it trains.
    """
    if state is not None:
        return decided(state)
    if recipe.masks is None or recipe.masks.board is None:
        return None
    data = _data(recipe, base, progress)
    asking = announced(planner, progress)
    return build_student(recipe, data, base=base, planner=asking).rounding


def _trainer(
    recipe: Recipe,
    folder: Path,
    state: Mapping[str, Any] | None,
    base: Path | None,
    planner: Planner | None,
    progress: Progress,
    part: Part | None,
) -> Trainer:
    """A trainer at the step of a saved state, or at the first one."""
    ranks = part.ranks if part else Ranks()
    rounding = part.rounding if part else decided(state) if state else None
    data = _data(recipe, base, progress)
    if state is not None:
        check_data(state, data, folder)
    student = build_student(
        recipe,
        data,
        base=base,
        resume_from=weights(state) if state else None,
        rounding=rounding,
        planner=planner,
    )
    trainer = Trainer(recipe, data, student, ranks)
    if state is not None:
        resume(trainer, state, folder)
    ranks.check_same(trainer.steps_done, folder)
    return trainer


def _tell(trainer: Trainer, resumed_at: int | None, progress: Progress) -> None:
    """Say what there is to say before a run goes on."""
    if resumed_at is not None:
        progress.note(f"resumed after step {resumed_at} of {trainer.total_steps}")
    for note in _notes_before(trainer):
        progress.note(f"note: {note}")
    rounding = trainer.student.rounding
    if rounding is not None and rounding.reason is None:
        progress.note(str(rounding))


def _save(trainer: Trainer, path: Path, epoch: Epoch, name: str) -> None:
    """Write the checkpoint of an epoch; the first rank does."""
    if trainer.ranks.first:
        said = metadata(trainer.recipe, trainer.data, trainer.student, epoch, name)
        save_checkpoint(path, trainer.model, said)


def _run(
    trainer: Trainer, folder: Path, checkpoints: Sequence[str | None], title: str,
    progress: Progress, stop: Stop | None,
) -> None:  # fmt: skip
    """Train to the end; the first rank keeps state and log."""
    with ExitStack() as stack:
        asked = stop or stack.enter_context(StopRequest())
        if not trainer.ranks.first:
            trainer.train(stop=asked)
            return
        log = stack.enter_context(ScalarLog(folder / "tensorboard", trainer.steps_done))

        def save() -> None:
            log.flush()
            save_state(folder, trainer.recipe, trainer.data, trainer, checkpoints)

        trainer.train(
            progress=progress, title=title, on_step=log.step, on_epoch=log.epoch, save=save,
            stop=asked,
        )  # fmt: skip


def metadata(
    recipe: Recipe, data: Data, student: Student, epoch: Epoch, name: str
) -> dict[str, str]:
    """What a trained checkpoint says about itself; enough for ``deploy convert``.

    Args:
        recipe: that it was trained by.
        data: that it was trained on.
        student: what was trained.
        epoch: whose weights it holds.
        name: of the recipe.
    """
    known = _as_trained(recipe, student).model_dump(mode="json", exclude_defaults=True)
    said = {
        "factory": without_folder(student.factory),
        "input_shape": ",".join(map(str, data.input_shape)),
        "dataset": _without_folders(data.name),
        "sparsity": f"{recipe.masks.sparsity if recipe.masks else 0:g}",
        "epochs": str(recipe.training.epochs),
        "epoch": str(epoch.number),
        "seed": str(recipe.training.seed),
        "test_accuracy": f"{epoch.accuracy:.4f}",
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


def _as_trained(recipe: Recipe, student: Student) -> Recipe:
    """The recipe with what a board's plan decided, so that it repeats the run without the board."""
    if recipe.masks is None or student.rounding is None:
        return recipe
    decision = {"board": None, "rounded": student.rounding.tile_rows}
    return recipe.model_copy(update={"masks": recipe.masks.model_copy(update=decision)})


def _without_folders(value: Any) -> Any:
    """Texts and texts in tables, absolute paths cut to their names: a file is given to others."""
    if isinstance(value, Mapping):
        return {key: _without_folders(part) for key, part in value.items()}
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _report(
    trainer: Trainer,
    best: Epoch,
    output: Path,
    folder: Path,
    resumed_at: int | None,
    base: Path | None,
) -> TrainingReport:
    last, same = trainer.history[-1], trainer.same_images()
    return TrainingReport(
        path=output,
        run_folder=folder,
        convert_command=convert_line(trainer.student.factory, output, base),
        epoch=best.number,
        accuracy=best.accuracy,
        loss=best.loss,
        last=LastEpoch(
            path=folder / LAST,
            epoch=last.number,
            accuracy=last.accuracy,
            loss=last.loss,
            convert_command=convert_line(trainer.student.factory, folder / LAST, base),
        ),
        same_images=same,
        schedule=_schedule(trainer),
        notes=[*_notes_before(trainer), *([_told_apart(same)] if same.far_apart else [])],
        epochs=trainer.history,
        network=_network(trainer),
        resumed_at=resumed_at,
        seconds=0.0,
    )


def convert_line(factory: str, path: Path, base: Path | None) -> str:
    """What makes a model for the board out of a checkpoint.

    Args:
        factory: of the network.
        path: of the checkpoint.
        base: the folder that the factory counts from.
    """
    model = model_option(factory, base or Path())
    return command("convert", "FILE" if path == STDOUT else path, *model)


def model_option(factory: str, base: Path) -> list[str]:
    """What ``deploy convert`` has to be told of a network beside its checkpoint; nothing of ours.

    Args:
        factory: ``package.module:function``.
        base: the folder that it counts from.
    """
    foreign = catalog.by_factory(factory) is None and not libraries.is_named(factory)
    return ["--model", from_here(factory, base)] if foreign else []


def _schedule(trainer: Trainer) -> ScheduleReport | None:
    if trainer.student.search is None:
        return None
    schedule = trainer.student.search.schedule
    return ScheduleReport(
        first_step=schedule.first_step, final_step=schedule.last_step, steps=trainer.total_steps
    )


def _notes_before(trainer: Trainer) -> list[str]:
    """What can be said about a run before it is one."""
    notes, rounding = list(trainer.student.notes), trainer.student.rounding
    if rounding is not None and rounding.reason is not None:
        notes.append(str(rounding))
    schedule, wanted = _schedule(trainer), trainer.recipe.schedule.settle
    if schedule is None or schedule.steps_left >= wanted:
        return notes
    # Half of a run of twice as many steps is enough, if masks begin to grow before that.
    chosen, each = trainer.recipe.schedule, trainer.steps_per_epoch
    if chosen.begin_step is not None:
        steps: float = max(2 * wanted, chosen.begin_step + wanted)
    else:
        share = max(0.5, chosen.begin)
        steps = wanted / (1 - share) if share < 1 else math.inf
    epochs = math.ceil(steps / each) if math.isfinite(steps) else None
    longer = f"train longer (under [training] epochs = {epochs})" if epochs else "train longer"
    return [
        *notes,
        f"masks are final from step {schedule.final_step} of {schedule.steps} on, which leaves "
        f"{schedule.steps_left} steps to get used to them, fewer than {wanted}: {longer}, or lower "
        f"what is wanted (under [schedule] settle = {schedule.steps_left})",
    ]


def _told_apart(same: SameImages) -> str:
    told = (
        f"on {same.images} training images the loss is {same.training_loss:.3f} in training mode "
        f"({same.training_accuracy:.1%} right) and {same.evaluation_loss:.3f} in evaluation mode "
        f"({same.evaluation_accuracy:.1%} right), as on a board: "
    )
    if same.training_loss > same.evaluation_loss:
        return told + "dropout or the like makes training the harder of the two"
    return told + (
        "the network does worse than it was trained to. Look for layers with statistics that do "
        "not fit (kept in eval mode, or batches too small), and for code that asks self.training"
    )


def _network(trainer: Trainer) -> NetworkReport:
    rows = trainer.student.tile_rows
    layers = [
        replace(layer, tile_rows=rows if isinstance(rows, int) else rows.get(layer.name, 1))
        for layer in summary(trainer.model)
    ]
    example = torch.zeros(trainer.data.input_shape, device=trainer.device)
    cost = model_cost(trainer.model, example)
    return NetworkReport(
        factory=trainer.student.factory,
        parameters=cost.parameters,
        macs=cost.macs,
        macs_kept=cost.macs_kept,
        layers=[
            TrainedLayer(
                name=layer.name,
                pixels=layer.pixels,
                kept=layer.kept,
                macs=layer.macs,
                macs_kept=layer.macs_kept,
                tile_rows=layer.tile_rows,
                tiles=layer.tiles,
                tiles_kept=layer.tiles_kept,
            )
            for layer in layers
        ],
        rounding=trainer.student.rounding,
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
