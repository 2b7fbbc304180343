"""Progress of a process that nobody watches, told by another one: lines of JSON in a file."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from toolchain.progress import Progress, Stage

_EVERY_S = 0.2


class Sender:
    """A :class:`toolchain.progress.Progress` that writes what happens.

    Args:
        path: of the file; an earlier process may have written there.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._stages = 0
        self.tell(anew=True)

    @contextmanager
    def stage(self, title: str, total: float | None = None) -> Iterator[Stage]:
        """See :class:`toolchain.progress.Progress`."""
        self._stages += 1
        number = self._stages
        self.tell(begin=number, title=title, total=total)
        stage = _SentStage(self, number)
        try:
            yield stage
        finally:
            stage.flush()
            self.tell(end=number)

    def note(self, message: str) -> None:
        """See :class:`toolchain.progress.Progress`."""
        self.tell(note=message)

    def tell(self, **said: Any) -> None:
        """Write one line; progress is not worth a fault."""
        with suppress(OSError):
            self._file.write(json.dumps(said) + "\n")
            self._file.flush()


class _SentStage:
    def __init__(self, sender: Sender, number: int) -> None:
        self._sender, self._number = sender, number
        self._steps, self._detail, self._last = 0.0, "", 0.0

    def advance(self, steps: float = 1, detail: str | None = None) -> None:
        self._steps += steps
        self._detail = self._detail if detail is None else detail
        if time.monotonic() - self._last >= _EVERY_S:
            self.flush()

    def total(self, steps: float) -> None:
        self._sender.tell(stage=self._number, total=steps)

    def flush(self) -> None:
        if self._steps or self._detail:
            said = self._detail or None
            self._sender.tell(stage=self._number, advance=self._steps, detail=said)
        self._steps, self._detail, self._last = 0.0, "", time.monotonic()


class Relay:
    """Shows what a :class:`Sender` writes; a context manager.

    Args:
        path: of the file, which may come later.
        progress: where it is shown.
    """

    def __init__(self, path: Path, progress: Progress) -> None:
        self._path, self._progress = path, progress
        self._offset = 0
        self._open: dict[int, tuple[ExitStack, Stage]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close_all()

    def look(self) -> None:
        """Show what is new."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                whole, newline, _ = file.read().rpartition(b"\n")
        except OSError:
            return
        self._offset += len(whole) + len(newline)
        for line in whole.splitlines():
            self._show(json.loads(line))

    def _show(self, said: dict[str, Any]) -> None:
        if "anew" in said:
            self._close_all()
        elif "note" in said:
            self._progress.note(said["note"])
        elif "begin" in said:
            stack = ExitStack()
            stage = stack.enter_context(self._progress.stage(said["title"], said["total"]))
            self._open[said["begin"]] = (stack, stage)
        elif "end" in said:
            if opened := self._open.pop(said["end"], None):
                opened[0].close()
        elif opened := self._open.get(said["stage"]):
            if "total" in said:
                opened[1].total(said["total"])
            else:
                opened[1].advance(said["advance"], said["detail"])

    def _close_all(self) -> None:
        for stack, _ in reversed(self._open.values()):
            stack.close()
        self._open.clear()
