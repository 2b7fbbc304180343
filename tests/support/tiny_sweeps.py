"""Sweeps whose trainings take a blink, and pools that do what a test says."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.places import REPOSITORY
from support.tiny_training import write_recipe
from toolchain.errors import DeployError
from toolchain.sweep.driver import State
from toolchain.sweep.plan import Plan, plan_sweep
from toolchain.sweep.pools import Ended
from toolchain.sweep.search import Tried
from toolchain.sweep.spec import load_sweep
from toolchain.sweep.store import Record, Store
from toolchain.sweep.tasks import Task

DENSE = '[[grid]]\nname = "dense"\nsparsities = [0]\nseeds = [0, 1]\n'
TUNED = '[[grid]]\nname = "tuned"\nstart = "dense"\npolicies = ["pooled", "tile"]\nseeds = [0, 1]\n'
FILES = '[convert]\ntypes = ["float32"]\n[evaluate]\nimages = 24\n'


def write_sweep(folder: Path, text: str = DENSE + TUNED, **changes: dict[str, Any]) -> Path:
    """``sweep.toml`` with its recipe beside it; ``changes`` are of the recipe's tables."""
    write_recipe(folder / "recipe.toml", **{"training": {"epochs": 1}, **changes})
    path = folder / "sweep.toml"
    path.write_text('recipe = "recipe.toml"\n' + text)
    return path


def plan_of(folder: Path, text: str = DENSE + TUNED, **changes: dict[str, Any]) -> Plan:
    """The tasks of such a sweep."""
    path = write_sweep(folder, text, **changes)
    return plan_sweep(load_sweep(path), path)


def named(plan: Plan, kind: str, name: str) -> Task:
    """The task of a kind and a name."""
    (found,) = [one for one in plan.tasks.values() if (one.kind, one.name) == (kind, name)]
    return found


def deploy_sweep(*arguments: str | Path) -> tuple[list[str], dict[str, str]]:
    """The command line of ``deploy sweep``, and the environment that finds this module."""
    paths = os.pathsep.join([str(REPOSITORY / "tests"), os.environ.get("PYTHONPATH", "")])
    line = [sys.executable, str(REPOSITORY / "deploy.py"), "sweep", *map(str, arguments)]
    return line, os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


class ScriptedPool:
    """A pool in which each task ends as a function says.

    Args:
        store: where results are kept.
        ends: gives the result of a task, an error, or why its worker died.
        room: tasks at once.
    """

    said = "in a test"

    def __init__(
        self,
        store: Store,
        ends: Callable[[Task], dict[str, object] | DeployError | str],
        room: int = 4,
    ) -> None:
        self.store, self.ends, self.room = store, ends, room
        self.begun: list[Task] = []
        self.most = 0
        self.closed: bool | None = None
        self._waiting: list[Task] = []

    def begin(self, task: Task) -> None:
        self.begun.append(task)
        self._waiting.append(task)
        self.most = max(self.most, len(self._waiting))

    def ended(self, seconds: float) -> list[Ended]:
        del seconds
        task = self._waiting.pop(0)
        end = self.ends(task)
        if isinstance(end, DeployError):
            return [Ended(task, error=end)]
        if isinstance(end, str):
            return [Ended(task, lost=end)]
        return [Ended(task, record=keep(self.store, task, end))]

    def close(self, *, tidy: bool) -> None:
        self.closed = tidy


def keep(store: Store, task: Task, result: dict[str, object]) -> Record:
    """Finish a task with a result that a test makes up."""

    def work(folder: Path) -> dict[str, object]:
        (folder / "network.safetensors").write_bytes(task.key.encode())
        (folder / f"{task.name}.tflite").write_bytes(task.key.encode())
        return result

    return store.once(task, work)


class NoWatch:
    """Looks away."""

    def begun(self, state: State, task: Task) -> None: ...

    def ended(self, state: State, ended: Ended) -> None: ...

    def tried(self, state: State, tried: Tried) -> None: ...

    def looked(self, state: State) -> None: ...
