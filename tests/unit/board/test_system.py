"""What a board says of itself, as real boards of 64 and of 32 bits say it."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import pytest

from toolchain.board.local import LocalConnection
from toolchain.board.system import (
    AT_HWCAP,
    hwcap_names,
    parse_auxv,
    parse_cpuinfo,
    parse_glibc,
    read_system,
)
from toolchain.errors import BoardError

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


PI2 = """\
processor\t: 0
model name\t: ARMv7 Processor rev 5 (v7l)
BogoMIPS\t: 38.40
Features\t: half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm
CPU implementer\t: 0x41
CPU architecture: 7
CPU variant\t: 0x0
CPU part\t: 0xc07
CPU revision\t: 5
"""


def test_a_32_bit_board_is_known_by_its_part_not_by_its_architecture() -> None:
    cores, features = parse_cpuinfo(PI2)
    assert cores == {"Cortex-A7": 1}
    assert {"neon", "vfpv4"} <= set(features)


@pytest.mark.parametrize(("bits", "pair"), [(64, "<QQ"), (32, "<II")])
def test_the_auxiliary_vector_is_pairs_of_words_of_either_size(bits: int, pair: str) -> None:
    vector = {33: 0xFFFF, AT_HWCAP: 0x8FF, 6: 4096, 0: 0}
    data = b"".join(struct.pack(pair, kind, value) for kind, value in vector.items())
    assert parse_auxv(data) == (bits, vector)
    assert parse_auxv(data + b"odd")[0] == bits


@pytest.mark.parametrize("data", [b"", b"\0" * 64, b"no such file"])
def test_what_is_no_auxiliary_vector_tells_nothing(data: bytes) -> None:
    assert parse_auxv(data) == (None, {})


@pytest.mark.parametrize(
    ("machine", "bits", "hwcap", "names"),
    [
        ("aarch64", 64, 0x8FF, {"fp", "asimd", "aes", "sha2", "crc32"}),
        ("armv7l", 32, 0x3FB0D6, {"neon", "vfpv3", "vfpv4", "idiva", "idivt", "vfpd32"}),
        ("aarch64", 32, 0x3FB0D6, {"neon", "vfpv3", "vfpv4", "idiva", "idivt", "vfpd32"}),
        ("x86_64", 64, 0xBFEBFBFF, set()),
    ],
    ids=["64-bit Pi 3", "Pi 2", "32-bit system on a 64-bit kernel", "x86-64"],
)
def test_hwcap_is_read_bit_by_bit(machine: str, bits: int, hwcap: int, names: set[str]) -> None:
    assert set(hwcap_names(machine, bits, hwcap)) == names


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("glibc 2.31\n", "2.31"),
        ("ld.so (Debian GLIBC 2.36-9+deb12u4) stable release version 2.36.\n", "2.36"),
        ("ld.so (Raspbian GLIBC 2.28-10+rpi1) stable release version 2.28.\n", "2.28"),
        ("", None),
        ("musl libc (aarch64)\n", None),
    ],
)
def test_the_glibc_of_a_board(text: str, version: str | None) -> None:
    assert parse_glibc(text) == version


def test_this_machine_says_what_it_is(tmp_path: Path) -> None:
    system = read_system(LocalConnection("host", tmp_path))
    assert system.machine == os.uname().machine
    assert system.features
    assert system.glibc == os.confstr("CS_GNU_LIBC_VERSION").split()[1]  # type: ignore[union-attr]
    assert system.bits == (64 if sys.maxsize > 1 << 32 else 32)


@pytest.mark.parametrize(
    ("script", "said"),
    [("echo no such thing >&2; exit 3", "no such thing"), ("exit 3", "exit code 3"),
     ("exec yes", "more came from there than there should be")],
    ids=["refuses", "fails in silence", "prints without end"],
)  # fmt: skip
def test_a_machine_that_does_not_say_what_it_is_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    # What a shell there keeps in memory, or a file, has no limit: this machine would be full.
    monkeypatch.setattr("toolchain.board.connection.MOST", 1 << 20)
    program = tmp_path / "bin/uname"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    with pytest.raises(BoardError) as caught:
        read_system(LocalConnection("host", tmp_path))
    assert said in caught.value.what
