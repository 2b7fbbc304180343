"""``python -m mutation [ROOM ...]``: which changes of the code the unit tests of its room notice.

A room is a folder of toolchain/, and its tests are those of tests/unit/ROOM alone. It is copied to
build/mutation/ROOM, where mutmut makes the mutants and runs the tests that reach each.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from mutmut.stats import status_by_exit_code
from rich.console import Console
from rich.table import Table

from mutation.sample import Mutant, mutants, sample

ROOMS = ("profile", "board", "fetch", "tflite_file", "sparsity")
_ROOT = Path(__file__).parents[2]
_KILLED = ("killed", "segfault", "suspicious")
_NOTICED = (*_KILLED, "timeout")
"""A test that never ends is noticed; on a busy machine it may have been slow."""
_STEP = 1000
"""Mutants that one run of mutmut is given; a run that is stopped keeps those before."""


@dataclass(frozen=True)
class Outcome:
    """What became of one mutant."""

    mutant: str
    module: str
    status: str
    """mutmut's word: ``killed``, ``survived``, ``timeout``, ``no tests`` ..."""
    change: str


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m mutation", description=__doc__)
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help=f"of {', '.join(ROOMS)}: all")
    parser.add_argument("--count", type=int, default=150, help="mutants of a room, at most: 150")
    parser.add_argument("--seed", type=int, default=12, help="of the sample: 12")
    parser.add_argument("--jobs", type=int, default=1, help="processes: 1")
    parser.add_argument(
        "--again",
        type=Path,
        metavar="FILE",
        help="an outcomes.json: the mutants that survived there, and no others",
    )
    options = parser.parse_args()
    outcomes: list[Outcome] = []
    for room in options.rooms or ROOMS:
        tree = _ROOT / "build" / "mutation" / room
        _lay_out(tree, room)
        with _inside(tree):
            every = [m for path in _modules(room) for m in mutants(path)]
            chosen = sample(every, options.count, options.seed)
            if options.again:
                chosen = _survivors(options.again, every)
            print(f"{room}: {len(chosen)} of {len(every)} mutants", flush=True)
            for first in range(0, len(chosen), _STEP):
                _run(tree, chosen[first : first + _STEP], options.jobs)
                found = _outcomes(chosen[: first + _STEP])
                text = json.dumps([asdict(one) for one in found], indent=1)
                (tree / "outcomes.json").write_text(text + "\n", encoding="utf-8")
                done = sum(one.status in _NOTICED for one in found)
                print(f"{room}: {done} of {len(found)} killed", flush=True)
            outcomes += _outcomes(chosen)
    for one in outcomes:
        if one.status != "killed":
            print(f"{one.mutant}: {one.status}\n{one.change}\n")
    Console().print(_table(outcomes))
    return 0


def _lay_out(tree: Path, room: str) -> None:
    """A copy of the files that git knows, with a configuration for mutmut."""
    shutil.rmtree(tree, ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607 - the git that is there
        cwd=_ROOT,
        check=True,
        capture_output=True,
    )
    names = [name for name in listed.stdout.decode().split("\0") if (_ROOT / name).is_file()]
    for name in names:
        target = tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(_ROOT / name, target)
    others = sorted({Path(name).parts[0] for name in names} - {"toolchain", "tests"})
    lists = {
        "source_paths": ["toolchain"],
        "only_mutate": [f"toolchain/{room}/*"],
        "also_copy": others,
        "pytest_add_cli_args": ["-p", "no:cacheprovider"],
        "pytest_add_cli_args_test_selection": [f"tests/unit/{room}"],
    }
    lines = [f"{key} =\n    " + "\n    ".join(values) for key, values in lists.items()]
    # Tests that use torch's threads cannot be forked from; a server that has run none can.
    lines += ["process_isolation = forkserver", "use_git_change_detection = false"]
    lines += ["track_dependencies = false", "timeout_constant = 10.0"]
    (tree / "setup.cfg").write_text("[mutmut]\n" + "\n".join(lines) + "\n", encoding="utf-8")


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """In a folder: mutmut takes its configuration and files from the working directory."""
    from mutmut.configuration import reset_config

    before = Path.cwd()
    os.chdir(folder)
    reset_config()
    try:
        yield
    finally:
        os.chdir(before)


def _modules(room: str) -> list[Path]:
    return sorted(Path("toolchain", room).glob("*.py"))


def _run(tree: Path, chosen: Sequence[Mutant], jobs: int) -> None:
    """Have mutmut run the tests on these; a user's own files are out of their reach."""
    home = tree / "home"
    home.mkdir(exist_ok=True)
    environment = {**os.environ, "HOME": str(home), "OMP_NUM_THREADS": "1"}
    program = str(Path(sys.executable).with_name("mutmut"))
    with (tree / "log").open("ab") as log:
        subprocess.run(
            [program, "run", "--max-children", str(jobs), *(one.name for one in chosen)],
            cwd=tree,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=True,
        )


def _survivors(before: Path, every: Sequence[Mutant]) -> list[Mutant]:
    """Mutants that make a change which was not noticed; names shift when code changes."""
    rows = [Outcome(**row) for row in json.loads(before.read_bytes())]
    wanted = {(row.module, row.mutant) for row in rows if row.status != "killed"}
    return [one for one in every if (one.module, one.name) in wanted]


def _outcomes(chosen: Sequence[Mutant]) -> list[Outcome]:
    codes: dict[str, int | None] = {}
    for module in {one.module for one in chosen}:
        document = json.loads(Path("mutants", f"{module}.meta").read_bytes())
        codes |= document["exit_code_by_key"]
    return [
        Outcome(one.name, one.module, status_by_exit_code[codes[one.name]], one.change)
        for one in chosen
    ]


def _table(outcomes: Sequence[Outcome]) -> Table:
    table = Table("module", "mutants", "killed", "timed out", "survived", "not reached")
    for module in sorted({one.module for one in outcomes}):
        table.add_row(*_row(module, [one for one in outcomes if one.module == module]))
    table.add_section()
    table.add_row(*_row("all", outcomes))
    return table


def _row(name: str, outcomes: Sequence[Outcome]) -> list[str]:
    counts = Counter(one.status for one in outcomes)
    killed = sum(counts[status] for status in _KILLED)
    others = (counts[status] for status in ("timeout", "survived", "no tests"))
    return [name, *map(str, (len(outcomes), killed, *others))]


if __name__ == "__main__":
    sys.exit(main())
