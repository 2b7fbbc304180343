"""The core of this machine as llvm-mca sees it: Debian's ``llvm-19``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Final

from toolchain.build.compiler import require
from toolchain.dev.timing.tools import hexadecimal, mca_regions, run_tool
from toolchain.errors import BuildError
from toolchain.storage.cache import digest
from toolchain.timing.pipeline import CONTEXT, Code

_MC: Final = "llvm-mc-19"
_MCA: Final = "llvm-mca-19"
_PATHS: Final = 200
"""Of one call."""
_NO_SCHEDULE: Final = re.compile(r"^(xgetbv|cpuid|syscall|rep|lock|nopw?|endbr64|data16|notrack)\b")
_BETWEEN: Final = "ud2"
_BETWEEN_BLOCKS: Final = b"\x90" * 15 + b"\x0f\x0b"
"""NOPs and UD2, which no program runs. QEMU tells the first part alone of an instruction on two
pages; NOPs are then taken for its rest."""
_ON_STACK: Final = re.compile(r"-?\d*\(%r[sb]p\)")
_VECTOR: Final = re.compile(r"%([xy])mm\d+(?=, )")
_PACKED: Final = re.compile(r"v(fn?m(add|sub)|add|sub|mul|min|max|mova|movu)")
_FIRST_FREE: Final = 16
_FREE_REGISTERS: Final = 16
_FORWARDED: Final = 3
"""Additions of three cycles that stand for a store of a vector that is read back."""
_FREE: Final = "nop"
"""What stands for an instruction that llvm-mca has no figures of."""


class LlvmMca:
    """A core of llvm-mca's as a :class:`toolchain.timing.pipeline.Simulator`."""

    def __init__(self, core: str) -> None:
        """Args: ``core``: what LLVM calls it, ``znver4``.

        Raises:
            MissingToolError: LLVM is not installed.
        """
        require({_MC: "llvm-19", _MCA: "llvm-19"})
        self._core = core
        self._version = run_tool([_MCA, "--version"], "")
        self._texts: dict[bytes, list[str]] = {}

    @property
    def context(self) -> int:
        """As the simulator's protocol says."""
        return CONTEXT["out"]

    @property
    def digest(self) -> str:
        """As the simulator's protocol says."""
        return digest(
            "llvm-mca 4",
            self._version,
            self._core,
            _FREE,
            _NO_SCHEDULE.pattern,
            _PACKED.pattern,
            str(_FORWARDED),
        )

    def retirements(self, paths: Sequence[Sequence[Code]]) -> Iterator[list[int]]:
        """As the simulator's protocol says.

        Raises:
            BuildError: llvm-mca fails.
        """
        for at in range(0, len(paths), _PATHS):
            part = paths[at : at + _PATHS]
            self._disassemble([block for path in part for block in path])
            yield from self._retired([[self._texts[block.code] for block in path] for path in part])

    def _disassemble(self, blocks: Sequence[Code]) -> None:
        fresh = {block.code: block for block in blocks if block.code not in self._texts}
        if not fresh:
            return
        text = "\n".join(hexadecimal(code + _BETWEEN_BLOCKS) for code in fresh)
        segments: list[list[str]] = [[]]
        told = run_tool([_MC, "--disassemble", "--triple=x86_64-linux-gnu"], text)
        for line in filter(_is_instruction, told.splitlines()):
            if line.strip() == _BETWEEN:
                segments.append([])
            else:
                segments[-1].append(_plain(line))
        if len(segments) != len(fresh) + 1:
            raise BuildError(f"{_MC} does not find the blocks that QEMU told")
        for (code, block), lines in zip(fresh.items(), segments, strict=False):
            self._texts[code] = [*lines, *[_FREE] * block.instructions][: block.instructions]

    def _retired(self, paths: Sequence[Sequence[Sequence[str]]]) -> Iterator[list[int]]:
        played = [_with_forwarding([line for block in path for line in block]) for path in paths]
        options = ["--iterations=1", "--timeline", "--timeline-max-cycles=0", "--json"]
        command = [_MCA, "--mtriple=x86_64-linux-gnu", f"--mcpu={self._core}", *options]
        told = json.loads(run_tool(command, mca_regions(lines for lines, _ in played)))
        for region, (_, own) in zip(told["CodeRegions"], played, strict=True):
            entries = region["TimelineView"]["TimelineInfo"]
            yield [int(entries[index]["CycleRetired"]) for index in own]


def _with_forwarding(path: Sequence[str]) -> tuple[list[str], list[int]]:
    """A path in which a vector that goes to the stack and comes back is waited for.

    llvm-mca lets no load wait for a store. An accumulator that found no register is then free,
    though each sum waits for it. Here it goes through a register that AVX2 does not have, and
    additions that take as long as a store that is read back.

    Returns:
        The lines, and at which of them the path's own are.
    """
    lines: list[str] = []
    own: list[int] = []
    registers: dict[str, int] = {}
    for line in path:
        name, _, operands = line.partition(" ")
        place = _ON_STACK.search(operands)
        slot = place[0] if place else ""
        written = operands.endswith(slot) if slot else False
        stored = _VECTOR.match(operands) if written else None
        if slot in registers and written and not stored:
            del registers[slot]
        elif slot in registers and not written and _PACKED.match(name):
            wide = "y" if "%ymm" in operands else "x"
            line = line.replace(slot, f"%{wide}mm{registers[slot]}")
        own.append(len(lines))
        lines.append(line)
        if stored and len(registers) < _FREE_REGISTERS:
            number = registers.setdefault(slot, _FIRST_FREE + len(registers))
            there = f"%{stored[1]}mm{number}"
            lines.append(f"vaddps {stored[0]}, {stored[0]}, {there}")
            lines += [f"vaddps {there}, {there}, {there}"] * (_FORWARDED - 1)
    return lines, own


def _plain(line: str) -> str:
    """An instruction as llvm-mca takes it."""
    text = " ".join(line.split("#")[0].split())
    return _FREE if _NO_SCHEDULE.match(text) else text


def _is_instruction(line: str) -> bool:
    return line.strip() not in ("", ".text")
