"""Histories of runs with chosen figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from toolchain.profile import history
from toolchain.profile.history import Board, Figures, Run, Runtime

BEGIN = datetime(2026, 1, 2, 10, 30, tzinfo=UTC)
TITLES = {"rpi4": "Raspberry Pi 4", "rpi5": "Raspberry Pi 5", "qemu": "Emulated board"}


def figures(
    name: str,
    us: float | None = 1000.0,
    *,
    instructions: float | None = None,
    sha256: str = "0" * 64,
    doubts: Sequence[str] = (),
    stock: bool = False,
    threads: int | None = None,
) -> Figures:
    """A model whose median lies within a hundredth of it, and whose p95 is a tenth above."""
    return Figures(
        name=name, sha256=sha256, stock=stock, bytes=100, median_us=us,
        interval_us=None if us is None else (us * 0.99, us * 1.01),
        p95_us=None if us is None else us * 1.1, turns_us=[] if us is None else [us] * 20,
        instructions=instructions, peak_rss_kib=2048, doubts=list(doubts), threads=threads,
    )  # fmt: skip


def run(
    *models: Figures,
    day: float = 0.0,
    board: str = "rpi4",
    emulated: bool = False,
    threads: int = 1,
) -> Run:
    """A run so many days after ``BEGIN``, which its ``id`` tells, too."""
    return Run(
        schema=1,
        id=f"{round(day * 86400):016x}",
        created=BEGIN + timedelta(days=day),
        tool="0.1.0",
        board=Board(board, TITLES.get(board, board), emulated, {"Cortex-A72": 4}, None, None, None),
        threads=threads,
        runtime=Runtime("0.1.0", "2.14.1", "4ea82e5", "GCC"),
        models=list(models),
    )


def write(path: Path, runs: Iterable[Run]) -> Path:
    """Write runs as ``deploy profile`` does; returns the path."""
    lines = [history._LINE.dump_json(one) + b"\n" for one in runs]
    path.write_bytes(b"".join(lines))
    return path
