"""What a traced program sees of the machine that it runs on: a board's, and nothing of the host's.

Programs choose kernels and tiles by the core's name and by the sizes of its caches. QEMU's user
mode shows them the host's ``/proc`` and ``/sys``, unless such files lie under its root.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from toolchain.build.qemu_user import emulator_command
from toolchain.hardware.caches import LINE_BYTES, Cache, Caches
from toolchain.hardware.facts import Core, core_facts

_CORES = 4
"""Of every board that is played."""
_ALL = f"0-{_CORES - 1}"
_ARM, _ARCHITECTURE, _REVISION = 0x41, 0xF, 3  # fields of MIDR_EL1
_MAX_FREQ_KHZ = "1500000"
"""Of each core: programs tell big cores from little ones by it."""
_HIDDEN = 8
"""Caches of a core that this machine might have at most; what a board lacks is hidden."""
_RESERVED = 1 << 40
"""Of QEMU's ``-R``: a program's addresses are in a stretch of the host's of this size, so that they
do not depend on what else lies there. It is above those where QEMU puts programs and libraries."""
HERE = "/traced"
"""The folder where a program finds its files. It runs in another one."""
_ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}


def guest_command(
    core: Core, caches: Caches, root: Path, libraries: Path | None = None
) -> list[str]:
    """The command that runs a program for aarch64 as on a board, the same way each time.

    Args:
        core: what QEMU plays.
        caches: what the board's kernel tells of its caches.
        root: an empty folder that lives as long as the program runs.
        libraries: a folder whose ``usr``, ``lib`` and ``etc`` the program finds at these paths.

    Raises:
        MissingToolError: QEMU's user mode is not installed.
    """
    program, *options = emulator_command(core, root)
    for name, text in cpu_files(core, caches).items():
        path = root / "sys/devices/system/cpu" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    for name in ("usr", "lib", "etc"):
        if libraries is not None and (libraries / name).exists():
            (root / name).symlink_to(libraries / name)
    # The program is found by this machine's PATH, the guest has one of its own.
    return [shutil.which(program) or program, *options, "-R", hex(_RESERVED), "-seed", "1"]


def link_files(root: Path, links: Mapping[str, Path]) -> None:
    """Let a program find files and folders in :data:`HERE`.

    Args:
        root: the folder that :func:`guest_command` is given.
        links: by their names there.
    """
    here = root / HERE.lstrip("/")
    here.mkdir()
    for name, target in links.items():
        (here / name).symlink_to(target.absolute())


def guest_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The program's environment: none of it is this process's own."""
    return {**_ENVIRONMENT, **(more or {})}


def cpu_files(core: Core, caches: Caches) -> dict[str, str]:
    """What programs read of sysfs, as Linux documents it (``sysfs-devices-system-cpu``).

    Returns:
        Files by their names below ``/sys/devices/system/cpu``; a line each, without its end.
    """
    midr = _ARM << 24 | _ARCHITECTURE << 16 | core_facts(core).part << 4 | _REVISION
    files = dict.fromkeys(("online", "possible", "present"), _ALL)
    files["kernel_max"] = str(_CORES - 1)
    for cpu in range(_CORES):
        place = f"cpu{cpu}"
        files[f"{place}/online"] = "1"
        files[f"{place}/regs/identification/midr_el1"] = f"{midr:#018x}"
        files[f"{place}/cpufreq/cpuinfo_max_freq"] = _MAX_FREQ_KHZ
        files[f"{place}/topology/core_id"] = str(cpu)
        files[f"{place}/topology/physical_package_id"] = "0"
        files[f"{place}/topology/core_siblings_list"] = _ALL
        files[f"{place}/topology/thread_siblings"] = f"{1 << cpu:x}"
        for name in ("thread_siblings_list", "core_cpus_list"):
            files[f"{place}/topology/{name}"] = str(cpu)
        for index, (level, kind, cache, shared) in enumerate(_kernel_caches(caches)):
            entry = f"{place}/cache/index{index}"
            files[f"{entry}/level"] = str(level)
            files[f"{entry}/type"] = kind
            files[f"{entry}/size"] = f"{cache.kib}K"
            files[f"{entry}/ways_of_associativity"] = str(cache.ways)
            files[f"{entry}/number_of_sets"] = str(cache.sets)
            files[f"{entry}/coherency_line_size"] = str(LINE_BYTES)
            files[f"{entry}/shared_cpu_list"] = _ALL if shared else str(cpu)
            files[f"{entry}/shared_cpu_map"] = f"{(1 << _CORES) - 1 if shared else 1 << cpu:x}"
        for index in range(len(_kernel_caches(caches)), _HIDDEN):
            # A reader goes on to the next entry until there is none.
            files[f"{place}/cache/index{index}/level"] = "0"
    return files


def _kernel_caches(caches: Caches) -> list[tuple[int, str, Cache, bool]]:
    """Level, type, cache and whether all cores share it, in the kernel's order."""
    levels: list[tuple[int, str, Cache, bool]] = [
        (1, "Data", caches.l1d, False),
        # Its size is not known here; nothing that runs here asks for it.
        (1, "Instruction", caches.l1d, False),
        (2, "Unified", caches.l2, caches.l2.shared),
    ]
    if caches.l3 is not None:
        levels.append((3, "Unified", caches.l3, True))
    return levels
