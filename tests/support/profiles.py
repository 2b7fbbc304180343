"""Profiles with chosen figures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from support.runner_outputs import runner_output, timing
from toolchain.profile.document import BoardRecord, Failure, Measurement, Profile, Spread
from toolchain.profile.energy import Energy, Source
from toolchain.profile.facts import BoardFacts, Vitals
from toolchain.profile.operators import LayerTrace
from toolchain.profile.runner_output import Instructions, Op, PerOp, RunnerOutput
from toolchain.profile.stability import doubts as doubts_of
from toolchain.profile.timed_operators import timed_rows
from toolchain.profile.turns import Interval, merged, turn_of

CALM = Vitals(governor="performance")


def measurement(
    name: str,
    output: RunnerOutput | None = None,
    *,
    macs: int = 1000,
    macs_saved: int = 0,
    doubts: list[str] | None = None,
    live_share: float | None = None,
) -> Measurement:
    """A model that one process measured, as under emulation, and as profiles once had it."""
    output = output or runner_output()
    return Measurement(
        name=name, sha256="0" * 64, macs=macs, macs_saved=macs_saved,
        stock=not output.runner.patched, output=output, doubts=doubts or [], live_share=live_share,
    )  # fmt: skip


def in_turns(
    name: str,
    turns_us: Sequence[Sequence[float]],
    *,
    macs_saved: int = 0,
    peaks_kib: Sequence[int] = (2048,),
    instructions: Sequence[int] = (),
    load: Sequence[float] = (),
) -> Measurement:
    """A model that took turns with others: a list of times for each of its processes.

    Whether it is doubtful is judged by the times, as on a board that is calm otherwise.
    """
    base = runner_output(instructions=instructions[0] if instructions else None)
    outputs = []
    for index, samples in enumerate(turns_us):
        counted = base.instructions
        if counted is not None:
            one = instructions[index % len(instructions)]
            counted = Instructions(per_run=[one] * len(samples), median=one, init=5000)
        update = {
            "timing": timing(samples),
            "peak_rss_kib": peaks_kib[index % len(peaks_kib)],
            "instructions": counted,
        }
        outputs.append(base.model_copy(update=update))
    turns = [turn_of(output) for output in outputs]
    whole = merged(outputs)
    assert whole.timing is not None
    spread = Spread.of(whole.timing.samples_us, turns)
    return measurement(
        name,
        whole,
        macs_saved=macs_saved,
        doubts=doubts_of(
            whole.timing, [CALM, CALM], turns=turns, interval=spread.interval, load=load, cores=4
        ),
    ).model_copy(update={"turns": turns, "spread": spread})


def powered(
    item: Measurement, watts: float, *, idle_w: float | None = None, source: Source = "pmic",
    slowed: float = 1.0, unreadable: int = 0,
) -> Measurement:  # fmt: skip
    """The same model with its energy, at a power that may be a hundredth more or less.

    Args:
        item: that was timed.
        watts: while it ran.
        idle_w: watts before.
        source: that they were read from.
        slowed: by which factor runs took longer meanwhile.
        unreadable: answers that were no reading.
    """
    assert item.median_us is not None
    median = slowed * item.median_us
    joules = watts * median / 1e6
    found = Energy(
        source=source, energy_j=joules, power_w=watts, idle_w=idle_w, median_us=median, runs=500,
        interval_j=Interval(low=0.99 * joules, high=1.01 * joules),
        above_idle_j=None if idle_w is None else (watts - idle_w) * median / 1e6,
        readings=22, idle_readings=0 if idle_w is None else 12, unreadable=unreadable,
    )  # fmt: skip
    return item.model_copy(update={"energy": found})


def timed_in_turns(
    name: str,
    turns: Sequence[tuple[Sequence[float], Sequence[Op]]],
    layers: Sequence[LayerTrace] = (),
    *,
    first: Measurement | None = None,
) -> Measurement:
    """A model whose operators were timed: for each process the times of its runs, and operators.

    Args:
        name: of the model.
        turns: operators have the remainder at their end.
        layers: of the file.
        first: a model that its operators are set beside.
    """
    base = runner_output()
    outputs = [
        base.model_copy(
            update={
                "timing": timing(samples),
                "per_op": PerOp(runs=3, total_us=sum(op.median_us or 0.0 for op in ops)),
                "ops": list(ops),
            }
        )
        for samples, ops in turns
    ]
    item = measurement(name, merged(outputs)).model_copy(
        update={"turns": [turn_of(output) for output in outputs]}
    )
    return with_operators(item, layers, first)


def with_operators(
    item: Measurement, layers: Sequence[LayerTrace], first: Measurement | None = None
) -> Measurement:
    """The same with its operators as rows, beside those of another model."""
    assert item.output.ops is not None
    dense = None
    if first is not None:
        assert first.output.ops is not None
        dense = first.output.ops, first.layers
    rows = timed_rows(dense, (item.output.ops, layers))
    return item.model_copy(update={"layers": list(layers), "operators": rows})


def profile_of(
    *measurements: Measurement, emulated: bool = False, facts: BoardFacts | None = None,
    failed: Sequence[Failure] = (), reference_failed: bool = False,
) -> Profile:  # fmt: skip
    facts = facts or BoardFacts(emulated=emulated, machine="aarch64")
    return Profile(
        tool="0.1.0",
        created=datetime(2026, 1, 2, tzinfo=UTC),
        board=BoardRecord(name="rpi4", title="Raspberry Pi 4", facts=facts, after=Vitals()),
        runs=5,
        warmup=1,
        threads=1,
        measurements=list(measurements),
        failed=list(failed),
        reference_failed=reference_failed,
    )
