from __future__ import annotations

import os
from pathlib import Path

import pytest

from toolchain.board.local import LocalConnection
from toolchain.profile.facts import BoardFacts, parse_load, parse_throttled, read_facts, read_load


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
