from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from toolchain.board import system
from toolchain.board.local import LocalConnection
from toolchain.profile import facts
from toolchain.profile.facts import (
    BoardFacts,
    Throttled,
    Vitals,
    parse_load,
    parse_throttled,
    read_facts,
    read_load,
    read_vitals,
)


@pytest.mark.parametrize(
    ("text", "now", "since"),
    [
        ("throttled=0x0", [], []),
        ("throttled=0x50005\n", ["under-voltage", "throttled"], ["under-voltage", "throttled"]),
        ("throttled=0x80008", ["soft temperature limit"], ["soft temperature limit"]),
        ("throttled=0x20000", [], ["frequency capped"]),
    ],
)
def test_throttling_is_read_bit_by_bit(text: str, now: list[str], since: list[str]) -> None:
    found = parse_throttled(text)
    assert found is not None
    assert (found.now, found.since_boot) == (now, since)


@pytest.mark.parametrize("text", ["", "error", "throttled=", "throttled=0xzz"])
def test_no_answer_about_throttling_is_no_fact(text: str) -> None:
    assert parse_throttled(text) is None


def test_this_machine_tells_its_facts(tmp_path: Path) -> None:
    facts = read_facts(LocalConnection("host", tmp_path))
    assert facts.machine == os.uname().machine
    assert facts.kernel == f"Linux {os.uname().release}"
    assert facts.emulated is False
    assert sum(facts.cores.values()) >= 1
    assert facts.memory_total_kib
    assert facts.glibc == os.confstr("CS_GNU_LIBC_VERSION").split()[1]  # type: ignore[union-attr]
    assert facts.hwcap is not None


def test_facts_that_are_absent_are_listed() -> None:
    absent = BoardFacts(emulated=True, kernel="Linux 6").absent
    assert {"model", "glibc", "cores", "governor", "temperature_c", "throttled"} <= set(absent)
    assert "kernel" not in absent
    assert "emulated" not in absent


STAT = """\
cpu  {user} 0 100 {idle} 20 0 5 {steal} 0 0
cpu0 1 2 3 4 5 6 7 8 0 0
cpu1 1 2 3 4 5 6 7 8 0 0
intr 123
"""


def test_busy_cores_are_those_that_neither_idle_nor_wait() -> None:
    """Of two cores, in a second of 200 ticks: half of the time of one, and a tenth to others."""
    before = STAT.format(user=1000, idle=5000, steal=7)
    after = STAT.format(user=1030, idle=5150, steal=27)
    assert parse_load(before + after) == pytest.approx(2 * 50 / 200)


@pytest.mark.parametrize("text", ["", "cpu 1 2", STAT.format(user=1, idle=2, steal=3), "x\ny\n"])
def test_a_board_that_does_not_tell_its_load_has_none(text: str) -> None:
    assert parse_load(text) is None


def test_this_machine_tells_its_load(tmp_path: Path) -> None:
    load = read_load(LocalConnection("host", tmp_path))
    assert load is not None
    assert 0 <= load <= (os.cpu_count() or 1)


CPUFREQ = "/sys/devices/system/cpu/cpu0/cpufreq"
PI = {
    "/proc/device-tree/model": b"Raspberry Pi 4 Model B Rev 1.4\0",
    "/proc/meminfo": b"MemTotal:        3884360 kB\nMemFree: 1 kB\nMemAvailable:  3500000 kB\n",
    f"{CPUFREQ}/cpuinfo_max_freq": b"1800000\n",
    f"{CPUFREQ}/scaling_governor": b"ondemand\n",
    f"{CPUFREQ}/scaling_cur_freq": b"600000\n",
    "/sys/class/thermal/thermal_zone0/temp": b"48200\n",
    "/sys/devices/system/clocksource/clocksource0/current_clocksource": b"arch_sys_counter\n",
}


@pytest.fixture
def pi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalConnection:
    """A Raspberry Pi, played: its files, and its firmware's answer."""

    def told(
        _: object, paths: Sequence[str], argv: Sequence[str] = ()
    ) -> tuple[dict[str, bytes], bytes]:
        answers = {("vcgencmd", "get_throttled"): b"throttled=0x50005\n", (): b""}
        return {path: PI[path] for path in paths if path in PI}, answers[tuple(argv)]

    monkeypatch.setattr(system, "read_files_and_answer", told)
    return LocalConnection("pi", tmp_path)


def test_the_vitals_of_a_raspberry_pi_are_read(pi: LocalConnection) -> None:
    told = ["under-voltage", "throttled"]
    assert read_vitals(pi) == Vitals(
        governor="ondemand", frequency_khz=600_000, temperature_c=48.2,
        throttled=Throttled(now=told, since_boot=told),
        clock_source="arch_sys_counter", memory_available_kib=3_500_000,
    )  # fmt: skip


def test_the_facts_of_a_raspberry_pi_are_read(pi: LocalConnection) -> None:
    own = system.read_system(pi)
    found = read_facts(pi)
    assert found.model == "Raspberry Pi 4 Model B Rev 1.4"
    assert (found.memory_total_kib, found.memory_available_kib) == (3_884_360, 3_500_000)
    assert found.max_frequency_khz == 1_800_000
    assert found.vitals == read_vitals(pi)
    assert (found.cores, found.features) == (dict(own.cores), list(own.listed))
    assert found.hwcap == f"0x{own.hwcap:x}"
    assert not found.emulated
    assert read_facts(pi, emulated=True).emulated


def test_a_machine_that_qemu_plays_is_emulated_whoever_started_it(
    pi: LocalConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PI, "/proc/device-tree/model", b"linux,dummy-virt\0")
    assert read_facts(pi).emulated


@pytest.mark.parametrize("content", [b"", b"warm", b"1.5", b"9" * 19, None])
def test_a_number_that_is_none_is_absent(
    pi: LocalConnection, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    for path in list(PI):
        if content is None:
            monkeypatch.delitem(PI, path)
        else:
            monkeypatch.setitem(PI, path, content)
    found = read_facts(pi)
    assert (found.max_frequency_khz, found.memory_total_kib) == (None, None)
    assert (found.vitals.frequency_khz, found.vitals.temperature_c) == (None, None)
    assert {"max_frequency_khz", "memory_total_kib", "temperature_c"} <= set(found.absent)


def test_below_zero_is_a_temperature(pi: LocalConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PI, "/sys/class/thermal/thermal_zone0/temp", b"-5000\n")
    assert read_vitals(pi).temperature_c == -5.0


def test_what_a_board_cannot_run_is_no_answer(tmp_path: Path) -> None:
    here = LocalConnection("here", tmp_path)
    assert facts._run(here, ["echo", " said "]) == "said"
    assert facts._run(here, ["echo"]) is None
    assert facts._run(here, ["sh", "-c", "echo wrong; exit 1"]) is None
