"""Our micro-kernels: what there is for an instruction set, and which of them tests called.

Each is named once, in its file, and ``cmake/tileskip.cmake`` lists the files. The tests of
``overlay/test/live-igemm.cc`` end with the name of the micro-kernel that they call.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from toolchain.errors import BuildError
from toolchain.hardware.facts import Isa

_ISAS: dict[str, Isa] = {
    "AARCH64_ASM": "aarch64",
    "AVX512F": "x86-64",
    "AVX512VNNI": "x86-64",
    "FMA3": "x86-64",
    "NEONFMA_AARCH64": "aarch64",
}
"""Upstream's list of micro-kernels in CMake -> the instruction set whose libraries have them."""
_LIST = re.compile(r"^TILESKIP_ADD_MICROKERNELS\((\w+)([^)]*)\)", re.M)
_NAME = re.compile(r"\bxnn_\w+_ukernel_(?!table)\w+")
_TEST = re.compile(r"^\[ +(OK|FAILED|SKIPPED) +\] \S+/(xnn_\w+_ukernel_\w+)(?=[ ,])", re.M)
_ROWS = re.compile(r"(?<=_ukernel_)\d+(?=x)")


@dataclass(frozen=True)
class Coverage:
    """What tests did with the micro-kernels of an instruction set."""

    called: tuple[str, ...]
    skipped: tuple[str, ...]
    """Those whose instructions the machine lacks."""
    untested: tuple[str, ...]
    """Those that no test is for."""


def own_microkernels(xnnpack: Path, isa: Isa) -> tuple[str, ...]:
    """The names of our micro-kernels for an instruction set.

    Args:
        xnnpack: the folder with ``overlay``, as ``runtime_patch/xnnpack``.
        isa: whose.

    Raises:
        BuildError: a list of micro-kernels belongs to no instruction set that is known here.
    """
    names: set[str] = set()
    for list_name, files in _LIST.findall((xnnpack / "overlay/cmake/tileskip.cmake").read_text()):
        if list_name not in _ISAS:
            raise BuildError(f"{list_name} in tileskip.cmake is of no instruction set known here")
        if _ISAS[list_name] == isa:
            for file in files.split():
                names.update(_NAME.findall((xnnpack / "overlay" / file).read_text()))
    return tuple(sorted(names))


def coverage(microkernels: tuple[str, ...], output: str) -> Coverage:
    """Which of the micro-kernels the tests called, from what GoogleTest printed."""
    outcomes: dict[str, set[str]] = {}
    for outcome, name in _TEST.findall(output):
        outcomes.setdefault(name, set()).add(outcome)
    called = tuple(name for name in microkernels if outcomes.get(name, set()) - {"SKIPPED"})
    skipped = tuple(name for name in microkernels if outcomes.get(name) == {"SKIPPED"})
    untested = tuple(name for name in microkernels if name not in outcomes)
    return Coverage(called, skipped, untested)


def by_rows(microkernels: tuple[str, ...]) -> list[str]:
    """A line for those that differ in their rows alone."""
    counts = Counter(_ROWS.sub("*", name) for name in microkernels)
    return [f"{count} {name}" for name, count in counts.items()]
