"""A connection to Ray: to one of this machine's own, or to a cluster."""

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
from typing import Any

from toolchain.errors import BoardError, ConnectionFailed, first_line
from toolchain.storage.scratch import temporary_folder

_MEMORY = 100 << 20
"""Bytes of shared memory of a Ray of our own; results go through files."""
_AUTHENTICATION = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
_KNOCK_S = 10.0
_ATTEMPTS, _PAUSE_S = 15, 2.0
"""To reach a cluster again, and seconds between two of them."""


def board_resource(board: str) -> str:
    """What Ray calls a board."""
    return f"board:{board}"


class Session:
    """A connection to Ray, which lasts until :meth:`close`.

    Args:
        address: of a cluster, as ``ray start`` tells it; without it, one of this machine that goes
            away with this process.
        jobs: CPUs of this machine's own; by default as many as it has cores.
        boards: that tasks hold.
        gpus: the most that a task holds, on all of its ranks.
        ranked_cpus: the most CPUs that a training of several ranks holds.

    Raises:
        ConnectionFailed: there is no such cluster.
        BoardError: the cluster lacks a board, CPUs or GPUs.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        jobs: int | None = None,
        boards: Iterable[str] = (),
        gpus: float = 0,
        ranked_cpus: int = 0,
    ) -> None:
        if not address and not any(name in os.environ for name in _AUTHENTICATION):
            # A word of its own for this run; Ray would leave one in the user's home.
            os.environ["RAY_AUTH_MODE"] = "token"
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(16)
        self._boards, self._gpus, self._cpus = sorted(set(boards)), gpus, ranked_cpus
        self._address, self._jobs = address, jobs or os.cpu_count() or 1
        if address is None:
            self._check_cpus(self._jobs)  # Ray takes seconds to begin
        # Ray writes there what it learns of machines that die, whatever a command prints.
        self._hidden = contextlib.ExitStack()
        self._hidden.enter_context(contextlib.redirect_stdout(io.StringIO()))
        self._own = None if address else self._hidden.enter_context(temporary_folder())
        try:
            self._connect()
        except BaseException:
            self.close()
            raise

    @property
    def cpus(self) -> int:
        """How many there are now; a cluster may grow and shrink."""
        return int(ray().cluster_resources().get("CPU", 1))

    @property
    def said(self) -> str:
        """What is connected to, for the user."""
        found = ray().cluster_resources()
        nodes = sum(1 for node in ray().nodes() if node["Alive"])
        parts = [f"{nodes} node{'s' if nodes > 1 else ''}", f"{found.get('CPU', 0):g} CPUs"]
        parts += [f"{found['GPU']:g} GPUs"] if found.get("GPU") else []
        return f"on Ray: {', '.join(parts)}"

    def connect_anew(self) -> None:
        """Connect again after the part of Ray that this process talks to has died.

        Raises:
            ConnectionFailed: it cannot be reached.
        """
        for left in range(_ATTEMPTS, -1, -1):
            ray().shutdown()
            try:
                self._connect()
            except ConnectionFailed:
                if not left:
                    raise
                time.sleep(_PAUSE_S)
            else:
                break

    def close(self) -> None:
        """Let go of it."""
        ray().shutdown()
        self._hidden.close()

    def _connect(self) -> None:
        """Reach the cluster, or begin one of this machine.

        Raises:
            ConnectionFailed: it cannot be reached.
            BoardError: it lacks a board, CPUs or GPUs.
        """
        there, address = ray(), self._address
        settings: dict[str, Any] = {"address": address}
        if self._own is not None:
            settings = {
                "address": "local",
                "num_cpus": self._jobs,
                "resources": {board_resource(board): 1 for board in self._boards},
                "object_store_memory": _MEMORY,
                "include_dashboard": False,
                "_temp_dir": str(self._own),
            }
        before = signal.getsignal(signal.SIGTERM)
        where = f"no cluster of Ray can be reached at {address}" if address else "Ray"
        try:
            _knock(address)
            there.init(
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
        found = ray().cluster_resources()
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
        self._check_cpus(found.get("CPU", 0))

    def _check_cpus(self, there: float) -> None:
        if self._cpus > there:
            raise BoardError(
                f"a training holds {self._cpus} CPUs on all of its ranks, and there are {there:g}",
                hint="use fewer ranks, or fewer threads of each (threads, under [training])",
            )


def _knock(address: str | None) -> None:
    """See whether somebody answers at ``HOST:PORT``; Ray itself tries for minutes.

    Raises:
        OSError: nobody does.
    """
    host, colon, port = (address or "").rpartition(":")
    if colon and "/" not in host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S).close()


def ray() -> Any:
    """The module, set up so that it is quiet, and leaves GPUs alone that nobody asked for."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray as module

    return module
