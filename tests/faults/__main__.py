"""``python -m faults``: injects every fault, and tells which were borne.

Each fault is tried in a process of its own, with a limit to each try: a hang is a failure, too.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from faults import bad_boards, board, files, pushes, reboots, runtime, transport, two_users
from faults.fault import Fault
from faults.injection import injected, work
from toolchain.foreign_text import harmless
from toolchain.storage.files import write_whole

FAULTS: tuple[Fault, ...] = tuple(
    sorted(
        (
            *files.FAULTS,
            *runtime.FAULTS,
            *board.FAULTS,
            *transport.FAULTS,
            *bad_boards.FAULTS,
            *pushes.FAULTS,
            *reboots.FAULTS,
            *two_users.FAULTS,
        ),
        key=lambda fault: fault.line,
    )
)
_HERE = Path(__file__).parent
_UNTRIED = "untried"
_WORDS = {"any": "each", "some": "some", _UNTRIED: "-"}


@dataclass(frozen=True)
class Outcome:
    """What became of the tries of one fault."""

    fault: str
    line: int
    tries: int
    tries_before: int | str
    failures_before: int | str
    """Of the tree on which the fault was found; in words where they were not counted."""
    failures: list[str]
    test: str


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("--only", action="append", help="part of a fault's name; may be repeated")
    parser.add_argument("--cheap", action="store_true", help="those alone that take seconds")
    parser.add_argument("--tries", type=int, help="at most so many of each")
    parser.add_argument("--jobs", type=int, default=1, help="so many faults at once")
    parser.add_argument("--json", action="store_true", help="print a JSON document")
    parser.add_argument(
        "--page",
        type=Path,
        help="write a page of Markdown, too, and beside it what it is made from, as JSON; rows of "
        "faults that are not tried now stay",
    )
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(next(each for each in FAULTS if each.name == options.worker), options.tries)
        return 0
    chosen = [
        each
        for each in FAULTS
        if (each.cheap or not options.cheap)
        and (not options.only or any(part in each.name for part in options.only))
    ]
    before = json.loads((_HERE / "before.json").read_bytes())

    def outcome_of(fault: Fault) -> Outcome:
        tries, begun = min(fault.tries, options.tries or fault.tries), time.monotonic()
        failures = injected(fault, tries)
        took = time.monotonic() - begun
        print(
            f"{fault.name}: {len(failures)} of {tries}, {took:.0f} s", file=sys.stderr, flush=True
        )
        tried, failed = before.get(fault.name, (_UNTRIED, _UNTRIED))
        return Outcome(fault.name, fault.line, tries, tried, failed, failures, fault.test)

    # Each is tried in a process of its own, and most of them wait for most of their time.
    with ThreadPoolExecutor(options.jobs) as pool:
        found = list(pool.map(outcome_of, chosen))
    if options.json:
        print(json.dumps([asdict(each) for each in found], indent=1))
    else:
        Console().print(_table(found))
        for outcome in found:
            for said in outcome.failures:
                print(f"{outcome.fault}: {harmless(said)}")
    if options.page:
        _write(options.page, found)
    return 1 if any(each.failures for each in found) else 0


def _write(path: Path, found: list[Outcome]) -> None:
    document = path.with_suffix(".json")
    rows = {each.fault: each for each in found}
    if document.is_file():
        kept = [Outcome(**row) for row in json.loads(document.read_bytes())]
        rows = {each.fault: each for each in kept} | rows
    shown = [rows[each.name] for each in FAULTS if each.name in rows]
    text = json.dumps([asdict(each) for each in shown], indent=1)
    write_whole(document, text.encode() + b"\n")
    write_whole(path, page(shown).encode())


def _cells(outcome: Outcome) -> tuple[str, ...]:
    before = outcome.failures_before
    told = f"{before} of {outcome.tries_before}" if isinstance(before, int) else _WORDS[before]
    return (
        str(outcome.line), outcome.fault, str(outcome.tries), told, str(len(outcome.failures)),
        f"tests/{outcome.test}" if outcome.test else "make faults",
    )  # fmt: skip


_HEADINGS = ("kind", "fault", "tries", "failures before", "failures", "held by")


def _table(found: list[Outcome]) -> Table:
    table = Table(*_HEADINGS)
    for outcome in found:
        table.add_row(*_cells(outcome), style="red" if outcome.failures else None)
    return table


def page(found: list[Outcome]) -> str:
    """The table as Markdown."""
    # What earlier versions did is of interest to who mends, not to who reads.
    old = _HEADINGS.index("failures before")
    kept = [row[:old] + row[old + 1 :] for row in (_HEADINGS, ("---",) * 6, *map(_cells, found))]
    rows = ["| " + " | ".join(row) + " |" for row in kept]
    return "\n".join(
        [
            "# Injected faults",
            "",
            "`make faults` injects each of these faults so many times, and writes this page.",
            "A hang, a traceback, a file that is left or lost, and code that runs are failures.",
            "",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
