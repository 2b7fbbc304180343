"""The compilers and tools of one instruction set, native or cross."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass

from toolchain import children
from toolchain.errors import BuildError, MissingToolError
from toolchain.hardware.facts import DebArch, Isa, isa_facts, isa_of_machine
from toolchain.hints import apt_line


@dataclass(frozen=True)
class Compiler:
    """What compiles, links and strips for one ISA."""

    isa: Isa
    cc: str
    cxx: str
    strip: str
    version: str
    """First line of ``g++ --version`` and the machine that it compiles for."""
    cross: bool

    @property
    def deb_arch(self) -> DebArch:
        """Debian's name of the ISA."""
        return isa_facts(self.isa).deb_arch

    @property
    def triple(self) -> str:
        """GNU's name of the system, as Debian's library folders have it."""
        return isa_facts(self.isa).triple

    def cmake_arguments(self) -> list[str]:
        """What CMake needs to use this compiler."""
        arguments = [f"-DCMAKE_C_COMPILER={self.cc}", f"-DCMAKE_CXX_COMPILER={self.cxx}"]
        if self.cross:
            processor = isa_facts(self.isa).cmake_processor
            arguments += ["-DCMAKE_SYSTEM_NAME=Linux", f"-DCMAKE_SYSTEM_PROCESSOR={processor}"]
        return arguments


def find_compiler(isa: Isa) -> Compiler:
    """The compiler for an ISA, with every other tool of a build checked for as well.

    Raises:
        MissingToolError: tools are missing; the hint is one line that installs all of them.
    """
    require(needed_tools(isa))
    cross, prefix = _prefix(isa)
    cxx = f"{prefix}g++"
    shown = _output(cxx, "--version").splitlines()
    return Compiler(
        isa=isa,
        cc=f"{prefix}gcc",
        cxx=cxx,
        strip=f"{prefix}strip",
        version=f"{shown[0] if shown else cxx} ({_output(cxx, '-dumpmachine').strip()})",
        cross=cross,
    )


def needed_tools(isa: Isa) -> dict[str, str]:
    """The programs that a build for an ISA calls, each with the Debian package that has it."""
    cross, prefix = _prefix(isa)
    compiler_package = f"g++-{isa_facts(isa).triple.replace('_', '-')}" if cross else "g++"
    return {
        f"{prefix}gcc": compiler_package,
        f"{prefix}g++": compiler_package,
        f"{prefix}strip": compiler_package,
        "cmake": "cmake",
        "ninja": "ninja-build",
        "patch": "patch",
    }


def missing_tools(tools: Mapping[str, str]) -> list[str]:
    """Those of ``tools``, as :func:`require` takes them, that are not installed."""
    return [tool for tool in tools if not shutil.which(tool)]


def require(tools: Mapping[str, str]) -> None:
    """Check that programs are there; ``tools`` maps each to the Debian package that has it.

    Raises:
        MissingToolError: names all that are missing, and the line that installs them.
    """
    if missing := missing_tools(tools):
        raise MissingToolError(
            f"not installed: {', '.join(missing)}",
            hint=apt_line(*(tools[tool] for tool in missing)),
        )


def _prefix(isa: Isa) -> tuple[bool, str]:
    """Whether an ISA's compiler is a cross compiler, and what its programs' names begin with."""
    cross = isa_of_machine(platform.machine()) != isa
    return cross, f"{isa_facts(isa).triple}-" if cross else ""


def _output(*command: str) -> str:
    return children.run(command, limit=children.LOOK_S, fault=BuildError).stdout
