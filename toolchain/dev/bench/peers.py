"""What a user would pick instead: other runtimes, on the same machine and on boards.

Every runtime is a process of its own that has loaded its model and waits. They are told to run in
turn, so that whatever slows the machine for a while slows all of them; the order changes from round
to round. A turn is five inferences, the last of which is timed: caches are warm, as in use. What
they put out is compared with our dense model's. Times on boards are estimated, from traces.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from toolchain import children
from toolchain.build.bundle import Bundle
from toolchain.dev.bench import peer_worker
from toolchain.dev.bench.counts import qemu_version
from toolchain.dev.bench.models import NETWORKS, Dtype, Network, model_file
from toolchain.dev.bench.native import Machine, Spread, ratios, spread, this_machine
from toolchain.dev.bench.ncnn_model import ncnn_model
from toolchain.dev.bench.onnx_model import mnn_model, onnx_model
from toolchain.dev.bench.peer_estimates import PeerEstimate, estimate_ours, estimate_peer
from toolchain.errors import BoardError, MissingToolError, ModelError
from toolchain.formats.json_text import parse_json
from toolchain.formats.text_file import read_text
from toolchain.progress import Progress, Silent
from toolchain.storage.scratch import temporary_folder
from toolchain.timing.guest import HERE

TFLITE, LITERT, NCNN, OURS = "tflite-runtime", "ai-edge-litert", "ncnn", "tileskip"
ONNX, MNN = "onnxruntime", "mnn"
_MISSING = {
    "int8": (
        "ncnn int8: its packages have no tool that quantizes a model",
        "MNN int8: the tool of its package that quantizes ends with an exception here",
    ),
    "fp32": (),
}
_NEVER = (
    "ExecuTorch: its package for aarch64 loads torch's, which is a build for CUDA of several GB",
)
_FEW_ROUNDS = 5


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Pythons:
    """The environments that runtimes are installed in."""

    tflite: Path
    """With tflite-runtime 2.14.0."""
    peers: Path
    """With the others, and the tools that make their files."""


@dataclass(frozen=True)
class Contestant:
    """A runtime with a model."""

    runtime: str
    sparsity: float
    python: Path
    model: Path
    """For ncnn without ``.ncnn.param`` and ``.ncnn.bin``."""
    delegate: Path | None = None
    outputs: tuple[str, ...] = ()
    """Names of ncnn's outputs."""

    @property
    def files(self) -> dict[str, Path]:
        """What it reads, by names of their own."""
        if self.runtime == NCNN:
            endings = (".ncnn.param", ".ncnn.bin")
            return {f"model{ending}": Path(f"{self.model}{ending}") for ending in endings}
        return {f"model{self.model.suffix}": self.model}


class PeerResult(_Part):
    """One runtime with one model."""

    runtime: str
    version: str
    sparsity: float
    us: Spread
    over_ours: Spread | None
    """This one's time over that of our dense model, of the same rounds: below 1 is faster."""
    estimates: list[PeerEstimate] = []
    """On boards; one thread."""
    difference: float | None
    """Largest difference to our dense model's outputs, as a part of the largest; dense only."""


class PeerGroup(_Part):
    """All runtimes with one network."""

    network: str
    dtype: Dtype
    threads: int
    results: list[PeerResult]


class PeerResults(_Part):
    """Everything that one comparison measured."""

    created: datetime
    machine: Machine
    qemu: str
    rounds: int
    groups: list[PeerGroup]
    missing: list[str]


def load_peers(path: Path) -> PeerResults:
    """Read a document.

    Raises:
        ModelError: no such file, or it is none; names the first fault.
    """
    return parse_json(
        PeerResults,
        read_text(path, ModelError),
        ModelError,
        f"{path}: is no comparison of runtimes",
        hint="make bench-peers writes one",
    )


def compare_peers(
    networks: Sequence[str],
    dtypes: Sequence[Dtype],
    threads: Sequence[int],
    *,
    delegate: Path,
    bundles: Mapping[str, Bundle],
    pythons: Pythons,
    sparsities: Sequence[float] = (0.2, 0.3),
    models: Path | None = None,
    rounds: int = 41,
    progress: Progress | None = None,
) -> PeerResults:
    """Time all runtimes with each network, in turn.

    Args:
        networks: names of :data:`toolchain.dev.bench.models.NETWORKS`.
        dtypes: ncnn and MNN take part in fp32 alone.
        threads: numbers of threads; each is a group of its own.
        delegate: ours, for this machine.
        bundles: our runtime for boards, by their names; all runtimes are estimated there.
        pythons: environments with the other runtimes.
        sparsities: of our masked models.
        models: a folder of converted files, which are taken as they are.
        rounds: inferences of each runtime.
        progress: where groups are counted.

    Raises:
        MissingToolError: a runtime is not installed.
        BoardError: a runtime failed.
    """
    progress = progress or Silent()
    missing = [*_NEVER, *(reason for dtype in dtypes for reason in _MISSING[dtype])]
    for python, what in ((pythons.tflite, "tflite-runtime"), (pythons.peers, "ncnn")):
        if not python.is_file():
            raise MissingToolError(
                f"{python} is not there, for {what}", hint="run: make bench-peers"
            )
    prepared = [
        (
            name,
            dtype,
            _contestants(
                NETWORKS[name], dtype, delegate, pythons, sparsities, models, progress=progress
            ),
        )
        for name in networks
        for dtype in dtypes
    ]
    machine = this_machine()
    if not machine.quiet:
        missing.append(f"quiet: {machine.load:.1f} cores were busy otherwise when it began")
    groups = []
    with progress.stage("peers", len(prepared) * len(threads)) as stage:
        for name, dtype, contestants in prepared:
            for count in threads:
                results = race(contestants, count, rounds)
                if count == 1:
                    results = _estimated(results, contestants, bundles, progress)
                groups.append(PeerGroup(network=name, dtype=dtype, threads=count, results=results))
                stage.advance(1, f"{name} {dtype}, {count} threads")
    return PeerResults(
        created=datetime.now(UTC).replace(microsecond=0),
        machine=machine,
        qemu=qemu_version(),
        rounds=rounds,
        groups=groups,
        missing=missing,
    )


def _contestants(
    network: Network,
    dtype: Dtype,
    delegate: Path,
    pythons: Pythons,
    sparsities: Sequence[float],
    models: Path | None,
    *,
    progress: Progress,
) -> list[Contestant]:
    def file(sparsity: float) -> Path:
        return model_file(network.zoo_name(sparsity), dtype, folder=models, progress=progress)

    dense = file(0.0)
    here = Path(sys.executable)
    found = [
        Contestant(OURS, 0.0, here, dense, delegate),
        *(Contestant(OURS, s, here, file(s), delegate) for s in sparsities),
        Contestant(TFLITE, 0.0, pythons.tflite, dense),
        Contestant(LITERT, 0.0, here, dense),
    ]
    if dtype == "fp32":
        stem, outputs = ncnn_model(network.dense, pythons.peers, progress=progress)
        found.append(Contestant(NCNN, 0.0, pythons.peers, stem, outputs=outputs))
        mnn = mnn_model(network.dense, pythons.peers, progress=progress)
        found.append(Contestant(MNN, 0.0, pythons.peers, mnn))
    onnx = onnx_model(network.dense, dtype, pythons.peers, progress=progress)
    found.append(Contestant(ONNX, 0.0, pythons.peers, onnx))
    return found


def _write_input(contestants: Sequence[Contestant], folder: Path) -> None:
    from toolchain.agreement.inputs import random_inputs
    from toolchain.tflite_file.graph import read_model

    batch = random_inputs(read_model(contestants[0].model), 1, seed=0)
    np.save(folder / "input.npy", batch.arrays[0][0])


def _estimated(
    results: Sequence[PeerResult],
    contestants: Sequence[Contestant],
    bundles: Mapping[str, Bundle],
    progress: Progress,
) -> list[PeerResult]:
    """The results with times on boards, two runtimes traced at once."""
    with temporary_folder() as folder, ThreadPoolExecutor(2) as pool:
        _write_input(contestants, folder)

        def estimate(one: Contestant, version: str, board: str) -> PeerEstimate:
            if one.runtime == OURS:
                return estimate_ours(bundles[board], one.model, board)
            settings, files = guest_settings(one, folder)
            requirement = f"{one.runtime}=={version}"
            return estimate_peer(requirement, settings, files, board, progress=progress)

        asked = [
            [pool.submit(estimate, one, result.version, board) for board in bundles]
            for result, one in zip(results, contestants, strict=True)
        ]
        try:
            return [
                result.model_copy(update={"estimates": [future.result() for future in futures]})
                for result, futures in zip(results, asked, strict=True)
            ]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def race(
    contestants: Sequence[Contestant],
    threads: int,
    rounds: int,
    *,
    seconds: float = math.inf,
    beside: AbstractContextManager[object] | None = None,
) -> list[PeerResult]:
    """Run all contestants in turn; the first is what the others are compared with.

    Args:
        contestants: runtimes with their models.
        threads: of each.
        rounds: inferences of each that are timed.
        seconds: a contestant that has run for so many takes part in a few rounds alone, so that a
            slow one does not use up the turns of the others.
        beside: what is entered when all have loaded their models, and left when they have run.

    Raises:
        BoardError: one failed.
    """
    with temporary_folder() as folder, ExitStack() as stack:
        _write_input(contestants, folder)
        workers = [
            stack.enter_context(_worker(one, index, folder, threads))
            for index, one in enumerate(contestants)
        ]
        stack.enter_context(beside or nullcontext())
        for worker in workers:
            worker.ask()  # once more, unmeasured
        samples = take_turns([worker.ask for worker in workers], rounds, seconds)
        outputs = [worker.outputs() for worker in workers]
    return [
        PeerResult(
            runtime=one.runtime,
            version=worker.version,
            sparsity=one.sparsity,
            us=spread(sample),
            over_ours=_over(sample, samples[0]) if index else None,
            difference=_difference(outputs[0], output) if index and not one.sparsity else None,
        )
        for index, (one, worker, sample, output) in enumerate(
            zip(contestants, workers, samples, outputs, strict=True)
        )
    ]


def take_turns(
    contestants: Sequence[Callable[[], float]],
    rounds: int,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> list[list[float]]:
    """Call each once a round, in an order that changes; what they returned, for each.

    Args:
        contestants: each returns one sample.
        rounds: at most.
        seconds: whoever has used up so many takes part in the first few rounds alone.
        clock: in seconds.
    """
    samples: list[list[float]] = [[] for _ in contestants]
    spent = [0.0] * len(contestants)
    for number in range(rounds):
        shift = number % len(contestants)
        for index in (*range(shift, len(contestants)), *range(shift)):
            if number < _FEW_ROUNDS or spent[index] <= seconds:
                begun = clock()
                samples[index].append(contestants[index]())
                spent[index] += clock() - begun
    return samples


class _Worker:
    def __init__(self, name: str, process: subprocess.Popen[str], output: Path) -> None:
        self._name, self._process, self._output = name, process, output
        self.version = str(json.loads(self._line())["version"])

    def ask(self) -> float:
        """One inference, in microseconds."""
        _pipe(self._process.stdin).write("run\n")
        _pipe(self._process.stdin).flush()
        return float(self._line())

    def outputs(self) -> list[npt.NDArray[Any]]:
        """Of the first inference, in the model's order."""
        with np.load(self._output) as file:
            return [np.asarray(file[name], np.float64) for name in file.files]

    def _line(self) -> str:
        with children.Watchdog(children.WORK_S, self._process.kill) as watchdog:
            line = _pipe(self._process.stdout).readline()
        if watchdog.bit:
            raise children.time_up(self._name, children.WORK_S, BoardError, silent=True)
        if not line:
            said = _pipe(self._process.stderr).read().strip().splitlines() or ["no reason given"]
            raise BoardError(f"{self._name} failed: {said[-1]}")
        return line


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None  # noqa: S101 (all three are pipes)
    return stream


@contextmanager
def _worker(one: Contestant, index: int, folder: Path, threads: int) -> Iterator[_Worker]:
    output = folder / f"output{index}.npz"
    settings = folder / f"settings{index}.json"
    settings.write_text(json.dumps(worker_settings(one, folder, output, threads)))
    process = subprocess.Popen(
        [str(one.python), "-P", peer_worker.__file__, str(settings)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield _Worker(f"{one.runtime} with {one.model.name}", process, output)
    finally:
        process.kill()
        process.communicate()


def worker_settings(one: Contestant, folder: Path, output: Path, threads: int) -> dict[str, Any]:
    """What ``peer_worker.py`` reads."""
    return {
        "kind": LITERT if one.delegate else one.runtime,
        "model": str(one.model),
        "threads": threads,
        "delegate": str(one.delegate.resolve()) if one.delegate else None,
        "input": str(folder / "input.npy"),
        "output": str(output),
        "outputs": list(one.outputs),
        "marked": 0,
    }


def guest_settings(one: Contestant, folder: Path) -> tuple[dict[str, Any], dict[str, Path]]:
    """What ``peer_worker.py`` reads on a board that is played, and the files there.

    Args:
        one: with a runtime of another's.
        folder: with the input.
    """
    settings = {
        **worker_settings(one, folder, Path("output.npz"), threads=1),
        "model": f"{HERE}/model" + ("" if one.runtime == NCNN else one.model.suffix),
        "input": f"{HERE}/input.npy",
    }
    return settings, {**one.files, "input.npy": folder / "input.npy"}


def _over(sample: Sequence[float], ours: Sequence[float]) -> Spread:
    """Ratios of the rounds that both took part in."""
    both = min(len(sample), len(ours))
    return ratios(sample[:both], ours[:both])


def _difference(ours: list[npt.NDArray[Any]], theirs: list[npt.NDArray[Any]]) -> float:
    """The largest difference as a part of the largest output; outputs in any order of scales."""
    pairs = zip(sorted(ours, key=np.size), sorted(theirs, key=np.size), strict=True)
    return max(
        float(np.abs(a.reshape(-1) - b.reshape(-1)).max() / np.abs(a).max()) for a, b in pairs
    )
