"""Several threads on a machine that others use, too: our runtime beside the stock ones.

On a board other programs run. A thread pool that waits for each of its threads then waits for the
scheduler in every operator, so a model can take a thousand times as long as with one thread. Here
each model runs on every runtime in turn (:func:`toolchain.dev.bench.peers.race`), with more and
fewer threads than cores, alone and beside processes that do nothing but use a core.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from toolchain.dev.bench.models import THREAD_NETWORKS, model_file
from toolchain.dev.bench.native import Machine, Spread, this_machine
from toolchain.dev.bench.peers import LITERT, OURS, TFLITE, Contestant, race
from toolchain.errors import MissingToolError
from toolchain.progress import Progress, Silent

BEFORE = "before"
"""Another build of ours."""
LIMIT = 1.2
"""Times the fastest stock runtime: what no case of ours should take more than."""
THREADS = (1, 2, 4)
BUSY = (0, 4, 20)
_SPARSITY = 0.2
# Ends when its parent has been killed, too.
_LOOP = """
import os, sys
while os.getppid() == int(sys.argv[1]):
    for _ in range(1_000_000): pass
"""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Entry(_Part):
    """One runtime in one case."""

    runtime: str
    version: str
    us: Spread


class Case(_Part):
    """All runtimes with one model, a number of threads, and a number of busy processes."""

    network: str
    sparsity: float
    threads: int
    busy: int
    entries: list[Entry]

    def of(self, runtime: str) -> Entry | None:
        """The entry of a runtime, if it took part."""
        return next((one for one in self.entries if one.runtime == runtime), None)

    @property
    def fastest(self) -> Entry:
        """The fastest stock runtime."""
        stock = [one for one in self.entries if one.runtime in (TFLITE, LITERT)]
        return min(stock, key=lambda one: one.us.median)

    @property
    def over_fastest(self) -> float:
        """Our median over the fastest stock runtime's."""
        ours = self.of(OURS)
        assert ours is not None  # noqa: S101 (in every case)
        return ours.us.median / self.fastest.us.median

    @property
    def over_before(self) -> float | None:
        """Our median over that of another build of ours."""
        ours, before = self.of(OURS), self.of(BEFORE)
        return ours.us.median / before.us.median if ours and before else None


class ThreadResults(_Part):
    """Everything that one bench of threads measured."""

    created: datetime
    machine: Machine
    rounds: int
    cases: list[Case]


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """So many processes that use a core each, as long as this is entered and not longer."""
    loop = [sys.executable, "-S", "-E", "-c", _LOOP, str(os.getpid())]
    with ExitStack() as stack:
        for _ in range(count):
            process = stack.enter_context(subprocess.Popen(loop, stdin=subprocess.DEVNULL))
            stack.callback(process.kill)  # which comes before the wait that the line above adds
        yield


def measure_threads(
    networks: Sequence[str],
    *,
    delegate: Path,
    tflite_python: Path,
    before: Path | None = None,
    threads: Sequence[int] = THREADS,
    busy: Sequence[int] = BUSY,
    models: Path | None = None,
    rounds: int = 41,
    seconds: float = 20,
    progress: Progress | None = None,
) -> ThreadResults:
    """Time every case.

    Args:
        networks: names of :data:`toolchain.dev.bench.models.THREAD_NETWORKS`; dense and masked.
        delegate: ours, for this machine.
        tflite_python: of the environment with tflite-runtime 2.14.0.
        before: the delegate of another build of ours, which takes its turns, too.
        threads: of each runtime.
        busy: processes that run beside.
        models: a folder of converted files, which are taken as they are.
        rounds: timed inferences of each runtime in each case, if there is time for them.
        seconds: that a runtime may take for a case, once it has a few inferences.
        progress: where cases are counted.

    Raises:
        MissingToolError: a runtime is not installed.
        BoardError: a runtime failed.
    """
    progress = progress or Silent()
    if not tflite_python.is_file():
        raise MissingToolError(
            f"{tflite_python} is not there, for tflite-runtime", hint="run: make bench-threads"
        )
    files = [
        (name, sparsity, model_file(THREAD_NETWORKS[name].zoo_name(sparsity), folder=models))
        for name in networks
        for sparsity in (0.0, _SPARSITY)
    ]
    machine = this_machine()
    cases = []
    with progress.stage("threads", len(files) * len(threads) * len(busy)) as stage:
        for name, sparsity, file in files:
            contestants = _contestants(file, sparsity, delegate, tflite_python, before)
            for count in threads:
                for others in busy:
                    found = race(
                        contestants, count, rounds, seconds=seconds, beside=busy_processes(others)
                    )
                    entries = [
                        Entry(runtime=one.runtime, version=one.version, us=one.us) for one in found
                    ]
                    case = Case(
                        network=name, sparsity=sparsity, threads=count, busy=others,
                        entries=entries,
                    )  # fmt: skip
                    cases.append(case)
                    stage.advance(1, f"{name} s = {sparsity:g}, {count} threads, {others} busy")
    return ThreadResults(
        created=datetime.now(UTC).replace(microsecond=0),
        machine=machine,
        rounds=rounds,
        cases=cases,
    )


def _contestants(
    file: Path, sparsity: float, delegate: Path, tflite_python: Path, before: Path | None
) -> list[Contestant]:
    here = Path(sys.executable)
    found = [Contestant(OURS, sparsity, here, file, delegate)]
    if before:
        found.append(Contestant(BEFORE, sparsity, here, file, before))
    found.append(Contestant(TFLITE, sparsity, tflite_python, file))
    found.append(Contestant(LITERT, sparsity, here, file))
    return found
