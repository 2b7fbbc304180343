from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from toolchain.board.local import LocalConnection
from toolchain.profile.facts import (
    BoardFacts,
    parse_auxv,
    parse_cpuinfo,
    parse_throttled,
    read_facts,
)

PI4 = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

processor\t: 1
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU part\t: 0xd08

Hardware\t: BCM2835
Revision\t: c03115
Model\t\t: Raspberry Pi 4 Model B Rev 1.5
"""


def test_cores_are_counted_by_kind() -> None:
    cores, features = parse_cpuinfo(PI4)
    assert cores == {"Cortex-A72": 2}
    assert features == ["fp", "asimd", "evtstrm", "crc32", "cpuid"]


def test_an_unknown_core_is_told_by_its_numbers() -> None:
    text = "processor : 0\nCPU implementer : 0x61\nCPU part : 0x023\n"
    assert parse_cpuinfo(text)[0] == {"implementer 0x61, part 0x023": 1}


def test_a_pc_has_a_model_name() -> None:
    assert parse_cpuinfo("processor: 0\nmodel name: Ryzen\nflags: sse avx\n") == (
        {"Ryzen": 1},
        ["sse", "avx"],
    )


@pytest.mark.parametrize("text", ["", "nonsense", "\n\n\n", ":::\n"])
def test_an_odd_cpuinfo_is_no_error(text: str) -> None:
    assert parse_cpuinfo(text) == ({}, [])


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


def test_the_auxiliary_vector_is_pairs_of_words() -> None:
    data = struct.pack("<6Q", 16, 0x8FF, 26, 0, 0, 0)
    assert parse_auxv(data)[16] == 0x8FF
    assert parse_auxv(data + b"odd")[16] == 0x8FF
    assert parse_auxv(b"") == {}


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
