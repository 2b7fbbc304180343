"""Published rows with what is known of their programs, from small networks to large."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from toolchain.dev.timing.counted import count
from toolchain.dev.timing.programs import NcnnProgram, Program, program_of
from toolchain.dev.timing.published import Row
from toolchain.dev.timing.sample import Sample, counted_only
from toolchain.dev.timing.traced import traced_windows
from toolchain.progress import Progress


def with_programs(
    folder: Path, rows: Sequence[Row], runner: Path | None = None
) -> list[tuple[Row, Program]]:
    """The rows that have a program, those of short times first."""
    found = [(row, program_of(row, folder, runner)) for row in rows]
    usable = [(row, program) for row, program in found if not isinstance(program, str)]
    return sorted(usable, key=lambda pair: pair[0].ms * pair[0].threads)


def counted_samples(
    folder: Path,
    rows: Sequence[Row],
    *,
    only_cached: bool = False,
    progress: Progress | None = None,
) -> Iterator[Sample]:
    """Rows with the instructions of their programs.

    Args:
        folder: with ``ncnn_networks``.
        rows: those wanted; the ones without a program are passed over.
        only_cached: pass over what was not counted yet, too.
        progress: where downloads are announced.

    Raises:
        BoardError: a program failed.
        SourceError: a program cannot be had.
    """
    for row, program in with_programs(folder, rows):
        if not isinstance(program, NcnnProgram):
            continue
        counted = count(program, row.board, only_cached=only_cached, progress=progress)
        if counted is not None:
            yield Sample(row, counted_only(counted.threads))


def traced_samples(
    folder: Path,
    rows: Sequence[Row],
    *,
    runner: Path | None = None,
    only_cached: bool = False,
    progress: Progress | None = None,
) -> Iterator[Sample]:
    """Rows with what the model needs of their programs.

    Args:
        folder: with ``ncnn_networks``.
        rows: those wanted; the ones without a program are passed over.
        runner: for rows of XNNPACK, one that is not patched.
        only_cached: pass over what was not traced yet, too.
        progress: where downloads are announced.

    Raises:
        BoardError: a program failed.
        SourceError: a program cannot be had.
    """
    for row, program in with_programs(folder, rows, runner):
        found = traced_windows(
            _traced(program), row.board, only_cached=only_cached, progress=progress
        )
        if found is not None:
            yield Sample(row, found)


def _traced(program: Program) -> Program:
    """The program whose trace stands for a row.

    OpenMP gives each thread a fixed part, so the first thread does in QEMU what it does on a board.
    Other pools give a thread what is left, which depends on this machine: a run with one thread
    says what is done, and the model deals it out.
    """
    return program if isinstance(program, NcnnProgram) else replace(program, threads=1)


def group_of(row: Row) -> str:
    """The rows that are fitted and judged together: one board at one clock, one table."""
    threads = "1 thread" if row.threads == 1 else f"{row.threads} threads"
    return f"{row.board} {row.clock_mhz} MHz, {threads}, {row.published}"


def groups(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    """Samples by group, in the order of the groups' names."""
    found: dict[str, list[Sample]] = {}
    for one in samples:
        found.setdefault(group_of(one.row), []).append(one)
    return dict(sorted(found.items()))
