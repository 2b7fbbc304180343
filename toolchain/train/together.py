"""One training on several ranks: what begins them, watches them, and takes their result.

The ranks and the process that began them meet in the folder of the run, which all of them see: so
it does not matter whether they are processes of this machine or of a cluster.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from toolchain import errors
from toolchain.errors import BoardError, DeployError, OutputError
from toolchain.progress import Progress, Silent
from toolchain.storage.files import check_writable, make_folder, write_whole
from toolchain.train.interrupt import Stopped, StopRequest
from toolchain.train.ranks import Ranks
from toolchain.train.recipe import Recipe
from toolchain.train.relay import Relay, Sender
from toolchain.train.rounding import Planner, Rounding
from toolchain.train.run import (
    BEST,
    ROUNDING,
    Part,
    TrainingReport,
    convert_line,
    decide_rounding,
    train_recipe,
)
from toolchain.train.saved_state import forget_state, load_state, locked

_MEETING = "ranks-"
"""How the folder begins in which the ranks of one call meet, in that of the run."""
_REPORT, _STOPPED, _STOP, _PROGRESS = "report.json", "stopped", "stop", "progress.jsonl"
_FAULT = "fault-"
_LOOK_S = 0.2


@dataclass(frozen=True)
class Job:
    """What each rank is told; texts and numbers alone, which any program can hand on."""

    recipe: str
    """As JSON."""
    count: int
    """Of ranks."""
    output: str
    """As the user named it."""
    folder: str
    """Of the run."""
    meeting: str
    """Where the ranks and the process that began them meet, in that folder."""
    cwd: str
    """What relative paths, and names of modules, count from."""
    base: str | None
    name: str
    rounding: str | None
    """What was decided for the recipe's board, as JSON."""

    @property
    def threads(self) -> int:
        """That each rank computes with; 0 leaves it to the machine."""
        return Recipe.model_validate_json(self.recipe).training.threads

    @property
    def device(self) -> str:
        """What the recipe says."""
        return Recipe.model_validate_json(self.recipe).training.device


class Running(Protocol):
    """Ranks at work."""

    def wait(self, seconds: float) -> bool:
        """Wait until all have ended, but no longer than ``seconds``; says whether they have.

        Raises:
            DeployError: they have died, or cannot be begun.
        """

    def kill(self) -> None:
        """End those that are at work yet."""


Launch = Callable[[Job], Running]
"""Begins the ranks of a job: :func:`run_rank` in each of them."""


def train_network(
    recipe: Recipe,
    output: Path,
    folder: Path,
    *,
    base: Path | None = None,
    name: str = "recipe",
    restart: bool = False,
    planner: Planner | None = None,
    progress: Progress | None = None,
    launch: Launch | None = None,
) -> TrainingReport:
    """Train what a recipe says, on as many ranks as it says.

    With one rank it is :func:`toolchain.train.run.train_recipe` in this process, whose arguments
    and errors it has.

    Args:
        recipe: how to train.
        output: the checkpoint to write.
        folder: of the run; with several ranks each of them sees it under this name.
        base: the folder that relative paths in the recipe start from.
        name: of the recipe.
        restart: forget the state of an earlier call.
        planner: asks the runtime of the recipe's board.
        progress: where stages are shown.
        launch: begins the ranks; by default as processes of this machine.
    """
    progress = progress or Silent()
    if recipe.training.ranks == 1:
        return train_recipe(
            recipe, output, folder, base=base, name=name, restart=restart, planner=planner,
            progress=progress,
        )  # fmt: skip
    check_writable(output, inputs=recipe.checkpoints(base))
    if launch is None:
        from toolchain.train import processes

        launch = processes.launch
    with locked(folder):
        if restart:
            forget_state(folder)
            (folder / ROUNDING).unlink(missing_ok=True)
        state = load_state(folder, recipe)
        rounding = decide_rounding(recipe, state, planner, base=base, progress=progress)
        with _meeting(folder) as place:
            job = Job(
                recipe=recipe.model_dump_json(),
                count=recipe.training.ranks,
                output=os.fspath(output),
                folder=os.fspath(folder),
                meeting=place.name,
                cwd=str(Path.cwd()),
                base=os.fspath(base) if base else None,
                name=name,
                rounding=rounding.model_dump_json() if rounding else None,
            )
            report = _watched(launch, job, place, progress)
        best = (folder / BEST).read_bytes()
        write_whole(output, best)
        return report.model_copy(
            update={
                "path": output,
                "convert_command": convert_line(report.network.factory, output, base),
            }
        )


@contextmanager
def _meeting(folder: Path) -> Iterator[Path]:
    """A new folder to meet in; what commands that were killed have left goes away."""
    for path in folder.glob(f"{_MEETING}*"):
        shutil.rmtree(path, ignore_errors=True)
    place = folder / f"{_MEETING}{uuid.uuid4().hex[:12]}"
    make_folder(place)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _watched(launch: Launch, job: Job, place: Path, progress: Progress) -> TrainingReport:
    """Begin ranks, hand on what they tell and that they are to stop, and take their report."""
    with Relay(place / _PROGRESS, progress) as relay, StopRequest() as stop:
        running = launch(job)
        told = False
        try:
            while not running.wait(_LOOK_S):
                relay.look()
                if stop.signal_number and not told:
                    write_whole(place / _STOP, str(stop.signal_number).encode())
                    told = True
        except DeployError:
            if fault := _fault(place):
                raise fault from None
            raise
        finally:
            running.kill()
            relay.look()
    if fault := _fault(place):
        raise fault
    if (place / _STOPPED).is_file():
        step, number = map(int, (place / _STOPPED).read_text().split())
        raise Stopped(step, number)
    try:
        return TrainingReport.model_validate_json((place / _REPORT).read_bytes())
    except OSError as error:
        raise BoardError(
            f"{job.name}: its ranks have ended without a result",
            hint="the same command goes on from the last saved state",
        ) from error


def _fault(place: Path) -> DeployError | None:
    """The fault that a rank has met, of the first one."""
    for path in sorted(place.glob(f"{_FAULT}*")):
        said = json.loads(path.read_text())
        kind = getattr(errors, said["kind"], DeployError)
        fault: DeployError = kind(said["what"], hint=said["hint"])
        return fault
    return None


# --- what a rank does ------------------------------------------------------------------------


def run_rank(job: Job, ranks: Ranks) -> None:
    """Train as one of the ranks; the first one leaves the report where all meet.

    Args:
        job: what was told.
        ranks: which one this is.

    Raises:
        DeployError: a fault that the user can act on; it is left where all meet, too.
        toolchain.train.ranks.RankLost: another one has died; the job may be begun again.
    """
    if not Path(job.cwd).is_dir():
        raise _unseen(job.cwd)
    with contextlib.chdir(job.cwd):
        place = Path(job.folder, job.meeting)
        if not place.is_dir():
            raise _unseen(job.folder)
        if _fault(place):
            return  # it would be met again
        recipe = Recipe.model_validate_json(job.recipe)
        rounding = Rounding.model_validate_json(job.rounding) if job.rounding else None
        progress: Progress = Sender(place / _PROGRESS) if ranks.first else Silent()
        try:
            report = train_recipe(
                recipe,
                Path(job.output),
                Path(job.folder),
                base=Path(job.base) if job.base else None,
                name=job.name,
                progress=progress,
                part=Part(ranks, _StopFile(place / _STOP), rounding),
            )
        except Stopped as stopped:
            if ranks.first:
                text = f"{stopped.step} {stopped.signal_number}"
                write_whole(place / _STOPPED, text.encode())
            return
        except DeployError as error:
            said = {"kind": type(error).__name__, "what": error.what, "hint": error.hint}
            write_whole(place / f"{_FAULT}{ranks.number:04}", json.dumps(said).encode())
            raise
        if ranks.first:
            write_whole(place / _REPORT, report.model_dump_json().encode())


def _unseen(folder: str) -> OutputError:
    return OutputError(
        f"{folder}: the machine {socket.gethostname()}, which is to train, does not see it",
        hint="put it on a file system that all machines share, under the same name",
    )


class _StopFile:
    """A request to stop that is a file: ranks on other machines get no signals."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def signal_number(self) -> int | None:
        """What is in it; ``None`` while it is not there."""
        with suppress(OSError, ValueError):
            return int(self._path.read_text())
        return None


def job_from(said: Mapping[str, Any]) -> Job:
    """A job that was handed on as a table."""
    return Job(**said)


def job_table(job: Job) -> dict[str, Any]:
    """A job as a table of texts and numbers."""
    return dataclasses.asdict(job)
