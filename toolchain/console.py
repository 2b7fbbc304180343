r"""What a program of ours prints on: a terminal, a pipe or a file, in whatever encoding it has.

Everything that is printed goes through :data:`out` and :data:`err`, or through ``print``; all of
them end in the two streams that :func:`run` lays under them:

- A character that the stream's encoding cannot show is written as plain ones that can be read;
  a byte of a file's name that is no text as ``\xff``. Frames are drawn in ASCII then.
- Standard output that cannot be written ends the command with an error; where its reader has gone,
  as after ``| head``, with the exit code of a program that died of SIGPIPE and without a word.
- Standard error that cannot be written is done without.
- Where standard output is no terminal, lines have :data:`FIXED_WIDTH` columns; ``COLUMNS`` goes
  before that, and before a terminal's own width.
"""

# ruff: noqa: RUF001 (characters that look like others are what this is about)

from __future__ import annotations

import codecs
import errno
import functools
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, NoReturn, ParamSpec

import rich.console
from rich.console import ConsoleDimensions, ConsoleOptions, RenderableType
from rich.segment import Segment

from toolchain.errors import DeployError, OutputError
from toolchain.foreign_text import harmless
from toolchain.signals import sigterm_exits

_Given = ParamSpec("_Given")

FIXED_WIDTH = 100
READER_GONE = 128 + 13
INTERRUPTED = 128 + 2
WRONG_USE = 2
_NARROWEST = 20
_IN, _OUT, _ERR = 0, 1, 2
_ERRORS = "tileskip-plain"

_PLAIN = {
    "±": "+/-", "×": "x", "·": ".", "•": "*", "…": "...", "→": "->", "≤": "<=", "≥": ">=", "≈": "~",
    "−": "-", "–": "-", "—": "-", "µ": "u", "μ": "u", "²": "^2", "°": " deg ", "“": '"', "”": '"',
    "‘": "'", "’": "'", "\N{NO-BREAK SPACE}": " ", "─": "-", "━": "-", "═": "=", "│": "|",
    "┃": "|", "║": "|", "╸": "-", "╺": "-", "█": "#",
}  # fmt: skip


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """A codec's error handler: characters that the encoding lacks, in ASCII."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(map(_in_ascii, lost)), error.end


def _in_ascii(letter: str) -> str:
    if letter in _PLAIN:
        return _PLAIN[letter]
    code = ord(letter)
    if 0x2500 <= code < 0x2580:  # frames
        return "+"
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file's name that is no text
        return f"\\x{code - 0xDC00:02x}"
    return letter.encode("ascii", "backslashreplace").decode("ascii")


codecs.register_error(_ERRORS, _plain)


class Screen(rich.console.Console):
    """A rich console as wide as :func:`width` says, on which text of others is harmless."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._width = None  # rich has taken COLUMNS, however narrow it is

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """What is written, piece by piece; escapes of ours are not in the text of a piece."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text == "\n":
                yield segment
            else:
                yield Segment(harmless(segment.text), segment.style)

    @property
    def size(self) -> ConsoleDimensions:
        """Columns and lines."""
        found = super().size
        return ConsoleDimensions(self._width or width(self.file), found.height)

    @size.setter
    def size(self, new: tuple[int, int]) -> None:
        self._width, self._height = new


def width(stream: IO[str]) -> int:
    """The columns that there are on a stream."""
    chosen = os.environ.get("COLUMNS", "")
    if chosen.isdecimal() and chosen.isascii() and int(chosen) >= _NARROWEST:
        return int(chosen)
    with suppress(OSError, ValueError, AttributeError):
        if stream.isatty():
            return os.get_terminal_size(stream.fileno()).columns or FIXED_WIDTH
    return FIXED_WIDTH


out = Screen()
err = Screen(stderr=True)


def tell(error: DeployError) -> None:
    """Print an error and what to do about it on standard error."""
    err.print("[red]error:[/red] ", end="")
    err.print(error.what, markup=False, highlight=False, soft_wrap=True)
    if error.hint:
        err.print(f"  hint: {error.hint}", markup=False, highlight=False, soft_wrap=True)


def telling(main: Callable[_Given, int]) -> Callable[_Given, int]:
    """A command's function that tells of a :class:`DeployError`, and gives its exit code.

    SIGTERM ends it as Ctrl-C does: what it has begun is ended with it.
    """

    @functools.wraps(main)
    def wrapped(*arguments: _Given.args, **named: _Given.kwargs) -> int:
        try:
            with sigterm_exits():
                return main(*arguments, **named)
        except DeployError as error:
            tell(error)
            return error.exit_code

    return wrapped


# --- the streams, and how a command ends -----------------------------------------------------


def run(command: Callable[[], object]) -> NoReturn:
    """Run a command on streams that cannot fail with a traceback, and exit with its code.

    Args:
        command: what to run. A :class:`DeployError` becomes its message and its exit code.
    """
    with _streams() as is_open:
        code = _code(command if is_open else _refuse)
        flushed = _code(sys.stdout.flush)  # what is still in the buffer may not fit on the disk
        code = code or flushed
    sys.exit(code)


def _code(command: Callable[[], object]) -> int:
    try:
        command()
    except SystemExit as ended:
        if isinstance(ended.code, str):
            err.print(ended.code, markup=False, highlight=False)
            return 1
        return ended.code or 0
    except DeployError as error:
        tell(error)
        return error.exit_code
    except UnicodeEncodeError as error:
        if not any(0xDC80 <= ord(letter) <= 0xDCFF for letter in error.object):
            raise
        # Some library that was given a file's name; where we know of one, it is told better.
        name = "".join(map(_in_ascii, error.object))
        tell(DeployError(f"'{name}': holds bytes that are not UTF-8", hint="rename it"))
        return WRONG_USE
    except OSError as error:
        from toolchain.storage.files import disk_full  # slow to import, and help needs none of it

        if (full := disk_full(error)) is None:
            raise
        tell(full)
        return full.exit_code
    except KeyboardInterrupt:
        err.print("interrupted", markup=False)
        return INTERRUPTED
    return 0


def _refuse() -> None:
    raise OutputError(
        "standard output is closed, so there is nowhere to print to",
        hint="send it to a file, or to /dev/null where it is not wanted",
    )


@contextmanager
def _streams() -> Iterator[bool]:
    """Our streams in place of Python's; whether standard output was open.

    Where a program has put others in place, a test for example, those stay.
    """
    before = sys.stdout, sys.stderr
    is_open = True
    if sys.stdout is sys.__stdout__ and sys.stderr is sys.__stderr__:
        closed = [number for number in (_IN, _OUT, _ERR) if _open_nowhere(number)]
        is_open = _OUT not in closed
        sys.stdout = _Output(_OUT, before[0])
        sys.stderr = _Messages(_ERR, before[1])
    try:
        yield is_open
    finally:
        sys.stdout, sys.stderr = before


@contextmanager
def messages_apart() -> Iterator[None]:
    """Let ``sys.stderr`` have a file descriptor of its own.

    So one thread may silence what libraries print on the usual one, while others go on telling
    how far they are.
    """
    before = sys.stderr
    if not isinstance(before, _Messages):  # a test's, a notebook's
        yield
        return
    before.flush()
    number = os.dup(_ERR)
    sys.stderr = _Messages(number, before)
    try:
        yield
    finally:
        sys.stderr.flush()
        sys.stderr = before
        os.close(number)


def _open_nowhere(number: int) -> bool:
    """Whether a file descriptor was closed; now it is not.

    Else the next file that is opened would get its number, and what a library prints.
    """
    try:
        os.fstat(number)
    except OSError:
        _redirect_to_nowhere(number)
        return True
    return False


def _redirect_to_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)


class _Descriptor(io.FileIO):
    """A file descriptor; what cannot be written to it is told, once, to ``failed``."""

    def __init__(self, number: int, failed: Callable[[OSError], None]) -> None:
        super().__init__(number, "wb", closefd=False)
        self._failed = failed

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            _redirect_to_nowhere(self.fileno())  # what is left to write must not fail once more
            self._failed(error)
            return len(data)


class _Stream(io.TextIOWrapper):
    """A standard stream of ours, on the same file descriptor as the one that it stands for."""

    by_lines = False
    """Whether each line is written at once, on no terminal either."""

    def __init__(self, number: int, like: IO[str] | None) -> None:
        raw = _Descriptor(number, self.failed)
        super().__init__(
            io.BufferedWriter(raw),
            encoding=getattr(like, "encoding", None) or "utf-8",
            errors=_ERRORS,
            line_buffering=self.by_lines or raw.isatty(),
        )

    def failed(self, error: OSError) -> None:
        """What becomes of an error."""
        raise NotImplementedError


class _Output(_Stream):
    def failed(self, error: OSError) -> None:
        if error.errno in (errno.EPIPE, errno.ECONNRESET):
            raise SystemExit(READER_GONE) from error
        raise OutputError(
            f"standard output: cannot be written: {error.strerror or error}",
            hint="free some space, or send it to another file",
        ) from error


class _Messages(_Stream):
    by_lines = True

    def failed(self, error: OSError) -> None:
        """Nothing: a command's result is worth more than what it says meanwhile."""
