"""Ranks as processes of this machine, joined over its loopback alone."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from toolchain.errors import BoardError, RecipeError
from toolchain.train.ranks import Ranks, backend
from toolchain.train.together import Job, Running, job_from, job_table, run_rank

_LOG = "rank-{}.log"
"""What a rank's libraries print, in the folder where all meet."""
_LOOK_S = 1.0
_GRACE_S = 10.0
"""For the other ranks to end after one has failed: they may be the ones that know why."""


def launch(job: Job) -> Running:
    """Begin the ranks of a job.

    Raises:
        RecipeError: the recipe asks for GPUs, and there are too few.
    """
    device = _device(job)
    context = multiprocessing.get_context("spawn")
    said = job_table(job)
    processes = [
        context.Process(target=_rank, args=(said, number, device, os.getpid()))
        for number in range(job.count)
    ]
    # Ctrl-C goes to every process of the terminal; ranks stop together, when their parent says so.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        for process in processes:
            process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return _Processes(job, processes)


class _Processes:
    def __init__(self, job: Job, processes: list[Any]) -> None:
        self._job = job
        self._processes: list[BaseProcess] = processes

    def wait(self, seconds: float) -> bool:
        alive = [one.sentinel for one in self._processes if one.is_alive()]
        if alive:
            multiprocessing.connection.wait(alive, timeout=seconds)
        if any(one.exitcode for one in self._processes):
            self._fail()
        return not any(one.is_alive() for one in self._processes)

    def _fail(self) -> None:
        until = time.monotonic() + _GRACE_S
        for one in self._processes:
            one.join(max(0.0, until - time.monotonic()))
        killed = {-(one.exitcode or 0) for one in self._processes if (one.exitcode or 0) < 0}
        if killed:
            # Torch may end a rank by SIGABRT when it has lost another one.
            number = min(killed, key=lambda one: one == signal.SIGABRT)
            name = signal.Signals(number).name
            raise BoardError(
                f"{self._job.name}: a rank of the training was killed ({name})",
                hint="memory may have run out. The same command goes on from the last saved state",
            )
        raise BoardError(
            f"{self._job.name}: a rank of the training has failed: {self._last_words()}",
            hint="the same command goes on from the last saved state",
        )

    def _last_words(self) -> str:
        """The last line that one of them has printed."""
        place = Path(self._job.folder, self._job.meeting)
        for path in sorted(place.glob(_LOG.format("*"))):
            lines = path.read_text(errors="replace").strip().splitlines()
            if lines and "RankLost" not in lines[-1]:
                return lines[-1].strip()
        return "it said nothing"

    def kill(self) -> None:
        for one in self._processes:
            if one.is_alive():
                one.kill()
        for one in self._processes:
            one.join()


def _device(job: Job) -> str:
    """What ranks compute on: a GPU each, or the CPU."""
    gpus = torch.cuda.device_count()
    if job.device == "cuda" and gpus < job.count:
        raise RecipeError(
            f"training.device: {job.count} ranks need as many GPUs, and torch can use {gpus} here",
            hint='use fewer ranks, or "auto" or "cpu"',
        )
    return "cuda" if job.device != "cpu" and gpus >= job.count else "cpu"


# --- in the process of a rank ----------------------------------------------------------------


def _rank(said: dict[str, Any], number: int, device: str, parent: int) -> None:
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    job = job_from(said)
    place = Path(job.cwd, job.folder, job.meeting)
    log = os.open(place / _LOG.format(number), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(log, stream)
    if sys.platform == "linux":
        for library in ("GLOO", "NCCL"):
            os.environ.setdefault(f"{library}_SOCKET_IFNAME", "lo")
    if not job.threads:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // job.count))
    used = torch.device(device, number) if device == "cuda" else torch.device(device)
    if used.type == "cuda":
        torch.cuda.set_device(used)
    distributed.init_process_group(
        backend(used.type),
        init_method=(place / "meet").as_uri(),
        rank=number,
        world_size=job.count,
    )
    run_rank(job, Ranks.joined(used))
    distributed.destroy_process_group()


def _end_with(parent: int) -> None:
    """End when the process that began this one has: nobody would take the result."""
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(1)
