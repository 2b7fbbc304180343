"""Tasks on Ray: processes of this machine, or of a cluster.

Ray is told which GPUs and which board a task holds, so that a board serves one task at a time. It
does not repeat tasks by itself: the sweep does, which knows what is finished.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from toolchain import extras
from toolchain.errors import BoardError, DeployError, RecipeError
from toolchain.foreign_text import harmless
from toolchain.storage.scratch import temporary_folder
from toolchain.sweep.pools import Ended
from toolchain.sweep.ray_ranks import RayRanks
from toolchain.sweep.session import Session, board_resource, ray
from toolchain.sweep.store import Record, Store
from toolchain.sweep.tasks import Task
from toolchain.sweep.work import perform

_TIDY_S = 60.0
"""That trainings are given to keep their state."""
_AHEAD = 2
"""Tasks handed out for each one that can be at work, so that no worker waits for the next."""


def is_there() -> bool:
    """Whether Ray is installed."""
    return not extras.missing_modules("sweep")


class RayPool:
    """A pool of Ray's workers.

    Args:
        store: where results are kept: a folder that every machine sees under the same name, unless
            files are shipped.
        address: of a cluster, as ``ray start`` tells it; without it, one of this machine that goes
            away with this process.
        jobs: tasks at once on this machine, one thread each; by default as many as it has cores.
        boards: that tasks hold.
        gpus: the most that a task holds, on all of its ranks.
        ranked_cpus: the most CPUs that a training of several ranks holds; 0 without one.
        ship: let Ray carry the files of tasks, for machines that do not see the store.
        retries: how often the ranks of a training are begun again after one has died.

    Raises:
        MissingToolError: Ray is not installed.
        ConnectionFailed: there is no such cluster.
        BoardError: the cluster lacks a board, CPUs or GPUs.
        RecipeError: files are shipped, and a training has several ranks.
    """

    def __init__(
        self,
        store: Store,
        *,
        address: str | None = None,
        jobs: int | None = None,
        boards: Iterable[str] = (),
        gpus: float = 0,
        ranked_cpus: int = 0,
        ship: bool = False,
        retries: int = 5,
    ) -> None:
        extras.require("deploy sweep --address" if address else "deploy sweep", "sweep")
        if ship and ranked_cpus:
            raise RecipeError(
                "training.ranks: several ranks meet in the folder of the sweep, and --ship is for "
                "machines that do not see it",
                hint="leave --ship away, and put the folder where all machines see it (--folder)",
            )
        self._store, self._ship, self._retries = store, ship, retries
        self._begun: dict[Any, Task] = {}
        self._waiting: list[Task] = []
        """Trainings of several ranks for which there is no room yet."""
        self._session = Session(
            address, jobs=jobs, boards=boards, gpus=gpus, ranked_cpus=ranked_cpus
        )
        self._work = ray().remote(_shipped if ship else _shared)

    @property
    def room(self) -> int:
        """See :class:`toolchain.sweep.pools.Pool`; a cluster may grow and shrink."""
        return max(1, _AHEAD * self._session.cpus)

    @property
    def said(self) -> str:
        """Where tasks are done."""
        return self._session.said

    def begin(self, task: Task) -> None:
        """See :class:`toolchain.sweep.pools.Pool`."""
        if task.resources.ranks > 1:
            self._waiting.append(task)
            self._begin_waiting()
            return
        held = task.resources
        resources = {board_resource(held.board): 1} if held.board else None
        self._hand_out(task, num_cpus=held.cpus, num_gpus=held.gpus or None, resources=resources)

    def _begin_waiting(self) -> None:
        """Begin as many trainings of several ranks as there are CPUs for, or one.

        Their ranks hold CPUs and GPUs themselves, beside the task that begins them.
        """
        while self._waiting:
            at_work = [task.resources for task in self._begun.values() if task.resources.ranks > 1]
            wanted = [*at_work, self._waiting[0].resources]
            if at_work and sum(one.cpus * one.ranks for one in wanted) > self._session.cpus:
                return
            self._hand_out(self._waiting.pop(0), num_cpus=0)

    def _hand_out(self, task: Task, **held: Any) -> None:
        work = self._work.options(
            name=f"{task.kind} {task.name}",
            scheduling_strategy="SPREAD",
            max_retries=0,
            **held,
        )
        where: Any = str(self._store.folder)
        if self._ship:
            where = [self._packed(task, key) for key in task.needs]
        self._begun[work.remote(where, task, self._retries)] = task

    def ended(self, seconds: float) -> list[Ended]:
        """See :class:`toolchain.sweep.pools.Pool`.

        Raises:
            ConnectionFailed: the cluster is gone.
        """
        if not self._begun:
            return []
        there = ray()
        try:
            ready, _ = there.wait(list(self._begun), num_returns=1, timeout=seconds)
            if ready:  # others may be as well
                ready, _ = there.wait(list(self._begun), num_returns=len(self._begun), timeout=0)
            found = [self._taken(reference) for reference in ready]
        except (there.exceptions.LocalRayletDiedError, there.exceptions.RaySystemError):
            return self._begin_anew()
        self._begin_waiting()
        return found

    def _begin_anew(self) -> list[Ended]:
        """The part of Ray that this process talks to has died, and with it what is at work."""
        said = "this process was cut off from Ray"
        cut_off = [*self._begun.values(), *self._waiting]
        lost = [Ended(task, lost=said, blamed=False) for task in cut_off]
        self._begun.clear()
        self._waiting.clear()
        self._session.connect_anew()
        return lost

    def close(self, *, tidy: bool) -> None:
        """See :class:`toolchain.sweep.pools.Pool`."""
        there = ray()
        try:
            for reference in self._begun:
                there.cancel(reference, force=not tidy)
            if self._begun and tidy:
                there.wait(list(self._begun), num_returns=len(self._begun), timeout=_TIDY_S)
                for reference in self._begun:
                    there.cancel(reference, force=True)
        except Exception:  # noqa: S110 (the cluster may be gone, and with it what is cancelled)
            pass
        finally:
            self._begun.clear()
            self._waiting.clear()
            self._session.close()

    def _taken(self, reference: Any) -> Ended:
        task, exceptions = self._begun[reference], ray().exceptions
        try:
            found = ray().get(reference)
        except exceptions.LocalRayletDiedError:
            raise
        except exceptions.RayTaskError as error:
            del self._begun[reference]
            if type(error.cause).__name__ == "Stopped":
                return Ended(task, lost="it was stopped")
            return Ended(task, error=BoardError(f"{task.name}: {_said(error)}"))
        except exceptions.RayError as error:
            del self._begun[reference]
            return Ended(task, lost=_said(error))
        del self._begun[reference]
        if isinstance(found, DeployError):
            return Ended(task, error=found)
        if isinstance(found, dict):
            found = self._store.adopt(task, found)
        return Ended(task, record=found)

    def _packed(self, task: Task, key: str) -> Any:
        """The files that a task needs, in Ray's store."""
        kind = "train" if task.kind in ("train", "convert") else "convert"
        other = task.model_copy(update={"kind": kind, "key": key})
        return ray().put((other, self._store.packed(other)))


_SAID = {
    "WorkerCrashedError": "its process died",
    "NodeDiedError": "its machine is gone",
    "OutOfMemoryError": "its machine had no memory left",
    "TaskCancelledError": "it was stopped",
}


def _said(error: Exception) -> str:
    """Why a task has ended; Ray tells it in many lines."""
    name = type(error).__name__
    if name in _SAID:
        return _SAID[name]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return harmless(f"{name}: {lines[-1] if lines else ''}".rstrip(": "))


# --- what a worker does ----------------------------------------------------------------------


def _shared(folder: str, task: Task, retries: int) -> Record | DeployError:
    launch = RayRanks(retries) if task.resources.ranks > 1 else None
    try:
        return perform(Store(Path(folder)), task, launch)
    except DeployError as error:
        return error


def _shipped(needs: list[Any], task: Task, _retries: int) -> dict[str, bytes] | DeployError:
    with temporary_folder() as folder:
        store = Store(folder)
        try:
            for other, files in ray().get(needs):
                store.adopt(other, files)
            perform(store, task)
            return store.packed(task)
        except DeployError as error:
            return error
