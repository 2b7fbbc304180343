"""Features of a row's program: its trace, with the cycles of a simulated pipeline for each edge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

import toolchain.timing
from toolchain.dev.timing.features import COUNTERS, Features
from toolchain.dev.timing.programs import Program, guest
from toolchain.hardware.board_file import known_caches, load_board
from toolchain.hardware.caches import CoreMemory
from toolchain.hardware.facts import Core
from toolchain.progress import Progress
from toolchain.storage.cache import digest, entry, present
from toolchain.timing.core_table import TimedCore, core_table
from toolchain.timing.edges import edge_cycles
from toolchain.timing.trace import WINDOW, Trace, trace_program

_TIMED: Mapping[Core, TimedCore] = {
    "cortex-a53": "cortex-a53",
    "cortex-a72": "cortex-a72",
    "cortex-a76": "cortex-a76",
}


def traced_features(
    program: Program,
    board: str,
    *,
    memory: CoreMemory | None = None,
    window: int = WINDOW,
    only_cached: bool = False,
    progress: Progress | None = None,
) -> Features | None:
    """Trace a program on a board and cost it; trace and features are kept in the cache.

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
    table = core_table(_TIMED[program.core])
    key = digest(
        "features 1", program.key, caches.model_dump_json(), table.digest, _model_sources(),
        memory.model_dump_json() if memory else "", str(window),
    )  # fmt: skip

    def fill(folder: Path) -> None:
        ready = guest(program, progress=progress)
        trace = trace_program(
            ready.command,
            program.core,
            caches,
            memory=memory,
            libraries=ready.libraries,
            links=ready.links,
            environment=ready.environment,
            contents=ready.contents,
            window=window,
        )
        found = features_of(trace, program.core, has_l3=caches.l3 is not None)
        np.savez_compressed(
            folder / "features.npz",
            thread=found.thread,
            instructions=found.instructions,
            core=found.core,
            mispredicted=found.mispredicted,
            counters=found.counters,
            has_l3=found.has_l3,
        )

    if only_cached and present("row-features", key) is None:
        return None
    with np.load(entry("row-features", key, fill) / "features.npz") as kept:
        return Features(
            thread=kept["thread"],
            instructions=kept["instructions"],
            core=kept["core"],
            mispredicted=kept["mispredicted"],
            counters=kept["counters"],
            has_l3=bool(kept["has_l3"]),
        )


def features_of(trace: Trace, core: Core, *, has_l3: bool) -> Features:
    """What the model needs of a trace.

    Args:
        trace: of one run.
        core: whose pipeline is simulated.
        has_l3: whether the board has a third level of caches.
    """
    total: Counter[tuple[int, int]] = Counter()
    for window in trace.windows:
        total.update(window.edges)
    cycles = edge_cycles(trace.blocks, total, core_table(_TIMED[core]))
    return Features(
        thread=np.array([window.thread for window in trace.windows]),
        instructions=np.array([window.instructions for window in trace.windows], float),
        core=np.array(
            [
                sum(count * cycles[edge] for edge, count in window.edges.items())
                for window in trace.windows
            ]
        ),
        mispredicted=np.array([window.mispredicted for window in trace.windows], float),
        counters=np.array(
            [[getattr(window.memory, name) for name in COUNTERS] for window in trace.windows],
            float,
        ),
        has_l3=has_l3,
    )


def _model_sources() -> str:
    """A hash of what makes traces and costs them."""
    package = Path(toolchain.timing.__file__).parent
    plugin = package.parent.parent / "runtime_patch/qemu_plugin"
    files = sorted([*package.rglob("*.py"), *package.rglob("*.toml"), *plugin.glob("*.[ch]")])
    return digest(*(path.read_bytes() for path in files))
