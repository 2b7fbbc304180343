"""What is read from ELF files, on the one that every test run has: its own interpreter."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from toolchain.build.elf import read_elf
from toolchain.errors import BuildError


def test_a_dynamic_program_names_its_libraries_and_its_glibc() -> None:
    facts = read_elf(Path(sys.executable).resolve())
    assert not facts.static
    assert "libc.so.6" in facts.needed
    assert facts.glibc_floor is not None
    major, minor = facts.glibc_floor.split(".")
    assert (int(major), int(minor)) >= (2, 2)


def test_what_is_no_elf_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("#!/bin/sh\n")
    with pytest.raises(BuildError, match="is not an ELF file"):
        read_elf(tmp_path / "x")
