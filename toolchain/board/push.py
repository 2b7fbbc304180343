"""Bring a bundle and models to a board; what is already there, with the right hash, stays.

Files lie in ``<directory>/bundles/<hash>/`` and ``<directory>/models/<hash>/``: the hash in the
path keeps the patched runtime and the stock one, or two models of one name, beside each other. The
time of such a folder says when it was last used.
"""

from __future__ import annotations

import posixpath
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from toolchain.board import endings, unchanged
from toolchain.board.connection import Connection, read_here
from toolchain.board.private_folder import require_private
from toolchain.board.transfer import Goal, Sender
from toolchain.build.bundle import Bundle
from toolchain.errors import ModelError
from toolchain.formats.json_text import without_lone_bytes
from toolchain.hardware.board_file import Board
from toolchain.progress import Pace, Progress
from toolchain.storage.cache import digest, sha256_file

_ROOM = 1 << 20
"""Bytes that have to stay free beside the files: for folders, inputs and outputs."""
RESUMED_FOR_MIN = 24 * 60
"""Minutes for which what has arrived of a file is kept, so that the next push goes on there."""
# The folder may be the user's home: only what has a name that is made here goes, and only where it
# is made. A date is no such name: it has no letter.
# What was begun less than a minute ago may be between two programs; later a program's command line
# names it, for as long as its owner is there. A part with a whole hash is of a file that was cut.
_SWEEP = r"""
kept=$2
CDPATH= cd -- "$1" 2>/dev/null || exit 0
named() { grep -qs "$1" /proc/[0-9]*/cmdline; }
is_hex() {
  case $1 in *[!0-9a-f]*) return 1 ;; esac
  [ "${#1}" -eq "$2" ]
}
is_run() {
  case $1 in *[a-f]*) is_hex "$1" 12 ;; *) return 1 ;; esac
}
is_old() { [ ! -L "$1" ] && [ -n "$(find "$1" -maxdepth 0 -type "$2" -mmin "+$3" 2>/dev/null)" ]; }
for folder in run-*; do
  name=${folder#run-}
  if ! is_run "$name" || ! is_old "$folder" d 1; then continue; fi
  named "[r]un-$name" || rm -rf -- "$folder"
done
# After the folders: a part that goes makes its folder a new one.
for file in bundles/*/.*.part models/*/.*.part run-*/.*.part; do
  folder=${file%/*}
  case $folder in
    run-*) is_run "${folder#run-}" || continue ;;
    *) is_hex "${folder#*/}" 16 || continue ;;
  esac
  if [ -L "${file%%/*}" ] || [ -L "$folder" ]; then continue; fi
  name=${file##*/.} name=${name%.part}
  if is_hex "$name" 64; then age=$kept; elif is_hex "$name" 12; then age=1; else continue; fi
  if ! is_old "$file" f "$age" || named "[.]$name[.]part"; then continue; fi
  (
    exec 9<"$folder"
    flock -n 9 2>/dev/null
    [ "$?" -eq 1 ] || rm -f -- "$file"
  )
done
"""


@dataclass(frozen=True)
class Pushed:
    """One file that is on the board now."""

    local: Path
    remote: str
    size: int
    """Bytes."""
    sha256: str
    sent: bool
    """Whether it had to be sent; else it was there."""
    mark: str | None = None
    """What shows there that it has not changed since (``toolchain.board.unchanged``)."""
    mode: int = 0o644

    @property
    def upload(self) -> Upload:
        """The same, to be pushed once more."""
        return Upload(self.local, self.remote, self.sha256, self.mode)


@dataclass(frozen=True)
class Upload:
    """One file to push, and how it lies on the board."""

    local: Path
    remote: str
    sha256: str
    mode: int = 0o644


def bundle_uploads(board: Board, bundle: Bundle) -> list[Upload]:
    """The runner and the delegate, in this order."""
    files = [(bundle.runner, 0o755), (bundle.delegate, 0o644)]
    hashes = [sha256_file(path) for path, _ in files]
    folder = posixpath.join(board.ssh.directory, "bundles", digest(*hashes)[:16])
    return [
        Upload(path, posixpath.join(folder, path.name), known, mode)
        for (path, mode), known in zip(files, hashes, strict=True)
    ]


def model_upload(board: Board, model: Path) -> Upload:
    """One model.

    Raises:
        ModelError: the file cannot be read.
    """
    try:
        known = sha256_file(model)
    except OSError as error:
        raise ModelError(f"{model}: cannot be read: {error.strerror}") from error
    folder = posixpath.join(board.ssh.directory, "models", known[:16])
    # Remote names are UTF-8; a file here may have another.
    return Upload(model, posixpath.join(folder, without_lone_bytes(model.name)), known)


def push(
    connection: Connection, board: Board, uploads: Sequence[Upload], report: Progress
) -> list[Pushed]:
    """Send the files that are not on the board yet, each whole or not at all.

    Raises:
        ModelError: one cannot be read here any longer.
        BoardError: they do not fit on the disk, cannot be written, or arrive damaged; or another
            user could put something else in their place.
        ConnectionFailed: the board went away.
    """
    goals = [_goal(upload) for upload in uploads]
    if not board.ssh.shared:
        files = [path for it in goals for path in (it.remote, posixpath.join(it.folder, it.part))]
        require_private(connection, board.ssh.directory, files)
    largest = max((goal.size for goal in goals), default=0)
    wanted = {goal.remote: goal.sha256 for goal in goals}
    there = unchanged.examine(connection, wanted, largest)
    missing = {goal.remote: goal for goal in goals if there[goal.remote].sha256 != goal.sha256}
    marks = {path: seen.mark for path, seen in there.items()}
    if missing:
        marks |= _send(connection, list(missing.values()), report)
    return [
        Pushed(
            local=goal.local,
            remote=goal.remote,
            size=goal.size,
            sha256=goal.sha256,
            sent=goal.remote in missing,
            mark=marks[goal.remote],
            mode=goal.mode,
        )
        for goal in goals
    ]


def _goal(upload: Upload) -> Goal:
    with read_here(upload.local):
        size = upload.local.stat().st_size
    return Goal(upload.local, upload.remote, upload.sha256, upload.mode, size)


def _send(connection: Connection, goals: Sequence[Goal], report: Progress) -> dict[str, str | None]:
    """Send files; the mark of each, by its place there."""
    sender = Sender(connection, report.note)
    begun = sender.look(goals)
    programs = [goal.folder for goal in goals if goal.mode & 0o100]
    if programs:
        _require_programs(connection, programs[0])
    size = sum(goal.size for goal in goals)
    needed = size - sum(begun.values()) + _ROOM
    free = connection.free_bytes(goals[0].folder)
    if needed > free:
        raise connection.disk_full(goals[0].folder, needed, free)
    marks = {}
    pace = Pace(size)
    with report.stage("push", total=size) as stage:
        for goal in goals:

            def advance(count: int, name: str = goal.local.name) -> None:
                told = pace.moved(count)
                stage.advance(count, told and f"{name}, {told}")

            stage.advance(0, goal.local.name)
            if count := begun[goal.remote]:
                pace.skip(count)
                report.note(
                    f"{connection.name}: {goal.local.name}: goes on after {count / goal.size:.0%}"
                )
            marks[goal.remote] = sender.send(goal, advance)
        stage.advance(0, "")
    return marks


def _require_programs(connection: Connection, folder: str) -> None:
    """Refuse a folder whose programs may not be started, before any is sent there."""
    trial = posixpath.join(folder, f".{secrets.token_hex(6)}.part")
    script = (
        'printf "#!/bin/sh\\n" >"$1" && chmod 700 "$1" && case $1 in /*) "$1" ;; *) "./$1" ;; esac'
    )
    try:
        result = connection.run(["sh", "-c", script, "sh", trial], check=False)
    finally:
        with suppress(Exception):  # the connection may be what failed
            connection.run(["rm", "-f", "--", trial], check=False, timeout=20)
    if result.exit_code == 126:
        raise connection.starts_nothing(folder, result)


def run_folder(board: Board) -> str:
    """Where the inputs and outputs of one run go; a name that :func:`sweep` knows for ours."""
    while (name := secrets.token_hex(6)).isdecimal():
        pass
    return posixpath.join(board.ssh.directory, f"run-{name}")


def sweep(connection: Connection, board: Board) -> int | None:
    """Remove what commands have left whose link was cut: parts of files, folders of runs.

    That of a command which is still there stays, and for a day what a push can go on with.

    Returns:
        How many programs the kernel there has ended for want of memory; ``None`` if it tells not.
    """
    script = f"{endings.OOM_KILLS}\n{_SWEEP}"
    argv = ["sh", "-c", script, "sh", board.ssh.directory, str(RESUMED_FOR_MIN)]
    return endings.oom_kills(connection.run(argv, check=False).text)
