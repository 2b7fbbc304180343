"""Profiles with chosen figures."""

from __future__ import annotations

from datetime import UTC, datetime

from support.runner_outputs import runner_output
from toolchain.profile.document import BoardRecord, Measurement, Profile
from toolchain.profile.facts import BoardFacts, Vitals
from toolchain.profile.runner_output import RunnerOutput


def measurement(
    name: str,
    output: RunnerOutput | None = None,
    *,
    macs: int = 1000,
    macs_saved: int = 0,
    doubts: list[str] | None = None,
) -> Measurement:
    output = output or runner_output()
    return Measurement(
        name=name, sha256="0" * 64, macs=macs, macs_saved=macs_saved,
        stock=not output.runner.patched, output=output, doubts=doubts or [],
    )  # fmt: skip


def profile_of(*measurements: Measurement, emulated: bool = False) -> Profile:
    facts = BoardFacts(emulated=emulated, machine="aarch64")
    return Profile(
        tool="0.1.0",
        created=datetime(2026, 1, 2, tzinfo=UTC),
        board=BoardRecord(name="rpi4", title="Raspberry Pi 4", facts=facts, after=Vitals()),
        runs=5,
        warmup=1,
        threads=1,
        measurements=list(measurements),
    )
