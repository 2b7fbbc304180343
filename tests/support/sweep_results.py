"""Results of sweeps that nobody ran."""

from __future__ import annotations

from typing import Literal

from toolchain.sweep.document import (
    Configuration,
    SearchResults,
    SweepResults,
    SweepTime,
    TrialResult,
)


def time(
    board: str, ms: float | None, kind: Literal["estimated", "measured"] = "estimated"
) -> SweepTime:
    """A time that is known to a fifth."""
    return SweepTime(
        board=board,
        title=board.upper(),
        kind=kind,
        threads=1,
        ms=ms,
        low_ms=None if ms is None else 0.8 * ms,
        high_ms=None if ms is None else 1.2 * ms,
        instructions=None,
        doubts=[],
    )


def configuration(
    name: str,
    accuracy: float,
    macs_kept: float,
    *times: SweepTime,
    policy: str | None = None,
    kind: str = "float32",
) -> Configuration:
    """A configuration of one seed."""
    return Configuration(
        name=name,
        grid="g",
        model="net",
        policy=policy,
        sparsity=0.3 if policy else 0.0,
        pruned=0.0,
        type=kind,
        seeds=[0],
        accuracy=accuracy,
        spread=None,
        macs=1000,
        macs_kept=macs_kept,
        sha256="0" * 64,
        times=list(times),
        fronts=[],
    )


def sweep_results(*configurations: Configuration) -> SweepResults:
    """A sweep that is done."""
    return SweepResults(
        tool="0.1.0",
        name="sweep",
        tasks=1,
        done=1,
        rows=[],
        configurations=list(configurations),
        failed=[],
        made=[],
    )


def searched(*tried: TrialResult, most_ms: float | None = None) -> SearchResults:
    """A search of twice as many trials as have ended."""
    return SearchResults(
        sampler="tpe",
        seed=0,
        at_once=4,
        trials=2 * len(tried),
        objectives=["accuracy"],
        most_ms=most_ms,
        most_macs=None,
        board="rpi4",
        time="estimated",
        type="float32",
        tried=list(tried),
    )


def trial(
    number: int, accuracy: float | None, ms: float = 9.0, *, best: bool = False
) -> TrialResult:
    """A trial; one without an accuracy could not be done."""
    return TrialResult(
        number=number,
        configuration=f"search-{number}",
        parameters={"policy": "tile", "sparsity": 0.25},
        values={} if accuracy is None else {"accuracy": accuracy, "macs": 700.0, "ms": ms},
        within_limits=best,
        best=best,
        error="no such operator" if accuracy is None else None,
    )
