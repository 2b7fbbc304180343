"""How far many boards are: a live table on a terminal, lines elsewhere."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from toolchain.console import err, messages_apart
from toolchain.progress import Progress, Stage, Told

if TYPE_CHECKING:
    from toolchain.operations.fleet import Audience, Task

_LINE_EACH_S = 30
_BAR = 20
"""Columns of a bar."""
_REFRESH = 8
"""Times a second that the table is drawn anew."""


@contextmanager
def audience(names: Sequence[str]) -> Iterator[Audience]:
    """Show how far boards are on standard error while entered.

    Args:
        names: of the boards, in order.
    """
    with messages_apart():
        if not err.is_terminal:
            yield _LinesOfBoards()
            return
        from rich.live import Live

        table = _LiveTable(names)
        with Live(get_renderable=table.draw, console=err, refresh_per_second=_REFRESH):
            yield table


# --- lines -----------------------------------------------------------------------------------


class _LinesOfBoards:
    """Plain lines, each with its board's name."""

    def progress(self, name: str) -> Progress:
        return Told(functools.partial(_tell, name), _LINE_EACH_S)

    def begun(self, name: str) -> None:
        """Its first stage says so."""

    def ended(self, task: Task[Any]) -> None:
        from toolchain.report.fleet_table import end_cell

        took = "" if task.seconds is None else f" after {_seconds(task.seconds)}"
        _tell(task.name, f"{end_cell(task)}{took}{_why(task)}")

    def ending(self) -> None:
        err.print("ending what runs on the boards", highlight=False, markup=False)


def _why(task: Task[Any]) -> str:
    """What is wrong with a board, in a line that begins with a colon; nothing if nothing is."""
    from toolchain.errors import DeployError

    if not isinstance(task.error, DeployError):
        return ""
    return f": {task.error.what.splitlines()[0].removeprefix(f'{task.name}: ')}"


def _tell(name: str, message: str) -> None:
    from toolchain.operations.fleet import named

    err.print(named(name, message), highlight=False, markup=False, soft_wrap=True)


# --- the live table --------------------------------------------------------------------------


@dataclass
class _Row:
    """One board."""

    name: str
    phase: str = "waits"
    detail: str = ""
    done: float = 0.0
    total: float | None = None
    begin: float | None = None
    """When its work began, by the monotonic clock."""
    seconds: float | None = None
    result: Text | None = None

    def cells(self) -> tuple[Any, ...]:
        from rich.progress_bar import ProgressBar

        took = self.seconds
        if took is None and self.begin is not None:
            took = time.monotonic() - self.begin
        share = min(1.0, self.done / self.total) if self.total else 0.0
        over = self.result is not None
        bar = ProgressBar(total=1.0, completed=share, width=_BAR) if self.total else Text()
        return (
            Text(self.name),
            Text("" if over else self.phase),
            Text() if over else bar,
            Text("" if over or not self.total else f"{share:.0%}"),
            Text("" if took is None else _seconds(took)),
            self.result or Text(self.detail, style="dim", no_wrap=True, overflow="ellipsis"),
        )


class _LiveTable:
    """A line a board."""

    def __init__(self, names: Sequence[str]) -> None:
        self._rows = {name: _Row(name) for name in names}
        self._ending = False

    def draw(self) -> Table:
        """The table as it is now."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("board", "phase", "progress"):
            table.add_column(heading, no_wrap=True)
        table.add_column("", justify="right", no_wrap=True)
        table.add_column("time", justify="right", no_wrap=True)
        # The only column that may be narrower than its text: rich shortens no other then.
        table.add_column("ending ..." if self._ending else "result")
        for row in self._rows.values():
            table.add_row(*row.cells())
        return table

    def progress(self, name: str) -> Progress:
        return _RowProgress(self._rows[name])

    def begun(self, name: str) -> None:
        row = self._rows[name]
        row.phase, row.begin = "begins", time.monotonic()

    def ended(self, task: Task[Any]) -> None:
        from toolchain.report.fleet_table import end_cell

        row = self._rows[task.name]
        result = end_cell(task).append(_why(task))
        result.no_wrap, result.overflow = True, "ellipsis"
        row.seconds, row.result = task.seconds, result

    def ending(self) -> None:
        self._ending = True


class _RowProgress:
    """Shows one board's stages in its row."""

    def __init__(self, row: _Row) -> None:
        self._row = row

    @contextmanager
    def stage(self, title: str, total: float | None = None) -> Iterator[Stage]:
        row = self._row
        before = row.phase, row.done, row.total
        row.phase, row.detail, row.done, row.total = title, "", 0.0, total
        yield _RowStage(row)
        (row.phase, row.done, row.total), row.detail = before, ""

    def note(self, message: str) -> None:
        _tell(self._row.name, message)


class _RowStage:
    def __init__(self, row: _Row) -> None:
        self._row = row

    def advance(self, steps: float = 1, detail: str | None = None) -> None:
        self._row.done += steps
        if detail is not None:
            self._row.detail = detail

    def total(self, steps: float) -> None:
        self._row.total = steps


def _seconds(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 60}:{whole % 60:02d}" if whole >= 60 else f"{seconds:.1f} s"
