"""The runner for this machine without AVX-512 and AVX-VNNI, which QEMU does not play."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Final

from toolchain.build.bundle import recipe_for
from toolchain.build.stages import Recipe, Workshop, build_programs
from toolchain.fetch.apt import AptRoot
from toolchain.hardware.board_file import load_board
from toolchain.progress import Progress

_EXTENSIONS: Final = ("AVX512F", "AVXVNNI", "AVXVNNIINT8")
"""QEMU 7.2 plays x86-64 up to AVX2 and FMA."""
_OFF: Final = " ".join(f"-UXNN_ENABLE_{name} -DXNN_ENABLE_{name}=0" for name in _EXTENSIONS)
"""XNNPACK then does not ask the core for them, on which all of its kernels for them depend."""


class _AsInQemu(Recipe):
    @property
    def xnnpack_flags(self) -> str:
        return f"{super().xnnpack_flags} {_OFF}"


def host_runner(progress: Progress) -> Path:
    """``tileskip-run`` for this machine, whose kernels are the same here and in QEMU.

    Raises:
        BuildError, SourceError, MissingToolError: it cannot be built.
    """
    recipe = recipe_for(load_board("host"))
    plain = {field.name: getattr(recipe, field.name) for field in fields(recipe)}
    shop = Workshop(AptRoot(progress), len(os.sched_getaffinity(0)), progress)
    return build_programs(_AsInQemu(**plain), shop) / "tileskip-run"
