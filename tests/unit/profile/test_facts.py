from __future__ import annotations

import os
from pathlib import Path

import pytest

from toolchain.board.local import LocalConnection
from toolchain.profile.facts import BoardFacts, parse_throttled, read_facts


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
