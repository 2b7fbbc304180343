"""A ``ProxyCommand``: a program whose standard input and output are the link to a board."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from contextlib import suppress

from toolchain import children

_END_TIMEOUT_S = 1.0


class ProxyProcess:
    """The program, run as OpenSSH runs it: by the user's shell, which may know more than words.

    It is in a session of its own: Ctrl-C in the terminal must not cut the link over which what was
    begun on the board is cleaned up.

    Args:
        command: what the shell is given, tokens replaced.
    """

    def __init__(self, command: str) -> None:
        self.argv = (os.environ.get("SHELL") or "/bin/sh", "-c", f"exec {command}")
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the program
        self.socket, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = subprocess.Popen(
                    self.argv,
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=self._errors,
                    start_new_session=True,
                )
        except OSError:
            self.socket.close()
            self._errors.close()
            raise

    def failure(self) -> str | None:
        """How it ended and what it said, if it has ended or said something."""
        if self._errors.closed:
            return None
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_TIMEOUT_S)
        self._errors.seek(0)
        said = self._errors.read().decode("utf-8", errors="replace").split("\n")
        words = "; ".join(line.strip() for line in said if line.strip())
        code = self._process.returncode
        if code is None:
            return f"its ProxyCommand says: {words}" if words else None
        return f"its ProxyCommand ended with exit code {code}" + (f": {words}" if words else "")

    def close(self) -> None:
        """End it, and what it started, also if it has ended by itself; may be called twice."""
        if self._errors.closed:
            return
        self.socket.close()
        children.end_group(self._process, _END_TIMEOUT_S)
        self._errors.close()
