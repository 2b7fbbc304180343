"""Instructions of a row's program, counted under QEMU's user mode: the baseline of the fit."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict, PositiveInt

from toolchain import children
from toolchain.dev.timing.programs import NcnnProgram, guest
from toolchain.errors import BoardError
from toolchain.formats.json_text import parse_json
from toolchain.hardware.board_file import known_caches, load_board
from toolchain.progress import Progress
from toolchain.storage.cache import digest, entry, present
from toolchain.storage.scratch import temporary_folder
from toolchain.timing.guest import guest_command, guest_environment, link_files
from toolchain.timing.qemu_plugin import compiled_plugin

# runtime_patch/qemu_plugin/count_instructions.c
_MARK = re.compile(r"^mark (\d+) ([\d,]*)", re.M)
_RUN_BEGIN, _RUN_END = "1", "2"


class WorkerFacts(BaseModel):
    """What the worker tells of the board that it believes to be on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    failed: bool
    cores: PositiveInt
    fp16: bool
    l2: int | None
    """Bytes that ncnn sizes its tiles by; none in versions that do not tell."""


class Counted(BaseModel):
    """One run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    threads: list[int]
    """Instructions of each thread; the first one makes the marks."""
    facts: WorkerFacts


def count(
    program: NcnnProgram,
    board: str,
    *,
    only_cached: bool = False,
    progress: Progress | None = None,
) -> Counted | None:
    """Count one run; kept in the cache.

    Args:
        program: which.
        board: the board's file.
        only_cached: do not run it.
        progress: where downloads are announced.

    Returns:
        None where it is not in the cache and ``only_cached`` is given.

    Raises:
        BoardError: it failed.
        SourceError: the program cannot be had.
    """
    plugin = compiled_plugin("count_instructions")
    key = digest("row count 2", program.key, plugin.parent.name)

    def fill(folder: Path) -> None:
        with temporary_folder() as work:
            counted = _count(program, board, plugin, work, progress)
        (folder / "count.json").write_text(counted.model_dump_json())

    if only_cached and present("row-counts", key) is None:
        return None
    kept = entry("row-counts", key, fill) / "count.json"
    return parse_json(Counted, kept.read_bytes(), BoardError, f"{kept} cannot be read")


def _count(
    program: NcnnProgram, board: str, plugin: Path, work: Path, progress: Progress | None
) -> Counted:
    ready = guest(program, progress=progress)
    counts, root = work / "counts", work / "root"
    root.mkdir()
    link_files(root, ready.links)
    command = [
        *guest_command(program.core, known_caches(load_board(board)), root, ready.libraries),
        *("-d", "plugin", "-D", str(work / "log"), "-plugin", f"{plugin},out={counts}"),
        *map(str, ready.command),
    ]
    environment = guest_environment(ready.environment)
    done = children.run(command, limit=children.WORK_S, fault=BoardError, env=environment)
    facts = worker_facts(program, done.returncode, done.stdout, done.stderr)
    return Counted(threads=run_threads(counts.read_text()), facts=facts)


def worker_facts(program: NcnnProgram, code: int, said: str, complained: str) -> WorkerFacts:
    """What the worker told.

    Raises:
        BoardError: it failed.
    """
    name = program.param.name
    if code:
        lines = (complained or said).strip().splitlines() or ["no reason given"]
        raise BoardError(f"{program.requirement} with {name} failed under QEMU: {lines[-1]}")
    facts = parse_json(WorkerFacts, said.encode(), BoardError, f"{name}: the worker's facts")
    if facts.failed:
        raise BoardError(f"{program.requirement} could not run {name}")
    return facts


def run_threads(text: str) -> list[int]:
    """Instructions of each thread in the last marked run.

    Raises:
        BoardError: no run was marked, or the plugin did not finish.
    """
    if not text.endswith("\nend\n"):
        raise BoardError("QEMU's plugin did not finish its counts: was the emulator stopped?")
    total: list[int] = []
    running = False
    for kind, threads in _MARK.findall(text):
        if kind == _RUN_BEGIN:
            total, running = [], True
        elif running:
            counts = [int(count) for count in threads.split(",") if count]
            longer = max(len(total), len(counts))
            total += [0] * (longer - len(total))
            counts += [0] * (longer - len(counts))
            total = [a + b for a, b in zip(total, counts, strict=True)]
            running = kind != _RUN_END
    if running or not total:
        raise BoardError("no run was marked")
    return total
