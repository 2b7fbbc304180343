"""How long work shows on the terminal what it is doing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from toolchain.console import err
from toolchain.progress import Lines, Progress, Silent, Stage

if TYPE_CHECKING:  # help draws no bar
    import rich.progress

_LINE_EACH_S = 30
_drawn: list[rich.progress.Progress] = []
"""The bars that are on the terminal now."""


def progress(*, quiet: bool = False) -> Progress:
    """Bars on standard error.

    Args:
        quiet: nothing at all, instead: a program reads what the command prints.
    """
    return Silent() if quiet else TerminalProgress()


def progress_of_hours(*, quiet: bool = False) -> Progress:
    """As :func:`progress`; a log gets lines meanwhile, not one at the end of each stage."""
    return progress(quiet=quiet) if quiet or err.is_terminal else Lines(interval_s=_LINE_EACH_S)


@contextmanager
def paused() -> Iterator[None]:
    """While entered, bars leave the terminal to whoever asks something there."""
    stopped = list(_drawn)
    for bars in stopped:
        bars.live.transient = True
        bars.stop()
    try:
        yield
    finally:
        for bars in stopped:
            bars.live.transient = False
            bars.start()


class TerminalProgress:
    """Progress bars on a terminal; elsewhere a line at each stage's end."""

    @contextmanager
    def stage(self, title: str, total: float | None = None) -> Iterator[Stage]:
        """Show one bar until the stage ends."""
        import rich.progress

        with rich.progress.Progress(
            rich.progress.TextColumn("{task.description}", markup=False),
            rich.progress.BarColumn(),
            rich.progress.TaskProgressColumn(),
            rich.progress.TimeElapsedColumn(),
            rich.progress.TextColumn("{task.fields[detail]}", style="dim", markup=False),
            console=err,
        ) as bars:
            _drawn.append(bars)
            try:
                yield _Bar(bars, bars.add_task(title, total=total, detail=""))
            finally:
                _drawn.remove(bars)

    def note(self, message: str) -> None:
        """Print one line on standard error."""
        err.print(message, highlight=False, markup=False)


class _Bar:
    def __init__(self, bars: rich.progress.Progress, task: rich.progress.TaskID) -> None:
        self._bars, self._task = bars, task

    def advance(self, steps: float = 1, detail: str | None = None) -> None:
        self._bars.advance(self._task, steps)
        if detail is not None:
            self._bars.update(self._task, detail=detail)

    def total(self, steps: float) -> None:
        self._bars.update(self._task, total=steps)
