"""Bring a bundle and models to a board; what is already there, with the right hash, stays.

Files lie in ``<directory>/bundles/<hash>/`` and ``<directory>/models/<hash>/``: the hash in the
path keeps the patched runtime and the stock one, or two models of one name, beside each other.
"""

from __future__ import annotations

import posixpath
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from toolchain.board.connection import Connection
from toolchain.board.private_folder import require_private
from toolchain.build.bundle import Bundle
from toolchain.errors import ModelError
from toolchain.formats.json_text import without_lone_bytes
from toolchain.hardware.board_file import Board
from toolchain.progress import Progress
from toolchain.storage.cache import digest, sha256_file

_ROOM = 1 << 20
"""Bytes that have to stay free beside the files: for folders, inputs and outputs."""
# What was begun less than a minute ago may be between two programs; later a program's command line
# names it, for as long as its owner is there.
_SWEEP = r"""
cd -- "$1" 2>/dev/null || exit 0
named() { grep -qs "$1" /proc/[0-9]*/cmdline; }
for folder in run-*; do
  name=${folder#run-}
  case $name in *[!0-9a-f]* | "") continue ;; esac
  if [ -L "$folder" ] || [ -z "$(find "$folder" -maxdepth 0 -type d -mmin +1)" ]; then continue; fi
  named "[r]un-$name" || rm -rf -- "$folder"
done
# After the folders: a part that goes makes its folder a new one.
find . -maxdepth 3 -type f -name ".*.part" -mmin +1 | while read -r file; do
  name=${file##*/.}; name=${name%.part}
  case $name in *[!0-9a-f]* | "") continue ;; esac
  named "[.]$name[.]part" || rm -f -- "$file"
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
        BoardError: they do not fit on the disk, cannot be written, or arrive damaged; or another
            user could put something else in their place.
        ConnectionFailed: the board went away.
    """
    if not board.ssh.shared:
        files = [upload.remote for upload in uploads]
        require_private(connection, board.ssh.directory, files)
    present = connection.sha256s([upload.remote for upload in uploads])
    missing = [item for item in uploads if present.get(item.remote) != item.sha256]
    if missing:
        _send(connection, missing, report)
    sent = {item.remote for item in missing}
    return [
        Pushed(
            local=item.local,
            remote=item.remote,
            size=item.local.stat().st_size,
            sha256=item.sha256,
            sent=item.remote in sent,
        )
        for item in uploads
    ]


def _send(connection: Connection, uploads: Sequence[Upload], report: Progress) -> None:
    folders = list(dict.fromkeys(posixpath.dirname(item.remote) for item in uploads))
    connection.run(["sh", "-c", 'umask 022 && mkdir -p -- "$@"', "sh", *folders])
    programs = [posixpath.dirname(item.remote) for item in uploads if item.mode & 0o100]
    if programs:
        _require_programs(connection, programs[0])
    sizes = [item.local.stat().st_size for item in uploads]
    free = connection.free_bytes(folders[0])
    if sum(sizes) + _ROOM > free:
        raise connection.disk_full(folders[0], sum(sizes) + _ROOM, free)
    with report.stage("push", total=sum(sizes)) as stage:
        for item in uploads:
            stage.advance(0, item.local.name)
            connection.put(
                item.local,
                item.remote,
                mode=item.mode,
                sha256=item.sha256,
                advance=stage.advance,
            )
        stage.advance(0, "")


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


def sweep(connection: Connection, board: Board) -> None:
    """Remove what commands have left whose link was cut: parts of files, folders of runs.

    That of a command which is still there stays.
    """
    connection.run(["sh", "-c", _SWEEP, "sh", board.ssh.directory], check=False)
