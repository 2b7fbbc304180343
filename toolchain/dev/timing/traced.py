"""The windows of a row's program: its trace, with the cycles of a simulated pipeline."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import toolchain.timing
from toolchain.dev.timing.programs import Program, guest
from toolchain.hardware.board_file import known_caches, load_board
from toolchain.hardware.caches import CoreMemory
from toolchain.progress import Progress
from toolchain.storage.cache import digest, entry, present
from toolchain.timing.core_table import core_table, timed
from toolchain.timing.pipeline import TablePipeline
from toolchain.timing.trace import WINDOW
from toolchain.timing.windows import Windows, windows_of

_FITTED = ("coefficients", "model", "calibration")
"""Files beside the model's that look at windows."""
_KEPT = ("thread", "operator", "instructions", "core", "mispredicted", "counters")


def traced_windows(
    program: Program,
    board: str,
    *,
    memory: CoreMemory | None = None,
    window: int = WINDOW,
    only_cached: bool = False,
    progress: Progress | None = None,
) -> Windows | None:
    """Trace a program on a board and cost it; trace and windows are kept in the cache.

    Args:
        program: which.
        board: the board's file, for its caches.
        memory: policies in place of the core's own.
        window: instructions of a window.
        only_cached: do not run it.
        progress: where downloads are announced.

    Returns:
        None where it is not in the cache and ``only_cached`` is given.

    Raises:
        BoardError: it failed.
        SourceError: the program cannot be had.
    """
    caches = known_caches(load_board(board))
    core = timed(program.core)
    assert core is not None  # noqa: S101 (rows are of such cores)
    table = core_table(core)
    key = digest(
        "windows 1", program.key, caches.model_dump_json(), table.digest, _model_sources(),
        memory.model_dump_json() if memory else "", str(window),
    )  # fmt: skip

    def fill(folder: Path) -> None:
        ready = guest(program, progress=progress)
        trace = ready.trace(program.core, caches, memory=memory, window=window)
        found = windows_of(trace, TablePipeline(table), has_l3=caches.l3 is not None)
        np.savez_compressed(
            folder / "windows.npz", **{name: getattr(found, name) for name in _KEPT}
        )

    if only_cached and present("row-windows", key) is None:
        return None
    with np.load(entry("row-windows", key, fill) / "windows.npz") as kept:
        return Windows(**{name: kept[name] for name in _KEPT}, has_l3=caches.l3 is not None)


def _model_sources() -> str:
    """A hash of what makes traces and costs them."""
    package = Path(toolchain.timing.__file__).parent
    plugin = package.parent.parent / "runtime_patch/qemu_plugin"
    files = sorted([*package.rglob("*.py"), *package.rglob("*.toml"), *plugin.glob("*.[ch]")])
    # What is fitted to the windows, and how, does not change them.
    return digest(*(path.read_bytes() for path in files if path.stem not in _FITTED))
