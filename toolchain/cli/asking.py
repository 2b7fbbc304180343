"""How the command line asks for what nobody else may see: on the terminal, between its bars."""

from __future__ import annotations

from contextlib import suppress

from toolchain.cli import bars
from toolchain.cli.output import can_ask
from toolchain.console import err
from toolchain.questions import Asking


def _line(question: str, echo: bool) -> str | None:
    from getpass import getpass

    with bars.paused(), suppress(EOFError):
        if not echo:
            return getpass(question)
        err.print(question, end="", markup=False, highlight=False, soft_wrap=True)
        return input()
    return None


ON_THE_TERMINAL = Asking(can_ask, _line)
"""Where standard input and standard error are one."""
