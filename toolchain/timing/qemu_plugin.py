"""The plugins of QEMU's user mode, compiled from ``runtime_patch/qemu_plugin``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from toolchain import children
from toolchain.build.compiler import require
from toolchain.errors import BuildError
from toolchain.resources import runtime_patch_dir
from toolchain.storage.cache import digest, entry

Plugin = Literal["count_instructions", "trace"]
_SOURCES: dict[Plugin, tuple[str, ...]] = {
    "count_instructions": ("count_instructions.c",),
    "trace": (
        "trace.c", "aarch64_code.c", "branch_predictor.c", "caches.c", "edges.c", "machine_code.c",
        "x86_64_code.c",
    ),
}  # fmt: skip
_HEADERS: dict[Plugin, tuple[str, ...]] = {
    "count_instructions": ("qemu_plugin_api.h",),
    "trace": (
        "branch_predictor.h", "caches.h", "edges.h", "machine_code.h", "qemu_plugin_api.h",
        "qemu_plugin_memory.h",
    ),
}  # fmt: skip
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared",
          "-fvisibility=hidden")  # fmt: skip
"""What a plugin is compiled with."""
NEEDED_TOOLS = {"gcc": "gcc"}
"""The compiler, with the Debian package that has it."""


def compiled_plugin(plugin: Plugin) -> Path:
    """A plugin, a library for this machine's QEMU; its folder's name is its key in the cache.

    Raises:
        BuildError: it cannot be compiled.
        MissingToolError: there is no C compiler.
    """
    require(NEEDED_TOOLS)
    folder = runtime_patch_dir() / "qemu_plugin"
    sources = [folder / name for name in _SOURCES[plugin]]
    files = sorted([*sources, *(folder / name for name in _HEADERS[plugin])])
    # What instructions were counted with is part of the key of every count that is kept.
    key = digest("qemu plugin 1", *FLAGS, *(path.read_bytes() for path in files))

    def fill(place: Path) -> None:
        command = ["gcc", *FLAGS, *map(str, sources), "-o", str(place / "plugin.so")]
        done = children.run(command, limit=children.WORK_S, fault=BuildError)
        if done.returncode:
            raise BuildError(f"{sources[0]} could not be compiled: {done.stderr.strip()}")

    return entry("qemu-plugin", key, fill) / "plugin.so"
