"""Tasks on Ray: processes of this machine, or of a cluster.

Ray is told which GPUs and which board a task holds, so that a board serves one task at a time. It
does not repeat tasks by itself: the sweep does, which knows what is finished.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from toolchain import extras
from toolchain.errors import BoardError, ConnectionFailed, DeployError, first_line
from toolchain.foreign_text import harmless
from toolchain.storage.scratch import temporary_folder
from toolchain.sweep.pools import Ended
from toolchain.sweep.store import Record, Store
from toolchain.sweep.tasks import Task
from toolchain.sweep.work import perform

_MEMORY = 100 << 20
"""Bytes of shared memory of a Ray of our own; results go through files."""
_AUTHENTICATION = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
_TIDY_S = 60.0
"""That trainings are given to keep their state."""
_KNOCK_S = 10.0
_ATTEMPTS, _PAUSE_S = 15, 2.0
"""To reach a cluster again, and seconds between two of them."""
_AHEAD = 2
"""Tasks handed out for each one that can be at work, so that no worker waits for the next."""


def is_there() -> bool:
    """Whether Ray is installed."""
    return not extras.missing_modules("sweep")


def board_resource(board: str) -> str:
    """What Ray calls a board."""
    return f"board:{board}"


class RayPool:
    """A pool of Ray's workers.

    Args:
        store: where results are kept: a folder that every machine sees under the same name, unless
            files are shipped.
        address: of a cluster, as ``ray start`` tells it; without it, one of this machine that goes
            away with this process.
        jobs: tasks at once on this machine, one thread each; by default as many as it has cores.
        boards: that tasks hold.
        gpus: the most that a task holds.
        ship: let Ray carry the files of tasks, for machines that do not see the store.

    Raises:
        MissingToolError: Ray is not installed.
        ConnectionFailed: there is no such cluster.
        BoardError: the cluster lacks a board or GPUs.
    """

    def __init__(
        self,
        store: Store,
        *,
        address: str | None = None,
        jobs: int | None = None,
        boards: Iterable[str] = (),
        gpus: float = 0,
        ship: bool = False,
    ) -> None:
        extras.require("deploy sweep --address" if address else "deploy sweep", "sweep")
        self._store, self._ship = store, ship
        if not address and not any(name in os.environ for name in _AUTHENTICATION):
            # A word of its own for this run; Ray would leave one in the user's home.
            os.environ["RAY_AUTH_MODE"] = "token"
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(16)
        self._boards, self._gpus = sorted(set(boards)), gpus
        self._address, self._jobs = address, jobs
        self._begun: dict[Any, Task] = {}
        # Ray writes there what it learns of machines that die, whatever a command prints.
        self._hidden = contextlib.ExitStack()
        self._hidden.enter_context(contextlib.redirect_stdout(io.StringIO()))
        self._own = None if address else self._hidden.enter_context(temporary_folder())
        try:
            self._connect()
        except BaseException:
            self._shut_down()
            raise
        self._work = _ray().remote(_shipped if ship else _shared)

    @property
    def room(self) -> int:
        """See :class:`toolchain.sweep.pools.Pool`; a cluster may grow and shrink."""
        return max(1, _AHEAD * int(_ray().cluster_resources().get("CPU", 1)))

    @property
    def said(self) -> str:
        """Where tasks are done."""
        ray = _ray()
        found = ray.cluster_resources()
        nodes = sum(1 for node in ray.nodes() if node["Alive"])
        parts = [f"{nodes} node{'s' if nodes > 1 else ''}", f"{found.get('CPU', 0):g} CPUs"]
        parts += [f"{found['GPU']:g} GPUs"] if found.get("GPU") else []
        return f"on Ray: {', '.join(parts)}"

    def begin(self, task: Task) -> None:
        """See :class:`toolchain.sweep.pools.Pool`."""
        held = task.resources
        resources = {board_resource(held.board): 1} if held.board else None
        work = self._work.options(
            name=f"{task.kind} {task.name}",
            num_cpus=held.cpus,
            num_gpus=held.gpus or None,
            resources=resources,
            scheduling_strategy="SPREAD",
            max_retries=0,
        )
        where: Any = str(self._store.folder)
        if self._ship:
            where = [self._packed(task, key) for key in task.needs]
        self._begun[work.remote(where, task)] = task

    def ended(self, seconds: float) -> list[Ended]:
        """See :class:`toolchain.sweep.pools.Pool`.

        Raises:
            ConnectionFailed: the cluster is gone.
        """
        ray = _ray()
        if not self._begun:
            return []
        try:
            ready, _ = ray.wait(list(self._begun), num_returns=1, timeout=seconds)
            if ready:  # others may be as well
                ready, _ = ray.wait(list(self._begun), num_returns=len(self._begun), timeout=0)
            return [self._taken(reference) for reference in ready]
        except (ray.exceptions.LocalRayletDiedError, ray.exceptions.RaySystemError):
            return self._begin_anew()

    def _begin_anew(self) -> list[Ended]:
        """The part of Ray that this process talks to has died, and with it what is at work."""
        said = "this process was cut off from Ray"
        lost = [Ended(task, lost=said, blamed=False) for task in self._begun.values()]
        self._begun.clear()
        for left in range(_ATTEMPTS, -1, -1):
            _ray().shutdown()
            try:
                self._connect()
            except ConnectionFailed:
                if not left:
                    raise
                time.sleep(_PAUSE_S)
            else:
                break
        return lost

    def close(self, *, tidy: bool) -> None:
        """See :class:`toolchain.sweep.pools.Pool`."""
        ray = _ray()
        try:
            for reference in self._begun:
                ray.cancel(reference, force=not tidy)
            if self._begun and tidy:
                ray.wait(list(self._begun), num_returns=len(self._begun), timeout=_TIDY_S)
                for reference in self._begun:
                    ray.cancel(reference, force=True)
        except Exception:  # noqa: S110 (the cluster may be gone, and with it what is cancelled)
            pass
        finally:
            self._begun.clear()
            self._shut_down()

    def _taken(self, reference: Any) -> Ended:
        task, exceptions = self._begun[reference], _ray().exceptions
        try:
            found = _ray().get(reference)
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
        return _ray().put((other, self._store.packed(other)))

    def _connect(self) -> None:
        """Reach the cluster, or begin one of this machine.

        Raises:
            ConnectionFailed: it cannot be reached.
            BoardError: it lacks a board or GPUs.
        """
        ray, address = _ray(), self._address
        settings: dict[str, Any] = {"address": address}
        if self._own is not None:
            settings = {
                "address": "local",
                "num_cpus": self._jobs or os.cpu_count() or 1,
                "resources": {board_resource(board): 1 for board in self._boards},
                "object_store_memory": _MEMORY,
                "include_dashboard": False,
                "_temp_dir": str(self._own),
            }
        before = signal.getsignal(signal.SIGTERM)
        where = f"no cluster of Ray can be reached at {address}" if address else "Ray"
        try:
            _knock(address)
            ray.init(
                **settings,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                namespace="tileskip",
            )
        except Exception as error:
            raise ConnectionFailed(
                f"{where}: {first_line(error)}",
                hint="on a machine of the cluster, run: ray start --head"
                if address
                else "for one task after the other, without Ray, add --local",
            ) from error
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, before)  # Ray has set its own
        self._check()

    def _check(self) -> None:
        found = _ray().cluster_resources()
        for board in self._boards:
            name = board_resource(board)
            if not found.get(name):
                raise BoardError(
                    f"the cluster at {self._address} has no board {board}",
                    hint="on the machine that reaches it, run: ray start --address ADDRESS "
                    f"--resources '{{\"{name}\": 1}}'",
                )
        if self._gpus > found.get("GPU", 0):
            raise BoardError(
                f"a training holds {self._gpus:g} GPUs, and there are {found.get('GPU', 0):g}",
                hint="set gpus = 0 under [tasks], or add a machine that has some",
            )

    def _shut_down(self) -> None:
        _ray().shutdown()
        self._hidden.close()


def _knock(address: str | None) -> None:
    """See whether somebody answers at ``HOST:PORT``; Ray itself tries for minutes.

    Raises:
        OSError: nobody does.
    """
    host, colon, port = (address or "").rpartition(":")
    if colon and "/" not in host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S).close()


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    return ray


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


def _shared(folder: str, task: Task) -> Record | DeployError:
    try:
        return perform(Store(Path(folder)), task)
    except DeployError as error:
        return error


def _shipped(needs: list[Any], task: Task) -> dict[str, bytes] | DeployError:
    with temporary_folder() as folder:
        store = Store(folder)
        try:
            for other, files in _ray().get(needs):
                store.adopt(other, files)
            perform(store, task)
            return store.packed(task)
        except DeployError as error:
            return error
