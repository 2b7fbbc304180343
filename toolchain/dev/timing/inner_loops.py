"""Innermost loops of programs for aarch64, found in their machine code."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from toolchain.timing.instructions import Instruction, decode

_LONGEST = 1000
"""Instructions of a loop that is looked at."""
_EXECUTABLE = 0x4


@dataclass(frozen=True)
class Loop:
    """Straight code that ends in a branch to its own beginning."""

    symbol: str
    """The function that it is in; empty where the program names none."""
    address: int
    code: bytes

    @cached_property
    def instructions(self) -> tuple[Instruction, ...]:
        """What it does."""
        return decode(self.code)

    @property
    def multiply_adds(self) -> int:
        """Products that an iteration adds up, in all lanes."""
        return sum(_products(it) for it in self.instructions)


def inner_loops(program: Path) -> Iterator[Loop]:
    """The innermost loops of an ELF file."""
    with program.open("rb") as stream:
        file = ELFFile(stream)
        names = _symbols(file)
        places = sorted(names)
        for section in file.iter_sections():
            if section["sh_flags"] & _EXECUTABLE and section["sh_type"] == "SHT_PROGBITS":
                start, code = section["sh_addr"], section.data()
                for first, last in _loops(code):
                    address = start + 4 * first
                    at = bisect_right(places, address) - 1
                    name = names[places[at]] if at >= 0 else ""
                    yield Loop(name, address, code[4 * first : 4 * last + 4])


def _symbols(file: ELFFile) -> dict[int, str]:
    found: dict[int, str] = {}
    for section in file.iter_sections():
        if isinstance(section, SymbolTableSection) and section.name == ".symtab":
            for symbol in section.iter_symbols():
                if symbol["st_info"]["type"] == "STT_FUNC" and symbol["st_value"]:
                    found[symbol["st_value"]] = symbol.name
    return found


def _loops(code: bytes) -> Iterator[tuple[int, int]]:
    """First and last word of each loop."""
    words = struct.unpack(f"<{len(code) // 4}I", code[: len(code) // 4 * 4])
    last_branch = -1
    for at, word in enumerate(words):
        if not _is_branch(word):
            continue
        jump = _jump(word)
        if jump is not None and -_LONGEST < jump < 0 and at + jump > last_branch:
            yield at + jump, at
        last_branch = at


def _is_branch(word: int) -> bool:
    # B, BL; B.cond; CBZ, CBNZ; TBZ, TBNZ; BR, BLR, RET and the like
    return (
        word >> 26 in (0b000101, 0b100101)
        or word >> 24 == 0x54
        or (word >> 25) & 0x3F in (0b011010, 0b011011)
        or word >> 25 == 0b1101011
    )


def _jump(word: int) -> int | None:
    """Words that a branch with a condition goes on by."""
    if word >> 24 == 0x54 or (word >> 25) & 0x3F == 0b011010:
        return _signed(word >> 5, 19)
    if (word >> 25) & 0x3F == 0b011011:
        return _signed(word >> 5, 14)
    return None


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _products(instruction: Instruction) -> int:
    text, kind = instruction.text, instruction.kind
    if kind == "fp_multiply_add_scalar":
        return 1
    if kind == "dot":
        return 16 if instruction.form == "q" else 8
    if kind in (
        "fp_multiply_add",
        "int_multiply_add",
        "int_multiply_add_long",
        "int_multiply_long",
    ):
        arrangement = text.partition(".")[2][:3].strip(", ")
        lanes = "".join(letter for letter in arrangement if letter.isdigit())
        return int(lanes) if lanes else 1
    return 0
