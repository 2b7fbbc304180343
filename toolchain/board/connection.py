"""What can be done on a board, whichever way it is reached: run a program, move a file.

A subclass gives one thing, :meth:`Connection.execute`. All else is built on it from programs that
every Linux has (``cat``, ``df``, ``mv``), so a real board, the emulated one and this machine behave
alike.
"""

from __future__ import annotations

import io
import posixpath
import secrets
import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from toolchain.errors import BoardError, ModelError
from toolchain.foreign_text import last_line, shortened
from toolchain.storage.cache import sha256_file
from toolchain.storage.files import written_whole

CHUNK = 256 * 1024
"""Bytes moved at a time."""

MOST = 64 << 20
"""Bytes that are kept of what a program on a board says; of files, what they should have."""

COMMAND_S = 300.0
"""Seconds that a program may take which only looks at something there or tidies up."""
HASH_S = 3600.0
"""Seconds that hashing may take: a board may read 20 MB/s."""
STALL_S = 120.0
"""Seconds in which of a file that is sent or fetched something has to move."""

Advance = Callable[[int], None]
"""Is told how many bytes more have been moved."""

_OPENSSL = "openssl dgst -sha256 -r"
_HASHING = (
    "sha256sum", "busybox sha256sum", "toybox sha256sum", _OPENSSL, "shasum -a 256", "none"
)  # fmt: skip
_LARGE = 8 << 20
"""Bytes of a file from which on OpenSSL hashes it sooner, though it takes longer to start: it uses
instructions of the core for that, as coreutils and busybox often do not."""


def hashing(size: int = 0) -> str:
    """Shell text that makes ``$program`` the first that hashes nothing right; 127 without any.

    Args:
        size: bytes of the largest file that is to be hashed.
    """
    first = [_OPENSSL] if size >= _LARGE else []
    programs = " ".join(map(shlex.quote, dict.fromkeys([*first, *_HASHING])))
    return f"""\
nothing=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
for program in {programs}; do
  case "$($program </dev/null 2>/dev/null)" in "$nothing"*) break ;; esac
done
[ "$program" != none ] || exit 127
"""


# One line a file: its hash, or a dash.
_SHA256 = f"""\
{hashing()}
for file; do
  hash=-
  if [ -f "$file" ]; then hash=$($program <"$file") || hash=-; fi
  echo "${{hash%% *}}"
done
"""

# Whoever was interrupted removes what was begun. A program there may be about to open the file, or
# still write to it: it is waited for, by its command line, which has the file's whole name. The
# last look comes before the last removal, as the program may make the file and end in between.
_DISCARD = """\
tries=0
while grep -qs "[.]$2[.]part" /proc/[0-9]*/cmdline; do
  rm -f -- "$1/.$2.part"
  tries=$((tries + 1))
  if [ "$tries" -ge 50 ]; then break; fi
  sleep 0.1
done
rm -f -- "$1/.$2.part"
"""
IN_THE_WAY, DAMAGED = 73, 76
"""What a script ends with where a folder has the file's name, and where the hash is another."""
_UNREADABLE = 77
# mv would go into a folder of that name, or into one that a link leads to.
_FINISH = f"""\
{hashing()}
hash=$($program <"$1") || exit {_UNREADABLE}
echo "${{hash%% *}}"
[ "${{hash%% *}}" = "$3" ] || exit {DAMAGED}
chmod "$4" "$1" || exit 1
if [ -d "$2" ]; then exit {IN_THE_WAY}; fi
mv -f -- "$1" "$2" && [ -f "$2" ] && [ ! -L "$2" ]
"""


_FULL_HINT = (
    "free some space on the board: deploy boards clean removes models and bundles of earlier "
    "pushes, which are pushed again when they are needed"
)
_FULL = ("No space left", "Disk quota")
"""What programs say of a disk that is full, or of the user's part of it."""
_ELSEWHERE = "name a folder elsewhere as [ssh] directory = in the board's file"
_REMEDIES = {
    **dict.fromkeys(_FULL, _FULL_HINT),
    "Read-only file system": "nothing can be written there: see why (dmesg, mount there), and "
    f"mount it for writing, or {_ELSEWHERE}",
    "Permission denied": f"see whose it is (ls -la there), or {_ELSEWHERE}",
    "Operation not permitted": f"see whose it is, and what is set of it (ls -la, lsattr there), or "
    f"{_ELSEWHERE}",
    "Not a directory": f"see what lies there in a folder's place (ls -la), or {_ELSEWHERE}",
    "Input/output error": "the disk there may be broken: see what the board logs (dmesg there)",
}
_BY_HAND = "log in to the board and see what is wrong there: ls -la, df and dmesg may tell"


def is_full(said: str) -> bool:
    """Whether what a program said there is that the disk is full."""
    return any(part in said for part in _FULL)


def remedy(said: str) -> str:
    """What to do about what a program said on a board, as a hint."""
    return next((hint for part, hint in _REMEDIES.items() if part in said), _BY_HAND)


@dataclass(frozen=True)
class Result:
    """What a program on the board left behind."""

    argv: tuple[str, ...]
    exit_code: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        """Standard output as text; bytes that are not UTF-8 are replaced."""
        return self.stdout.decode("utf-8", errors="replace")

    @property
    def command(self) -> str:
        """The command as a shell would take it, for messages."""
        return shlex.join(self.argv)


class TimeUp(BoardError):  # noqa: N818 - as Stopped, it tells what has happened
    """A program on a board did not end in the time that it had; it was stopped."""


class FloodError(OSError):
    """More came from a board than there should be; what is left of it is not waited for."""


class Bounded:
    """A sink that takes so many bytes and no more.

    Args:
        sink: where they go.
        most: how many they may be.
    """

    def __init__(self, sink: BinaryIO, most: int) -> None:
        self._sink, self._left = sink, most

    def write(self, piece: bytes) -> int:
        """Pass on a piece.

        Raises:
            FloodError: it does not fit.
        """
        self._left -= len(piece)
        if self._left < 0:
            raise FloodError
        return self._sink.write(piece)


@contextmanager
def read_here(path: object) -> Iterator[None]:
    """Tell of a file of this machine that goes away while it is sent, as with its disk.

    Args:
        path: of the file, for the message.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        yield
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read: {error.strerror or error}",
            hint="see whether the disk that it is on is still there, then try again",
        ) from error


def opened(path: Path, begin: int = 0) -> BinaryIO:
    """A file of this machine, to be sent from a place on.

    Raises:
        ModelError: it cannot be read.
    """
    with read_here(path), ExitStack() as stack:
        file = stack.enter_context(path.open("rb"))
        file.seek(begin)
        stack.pop_all()
        return file


def next_piece(source: BinaryIO) -> bytes:
    """More of what a program on the board reads; nothing at the end.

    Raises:
        ModelError: it cannot be read here, for which the board is not to blame.
    """
    with read_here(getattr(source, "name", "what is sent")):
        return source.read(CHUNK)


class Sink(Protocol):
    """What takes bytes."""

    def write(self, piece: bytes, /) -> int:
        """Take a piece."""


class Connection(ABC):
    """A way to a board. Use it as a context manager, so that it is closed.

    Every method raises ``ConnectionFailed`` when the board goes away.
    """

    name: str
    """What messages call the board: ``rpi4 (pi@raspberrypi)``."""

    @abstractmethod
    def execute(
        self,
        argv: Sequence[str],
        *,
        stdin: BinaryIO | None = None,
        stdout: Sink | None = None,
        advance: Advance | None = None,
        timeout: float | None = None,
        stall: float | None = None,
    ) -> tuple[int, str]:
        """Run a program and wait for its end; it is stopped if this call is interrupted.

        Args:
            argv: program and arguments; none of it is ever taken as shell text.
            stdin: what it reads; nothing if absent.
            stdout: where its standard output goes; dropped if absent.
            advance: is told of bytes, sent if there is ``stdin``, else received.
            timeout: seconds after which it is stopped and :class:`TimeUp` raised.
            stall: likewise, seconds without a byte that is sent or received.

        Returns:
            Exit code (128 + n after signal n) and standard error.
        """

    @abstractmethod
    def close(self) -> None:
        """End the connection; may be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | None = None,
        check: bool = True,
        timeout: float = COMMAND_S,
    ) -> Result:
        """Run a program and keep what it writes.

        Raises:
            BoardError: with ``check``, if its exit code is not 0.
            TimeUp: it did not end in ``timeout`` seconds.
        """
        output = io.BytesIO()
        source = None if stdin is None else io.BytesIO(stdin)
        bounded = Bounded(output, MOST)
        code, stderr = self.execute(argv, stdin=source, stdout=bounded, timeout=timeout)
        result = Result(tuple(argv), code, output.getvalue(), stderr)
        if check and code:
            raise self.failure(result)
        return result

    def too_much(self, program: str) -> BoardError:
        """The error for a program that says more than any that is run here."""
        return BoardError(
            f"{self.name}: {program}: more came from there than there should be, so it was stopped",
            hint="see what its login and its programs print there: ssh to it, and try them by hand",
        )

    def time_up(self, program: str, seconds: float, *, stalled: bool = False) -> TimeUp:
        """The error for a program that was given up."""
        return TimeUp(
            f"{self.name}: {program} "
            + ("moved nothing for" if stalled else "did not end in")
            + f" {seconds:g} s, and was stopped",
            hint="the board may be busy, or its disk hang: see what it does (top, dmesg there), "
            "then try again",
        )

    def failure(self, result: Result, doing: str | None = None) -> BoardError:
        """The error that says how a program ended.

        Args:
            result: what it left behind.
            doing: what it was for; its command line unless given.
        """
        said = result.stderr if result.stderr.strip() else result.text
        return BoardError(
            f"{self.name}: {doing or result.command}: exit code {result.exit_code}"
            + (f": {last_line(said)}" if said.strip() else ""),
            hint=remedy(said),
        )

    def not_written(self, remote: str, stderr: str) -> BoardError:
        """The error for a file that a program there could not write, and what it said."""
        return BoardError(
            f"{self.name}: {remote}: cannot be written: {last_line(stderr) or 'no reason given'}",
            hint=remedy(stderr),
        )

    def starts_nothing(self, folder: str, result: Result) -> BoardError:
        """The error for a folder from which no program can be started (exit code 126)."""
        return BoardError(
            f"{self.name}: {folder}: programs there cannot be started: "
            f"{last_line(result.stderr) or 'exit code 126'}",
            hint="its file system may be mounted noexec: name a folder on another one as "
            "[ssh] directory = in the board's file",
        )

    def no_hashing(self) -> BoardError:
        """The error for a board on which no copy can be checked."""
        return BoardError(
            f"{self.name}: has no program that computes SHA-256, by which each copy is checked",
            hint="install coreutils, busybox or openssl there (Raspberry Pi OS: sudo apt-get "
            "install coreutils)",
        )

    def exists(self, path: str) -> bool:
        """Whether there is a file or folder of that name."""
        return self.run(["test", "-e", path], check=False).exit_code == 0

    def sha256(self, path: str) -> str | None:
        """A file's SHA-256 as the board computes it; ``None`` if it cannot be read.

        Raises:
            BoardError: nothing on the board computes it.
        """
        return self.sha256s([path])[path]

    def sha256s(self, paths: Sequence[str]) -> dict[str, str | None]:
        """As :meth:`sha256`, of several files in one round trip."""
        result = self.run(["sh", "-c", _SHA256, "sh", *paths], check=False, timeout=HASH_S)
        if result.exit_code == 127:
            raise self.no_hashing()
        found = result.text.split()
        if result.exit_code or len(found) != len(paths):
            raise self.failure(result, "computing SHA-256 there")
        return {path: None if one == "-" else one for path, one in zip(paths, found, strict=True)}

    def free_bytes(self, folder: str) -> int:
        """Bytes that may still be written where ``folder`` (which exists) lies."""
        lines = self.run(["df", "-Pk", folder]).text.splitlines()
        try:
            return int(lines[-1].split()[3]) * 1024
        except (IndexError, ValueError) as error:
            raise BoardError(
                f"{self.name}: df -Pk {folder} said {shortened(repr(lines))}", hint=_BY_HAND
            ) from error

    def make_directory(self, path: str) -> None:
        """Make a folder and its parents; no error if it is there."""
        argv = ["sh", "-c", 'umask 077 && mkdir -p -- "$1"', "sh", path]
        result = self.run(argv, check=False)
        if result.exit_code:
            raise self.not_written(path, result.stderr)

    def remove(self, *paths: str) -> None:
        """Remove files and whole folders; no error if they are not there."""
        self.run(["rm", "-rf", "--", *paths])

    def put(
        self,
        local: Path,
        remote: str,
        *,
        mode: int = 0o644,
        sha256: str | None = None,
        advance: Advance | None = None,
    ) -> None:
        """Copy a file to the board so that ``remote`` is whole or is not there.

        It is streamed to a temporary name beside ``remote``, its SHA-256 is computed on the board,
        and only then is it renamed. Whatever goes wrong, the temporary file is removed.

        Args:
            local: the file here.
            remote: its path on the board; its folder must exist.
            mode: its permissions there.
            sha256: the hash it must have there; computed here unless given.
            advance: is told of bytes sent.

        Raises:
            ModelError: it cannot be read here any longer.
            BoardError: the disk is full, the file may not be written, or its hash is wrong.
        """
        folder, key = posixpath.dirname(remote) or ".", secrets.token_hex(6)
        scratch = posixpath.join(folder, f".{key}.part")
        try:
            expected = sha256 or sha256_file(local)
            self._stream(local, scratch, remote, advance)
            self._finish(scratch, remote, expected, mode)
        except BaseException:
            with suppress(Exception):  # the board is gone; the error must stay the one that is seen
                self.run(["sh", "-c", _DISCARD, "sh", folder, key], check=False, timeout=20)
            raise

    def get(self, remote: str, local: Path, *, most: int, advance: Advance | None = None) -> None:
        """Copy a file from the board so that ``local`` is whole or is not there.

        Args:
            remote: its path on the board.
            local: where it goes.
            most: bytes that it may have.
            advance: is told of bytes received.

        Raises:
            BoardError: it cannot be read, or has more bytes.
            OutputError: ``local`` cannot be written.
        """
        with written_whole(local) as scratch:
            with scratch.open("wb") as sink:
                bounded = Bounded(sink, most)
                code, stderr = self.execute(
                    ["cat", "--", remote], stdout=bounded, advance=advance, stall=STALL_S
                )
            if code:
                raise self.failure(Result(("cat", "--", remote), code, b"", stderr))

    def disk_full(self, remote: str, needed: int, free: int) -> BoardError:
        """The error for a file that does not fit."""
        return BoardError(
            f"{self.name}: {remote}: the disk is full: {needed:,} bytes are needed, "
            f"{free:,} are free",
            hint=_FULL_HINT,
        )

    def damaged(self, remote: str, found: str, expected: str) -> BoardError:
        """The error for a copy whose hash is another one than the file's."""
        return BoardError(
            f"{self.name}: {remote}: SHA-256 is {found} after the copy, expected {expected}",
            hint="the copy was damaged on its way or on the disk; push again",
        )

    def in_the_way(self, remote: str) -> BoardError:
        """The error for a file in whose place there is a folder."""
        return BoardError(
            f"{self.name}: {remote}: cannot be written: a folder of that name is in the way",
            hint="remove it there",
        )

    def unfinished(self, result: Result, remote: str, expected: str) -> BoardError:
        """The error for a copy that did not get its name: what the script for it ended with."""
        if result.exit_code == 127:
            return self.no_hashing()
        if result.exit_code == DAMAGED:
            return self.damaged(remote, result.text.strip()[:64], expected)
        if result.exit_code == IN_THE_WAY:
            return self.in_the_way(remote)
        return self.failure(result, f"renaming the copy to {remote}")

    def _stream(self, local: Path, scratch: str, remote: str, advance: Advance | None) -> None:
        script = 'umask 077 && exec cat > "$1"'
        with opened(local) as source:
            code, stderr = self.execute(
                ["sh", "-c", script, "sh", scratch],
                stdin=source,
                advance=advance,
                stall=STALL_S,
            )
        if not code:
            return
        if is_full(stderr):
            self.run(["rm", "-f", "--", scratch])  # or what is free is counted without it
            free = self.free_bytes(posixpath.dirname(scratch))
            raise self.disk_full(remote, local.stat().st_size, free)
        raise self.not_written(remote, stderr)

    def _finish(self, scratch: str, remote: str, expected: str, mode: int) -> None:
        """Give a copy that is whole its rights and its name, in one round trip."""
        argv = ["sh", "-c", _FINISH, "sh", scratch, remote, expected, f"{mode:o}"]
        result = self.run(argv, check=False, timeout=HASH_S)
        if result.exit_code == _UNREADABLE:
            raise BoardError(
                f"{self.name}: {remote}: the copy cannot be read back",
                hint="check the folder's permissions and the disk there; it is [ssh] directory of "
                "the board's file",
            )
        if result.exit_code:
            raise self.unfinished(result, remote, expected)
        if (told := result.text.strip()) != expected:  # whatever ended with 0 there
            raise self.damaged(remote, told[:64], expected)
