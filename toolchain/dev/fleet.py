"""``python -m toolchain.dev.fleet MODELS...``: many boards at once beside one.

Emulated boards are booted, and one of them is killed. ``deploy push`` and ``deploy verify`` then go
to one that lives, and to all of them at once, in turns. Each time the boards hold nothing of ours
before. What is compared is the time of the two commands, from the shell and back to it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from toolchain import console
from toolchain.board import emulator
from toolchain.board.connect import connect
from toolchain.children import WORK_S, run
from toolchain.dev.reference.tables import table
from toolchain.dev.results_page import Part, write_results
from toolchain.errors import BoardError, EmulatorError
from toolchain.hardware import inventory
from toolchain.hardware.board_file import Board, load_board
from toolchain.progress import Lines
from toolchain.storage.scratch import temporary_folder

NAME = "many-boards"
LIMIT = 1.5
"""How many times as long as one board all may take."""


class Trial(Part):
    """Push and verify, once."""

    push_s: float
    verify_s: float
    processor_s: float
    """Processor time of both, on all cores: of the emulated boards and of the commands."""

    @property
    def seconds(self) -> float:
        """Of both."""
        return self.push_s + self.verify_s


class Row(Part):
    """So many boards at once."""

    boards: int
    """Of which one is dead."""
    one: list[Trial]
    """Of one board, while the others are idle."""
    all: list[Trial]

    @property
    def ratio(self) -> float:
        """The median of all, over that of one."""
        return median(t.seconds for t in self.all) / median(t.seconds for t in self.one)


class Result(Part):
    """The document."""

    created: datetime
    tool: str
    cores: int
    """Of the machine that played the boards and ran the commands."""
    memory_mib: int
    """Of each board."""
    models: list[str]
    bytes: int
    """Of the models."""
    rows: list[Row]


def measure(
    counts: Sequence[int], models: Sequence[Path], *, tries: int, memory_mib: int
) -> list[Row]:
    """Measure numbers of boards, one after the other.

    Args:
        counts: numbers of boards, with the dead one.
        models: files.
        tries: of each.
        memory_mib: of each board.

    Raises:
        EmulatorError: a board does not boot.
        BoardError: a command did something else than it was to.
    """
    rows = []
    with temporary_folder() as folder:
        for count in counts:
            with _booted(folder, count, memory_mib) as boards:
                print(f"{count} boards run; one is killed", flush=True)
                _kill(boards[-1])
                one, every = [], []
                for number in range(tries):
                    one.append(_trial(boards[:1], boards[0].name, models))
                    every.append(_trial(boards, inventory.ALL, models))
                    print(
                        f"{count} boards, {number + 1} of {tries}: one {one[-1].seconds:.1f} s, "
                        f"all {every[-1].seconds:.1f} s",
                        flush=True,
                    )
                rows.append(Row(boards=count, one=one, all=every))
    return rows


@contextmanager
def _booted(folder: Path, count: int, memory_mib: int) -> Iterator[list[Board]]:
    """Emulated boards of an inventory of their own, which ``deploy`` finds; all run."""
    path = folder / "boards.toml"
    names = [f"fleet-{os.getpid()}-{number}" for number in range(1, count + 1)]
    path.write_text(
        "".join(
            f'[{name}]\nlike = "qemu"\nemulator = {{ memory_mib = {memory_mib} }}\n'
            for name in names
        )
    )
    before = os.environ.get(inventory.ENVIRONMENT)
    os.environ[inventory.ENVIRONMENT] = str(path)
    boards = [load_board(name) for name in names]
    try:
        for board in boards:
            emulator.start(board, Lines())
        yield boards
    finally:
        for board in boards:
            emulator.stop(board, Lines())
        del os.environ[inventory.ENVIRONMENT]
        if before is not None:
            os.environ[inventory.ENVIRONMENT] = before


def _kill(board: Board) -> None:
    state = emulator.status(board)
    if state is None:
        raise EmulatorError(f"the emulated board '{board.name}' has ended by itself")
    os.kill(state.pid, signal.SIGKILL)
    while state.alive:
        time.sleep(0.1)


def _trial(boards: Sequence[Board], word: str, models: Sequence[Path]) -> Trial:
    """Push and verify, on boards that hold nothing of ours."""
    for board in boards:
        if emulator.status(board) is not None:
            with connect(board) as connection:
                connection.remove(board.ssh.directory)
    before = _processor_s(boards)
    push_s, pushed = _deploy("push", word, models)
    verify_s, verified = _deploy("verify", word, models)
    processor_s = _processor_s(boards) - before
    if len(boards) > 1:
        for found in (pushed, verified):
            _require_one_dead(found["boards"], dead=boards[-1].name)
    return Trial(push_s=push_s, verify_s=verify_s, processor_s=processor_s)


def _processor_s(boards: Sequence[Board]) -> float:
    """What the emulators of boards that live, and the commands until now, have taken."""
    commands = resource.getrusage(resource.RUSAGE_CHILDREN)
    ticks = 0
    for board in boards:
        if state := emulator.status(board):
            # After the name, which may have anything in it, the 12th and 13th field: proc(5).
            fields = Path(f"/proc/{state.pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return commands.ru_utime + commands.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


def _deploy(command: str, word: str, models: Sequence[Path]) -> tuple[float, Any]:
    """Seconds that a command took, and what it printed."""
    line = [sys.executable, "deploy.py", command, "--board", word, *map(str, models), "--json"]
    begin = time.monotonic()
    done = run(line, limit=WORK_S, fault=BoardError)
    seconds = time.monotonic() - begin
    expected = EmulatorError.exit_code if word == inventory.ALL else 0
    if done.returncode != expected:
        raise BoardError(f"deploy {command} --board {word}: {done.returncode}: {done.stderr}")
    return seconds, json.loads(done.stdout)


def _require_one_dead(found: Sequence[Any], *, dead: str) -> None:
    """Make sure that all boards but the dead one did what they were to."""
    for one in found:
        if (one["error"] is not None) != (one["name"] == dead):
            raise BoardError(f"{one['name']}: {one['error']}")


def page(results: Result) -> str:
    """The page, in Markdown."""
    rows = [
        (
            str(row.boards),
            *(
                f"{median(getattr(trial, part) for trial in trials):.1f}"
                for trials in (row.one, row.all)
                for part in ("push_s", "verify_s", "seconds", "processor_s")
            ),
            f"{row.ratio:.2f}",
        )
        for row in results.rows
    ]
    return "\n".join(
        [
            "# Many boards at once",
            "",
            f"Written by `python -m toolchain.dev.fleet` on {results.created:%Y-%m-%d}. Emulated "
            "boards, one of which is killed before. `deploy push` and then `deploy verify` go to "
            "one that lives, and to all of them at once. Before each time the boards hold nothing "
            f"of ours. Models: {', '.join(f'`{name}`' for name in results.models)}, "
            f"{results.bytes / 1e6:.1f} MB.",
            "",
            table(
                ("boards", "one: push, s", "verify, s", "both, s", "processor, s",
                 "all: push, s", "verify, s", "both, s", "processor, s", "all over one"),
                rows,
            ),
            "",
            f"Medians of {len(results.rows[0].one)}. The dead board is among the boards; it is "
            "told, and the others are done.",
            "",
            f"All boards are QEMU on one machine of {results.cores} cores, with "
            f"{results.memory_mib} MiB each, and a board keeps a core busy nearly all the time. "
            "Where more of them live than there are cores they wait for cores, which real boards "
            "do not. Processor time tells: divided by the number of cores it is the least that "
            "this machine can take. "
            + " ".join(
                f"For {row.boards} boards that is {least:.1f} s of {whole:.1f} s."
                for row in results.rows
                for least in [median(it.processor_s for it in row.all) / results.cores]
                for whole in [median(it.seconds for it in row.all)]
            ),
            "",
        ]
    )  # fmt: skip


@console.telling
def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and run; returns the exit code."""
    import toolchain

    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(
        prog="python -m toolchain.dev.fleet", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("models", type=Path, nargs="+", help=".tflite files")
    parser.add_argument(
        "--boards", type=int, nargs="+", default=sorted({cores + 1, 8}), metavar="N",
        help="how many, with the dead one [one more than there are cores, and 8]",
    )  # fmt: skip
    parser.add_argument("--tries", type=int, default=3, help="of each [3]")
    parser.add_argument("--memory", type=int, default=512, metavar="MIB", help="a board [512]")
    parser.add_argument(
        "--out", type=Path, default=Path("docs/explanation"), help="[docs/explanation]"
    )
    options = parser.parse_args(arguments)
    results = Result(
        created=datetime.now(UTC),
        tool=toolchain.__version__,
        cores=cores,
        memory_mib=options.memory,
        models=[path.name for path in options.models],
        bytes=sum(path.stat().st_size for path in options.models),
        rows=measure(
            options.boards, options.models, tries=options.tries, memory_mib=options.memory
        ),
    )
    for path in write_results(NAME, page(results), results, options.out):
        print(path)
    for row in results.rows:
        verdict = "within" if row.ratio <= LIMIT else "past"
        print(f"{row.boards} boards: {row.ratio:.2f} times one, {verdict} {LIMIT:g}")
    return 0


if __name__ == "__main__":
    console.run(lambda: sys.exit(main()))
