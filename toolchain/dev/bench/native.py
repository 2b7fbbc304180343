"""Times on this machine: models in turn in one process, runtimes in turn in processes of their own.

Whatever slows the machine for a while then slows both sides of a comparison. A figure is the
median of the ratios of neighbouring runs, with their quartiles.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, PositiveFloat

from toolchain import children
from toolchain.errors import BoardError
from toolchain.profile.runner_output import RunnerOutput, parse_output
from toolchain.storage.scratch import temporary_folder


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Spread(_Part):
    """A sample by its middle half."""

    median: PositiveFloat
    low: PositiveFloat
    """The lower quartile."""
    high: PositiveFloat
    samples: int


def spread(sample: Sequence[float]) -> Spread:
    """Median and quartiles, linear between ranks."""
    if len(sample) == 1:
        return Spread(median=sample[0], low=sample[0], high=sample[0], samples=1)
    low, median, high = statistics.quantiles(sample, n=4, method="inclusive")
    return Spread(median=median, low=low, high=high, samples=len(sample))


def ratios(first: Sequence[float], second: Sequence[float]) -> Spread:
    """The ratios of samples that were taken one after the other: first over second."""
    return spread([a / b for a, b in zip(first, second, strict=True)])


def interleaved(
    runner: Path, models: Sequence[Path], *, threads: int = 1, runs: int = 41, warmup: int = 3
) -> list[list[float]]:
    """Time models in one process, in turn; of the runs of a turn the last is timed.

    Returns:
        For each model its times in microseconds; those of equal index are neighbours.

    Raises:
        BoardError: the runner failed.
    """
    arguments = [f"--versus={path}" for path in models[1:]]
    arguments += ["--runs", str(runs), "--warmup", str(warmup), "--threads", str(threads)]
    output = run_model(runner, models[0], arguments)
    timings = [output.timing, *(one.timing for one in output.versus)]
    return [timing.samples_us for timing in timings if timing is not None]


class Start(_Part):
    """A process that runs a model once."""

    init_us: float
    first_run_us: float
    median_us: float | None
    """Of the runs after that."""
    peak_rss_kib: int | None


def alternating(
    commands: Sequence[tuple[Path, Path]], *, threads: int = 1, rounds: int = 7, runs: int = 5
) -> list[list[Start]]:
    """Start processes in turn, each one runner with one model.

    Args:
        commands: pairs of runner and model.
        threads: of each runner.
        rounds: processes of each pair.
        runs: timed runs in each process.

    Returns:
        For each pair its processes; those of equal index are neighbours.

    Raises:
        BoardError: a runner failed.
    """
    arguments = ["--runs", str(runs), "--warmup", "1", "--threads", str(threads)]
    found: list[list[Start]] = [[] for _ in commands]
    for _ in range(rounds):
        for starts, (runner, model) in zip(found, commands, strict=True):
            output = run_model(runner, model, arguments)
            starts.append(
                Start(
                    init_us=output.init_us,
                    first_run_us=output.first_run_us,
                    median_us=output.timing.median_us if output.timing else None,
                    peak_rss_kib=output.peak_rss_kib,
                )
            )
    return found


def run_model(
    runner: Path,
    model: Path,
    arguments: Sequence[str],
    environment: Mapping[str, str] | None = None,
) -> RunnerOutput:
    """What the runner tells of a model.

    Args:
        runner: ``tileskip-run``.
        model: the file.
        arguments: further ones of the runner.
        environment: all of the runner's; this process's own if absent.

    Raises:
        BoardError: the runner failed.
    """
    with temporary_folder() as folder:
        json = folder / "output.json"
        command = [str(runner), f"--model={model}", *arguments, f"--json={json}"]
        done = children.run(command, limit=children.WORK_S, fault=BoardError, env=environment)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
            raise BoardError(f"{runner.name} failed on {model}: {said[-1]}")
        return parse_output(json.read_bytes())


class Machine(_Part):
    """Where times were measured."""

    cpu: str
    cores: int
    load: float
    """Cores that were busy with other things just before."""

    @property
    def quiet(self) -> bool:
        """Whether nothing else was running."""
        return self.load < 0.25

    @property
    def state(self) -> str:
        """That nothing else was running, or how much was, for a page."""
        return "quiet" if self.quiet else f"busy ({self.load:.1f} cores)"


def cpu_name() -> str:
    """What the kernel calls this machine's CPU."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


def this_machine(seconds: float = 3.0) -> Machine:
    """The CPU's name, usable cores, and how many of them others keep busy while this waits."""
    before = _busy_seconds()
    time.sleep(seconds)
    load = (_busy_seconds() - before) / seconds
    return Machine(cpu=cpu_name(), cores=len(os.sched_getaffinity(0)), load=load)


def _busy_seconds() -> float:
    """Time that all cores together were busy since the machine started.

    See proc_stat(5). All counts but for idle and iowait: steal, too, which is what a virtual
    machine's host gave to others. Guests' times are in user and nice already.
    """
    times = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    busy = sum(int(ticks) for index, ticks in enumerate(times) if index not in (3, 4))
    return busy / os.sysconf("SC_CLK_TCK")
