"""Times of our runner measured on this machine beside its estimates: traces, caches, llvm-mca.

The same method as for boards, where truth is at hand. Kernels are those without AVX-512, measured
and traced alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from toolchain import children
from toolchain.build.compiler import require
from toolchain.dev.bench.counts import qemu_version
from toolchain.dev.bench.models import model_file
from toolchain.dev.bench.native import cpu_name, run_model
from toolchain.dev.timing.cross_validation import Estimate, errors, leave_one_family_out
from toolchain.dev.timing.fit import Shape, fit_windows
from toolchain.dev.timing.host.core import LlvmMca
from toolchain.dev.timing.host.page import HostResults
from toolchain.dev.timing.host.runner import host_runner
from toolchain.dev.timing.host.trace import REFILL, trace_on_host
from toolchain.dev.timing.models import network_file
from toolchain.dev.timing.page import Judged, summaries, summary
from toolchain.dev.timing.published import Precision, Row
from toolchain.dev.timing.sample import Sample
from toolchain.dev.timing.study import ablations
from toolchain.errors import BuildError
from toolchain.progress import Progress
from toolchain.storage.scratch import temporary_folder
from toolchain.timing.windows import windows_of

_CORE: Final = "znver4"
_SHAPE: Final = Shape(overlap="max", refill=REFILL, l3=True, core=True)
FAMILIES: Final = {
    "resnet18": "resnet", "resnet18_all_s20": "resnet", "resnet18_all_s30": "resnet",
    "resnet18_lattice_s20": "resnet", "resnet50": "resnet", "resnet50_s20": "resnet",
    "fashion_resnet_dense": "fashion_resnet",
    "mobilenet_v1": "mobilenet",
    "mobilenet_v2": "mobilenet_v2", "mobilenet_v2_s20": "mobilenet_v2",
    "mobilenet_v2_s30": "mobilenet_v2",
    "efficientnet_lite0": "efficientnet", "efficientnet_lite0_s20": "efficientnet",
    "yolov5n": "yolov5n", "yolov5n_s20": "yolov5n",
}  # fmt: skip
"""Networks of the study, each in both types, and their families."""
_TURN_S: Final = 0.4
"""Of measuring one model, before it is another one's turn."""
_WITHOUT_AVX512: Final = {
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-ERMS,-FSRM"
}
"""What copies memory is then the same here and in QEMU, too."""
_CLOCK: Final = """
#include <stdio.h>
#include <time.h>
int main(void) {
  double best = 0;
  for (int turn = 0; turn < 20; ++turn) {
    struct timespec a, b;
    long n = 20000000;
    clock_gettime(CLOCK_MONOTONIC, &a);
    __asm__ volatile("1: imul %%rax, %%rax\\n dec %0\\n jnz 1b" : "+r"(n) : : "rax", "cc");
    clock_gettime(CLOCK_MONOTONIC, &b);
    double ns = (b.tv_sec - a.tv_sec) * 1e9 + (b.tv_nsec - a.tv_nsec);
    double mhz = 3 * 20000000 / ns * 1e3;
    if (mhz > best) best = mhz;
  }
  printf("%.0f\\n", best);
}
"""
"""A chain of multiplications, three cycles each."""


@dataclass(frozen=True, kw_only=True)
class HostRow(Row):
    """A time that was measured here."""

    model: str
    """Of the zoo."""

    @property
    def family(self) -> str:
        """Networks of one family are never on both sides of a cross-validation."""
        return FAMILIES[self.model]

    @property
    def title(self) -> str:
        """The model, with its type."""
        return f"{self.model}_int8" if self.precision == "int8" else self.model


def run_host_study(*, rounds: int, progress: Progress) -> HostResults:
    """Build, trace, measure, fit and validate.

    Args:
        rounds: of measuring; the machine should have nothing else to do.
        progress: where each step is announced.

    Raises:
        BoardError: a program failed.
        BuildError, SourceError, MissingToolError: something cannot be built.
    """
    runner, core = host_runner(progress), LlvmMca(_CORE)
    models = dict(_models())
    windows = {}
    with progress.stage("trace this machine's runner", len(models)) as stage:
        for (name, precision), path in models.items():
            found = trace_on_host(runner, path)
            windows[name, precision] = windows_of(found, core, has_l3=True)
            stage.advance()
    measured = measure(runner, models, rounds, progress)
    mhz = clock_mhz()
    samples = [
        Sample(host_row(name, precision, mhz, ms), windows[name, precision])
        for (name, precision), ms in measured.items()
    ]
    samples.sort(key=lambda one: one.row.ms)
    fit = fit_windows(_SHAPE)
    estimates = leave_one_family_out(samples, fit)
    return HostResults(
        created=datetime.now(UTC),
        qemu=qemu_version(),
        cpu=cpu_name(),
        core=_CORE,
        clock_mhz=mhz,
        rounds=rounds,
        coefficients=fit(samples).fitted,
        summaries=[summary("all", errors(estimates)), *summaries(estimates)],
        ablations=ablations(_SHAPE, samples),
        rows=[_told(one) for one in estimates],
    )


def _models() -> Iterator[tuple[tuple[str, Precision], Path]]:
    precisions: tuple[Precision, ...] = ("fp32", "int8")
    for name in FAMILIES:
        for precision in precisions:
            assert precision != "fp16"  # noqa: S101 (for the type checker)
            own = network_file if name == "mobilenet_v1" else model_file
            yield (name, precision), own(name, precision)


def measure(
    runner: Path,
    models: Mapping[tuple[str, Precision], Path],
    rounds: int,
    progress: Progress,
) -> dict[tuple[str, Precision], float]:
    """Milliseconds of each model with one thread: the shortest of the medians of its turns.

    Others that use the machine, and other guests of its host, only make a turn longer.

    Raises:
        BoardError: the runner failed.
    """
    best: dict[tuple[str, Precision], float] = {}
    with progress.stage("measure on this machine", rounds * len(models)) as stage:
        for _ in range(rounds):
            for model, path in models.items():
                runs = max(3, round(_TURN_S * 1e3 / best[model])) if model in best else 3
                best[model] = min(best.get(model, float("inf")), _median_ms(runner, path, runs))
                stage.advance()
    return best


def _median_ms(runner: Path, model: Path, runs: int) -> float:
    options = ("--threads", "1", "--warmup", "3", "--runs", str(runs))
    timing = run_model(runner, model, options, {"PATH": "/usr/bin:/bin", **_WITHOUT_AVX512}).timing
    assert timing is not None  # noqa: S101 (there is at least one run)
    return timing.median_us / 1e3


def clock_mhz() -> int:
    """This machine's clock now, by a chain of multiplications; the fastest of 20 turns.

    Raises:
        BuildError: it cannot be compiled.
        MissingToolError: there is no compiler.
    """
    require({"gcc": "gcc"})
    with temporary_folder() as folder:
        (source := folder / "clock.c").write_text(_CLOCK)
        made = folder / "clock"
        command = ["gcc", "-O2", str(source), "-o", str(made)]
        done = children.run(command, limit=children.WORK_S, fault=BuildError)
        if done.returncode:
            raise BuildError(f"{source.name} could not be compiled: {done.stderr.strip()}")
        told = children.run([made], limit=children.WORK_S, fault=BuildError)
        return int(told.stdout)


def host_row(model: str, precision: Precision, mhz: int, ms: float) -> HostRow:
    """A measured time as the cross-validation takes it."""
    return HostRow(
        source="measured here",
        board="host",
        core=None,
        clock_mhz=mhz,
        threads=1,
        runtime="tileskip",
        published=datetime.now(UTC).date(),
        precision=precision,
        network=model,
        width=0,
        height=0,
        ms=ms,
        model=model,
    )


def _told(one: Estimate) -> Judged:
    row = one.row
    return Judged(network=row.network, precision=row.precision, ms=row.ms, estimated_ms=one.ms)
