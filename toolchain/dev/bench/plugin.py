"""The plugin of QEMU that counts instructions, compiled from ``runtime_patch/qemu_plugin``."""

from __future__ import annotations

from pathlib import Path

from toolchain import children
from toolchain.build.compiler import require
from toolchain.errors import BuildError
from toolchain.resources import runtime_patch_dir
from toolchain.storage.cache import digest, entry

_SOURCE = "count_instructions.c"
_FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared",
          "-fvisibility=hidden")  # fmt: skip


def counting_plugin() -> Path:
    """The compiled plugin, a library for this machine's QEMU.

    Raises:
        BuildError: it cannot be compiled.
        MissingToolError: there is no C compiler.
    """
    require({"gcc": "gcc"})
    folder = runtime_patch_dir() / "qemu_plugin"
    sources = sorted(path for path in folder.iterdir() if path.suffix in (".c", ".h"))
    key = digest("qemu plugin 1", *_FLAGS, *(path.read_bytes() for path in sources))

    def fill(place: Path) -> None:
        command = ["gcc", *_FLAGS, str(folder / _SOURCE), "-o", str(place / "plugin.so")]
        done = children.run(command, limit=children.WORK_S, fault=BuildError)
        if done.returncode:
            raise BuildError(f"{folder / _SOURCE} could not be compiled: {done.stderr.strip()}")

    return entry("qemu-plugin", key, fill) / "plugin.so"
