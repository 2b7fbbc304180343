"""One bad model among several: the others go on, and the error at the end names the bad one.

What was done before something ended the work, be it a lost connection or Ctrl-C, is not lost
either: it is shown, and then the error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from toolchain.errors import BoardError, DataError, DeployError, ModelError, VerificationError

_OF_ONE = (BoardError, DataError, ModelError, VerificationError)
"""What is the fault of one item, or of the board with it; all else ends the work."""


class Failures:
    """What went wrong so far."""

    def __init__(self) -> None:
        self.items: list[tuple[str, DeployError]] = []
        """Name and error, in the order of work."""
        self.stopped: BaseException | None = None
        """What ended the work before its end."""

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Work on one of several items; its own fault ends this work alone."""
        try:
            yield
        except _OF_ONE as error:
            self.items.append((name, error))

    @contextmanager
    def of_output(self, path: object) -> Iterator[None]:
        """Write one of several results; those that were measured are shown whether it is or not."""
        try:
            yield
        except DeployError as error:
            self.items.append((str(path), error))

    @contextmanager
    def kept(self) -> Iterator[None]:
        """All of the work; whatever ends it is raised by :meth:`require`, after the results."""
        try:
            yield
        except BaseException as error:
            self.stopped = error

    def rows(self) -> list[dict[str, str]]:
        """For JSON."""
        return [{"model": name, "error": error.what} for name, error in self.items]

    def require(self) -> None:
        """Raise what went wrong, if something did.

        Raises:
            DeployError: of the class of the first fault. Several are told in one message.
            BaseException: what ended the work.
        """
        if self.stopped is not None:
            if self.items and isinstance(self.stopped, DeployError):
                raise self._joined([*self.items, ("", self.stopped)], last=True)
            raise self.stopped
        if self.items:
            raise self._joined(self.items)

    def _joined(self, items: list[tuple[str, DeployError]], *, last: bool = False) -> DeployError:
        chosen = items[-1 if last else 0][1]
        if len(items) == 1:
            return chosen
        hints = dict.fromkeys(error.hint for _, error in items if error.hint)
        # Each hint stays whole: it may end in a line that is to be run.
        return type(chosen)(
            "; ".join(error.what for _, error in items), hint="\n  hint: ".join(hints) or None
        )
