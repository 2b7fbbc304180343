"""Run a program of a board on this machine, as on a certain core: QEMU's user mode."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from toolchain.build.compiler import Isa, require

Core = Literal["cortex-a7", "cortex-a53", "cortex-a72", "cortex-a76"]


@dataclass(frozen=True)
class _Played:
    """How QEMU plays a core, and what the boards' kernels print for it in /proc/cpuinfo."""

    model: str
    """QEMU's ``-cpu``."""
    part: str
    features: str
    architecture: int = 8


_FEATURES = "fp asimd evtstrm aes pmull sha1 sha2 crc32"
_DOT_FP16 = "atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
_FEATURES_32 = "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm"
CORES: dict[Core, _Played] = {
    "cortex-a53": _Played("cortex-a53", "0xd03", _FEATURES),
    "cortex-a72": _Played("cortex-a72", "0xd08", _FEATURES),
    "cortex-a76": _Played("cortex-a76", "0xd0b", f"{_FEATURES} {_DOT_FP16}"),
}
"""Of 64-bit programs."""
# qemu-arm knows no 64-bit core by name; its "max" has what the 32-bit state of one has. A 32-bit
# kernel calls the architecture 7 on any core.
CORES_ARMV7: dict[Core, _Played] = {
    "cortex-a7": _Played("cortex-a7", "0xc07", _FEATURES_32, 7),
    "cortex-a53": _Played("max", "0xd03", f"{_FEATURES_32} crc32", 7),
    "cortex-a72": _Played("max", "0xd08", f"{_FEATURES_32} crc32", 7),
}
"""Of 32-bit programs."""


def emulator_command(core: Core, root: Path, isa: Isa = "aarch64") -> list[str]:
    """The command that runs a program as on ``core``; ``root`` is a folder for its /proc.

    QEMU before 8.2 shows the host's own /proc/cpuinfo, from which XNNPACK would not know the core
    and would take kernels that no board takes.

    Args:
        core: what QEMU plays; a key of ``CORES`` or, for armv7, of ``CORES_ARMV7``.
        root: a folder that lives as long as the programs run.
        isa: of the program.

    Raises:
        MissingToolError: QEMU's user mode is not installed.
    """
    program, cores = ("qemu-arm", CORES_ARMV7) if isa == "armv7" else ("qemu-aarch64", CORES)
    require({program: "qemu-user"})
    played = cores[core]
    processors = [
        f"processor\t: {index}\nFeatures\t: {played.features}\nCPU implementer\t: 0x41\n"
        f"CPU architecture: {played.architecture}\nCPU variant\t: 0x0\n"
        f"CPU part\t: {played.part}\nCPU revision\t: 3\n"
        for index in range(4)
    ]
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/cpuinfo").write_text("\n".join(processors) + "\n")
    return [program, "-L", str(root), "-cpu", played.model]
