"""Every error that ends a command, each with its own exit code.

A message says three things: what failed, where, and what to do next. Anything that is not a
:class:`DeployError` is a defect of ours and keeps its traceback.
"""

from __future__ import annotations

from typing import Literal, TypeVar


class DeployError(Exception):
    """A fault that the user can act on.

    Several are told in one of their class, so each subclass can be made of these two alone.

    Args:
        what: what failed and where, one sentence without a full stop.
        hint: what to do about it, one sentence; shown on a line of its own.
    """

    exit_code = 1
    result: object | None = None
    """What was done all the same, where a function of :mod:`toolchain.api` raises this."""

    def __init__(self, what: str, *, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


class ModelError(DeployError):
    """A model, checkpoint or mask that cannot be read or does not fit."""

    exit_code = 3


class VerificationError(DeployError):
    """Two results that should agree do not."""

    exit_code = 4


class BoardConfigError(DeployError):
    """A board file with a fault; names the file, the key and the fault."""

    exit_code = 5


ConnectionStep = Literal["key file", "name", "port", "server", "host key", "login"]
"""What is done one after the other until a board is reached: the key file is looked for, the name
found, the port connected to, the server's greeting and keys taken, its host key compared, and the
user logged in."""


class ConnectionFailed(DeployError):  # noqa: N818 - ConnectionError is a builtin
    """The board could not be reached or refused the user."""

    exit_code = 6
    step: ConnectionStep | None = None
    """Where it failed, if it did while the connection was made."""


class HostKeyError(ConnectionFailed):
    """The board's host key is unknown or is not the one on record."""

    exit_code = 7


class BoardError(DeployError):
    """The board was reached and something failed there (full disk, a crash, a wrong hash)."""

    exit_code = 8


class SourceError(DeployError):
    """A source archive could not be fetched or its SHA-256 is not the pinned one."""

    exit_code = 9


class BuildError(DeployError):
    """A compiler, CMake or a patch failed; names the log."""

    exit_code = 10


class BundleError(BuildError):
    """A runtime bundle is missing, not whole or changed; the hint is the line that builds it."""

    exit_code = 17


class MissingToolError(DeployError):
    """A program or package that is needed is not installed; the hint is the line that installs it.

    Packages of Python are looked for by :func:`toolchain.extras.require`.
    """

    exit_code = 11


class EmulatorError(DeployError):
    """The emulated board did not boot or is not running."""

    exit_code = 12


class OutputError(DeployError):
    """A result cannot be written where it was asked for."""

    exit_code = 13


class DataError(DeployError):
    """Images to train on are not there, or have a fault."""

    exit_code = 14


class RecipeError(DeployError):
    """A recipe, or a sweep, with a fault; names the file, the key and the fault."""

    exit_code = 15


class GateError(DeployError):
    """A comparison went past a limit of ``--fail-if`` or of a policy file."""

    exit_code = 16


class MeterError(DeployError):
    """The program of ``--meter`` cannot be started, or prints no readings."""

    exit_code = 18


class LeaseError(DeployError):
    """Others use the board, or took it by force."""

    exit_code = 19


class FleetError(DeployError):
    """Several boards failed, not all for the same reason; the message tells each board's."""

    exit_code = 20


_Fault = TypeVar("_Fault", bound=DeployError)


def failure(
    fault: type[_Fault], doing: str, error: Exception, *, hint: str | None = None
) -> _Fault:
    """The user's error for an exception of foreign code: ``<doing> failed: <type>: <message>``."""
    return fault(f"{doing} failed: {type(error).__name__}: {first_line(error)}", hint=hint)


def first_line(error: Exception) -> str:
    """The first line of an exception's message that holds anything, else its type."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
