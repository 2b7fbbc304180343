"""A terminal with a command on it: what it shows is read, and somebody types."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_ROWS = 50


class Terminal:
    """One command on a terminal of its own.

    Args:
        line: program and arguments.
        cwd: the folder that it runs in.
        environment: all of its variables; ``COLUMNS`` is left out, for the terminal has a width.
        columns: of the terminal.
    """

    def __init__(
        self, line: Sequence[str], *, cwd: Path, environment: Mapping[str, str], columns: int = 100
    ) -> None:
        self.text = ""
        """All that it has shown."""
        self._seen = 0
        variables = {key: value for key, value in environment.items() if key != "COLUMNS"}
        self._pid, self._end = pty.fork()
        if not self._pid:
            # Standard input is the terminal, whose width is known before the program looks.
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, columns, 0, 0))
            os.chdir(cwd)
            os.execvpe(line[0], list(line), variables)  # noqa: S606 (no shell is meant)

    def until(self, words: str) -> None:
        """Read on until this is shown, behind what was waited for before."""
        while (place := self.text.find(words, self._seen)) < 0:
            piece = self._read()
            assert piece, self.text
            self.text += piece
        self._seen = place + len(words)

    def type(self, text: str) -> None:
        """Type something; a line ends with a line feed."""
        os.write(self._end, text.encode())

    @property
    def shows_what_is_typed(self) -> bool:
        """Whether the program lets the terminal echo."""
        return bool(termios.tcgetattr(self._end)[3] & termios.ECHO)

    def close(self, answers: Mapping[str, str] | None = None) -> int:
        """Wait for its end; the exit code.

        Args:
            answers: what is typed, as a line, each time that something is asked.
        """
        while piece := self._read():
            self.text += piece
            for question, answer in (answers or {}).items():
                if (place := self.text.find(question, self._seen)) >= 0:
                    self._seen = place + len(question)
                    self.type(f"{answer}\n")
        os.close(self._end)
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])

    def _read(self) -> str:
        with suppress(OSError):  # what a terminal says whose last program has ended
            return os.read(self._end, 4096).decode(errors="replace")
        return ""
