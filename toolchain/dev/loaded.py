"""``python -m toolchain.dev.loaded``: ``make test`` beside busy loops, again and again.

A test that is right only where nobody else computes fails here. The page keeps the runs before,
those of earlier commits too, and says how many of the last ones were green in a row.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from toolchain import children, console
from toolchain.dev.bench.threads import busy_processes
from toolchain.dev.checkout import git
from toolchain.dev.reference.tables import table
from toolchain.dev.results_page import Part, read_results, write_results
from toolchain.errors import BuildError

NAME = "loaded-runs"
_LIMIT_S = 6 * 3600.0


class Run(Part):
    """The tests, once."""

    began: datetime
    commit: str
    """The first 12 digits."""
    loops: int
    """Programs that computed beside it, without end."""
    cores: int
    seconds: float
    exit_code: int


class Result(Part):
    """The document."""

    runs: list[Run]
    """The oldest first."""


def green_in_a_row(runs: Sequence[Run], loops: int = 0) -> int:
    """How many of the last runs were green, of those beside at least so many loops."""
    count = 0
    for run in reversed([run for run in runs if run.loops >= loops]):
        if run.exit_code:
            break
        count += 1
    return count


def beside_loops(command: Sequence[str], loops: int) -> Run:
    """Run a command beside busy loops; what it says goes where our output goes.

    Raises:
        BuildError: the tree differs from its commit, or the command did not end.
    """
    commit = _commit()
    began, start = datetime.now(UTC), time.monotonic()
    with busy_processes(loops):
        process = subprocess.Popen(list(command), process_group=0)
        try:
            code = children.wait(process, _LIMIT_S)
        except subprocess.TimeoutExpired as error:
            raise children.time_up(command[0], _LIMIT_S, BuildError) from error
        finally:
            children.end_group(process, grace=30)
    return Run(
        began=began, commit=commit, loops=loops, cores=len(os.sched_getaffinity(0)),
        seconds=time.monotonic() - start, exit_code=code,
    )  # fmt: skip


def _commit() -> str:
    # The page of the runs before is no part of what is tested.
    others = ("--", ".", f":(exclude,glob)**/{NAME}.*")
    here = Path()
    if git(here, "status", "--porcelain", "--untracked-files=no", *others):
        raise BuildError("the tree differs from its commit", hint="commit, then run it again")
    return git(here, "rev-parse", "--short=12", "HEAD").strip()


def page(result: Result) -> str:
    """The page, in Markdown."""
    last = result.runs[-1]
    rows = [
        (
            f"{run.began:%Y-%m-%d %H:%M}", f"`{run.commit}`", str(run.loops), str(run.cores),
            f"{run.seconds / 60:.0f}", "failed" if run.exit_code else "green",
        )
        for run in result.runs
    ]  # fmt: skip
    return "\n".join(
        [
            "# The tests on a busy machine",
            "",
            "Written by `python -m toolchain.dev.loaded`. `make test` runs beside programs that "
            f"compute without end. Beside {last.loops} or more of them the last "
            f"{green_in_a_row(result.runs, last.loops)} runs were green.",
            "",
            table(("began", "commit", "busy loops", "cores", "minutes", "tests"), rows),
            "",
        ]
    )


@console.telling
def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and run; returns the exit code: 1 if a run failed."""
    parser = argparse.ArgumentParser(
        prog="python -m toolchain.dev.loaded", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--loops", type=int, default=4, help="busy programs beside it [4]")
    parser.add_argument("--runs", type=int, default=1, help="so many, one after the other [1]")
    parser.add_argument("--command", default="make test", help="[make test]")
    parser.add_argument(
        "--out", type=Path, default=Path("docs/development"), help="[docs/development]"
    )
    options = parser.parse_args(arguments)
    command = shlex.split(options.command)
    failed = False
    for _ in range(options.runs):
        run = beside_loops(command, options.loops)
        kept = options.out / f"{NAME}.json"
        before = read_results(Result, kept, BuildError).runs if kept.is_file() else []
        result = Result(runs=[*before, run])
        write_results(NAME, page(result), result, options.out)
        failed = failed or run.exit_code != 0
        print(
            f"{'failed' if run.exit_code else 'green'} after {run.seconds / 60:.0f} min, "
            f"{green_in_a_row(result.runs, options.loops)} in a row"
        )
    return 1 if failed else 0


if __name__ == "__main__":
    console.run(lambda: sys.exit(main()))
