"""Instruction sets and cores, from ``facts.toml``: the one place that knows their names.

Compilers, Debian, CMake, QEMU, the boards' kernels and XNNPACK each have words of their own for
the same things.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from toolchain.hardware.caches import CoreMemory

Isa = Literal["aarch64", "armv7", "x86-64"]
Core = Literal["cortex-a7", "cortex-a53", "cortex-a72", "cortex-a76"]
"""The cores that QEMU's user mode plays here."""
DebArch = Literal["amd64", "arm64", "armhf"]

_Bit = Annotated[int, Field(ge=0, le=63)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class IsaFacts(_Table):
    """What is called how in one instruction set."""

    triple: str
    """GNU's name of the system, as of the cross compilers and of Debian's library folders."""
    deb_arch: DebArch
    cmake_processor: str
    bits: Literal[32, 64]
    """Of a program's pointers."""
    machines: tuple[str, ...]
    """``uname -m`` of machines whose own compiler makes such programs."""
    runs_on: tuple[str, ...]
    """``uname -m`` of machines that run such programs, if their cores have what is needed."""
    loader: str
    """The dynamic linker of glibc."""
    qemu_user: str | None = None
    """QEMU's user mode for such programs; ``None`` where it plays none of the cores below."""
    test_board: str
    """The board whose runtime XNNPACK's own tests are run with."""
    test_core: Core | None = None
    """The core that QEMU plays for them; ``None`` where this machine runs them."""
    features: dict[str, str]
    """Macro that the compiler predefines for a ``-march`` -> what the kernel calls that in
    ``/proc/cpuinfo`` ("Features", on x86 "flags"); on Arm that is the HWCAP bit's name."""
    hwcap: dict[str, _Bit] = {}
    """Names of AT_HWCAP's bits: those that a bundle may need."""


class Played(_Table):
    """How QEMU's user mode plays a core for programs of one instruction set."""

    qemu_cpu: str
    """Its ``-cpu``."""
    architecture: int
    """What the boards' kernels print in ``/proc/cpuinfo`` for it, and ..."""
    features: str
    """... likewise."""


class CoreFacts(_Table):
    """One core."""

    name: str
    """As Arm writes it."""
    part: int
    """Its part number in MIDR, ``CPU part`` in ``/proc/cpuinfo``."""
    played: dict[Isa, Played] = {}
    kernels: dict[str, str] = {}
    """Type of XNNPACK's micro-kernels -> a pattern of the tile and the tail of the names that it
    takes on the core, from its ``src/configs/gemm-config.c``."""
    memory: CoreMemory | None = None
    """Its caches' policies and its TLBs, where times are estimated for it."""


class _Facts(_Table):
    isa: dict[Isa, IsaFacts]
    core: dict[str, CoreFacts]

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        played = {name for name, core in self.core.items() if core.played}
        if set(self.isa) != set(get_args(Isa)) or played != set(get_args(Core)):
            raise ValueError("the types Isa and Core name others than the file has")
        return self


@cache
def _facts() -> _Facts:
    text = resources.files(__package__).joinpath("facts.toml").read_text(encoding="utf-8")
    return _Facts.model_validate(tomllib.loads(text))


def isa_facts(isa: Isa) -> IsaFacts:
    """What is known of an instruction set."""
    return _facts().isa[isa]


def core_facts(core: Core) -> CoreFacts:
    """What is known of a core that QEMU plays."""
    return _facts().core[core]


def isa_of_machine(machine: str) -> Isa | None:
    """The instruction set that the compiler of a machine compiles for, by its ``uname -m``."""
    return next((isa for isa, facts in _facts().isa.items() if machine in facts.machines), None)


def played_cores(isa: Isa) -> dict[Core, Played]:
    """The cores that QEMU's user mode plays for programs of an instruction set."""
    cores: tuple[Core, ...] = get_args(Core)
    return {core: core_facts(core).played[isa] for core in cores if isa in core_facts(core).played}


def core_called(name: str) -> Core | None:
    """The core that QEMU plays which Arm calls so: ``Cortex-A72``."""
    cores: tuple[Core, ...] = get_args(Core)
    return next(
        (core for core in cores if core_facts(core).name.casefold() == name.casefold()), None
    )


def core_name(part: int) -> str | None:
    """Arm's name of the core with this part number in MIDR."""
    return next((core.name for core in _facts().core.values() if core.part == part), None)
