"""Run a program of a board on this machine, as on a certain core: QEMU's user mode."""

from __future__ import annotations

from pathlib import Path

from toolchain.build.compiler import require
from toolchain.hardware.facts import Core, Isa, core_facts, isa_facts, played_cores


def needed_tools(isa: Isa) -> dict[str, str]:
    """QEMU's program for an ISA, with its Debian package; none where it plays no core."""
    program = isa_facts(isa).qemu_user
    return {} if program is None else {program: "qemu-user"}


def emulator_command(core: Core, root: Path, isa: Isa = "aarch64") -> list[str]:
    """The command that runs a program as on ``core``; ``root`` is a folder for its /proc.

    QEMU before 8.2 shows the host's own /proc/cpuinfo, from which XNNPACK would not know the core
    and would take kernels that no board takes.

    Args:
        core: what QEMU plays, one of :func:`~toolchain.hardware.facts.played_cores`.
        root: a folder that lives as long as the programs run.
        isa: of the program.

    Raises:
        MissingToolError: QEMU's user mode is not installed.
    """
    require(needed_tools(isa))
    program = isa_facts(isa).qemu_user
    assert program is not None  # noqa: S101 (no core is played for other programs)
    played = played_cores(isa)[core]
    processors = [
        f"processor\t: {index}\nFeatures\t: {played.features}\nCPU implementer\t: 0x41\n"
        f"CPU architecture: {played.architecture}\nCPU variant\t: 0x0\n"
        f"CPU part\t: {core_facts(core).part:#x}\nCPU revision\t: 3\n"
        for index in range(4)
    ]
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/cpuinfo").write_text("\n".join(processors) + "\n")
    return [program, "-L", str(root), "-cpu", played.qemu_cpu]
