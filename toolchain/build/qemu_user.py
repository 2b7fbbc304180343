"""Run a program of a board on this machine, as on a certain core: QEMU's user mode."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from toolchain.build.compiler import require

Core = Literal["cortex-a53", "cortex-a72", "cortex-a76"]

_FEATURES = "fp asimd evtstrm aes pmull sha1 sha2 crc32"
# The part's number and the features that the boards' kernels print for it.
CORES: dict[Core, tuple[str, str]] = {
    "cortex-a53": ("0xd03", _FEATURES),
    "cortex-a72": ("0xd08", _FEATURES),
    "cortex-a76": ("0xd0b", f"{_FEATURES} atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"),
}


def emulator_command(core: Core, root: Path) -> list[str]:
    """The command that runs a program as on ``core``; ``root`` is a folder for its /proc.

    QEMU before 8.2 shows the host's own /proc/cpuinfo, from which XNNPACK would not know the core
    and would take kernels that no board takes.

    Args:
        core: what QEMU plays.
        root: a folder that lives as long as the programs run.

    Raises:
        MissingToolError: QEMU's user mode is not installed.
    """
    require({"qemu-aarch64": "qemu-user"})
    part, features = CORES[core]
    processors = [
        f"processor\t: {index}\nFeatures\t: {features}\nCPU implementer\t: 0x41\n"
        f"CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: {part}\nCPU revision\t: 3\n"
        for index in range(4)
    ]
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/cpuinfo").write_text("\n".join(processors) + "\n")
    return ["qemu-aarch64", "-L", str(root), "-cpu", core]
