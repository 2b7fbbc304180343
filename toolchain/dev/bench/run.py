"""Measure networks at several sparsities: instructions under QEMU, times on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import toolchain
from toolchain.build.bundle import Bundle
from toolchain.dev.bench.counts import ModelCount, count_model, qemu_version
from toolchain.dev.bench.models import NETWORKS, SPARSITIES, Dtype, Network, model_file
from toolchain.dev.bench.native import (
    Spread,
    alternating,
    interleaved,
    ratios,
    spread,
    this_machine,
)
from toolchain.dev.bench.operators import compare_operators
from toolchain.dev.bench.results import BenchResults, CaseResult, Counted, Timed
from toolchain.dev.bench.taps import live_taps
from toolchain.hardware.facts import Core
from toolchain.progress import Progress, Silent
from toolchain.storage.cache import digest
from toolchain.tflite_file.graph import read_model
from toolchain.tflite_file.layers import find_layers


@dataclass(frozen=True)
class Plan:
    """What to measure."""

    networks: Sequence[str] = tuple(NETWORKS)
    dtypes: Sequence[Dtype] = ("fp32", "int8")
    sparsities: Sequence[float] = SPARSITIES
    """0 is always measured: it is what the others are compared with."""
    threads: Sequence[int] = (1, 2)
    core: Core = "cortex-a72"
    runs: int = 41
    """Timed runs of each model, in turn with the others."""
    rounds: int = 7
    """Processes of each model that is prepared, in turn with dense."""
    models: Path | None = None
    """A folder of converted files, which are taken as they are."""
    jobs: int = 2
    """Models that are counted at once; times are taken one by one."""


@dataclass(frozen=True)
class Runtimes:
    """The bundles to measure with; ``None`` for what a plan leaves out."""

    board: Bundle | None
    """For aarch64."""
    board_stock: Bundle | None
    host: Bundle | None
    host_stock: Bundle | None


@dataclass
class _Files:
    """Converted models, by network, type and sparsity."""

    paths: dict[tuple[str, Dtype, float], Path] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def of(self, network: Network, dtype: Dtype) -> dict[float, Path]:
        return {
            s: path for (n, d, s), path in self.paths.items() if (n, d) == (network.name, dtype)
        }


def measure(plan: Plan, runtimes: Runtimes, progress: Progress | None = None) -> BenchResults:
    """Convert, count and time what a plan says.

    Raises:
        ModelError, VerificationError: a network cannot be converted, or counts do not repeat.
        BoardError: a runner failed.
    """
    progress = progress or Silent()
    files = _convert(plan, progress)
    counts = _count(plan, runtimes, files, progress)
    machine = this_machine() if runtimes.host else None
    if machine is not None and not machine.quiet:
        files.missing.append(
            f"quiet: {machine.load:.1f} cores were busy with other things when timing began, so "
            "times are not to be trusted"
        )
    timed = _time(plan, runtimes, files, progress)
    cases = []
    for (name, dtype, sparsity), path in files.paths.items():
        network = NETWORKS[name]
        dense = files.paths[name, dtype, 0.0]
        macs, left = _macs(path, two_sided=network.two_sided)
        for threads in plan.threads:
            own = counts.get((path, threads))
            reference = counts.get((dense, threads))
            operators = []
            if own and reference and sparsity and threads == 1:
                operators = compare_operators(
                    (dense, reference), (path, own), two_sided=network.two_sided
                ).rows
            cases.append(
                CaseResult(
                    network=name,
                    dtype=dtype,
                    sparsity=sparsity,
                    threads=threads,
                    macs=macs,
                    macs_left=left,
                    counted=_counted(own, counts.get((path, -threads))) if own else None,
                    timed=timed.get((name, dtype, sparsity, threads)),
                    operators=operators,
                )
            )
    return BenchResults(
        schema=1,
        tool=toolchain.__version__,
        created=datetime.now(UTC).replace(microsecond=0),
        core=plan.core,
        runtime=_runtime(bundle) if (bundle := runtimes.board or runtimes.host) else "none",
        qemu=qemu_version(),
        machine=machine,
        cases=cases,
        missing=files.missing,
    )


def _convert(plan: Plan, progress: Progress) -> _Files:
    files = _Files()
    wanted = [
        (NETWORKS[name], dtype, sparsity)
        for name in plan.networks
        for dtype in plan.dtypes
        for sparsity in sorted({0.0, *plan.sparsities})
        if sparsity in NETWORKS[name].sparsities
    ]
    with progress.stage("models", len(wanted)) as stage:
        for network, dtype, sparsity in wanted:
            files.paths[network.name, dtype, sparsity] = model_file(
                network.zoo_name(sparsity), dtype, folder=plan.models, progress=progress
            )
            stage.advance()
    return files


Counts = dict[tuple[Path, int], ModelCount]


def _count(plan: Plan, runtimes: Runtimes, files: _Files, progress: Progress) -> Counts:
    """Counts by file and threads; those on the unpatched runtime have their threads negative."""
    if runtimes.board is None:
        return {}
    wanted: dict[tuple[Path, int], Path] = {}
    for (_, _, sparsity), path in files.paths.items():
        for threads in plan.threads:
            wanted[path, threads] = runtimes.board.runner
            if runtimes.board_stock and not sparsity and threads == 1:
                wanted[path, -threads] = runtimes.board_stock.runner
    found: Counts = {}
    with (
        progress.stage(f"instructions on a {plan.core}", len(wanted)) as stage,
        ThreadPoolExecutor(plan.jobs) as pool,
    ):

        def count(item: tuple[tuple[Path, int], Path]) -> None:
            (path, threads), runner = item
            found[path, threads] = count_model(runner, path, core=plan.core, threads=abs(threads))
            stage.advance(1, path.stem)

        try:
            for _ in pool.map(count, wanted.items()):
                pass
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return found


def _counted(own: ModelCount, stock: ModelCount | None) -> Counted:
    return Counted(
        instructions=own.instructions,
        prepare=own.prepare,
        spread=own.spread,
        stock=stock.instructions if stock else None,
    )


def _time(
    plan: Plan, runtimes: Runtimes, files: _Files, progress: Progress
) -> dict[tuple[str, Dtype, float, int], Timed]:
    found: dict[tuple[str, Dtype, float, int], Timed] = {}
    if runtimes.host is None:
        return found
    groups = [
        (name, dtype, threads)
        for name in plan.networks
        for dtype in plan.dtypes
        for threads in plan.threads
        if files.of(NETWORKS[name], dtype)
    ]
    with progress.stage("times on this machine", len(groups)) as stage:
        for name, dtype, threads in groups:
            paths = files.of(NETWORKS[name], dtype)
            group = _time_group(plan, runtimes.host, runtimes.host_stock, paths, threads)
            for sparsity, timed in group.items():
                found[name, dtype, sparsity, threads] = timed
            stage.advance(1, f"{name} {dtype}, {threads} threads")
    return found


def _time_group(
    plan: Plan, host: Bundle, stock: Bundle | None, paths: dict[float, Path], threads: int
) -> dict[float, Timed]:
    """The models of one network, type and number of threads, in turn."""
    runner = host.runner
    samples = interleaved(runner, list(paths.values()), threads=threads, runs=plan.runs)
    commands = [(runner, path) for path in paths.values()]
    if stock is not None:
        commands.append((stock.runner, paths[0.0]))
    starts = alternating(commands, threads=threads, rounds=plan.rounds) if threads == 1 else []
    surplus = [
        [one.init_us + max(0.0, one.first_run_us - (one.median_us or 0.0)) for one in each]
        for each in starts
    ]
    result = {}
    for index, (sparsity, sample) in enumerate(zip(paths, samples, strict=True)):
        stock_ratio: Spread | None = None
        if starts and stock is not None and not sparsity:
            stock_ratio = ratios(
                [one.median_us or 0.0 for one in starts[-1]],
                [one.median_us or 1.0 for one in starts[0]],
            )
        memory = [one.peak_rss_kib for one in starts[index] if one.peak_rss_kib] if starts else []
        result[sparsity] = Timed(
            us=spread(sample),
            speedup=ratios(samples[0], sample),
            prepare_us=spread(surplus[index]) if starts else None,
            prepare_ratio=ratios(surplus[index], surplus[0]) if starts else None,
            peak_rss_kib=sorted(memory)[len(memory) // 2] if memory else None,
            stock_ratio=stock_ratio,
        )
    return result


def _macs(path: Path, *, two_sided: bool) -> tuple[int, int]:
    """Multiply-accumulates of a model, and those that its masks leave."""
    model = read_model(path)
    layers = find_layers(model)
    live = live_taps(model) if two_sided else {}
    left = sum((layer.macs - layer.macs_masked) * live.get(layer.index, 1.0) for layer in layers)
    return sum(layer.macs for layer in layers), round(left)


def _runtime(bundle: Bundle) -> str:
    manifest = bundle.manifest
    patches = [item for series in manifest.patches.values() for item in sorted(series.items())]
    versions = {name: source.version for name, source in manifest.sources.items()}
    return (
        f"TensorFlow Lite {versions['tensorflow']}, XNNPACK {versions['xnnpack']}, patches "
        f"{digest(*(part for pair in patches for part in pair))[:12]}"
    )
