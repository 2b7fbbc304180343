"""What a bundle needs against what a board has: every fault told at once, with what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.bundles import write_bundle
from toolchain.board import requirements
from toolchain.board.local import LocalConnection
from toolchain.board.system import System
from toolchain.errors import BoardError
from toolchain.hardware.facts import Isa
from toolchain.progress import Silent

FILES = ["tileskip-run", "libtileskip_delegate.so"]
PI4 = System("aarch64", frozenset(["fp", "asimd", "crc32"]), None, "2.31", 64)
PI4_32_BIT = System("aarch64", frozenset(["fp", "asimd", "neon", "vfpv4"]),
                    frozenset(["neon", "vfpv3", "vfpv4"]), "2.31", 32)  # fmt: skip
PI2 = System("armv7l", frozenset(["neon", "vfpv3", "vfpv4"]), None, "2.31", 32)


def compare(
    tmp_path: Path, system: System, isa: Isa = "aarch64", **needs: Any
) -> requirements.Findings:
    return requirements.compare(write_bundle(tmp_path / "b", b"x", isa=isa, **needs), FILES, system)


@pytest.mark.parametrize(
    ("isa", "system", "hwcap"),
    [
        ("aarch64", PI4, ("asimd", "fp")),
        ("armv7", PI2, ("neon", "vfpv3", "vfpv4")),
        ("armv7", PI4_32_BIT, ("neon", "vfpv3", "vfpv4")),
    ],
    ids=["Pi 4", "Pi 2", "Pi 4 with a 32-bit system"],
)
def test_a_bundle_that_fits_has_no_fault(
    tmp_path: Path, isa: Isa, system: System, hwcap: tuple[str, ...]
) -> None:
    found = compare(tmp_path, system, isa, hwcap=hwcap, glibc_floor="2.31")
    assert found == requirements.Findings((), (), ())


def test_an_older_glibc_is_told_with_the_line_that_helps(tmp_path: Path) -> None:
    found = compare(tmp_path, PI4, glibc_floor="2.36")
    assert found.faults == ("libtileskip_delegate.so needs glibc 2.36, the board has 2.31",)
    assert found.hints == (
        'put glibc = "2.31" into the board\'s file, then run: deploy build --board test',
    )


def test_glibc_versions_are_numbers_not_text(tmp_path: Path) -> None:
    old = System("aarch64", PI4.features, None, "2.9", 64)
    assert compare(tmp_path, old, glibc_floor="2.31").faults
    assert not compare(tmp_path / "2", PI4, glibc_floor="2.9").faults


def test_instructions_that_the_cores_lack_are_named(tmp_path: Path) -> None:
    found = compare(tmp_path, PI4, hwcap=("asimd", "asimddp"))
    assert found.faults == (
        "tileskip-run and libtileskip_delegate.so need cores with asimddp, "
        "the board's have asimd crc32 fp",
    )
    assert "lower march in the board's file (now none)" in found.hints[0]


def test_both_faults_are_told_together(tmp_path: Path) -> None:
    found = compare(tmp_path, PI4, hwcap=("sve",), glibc_floor="2.36")
    assert len(found.faults) == len(found.hints) == 2


@pytest.mark.parametrize(
    ("isa", "machine", "hint"),
    [
        ("aarch64", "armv7l", "--board rpi3-armv7"),
        ("armv7", "armv6l", "name the board"),
        ("x86-64", "aarch64", "--board rpi4"),
        ("aarch64", "x86_64", "name the board"),
    ],
)
def test_another_instruction_set_is_refused(
    tmp_path: Path, isa: Isa, machine: str, hint: str
) -> None:
    system = System(machine, frozenset(), None, None, None)
    found = compare(tmp_path, system, isa, hwcap=("asimd",), glibc_floor="2.31")
    assert found.faults == (f"it was built for {isa}, the board is a machine of type {machine}",)
    assert hint in found.hints[0]


def test_a_64_bit_board_whose_cores_run_no_32_bit_programs(tmp_path: Path) -> None:
    system = System("aarch64", PI4.features, frozenset(), "2.31", 64)
    (fault,) = compare(tmp_path, system, "armv7", hwcap=("neon",)).faults
    assert "32-bit ones, which the board's kernel does not run" in fault


@pytest.mark.parametrize(
    ("isa", "system", "note"),
    [
        ("aarch64", PI4_32_BIT, "32-bit ones: libtileskip_delegate.so will not load in them"),
        ("armv7", System("aarch64", PI4.features, frozenset({"neon"}), "2.36", 64), "64-bit ones"),
        ("aarch64", System("aarch64", PI4.features, None, None, 64), "has no glibc"),
        ("aarch64", System("aarch64", frozenset(), None, "2.31", 64), "what its cores can do"),
        ("armv7", PI4, "what its cores can do"),
    ],
    ids=["32-bit system", "64-bit system", "musl", "no features", "no linux32"],
)
def test_what_cannot_be_compared_is_noted_and_no_fault(
    tmp_path: Path, isa: Isa, system: System, note: str
) -> None:
    found = compare(tmp_path, system, isa, hwcap=(), glibc_floor="2.31")
    assert found.faults == ()
    assert note in found.notes[0]


def test_the_board_is_asked_before_anything_is_sent(tmp_path: Path) -> None:
    connection = LocalConnection("host", tmp_path / "board")
    bundle = write_bundle(tmp_path / "b", b"x", hwcap=("no-such-feature",), glibc_floor="2.99")
    with pytest.raises(BoardError) as caught:
        requirements.require(connection, bundle, FILES, Silent())
    assert caught.value.what.startswith(f"host: {bundle.path} cannot run there: ")
    assert "no-such-feature" in caught.value.what
    assert "libtileskip_delegate.so needs glibc 2.99" in caught.value.what
    assert not list((tmp_path / "board").iterdir())


def test_each_difference_says_what_it_is_of(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", b"x", isa="aarch64", hwcap=("sve",), glibc_floor="2.36")
    needs = requirements.Needs.of(bundle, FILES)
    found = list(requirements.compare_needs(needs, PI4, build="deploy build"))
    assert [(one.subject, one.is_fault) for one in found] == [("cores", True), ("glibc", True)]
    assert all(one.hint and one.hint.endswith("run: deploy build") for one in found)
    (other,) = requirements.compare_needs(needs, PI2, build="deploy build")
    assert (other.subject, other.is_fault) == ("machine", True)
    old = requirements.Needs("aarch64", "armv8-a", (), ("all of it",), {"all of it": "2.31"})
    (bits,) = requirements.compare_needs(old, PI4_32_BIT, build="deploy build")
    assert (bits.subject, bits.is_fault) == ("userland", False)
