"""Traces of the runner for x86-64, with the caches of this machine's core."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from toolchain.build.compiler import require
from toolchain.hardware.caches import (
    Cache,
    Caches,
    CoreMemory,
    SecondCache,
    SecondTlb,
    ThirdCache,
)
from toolchain.storage.cache import digest, sha256_file
from toolchain.storage.scratch import temporary_folder
from toolchain.timing.guest import guest_environment
from toolchain.timing.qemu_plugin import compiled_plugin
from toolchain.timing.trace import WINDOW, Trace, cache_options, emulated, kept_trace

_QEMU: Final = "qemu-x86_64"
_PLAYED: Final = "max,family=25,model=17,stepping=1"
"""All that QEMU has, by the numbers of a Zen 4: XNNPACK chooses kernels by them."""
CACHES: Final = Caches(
    l1d=Cache(kib=32, ways=8),
    l2=SecondCache(kib=1024, ways=8, shared=False),
    l3=ThirdCache(kib=32768, ways=16, exclusive=True),
)
"""Of a Zen 4 (AMD, "Software Optimization Guide for the AMD Zen4 Microarchitecture", 57647)."""
MEMORY: Final = CoreMemory(
    l1d="plru", l2="plru", l3="plru", l1_tlb=64, l2_tlb=SecondTlb(entries=3072, ways=24)
)
"""The same guide's; its first TLB has 72 entries, 64 is the most that is played."""
REFILL: Final = 13
"""Cycles that a mispredicted branch costs: the guide's common case."""


def trace_on_host(runner: Path, model: Path) -> Trace:
    """Trace one inference with one thread, after one that fills the caches; kept in the cache.

    Args:
        runner: ``tileskip-run`` for x86-64, without AVX-512.
        model: the file.

    Raises:
        BoardError: the runner or QEMU failed.
        MissingToolError: QEMU's user mode is not installed.
    """
    require({_QEMU: "qemu-user"})
    options = {**cache_options(CACHES, MEMORY), "window": str(WINDOW)}
    words = ("--marks", "--warmup", "0", "--runs", "1", "--threads", "1", "--json", "output.json")
    key = digest(
        "host trace 1", compiled_plugin("trace").parent.name, _PLAYED, *words,
        *(f"{name}={value}" for name, value in options.items()),
        sha256_file(runner), sha256_file(model),
    )  # fmt: skip

    def run() -> tuple[str, str | None]:
        with temporary_folder() as folder:
            emulator = (shutil.which(_QEMU) or _QEMU, "-cpu", _PLAYED, "-seed", "1")
            program = (str(runner.absolute()), "--model", str(model.absolute()), *words)
            return emulated(emulator, program, folder, options, guest_environment())

    return kept_trace(key, run)
