"""Whether times that are measured on a board will be steady: clock, heat, counters, other users."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

from toolchain.board import system
from toolchain.board.lease import duration
from toolchain.board.lease_holders import read_lease
from toolchain.doctor.finding import Finding, Findings
from toolchain.doctor.patient import Patient
from toolchain.profile.facts import read_load
from toolchain.profile.stability import busy

Check = Callable[[Patient], Iterator[Finding]]

CLOCKS = ("arch_sys_counter", "tsc", "kvm-clock")
"""Sources of a clock that are read in tens of nanoseconds, without a call of the kernel."""
WARM_C = 70.0
"""A Raspberry Pi's firmware lowers the frequency from 80 degrees on; a run warms it further."""
DATE_S = 60.0
"""Seconds by which a board's date may differ."""
_CLOCK = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
_OTHER_CLOCKS = "/sys/devices/system/clocksource/clocksource0/available_clocksource"
_GOVERNORS = "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
_PARANOID = "/proc/sys/kernel/perf_event_paranoid"
_ALLOWED = 2
"""The highest ``perf_event_paranoid`` with which a user counts the instructions of his programs."""
_PMUS = re.compile(r"cpu|cpu_core|cpu_atom|armv\d\w*")
"""Names that the kernel gives to a core's counters, among those of caches and buses."""
_POWER = "under-voltage"
_board = Findings("board")


# --- clock -------------------------------------------------------------------------------------


def _date(patient: Patient) -> Iterator[Finding]:
    """An emulated board's date follows its instructions, and this machine's is its own."""
    if patient.is_local or patient.emulated:
        return
    before = time.time()
    text = patient.ask("date +%s").strip()
    after = time.time()
    if not re.fullmatch("[0-9]{1,11}", text):
        yield _board.unknown("date", "it does not tell its date")
        return
    apart = int(text) - (before + after) / 2
    if abs(apart) <= DATE_S + (after - before) / 2:
        yield _board.ok("date", "its date is that of this machine")
        return
    shown = datetime.fromtimestamp(int(text), UTC).strftime("%Y-%m-%d %H:%M")
    side = "ahead of" if apart > 0 else "behind"
    yield _board.warning(
        "date",
        f"its date is {shown} UTC, {_long(abs(apart))} {side} this machine's",
        run=patient.clock_line(),
    )


def _long(seconds: float) -> str:
    for size, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {name}"
    return f"{seconds:.0f} seconds"


def _clock_source(patient: Patient) -> Iterator[Finding]:
    check = "clock source"
    files = system.read_files(patient.connection, [_CLOCK, _OTHER_CLOCKS])
    current, others = (files.get(path, b"").decode(errors="replace").split()
                       for path in (_CLOCK, _OTHER_CLOCKS))  # fmt: skip
    if len(current) != 1:
        yield _board.unknown(check, "it does not tell what its clock is read from")
    elif current[0] in CLOCKS:
        yield _board.ok(check, f"its clock is read from {current[0]}")
    else:
        better = [name for name in others if name in CLOCKS]
        yield _board.warning(
            check,
            f"its clock is read from {current[0]}, which takes long: short operators will seem "
            "slower than they are",
            run=patient.line(f"echo {better[0]} | {{sudo}}tee {_CLOCK}") if better else None,
            advice=f"no better one is there ({', '.join(others) or 'none is told'}): measure whole "
            "networks, not layers",
        )


# --- frequency and heat --------------------------------------------------------------------------


def _governor(patient: Patient) -> Iterator[Finding]:
    check = "governor"
    script = f'for file in {_GOVERNORS}; do if [ -r "$file" ]; then cat "$file"; fi; done'
    found = sorted(set(patient.ask(script).split()))
    if not found:
        yield _board.ok(check, "no governor changes the frequency of its cores")
    elif found == ["performance"]:
        yield _board.ok(check, "the frequency governor is 'performance'")
    else:
        named = " and ".join(f"'{name}'" for name in found[:3])
        yield _board.warning(
            check,
            f"the frequency governor is {named}: cores slow down between runs, and times vary",
            run=patient.line(f"echo performance | {{sudo}}tee {_GOVERNORS}"),
        )


def _temperature(patient: Patient) -> Iterator[Finding]:
    check, degrees = "temperature", patient.facts().vitals.temperature_c
    if patient.facts().emulated:
        return
    if degrees is None or not -40 <= degrees <= 150:
        yield _board.unknown(check, "it does not tell its temperature")
    elif degrees >= WARM_C:
        yield _board.warning(
            check,
            f"it has {degrees:.0f} °C: a Raspberry Pi slows down from 80 °C on, and a run makes it "
            "warmer",
            advice="cool it with a heat sink or a fan, and let it rest before it is measured",
        )
    else:
        yield _board.ok(check, f"it has {degrees:.0f} °C")


def _throttled(patient: Patient) -> Iterator[Finding]:
    check, facts = "power and heat", patient.facts()
    found = facts.vitals.throttled
    if not (facts.model or "").startswith("Raspberry Pi"):
        return
    if found is None:
        yield _board.unknown(
            check,
            "its firmware does not tell whether it is held back: vcgencmd is not there, or its "
            "user is not in the group video",
            run=patient.line('{sudo}usermod -aG video "$USER"'),
        )
    elif found.now:
        what = f"it is held back now: {', '.join(found.now)}"
        yield _board.warning(check, what, advice=_relief(found.now))
    elif found.since_boot:
        what = f"since its boot it was held back: {', '.join(found.since_boot)}"
        yield _board.warning(check, what, advice=_relief(found.since_boot))
    else:
        yield _board.ok(check, "nothing has held it back since its boot")


def _relief(reasons: list[str]) -> str:
    advice = []
    if _POWER in reasons:
        advice.append("take the power supply that is made for it, and a short, thick cable")
    if any(reason != _POWER for reason in reasons):
        advice.append("cool it with a heat sink or a fan")
    return "; ".join(advice)


# --- counters and load ---------------------------------------------------------------------------


def _counters(patient: Patient) -> Iterator[Finding]:
    check = "counters"
    names = patient.ask("ls /sys/bus/event_source/devices 2>/dev/null").split()
    text = patient.read(_PARANOID)
    level = int(text) if re.fullmatch(r"\s*-?[0-9]{1,9}\s*", text) else None
    if not any(_PMUS.fullmatch(name) for name in names):
        yield _board.warning(
            check,
            "it shows no instruction counter, so profiles have times alone",
            advice="a virtual machine may be given one; the emulated board has one: --board qemu",
        )
    elif level is None:
        yield _board.unknown(check, f"it does not tell who may count instructions ({_PARANOID})")
    elif level > _ALLOWED and patient.user() != 0:
        yield _board.warning(
            check,
            f"kernel.perf_event_paranoid is {level}: its user may not count instructions",
            run=patient.line(f"{{sudo}}sysctl kernel.perf_event_paranoid={_ALLOWED}"),
        )
    else:
        yield _board.ok(check, "its user may count the instructions of programs")


def _load(patient: Patient) -> Iterator[Finding]:
    load = read_load(patient.connection)
    cores = sum(patient.system().cores.values()) or None
    if load is None:
        yield _board.unknown("load", "it does not tell what else it does")
    elif busy([load], cores):
        of = f" of {cores}" if cores else ""
        yield _board.warning(
            "load",
            f"other programs keep {load:.1f}{of} cores busy, and times will be too long: end them, "
            "the command shows which they are",
            run=patient.line("top -b -n 1 | head -n 15"),
        )
    else:
        yield _board.ok("load", f"other programs keep {load:.1f} cores busy")


def _lease(patient: Patient) -> Iterator[Finding]:
    state = read_lease(patient.connection)
    patient.lease = state
    if not state.holders:
        yield _board.ok("lease", "nobody has it")
        return
    who = "; ".join(f"{use.words}, for {duration(use.seconds)}" for use in state.holders)
    queue = len(state.queue)
    waits = f", and {queue} {'waits' if queue == 1 else 'wait'} for it" if queue else ""
    yield _board.warning("lease", f"it is in use: {who}{waits}", advice="wait until it is free")


CHECKS: Mapping[tuple[str, ...], Check] = {
    ("date",): _date,
    ("clock source",): _clock_source,
    ("governor",): _governor,
    ("temperature",): _temperature,
    ("power and heat",): _throttled,
    ("counters",): _counters,
    ("load",): _load,
    ("lease",): _lease,
}
"""The checks, by what each looks at."""
