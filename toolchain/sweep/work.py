"""What each kind of task does: the same wherever it is done.

A worker calls :func:`perform`, be it a process of Ray's on another machine or the sweep's own one.
"""

from __future__ import annotations

import contextlib
import shutil
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.errors import BoardError, DeployError, ModelError, failure
from toolchain.formats.json_text import to_json
from toolchain.hardware.board_file import load_board
from toolchain.progress import Silent
from toolchain.storage.files import make_folder, write_whole
from toolchain.sweep.store import Record, Store
from toolchain.sweep.tasks import Kind, Task, versions

if TYPE_CHECKING:  # torch is slow to import
    from toolchain.train.together import Launch

NETWORK = "network.safetensors"
"""A trained network, in the folder of its task."""
_SEED = 0
"""Of the inputs with which conversions are checked."""


def perform(store: Store, task: Task, launch: Launch | None = None) -> Record:
    """Do a task, unless it is done; those that it needs are.

    Args:
        store: where results are kept, and taken from.
        task: which.
        launch: begins the ranks of a training that has several; by default as processes of this
            machine.

    Raises:
        DeployError: it cannot be done; each kind raises its own.
        toolchain.train.interrupt.Stopped: a signal has stopped a training, whose state is kept.
    """
    _check_versions(task)

    def work(folder: Path) -> dict[str, Any]:
        with _within(task), _threads(task.resources.cpus):
            if task.kind == "train":
                return _train(store, task, folder, launch)
            return _KINDS[task.kind](store, task, folder)

    try:
        return store.once(task, work)
    except DeployError:
        raise
    except Exception as error:  # code of the user's, or a defect that ends this task alone
        from toolchain.train.interrupt import Stopped

        if isinstance(error, Stopped):
            raise
        log = store.state(task) / "error.txt"
        make_folder(log.parent)
        write_whole(log, traceback.format_exc().encode(errors="backslashreplace"))
        raise failure(ModelError, task.name, error, hint=f"its traceback is in {log}") from error


def _check_versions(task: Task) -> None:
    here = versions()
    if other := [name for name, wanted in task.versions.items() if here.get(name) != wanted]:
        said = ", ".join(f"{one} {here.get(one, 'missing')}" for one in other)
        wanted = ", ".join(f"{one}=={task.versions[one]}" for one in other)
        raise BoardError(
            f"{task.name}: the machine that should do it has other packages: {said}",
            hint=f"install the same on every machine: {wanted}",
        )


@contextmanager
def _within(task: Task) -> Iterator[None]:
    """Be where the sweep was begun: names of modules and bundles count from there."""
    folder = task.places.get("cwd")
    if folder is None or not Path(folder).is_dir():
        yield
        return
    with contextlib.chdir(folder):
        yield


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let torch use so many threads, however many cores there are: results depend on it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _needed(store: Store, task: Task, kind: Kind) -> Path:
    """The folder of the result that a task takes."""
    other = task.model_copy(update={"kind": kind, "key": task.needs[0]})
    return store.place(other)


# --- the kinds -------------------------------------------------------------------------------


def _train(store: Store, task: Task, folder: Path, launch: Launch | None) -> dict[str, Any]:
    from toolchain.board.network_plan import network_plan
    from toolchain.train.recipe import Recipe
    from toolchain.train.together import train_network

    recipe = Recipe.model_validate_json(task.places["recipe"])
    if task.needs:
        start = _needed(store, task, "train") / NETWORK
        # It has the head already, whatever it started from itself.
        update = {"weights": start, "weights_key": None, "new_head": False}
        model = recipe.model.model_copy(update=update)
        recipe = recipe.model_copy(update={"model": model})
    best, state = folder / NETWORK, store.state(task)
    try:
        report = train_network(
            recipe,
            best,
            state,
            base=Path(task.places["base"]),
            name=task.name,
            planner=network_plan,
            progress=Silent(),
            launch=launch,
        )
    except DeployError as error:
        error.hint = _without_options(error.hint, state)
        raise
    epoch = report.epochs[report.epoch - 1]
    if task.settings["epoch"] == "last":
        epoch = report.epochs[-1]
        shutil.copyfile(report.last.path, best)
    return {
        "accuracy": epoch.accuracy,
        "loss": epoch.loss,
        "epoch": epoch.number,
        "best_accuracy": report.accuracy,
        "best_epoch": report.epoch,
        "macs": report.network.macs,
        "macs_kept": report.network.macs_kept,
        "parameters": report.network.parameters,
        "notes": report.notes,
    }


def _without_options(hint: str | None, state: Path) -> str | None:
    """A training's hint for a sweep, which has a folder for each run in place of the options."""
    if hint is None or not any(option in hint for option in _OPTIONS_OF_RUNS):
        return hint
    others = [one for one in hint.split(", or ") if not any(o in one for o in _OPTIONS_OF_RUNS)]
    anew = [f"remove {state} to begin anew"] if "--restart" in hint else []
    return ", or ".join(others + anew) or None


_OPTIONS_OF_RUNS = ("--restart", "--run-dir")


def _convert(store: Store, task: Task, folder: Path) -> dict[str, Any]:
    from toolchain.convert.conversion import convert
    from toolchain.zoo import catalog

    kind, base, factory = task.settings["type"], task.places["base"], task.places["factory"]
    foreign = ":" in factory and catalog.by_factory(catalog.current_factory(factory)) is None
    done = convert(
        _needed(store, task, "train") / NETWORK,
        folder / f"{task.name}.tflite",
        model=_counted_from(factory, base) if foreign else None,
        quantize=None if kind == "float32" else kind,
        calibration=task.places.get("calibration"),
        calibration_samples=task.settings.get("samples"),
        seed=_SEED,
        progress=Silent(),
    )
    return {
        "bytes": done.bytes,
        "macs": done.macs,
        "macs_saved": done.macs_saved,
        "relative_diff": done.relative_diff,
        "sqnr_db": done.sqnr_db if kind != "float32" else None,
        "runtimes": [f"{one.runtime} ({one.kernels})" for one in done.runtimes],
    }


def _counted_from(name: str, base: str) -> str:
    """``folder/module:function`` of a name that counts from a recipe's folder."""
    return name if name.startswith("/") else f"{base}/{name}"


def _evaluate(store: Store, task: Task, folder: Path) -> dict[str, Any]:  # noqa: ARG001
    from toolchain.train.data import load_data

    settings, chosen = task.settings, task.settings["data"]
    data = load_data(
        chosen["source"],
        image_size=chosen["image_size"],
        test_share=chosen["test_share"],
        seed=settings["seed"],
        base=Path(task.places["base"]),
    )
    right, count = file_accuracy(_file(store, task), data.test, settings["images"])
    return {"accuracy": right / count, "right": right, "images": count}


def file_accuracy(path: Path, images: Any, limit: int | None = None) -> tuple[int, int]:
    """How many images a converted classifier gets right on this machine's stock interpreter.

    Args:
        path: a ``.tflite`` file that takes one image ``[1, H, W, C]``.
        images: examples, see :class:`toolchain.train.batches.Examples`.
        limit: so many of them at most, the first ones.

    Returns:
        Right answers, and images.

    Raises:
        ModelError: the file takes something else, or cannot be run.
    """
    import numpy as np
    import torch
    from torch.utils.data import Subset, TensorDataset

    from toolchain.agreement.inputs import Batch, model_inputs
    from toolchain.agreement.interpreter import run_here
    from toolchain.tflite_file.graph import read_model
    from toolchain.train.batches import evaluation_batches

    model = read_model(path)
    inputs = model_inputs(model)
    if len(inputs) != 1:
        raise ModelError(f"{path}: takes {len(inputs)} inputs, not one image")
    if limit is not None and limit < len(images):
        if isinstance(images, TensorDataset):
            images = TensorDataset(*(tensor[:limit] for tensor in images.tensors))
        else:
            images = Subset(images, range(limit))
    right = count = 0
    for pictures, labels in evaluation_batches(images, 500):
        arrays = np.ascontiguousarray(torch.movedim(pictures, 1, -1).numpy())[:, None]
        logits = run_here(model, Batch((arrays,), joined=False))[0].reshape(len(labels), -1)
        right += int((logits.argmax(1) == labels.numpy()).sum())
        count += len(labels)
    return right, count


def _estimate(store: Store, task: Task, folder: Path) -> dict[str, Any]:
    from toolchain.board.invoke import load_bundle
    from toolchain.profile.estimator import Estimator

    board = load_board(task.places["board"])
    bundle = load_bundle(board, _optional(task.places, "bundle"))
    threads = task.settings["threads"]
    found = Estimator(bundle, board, threads=threads).models([_file(store, task)])
    assert found is not None  # noqa: S101 (without failures, one that cannot be estimated raises)
    write_whole(folder / "estimate.json", to_json(found).encode() + b"\n")
    (one,) = found.models
    return {
        "title": board.title,
        "ms": one.ms,
        "low_ms": one.low_ms,
        "high_ms": one.high_ms,
        "instructions": one.instructions,
        "threads": threads,
    }


def _measure(store: Store, task: Task, folder: Path) -> dict[str, Any]:
    from toolchain.board.invoke import Settings
    from toolchain.operations.session import Access, BoardSession, Purpose
    from toolchain.profile.measure import Session
    from toolchain.profile.protocol import Limits

    board, threads = load_board(task.places["board"]), task.settings["threads"]
    access = Access(
        task.settings["host"],
        _optional(task.places, "identity"),
        _optional(task.places, "bundle"),
    )
    reached = BoardSession(board, access)
    # Others than this sweep may use the board, too.
    with reached.runner(Purpose(f"deploy sweep {task.name}")) as runner:
        session = Session(
            reached.connection, board, runner, Silent(),
            Settings.measuring(board, threads=threads),
            threads=[threads], limits=Limits(max_time_s=task.settings["max_time"]), settle=True,
        )  # fmt: skip
        session.measure([_file(store, task)])
        session.failures.require()
        profile = session.profile()
    if profile is None:
        raise BoardError(f"{board.name}: nothing was measured")
    profile.save(folder / "profile.json")
    (one,) = profile.measurements
    interval = one.spread.interval if one.spread else None
    ms = None if profile.by_instructions or one.median_us is None else one.median_us / 1e3
    return {
        "title": board.title,
        "ms": ms,
        "low_ms": interval.low / 1e3 if interval else None,
        "high_ms": interval.high / 1e3 if interval else None,
        "instructions": one.instructions,
        "threads": threads,
        "doubts": one.doubts,
    }


def _file(store: Store, task: Task) -> Path:
    """The converted file that a task looks at."""
    return _needed(store, task, "convert") / f"{task.name}.tflite"


def _optional(places: Mapping[str, str], name: str) -> Path | None:
    return Path(places[name]) if name in places else None


_KINDS: Mapping[Kind, Callable[[Store, Task, Path], dict[str, Any]]] = {
    "convert": _convert,
    "evaluate": _evaluate,
    "estimate": _estimate,
    "measure": _measure,
}
