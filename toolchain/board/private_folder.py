"""The folder on a board is its user's alone, so that what was checked there is what runs there.

A runner is hashed, then started. Who may rename or replace anything on the way to it could put
another program there in between: so no part of the way is a link, or may be written to by others.
"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Sequence

from toolchain.board.connection import Connection
from toolchain.errors import BoardError

# One look at each path tells all of it: what others push there is renamed between two looks.
_SCRIPT = r"""
me=$(id -u) && [ -n "$me" ] || exit 127
own=
if [ "$(id -un)" = "$(id -gn)" ]; then own=$(id -g); fi
part=
for path; do
  case $path in --above | --below | --file) part=$path; continue ;; esac
  if [ ! -e "$path" ] && [ ! -L "$path" ]; then continue; fi
  read -r mode links owner group rest <<END
$(ls -ldn -- "$path")
END
  if [ -z "$owner" ]; then
    if [ -e "$path" ] || [ -L "$path" ]; then exit 127; fi
    continue
  fi
  case $mode in
    l*)
      if [ $part = --above ] && [ "$owner" = 0 ]; then continue; fi
      echo link; echo "$path"; exit 0 ;;
  esac
  if [ $part = --file ]; then
    case $mode in -*) continue ;; esac
    echo kind; echo "$path"; exit 0
  fi
  if [ "$owner" != "$me" ] && [ "$owner" != 0 ]; then echo owner; echo "$path"; exit 0; fi
  case $mode in
    ?????????[tT]*) ;;  # as of /tmp: others may not rename what is not theirs
    ????????w*) echo others; echo "$path"; exit 0 ;;
    ?????w*) if [ "$group" != "$own" ] && [ "$group" != 0 ]; then
      echo others; echo "$path"; exit 0; fi ;;
  esac
done
"""
_SAID = {
    "link": "is a link, which another user may lead elsewhere",
    "owner": "belongs to another user, who could replace what runs there",
    "others": "may be written to by other users, who could replace what runs there",
    "kind": "is there and is no regular file",
}


class OpenPlaceError(BoardError):
    """Somebody else could put something in the place of what runs on a board."""

    mend: str | None = None
    """The line that closes it, for a shell on the board; ``None`` where it is to be removed."""


def require_private(connection: Connection, directory: str, files: Sequence[str]) -> None:
    """Refuse files whose place others could put something else in.

    Args:
        connection: to the board.
        directory: the folder that everything lies in, relative to the home or absolute.
        files: what will be read or written there; they and their folders need not be there.

    Raises:
        OpenPlaceError: a folder on the way belongs to another user or may be written to by one; it,
            or a file, is a link; a file is none. The folders above ``directory`` may be root's
            links.
        BoardError: the board does not tell.
    """
    top = posixpath.normpath(directory)
    above = _parents(top)
    folders = dict.fromkeys(
        part for file in files for part in [*_parents(posixpath.normpath(file)), top]
    )
    below = sorted((part for part in folders if part not in above), key=len)
    script = ["sh", "-c", _SCRIPT, "sh", "--above", *above, "--below", *below, "--file", *files]
    result = connection.run(script, check=False)
    fault, _, path = result.text.rstrip("\n").partition("\n")
    if result.exit_code or (fault and fault not in _SAID):
        raise connection.failure(result, "looking at whose the folders there are (ls, id)")
    if not fault:
        return
    mend = f"chmod go-w {shlex.quote(path)}" if fault == "others" else None
    hint = f"run on the board: {mend}" if mend else "remove it there"
    hint += ", or name another folder as [ssh] directory = in the board's file"
    if fault != "kind":
        hint += "; where it is meant to be so, say shared = true there"
    error = OpenPlaceError(f"{connection.name}: {path}: {_SAID[fault]}", hint=hint)
    error.mend = mend
    raise error


def _parents(path: str) -> list[str]:
    """Every folder on the way to ``path``, from the outermost: of ``a/b/c`` these are ., a, a/b."""
    found: list[str] = []
    while path not in ("/", ".", ""):
        path = posixpath.dirname(path) or "."
        found.insert(0, path)
    return found
