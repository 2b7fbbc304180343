"""One user at a time on a board: a lease around what measures, which the board itself keeps.

The lease is a lock (``flock``) that a small shell script on the board holds for as long as this
side keeps its standard input open. The kernel takes it back when that script ends, whatever ended
it: the command, this machine, the link. So a lease never outlives its owner, and there is nothing
to clean up.

What measures takes the lease for itself; what only computes shares it with its like. Whoever waits
stands in a queue, a second lock, which is held by the first of those who wait: the others wait for
that one, so that no stream of shared leases keeps a measurement out.
"""

from __future__ import annotations

import getpass
import io
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import IO, BinaryIO, Self, cast

from toolchain import children, interrupts
from toolchain.board.connection import Connection
from toolchain.board.local import LocalConnection
from toolchain.errors import DeployError, LeaseError
from toolchain.foreign_text import harmless

WAIT_S = 3600.0
"""Seconds that a command waits for a board which others use."""
LIMIT_S = 6 * 3600
"""Seconds after which the board takes a lease back from a command that goes on and on."""
PLACES = ("/dev/shm", "/tmp")  # noqa: S108 - of the board
"""Where the locks lie: the first one, if everybody may write there, else the other one."""
_BEAT_S = 5.0
"""So often the script hears of this side: less than a shell on a board waits (remote_shell.py)."""
_LOOK_S = 1.0
"""So often while it waits: each time it looks whether it has the lease, and says who has it."""
_GRACE_S = 2.0
_WORDS = 160
"""Characters that are kept of what a holder says of itself."""

# Locks of all users lie in one place, which is the same for root and any other: a folder that a
# reboot empties, where everyone may write and nobody may remove what others made. They are opened
# for reading, which is enough for flock: Linux lets nobody open another's file for writing there
# with O_CREAT. What another user wrote is a number, or is passed over; only what is ours is ended.
# What is told is padded: this side holds the last characters that came back, which might be the
# mark that ends it all.
#
# Who waits lives by the lines that come from this side, too: where they end, the waiting ends, and
# where none come, the script says nothing, so that its shell ends it (remote_shell.py). Each lock
# is waited for by a process of its own, which is ended before the script is. The one that waits for
# the lease has no part in the queue: should the script alone be killed, its place there is free.
_SCRIPT = r"""
kind=$1 force=$2 limit=$3 id=$4 place=$5 other=$6
shift 6
say() { printf '%s\n%64s\n' "$1" ""; }
none() { say "none $1"; exit 0; }
command -v flock >/dev/null 2>&1 || none "it has no flock"
[ -k "$place" ] || place=$other
cd "$place" 2>/dev/null || none "it has no $place"
umask 022
for file in tileskip.queue tileskip.lease; do
  [ -e "$file" ] || (set -C; : >"$file") 2>/dev/null
  [ -f "$file" ] && [ ! -L "$file" ] && [ -r "$file" ] || none "$place/$file cannot be read"
done
exec 8<tileskip.queue 9<tileskip.lease
clock() { read -r now rest </proc/uptime; now=${now%%.*}; }
tell() {
  clock
  for file in tileskip.holder.*; do
    own=${file##*.}
    case $own in "" | *[!0-9a-f]*) continue ;; esac
    [ -f "$file" ] && [ ! -L "$file" ] || continue
    head -c 400 "$file" | {
      read -r pid since words
      case $pid$since in "" | *[!0-9]*) exit ;; esac
      if ! grep -qs "$own" "/proc/$pid/cmdline"; then
        [ -O "$file" ] && rm -f "$file"
        exit
      fi
      say "busy $((now - since)) $words"
      if [ -n "$1" ] && [ -O "$file" ]; then kill -KILL "$pid"; fi
    }
  done 8<&- 9<&-
}
stop() {
  kill -KILL "$!"
  wait "$!"
  exit 1
} 2>/dev/null
await() {
  while kill -0 "$!" 2>/dev/null; do
    read -r beat || stop
    say waiting
    tell
    (:)  # a shell may hear that one has ended only while it waits for another
  done
  wait "$!" || none "its flock fails"
}
if ! { flock -n 8 && flock -n "$kind" 9; }; then
  tell "$force"
  trap stop HUP INT PIPE TERM
  if ! flock -n 8; then
    flock 8 </dev/null >/dev/null 2>&1 9<&- &
    await
  fi
  flock "$kind" 9 </dev/null >/dev/null 2>&1 8<&- &
  await
  trap - HUP INT PIPE TERM
fi
flock -u 8
exec 8<&-
clock
end=$((now + limit))
(set -C; printf '%s\n' "$$ $now $*" >"tileskip.holder.$id") 2>/dev/null
say held
while read -r beat; do
  clock
  if [ "$now" -ge "$end" ]; then say over; break; fi
done
rm -f "tileskip.holder.$id"
"""


@dataclass(frozen=True)
class Holder:
    """Someone who uses a board."""

    seconds: int
    """For how long."""
    words: str
    """Who, and what for; made harmless."""

    def __str__(self) -> str:
        return f"{self.words}, for {duration(self.seconds)}"


class _Beats(io.RawIOBase):
    """What the script reads: a line now and then, until it is to end."""

    def __init__(self) -> None:
        super().__init__()
        self.over = threading.Event()
        self.is_held = False

    def read(self, size: int = -1) -> bytes:
        """A line after a while; nothing once it is over."""
        del size
        return b"" if self.over.wait(_BEAT_S if self.is_held else _LOOK_S) else b"\n"


class Lease:
    """A hold on a board; a context manager, which waits for it and gives it back.

    Args:
        connection: to the board.
        purpose: what it is for, as others are told.
        shared: whether others may compute at the same time, none of whom measures.
        wait: seconds to wait for others.
        force: end what others of the same user do there, rather than wait.
        note: is told who is waited for, and what is interrupted.

    Raises:
        LeaseError: others did not end in time, or the script could not run.
        ConnectionFailed: the board went away.
    """

    def __init__(
        self,
        connection: Connection,
        purpose: str,
        *,
        shared: bool = False,
        wait: float = WAIT_S,
        force: bool = False,
        limit: int = LIMIT_S,
        note: Callable[[str], None],
    ) -> None:
        self._connection, self._wait, self._force, self._note = connection, wait, force, note
        words = f"{_owner()}: {purpose}".replace("\n", " ")[:_WORDS]
        settings = ["-s" if shared else "-x", "1" if force else "", str(limit)]
        self._argv = ["sh", "-c", _SCRIPT, "sh", *settings, secrets.token_hex(8), *PLACES, words]
        self._beats = _Beats()
        self._pending = bytearray()
        self._changed = threading.Condition()
        self._state = "asked"
        """``asked``, ``waiting``, ``held``, ``none`` (boards without ``flock``), ``over``."""
        self._holders: list[Holder] = []
        self._round: list[Holder] = []
        self._reason = ""
        self._error: DeployError | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._hold, daemon=True)

    @property
    def is_kept(self) -> bool:
        """Whether the board keeps it: one without ``flock`` keeps none."""
        return self._state == "held"

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._await()
            if self._state == "none":
                # Its script ends. Dropbear may cut the link where another program begins meanwhile.
                self._give_back()
        except BaseException:
            self._give_back()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._give_back()

    def require(self) -> None:
        """Go on only while it is held.

        Raises:
            LeaseError: someone has taken it by force, or its time is over.
            ConnectionFailed: the board went away.
        """
        with self._changed:
            if self._state == "none" or (self._state == "held" and not self._ended):
                return
            over = self._state == "over"
        if self._error is not None:
            raise self._error
        why = "its time was over" if over else "someone freed it, or took it with --force"
        raise LeaseError(
            f"{self._connection.name}: the lease is lost: {why}",
            hint="what was done until then is kept; repeat the command when the board is free",
        )

    def _await(self) -> None:
        deadline = time.monotonic() + self._wait
        told: set[str] = set()
        while True:
            interrupts.check()
            with self._changed:
                self._changed.wait_for(self._is_decided, timeout=0.5)
                holders, decided = list(self._holders), self._is_decided()
            for holder in holders:
                if holder.words not in told:
                    told.add(holder.words)
                    doing = "interrupting" if self._force else "waiting for"
                    self._note(f"{self._connection.name}: {doing} {holder}")
            if decided:
                break
            if self._state == "waiting" and time.monotonic() > deadline:
                raise self._busy(holders)
        if self._error is not None:
            raise self._error
        if self._state == "none":
            self._note(
                f"{self._connection.name}: {self._reason}: no lease keeps others from using it"
            )
        elif self._state != "held":
            raise LeaseError(
                f"{self._connection.name}: the board ended the script that holds its lease",
                hint="try again; what the board logs may say why (dmesg there)",
            )

    def _is_decided(self) -> bool:
        return self._ended or self._state in ("held", "none")

    def _busy(self, holders: Sequence[Holder]) -> LeaseError:
        who = "; ".join(map(str, holders)) or "someone who does not say so"
        return LeaseError(
            f"{self._connection.name}: in use: {who}",
            hint="repeat the command later, wait longer with --queue SECONDS, or end what you do "
            "there yourself with --force",
        )

    def _give_back(self) -> None:
        """End the script, also where it still waits: the connection may be kept."""
        self._beats.over.set()
        self._thread.join(_BEAT_S)

    def _hold(self) -> None:
        try:
            if isinstance(self._connection, LocalConnection):
                self._hold_here()
            else:
                beats = cast("BinaryIO", self._beats)
                self._connection.execute(self._argv, stdin=beats, stdout=self)
        except DeployError as error:
            self._error = error
        finally:
            self._end()

    def _hold_here(self) -> None:
        """The same on this machine, where a connection passes on no output while a program runs."""
        process = subprocess.Popen(
            self._argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )
        given, said = (cast("IO[bytes]", stream) for stream in (process.stdin, process.stdout))
        reader = threading.Thread(target=self._read, args=(said,), daemon=True)
        reader.start()
        with suppress(BrokenPipeError), given:
            while piece := self._beats.read():
                given.write(piece)
                given.flush()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
        children.kill_group(process)
        reader.join()

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            while line := stream.readline(4096):
                self.write(line)
        self._end()
        self._beats.over.set()

    def _end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def write(self, piece: bytes) -> int:
        """Take what the script prints."""
        self._pending += piece
        *lines, rest = bytes(self._pending).split(b"\n")
        self._pending = bytearray(rest[:4096])
        with self._changed:
            for line in lines:
                self._take(line.decode("utf-8", errors="replace"))
            self._changed.notify_all()
        return len(piece)

    def _take(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "busy":
            self._state = "waiting"
            seconds, _, words = rest.partition(" ")
            if seconds.isascii() and seconds.isdigit():
                holder = Holder(int(seconds), harmless(words[:_WORDS]))
                self._round.append(holder)
                self._holders = self._round
        elif word == "waiting":
            self._state = "waiting"
            self._round = []
        elif word in ("held", "over"):
            self._state = word
            self._beats.is_held = True
        elif word == "none":
            self._state, self._reason = word, harmless(rest[:_WORDS])


def _owner() -> str:
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except OSError:  # a user without a name
        return socket.gethostname()


def duration(seconds: int) -> str:
    """A time as messages tell it: ``40 s``, ``3 min``."""
    if seconds < 120:
        return f"{seconds} s"
    minutes = seconds // 60
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"
