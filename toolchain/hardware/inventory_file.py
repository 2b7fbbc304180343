"""Changes of the inventory's file that leave all else in it as it is, byte for byte.

A board's table is written at the end, or in the place of the one that it replaces. What comes out
is read again before it is written: it has to hold the same boards as before, and the new one.
"""

from __future__ import annotations

import json
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from toolchain.errors import BoardConfigError
from toolchain.formats.input_file import read_limited
from toolchain.formats.text_file import encoding_of
from toolchain.formats.toml_file import parse_toml, toml_lines
from toolchain.storage.cache import locked
from toolchain.storage.files import make_folder, written_whole

_HEADER = re.compile(r"[ \t]*\[\[?(?P<names>[^\n]*)")
_FIRST_NAME = re.compile(r"""[ \t]*(?:"([^"\\\n]*)"|'([^'\n]*)'|([\w-]+))""")
_NOTHING = re.compile(r"[ \t]*(?:#[^\n]*)?\r?\n?")


def table_text(name: str, table: Mapping[str, Any]) -> str:
    """A board's table as TOML; tables in it get headers of their own.

    Args:
        name: of the board.
        table: keys to texts, whole numbers, flags, lists of texts, or tables of these.
    """
    own = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    lines = [f"[{name}]", *(f"{key} = {_value(value)}" for key, value in own.items())]
    for key, inner in table.items():
        if isinstance(inner, Mapping) and inner:
            lines += ["", f"[{name}.{key}]"]
            lines += [f"{word} = {_value(value)}" for word, value in inner.items()]
    return "\n".join(lines) + "\n"


def with_table(text: str, name: str, new: str, path: Path) -> str:
    """An inventory's text with a board's table, in the place of one of its name or at the end.

    Args:
        text: of the inventory.
        name: of the board.
        new: its table, from :func:`table_text`.
        path: of the inventory, for messages.

    Raises:
        BoardConfigError: it is not TOML, or has the board in a form that cannot be replaced.
    """
    before = parse_toml(text, path, BoardConfigError)
    if name in before:
        changed = _replaced(text, name, new)
    else:
        between = "" if not text else "\n" if text.endswith("\n") else "\n\n"
        changed = f"{text}{between}{new}"
    try:
        after = tomllib.loads(changed)
    except ValueError:
        after = {}
    if after != {**before, name: tomllib.loads(new)[name]}:
        raise BoardConfigError(
            f"{path}: {name}: is written in a form that is not replaced",
            hint=f"write it as a table, [{name}], or take it out, and run the command again",
        )
    return changed


def write_table(path: Path, name: str, new: str) -> None:
    """Write a board's table into an inventory, which is made if it is not there.

    Args:
        path: of the inventory.
        name: of the board.
        new: its table, from :func:`table_text`.

    Raises:
        BoardConfigError: the inventory cannot be read, or not be changed.
        OutputError: it cannot be written.
    """
    make_folder(path.parent)
    with locked("inventory"):  # two commands that add a board at once
        text, encoding = read_inventory(path)
        changed = with_table(text, name, new, path)
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
        with written_whole(path) as scratch:
            scratch.write_bytes(changed.encode(encoding))
            if mode is not None:
                scratch.chmod(mode)


def read_inventory(path: Path) -> tuple[str, str]:
    """The text of an inventory, ends of lines as they are, and its encoding.

    Raises:
        BoardConfigError: it cannot be read, or is no text.
    """
    try:
        data = read_limited(path) if path.exists() else b""
        encoding = encoding_of(data)
        return data.decode(encoding), encoding
    except OSError as error:
        raise BoardConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise BoardConfigError(f"{path}: is not TOML: no text in UTF-8") from error


def _replaced(text: str, name: str, new: str) -> str:
    """The text with all tables of a board taken out, and its new one where the first was."""
    parts: list[str] = []
    end, placed = 0, False
    for begin, stop in _spans(text, name):
        parts.append(text[end:begin])
        if not placed:
            follows = text[stop:].lstrip(" \t")
            parts.append(new + ("\n" if follows and not follows.startswith(("\n", "\r")) else ""))
            placed = True
        end = stop
    return "".join([*parts, text[end:]])


def _spans(text: str, name: str) -> list[tuple[int, int]]:
    """Where the tables of a board are: from a header to the end of its last key.

    What stands one behind the other, with no more than empty lines between, is one.
    """
    headers = list(_headers(text))
    found: list[tuple[int, int]] = []
    for number, (at, first) in enumerate(headers):
        if first != name:
            continue
        stop = headers[number + 1][0] if number + 1 < len(headers) else len(text)
        end = _without_tail(text, at, stop)
        if found and not text[found[-1][1] : at].strip():
            at = found.pop()[0]
        found.append((at, end))
    return found


def _headers(text: str) -> Iterator[tuple[int, str]]:
    """Where headers of tables are, with the first of their names."""
    at, known = 0, 0
    for line in toml_lines(text):
        found = _HEADER.match(line)
        name = _FIRST_NAME.match(found["names"].lstrip()) if found else None
        if name and _is_whole(text[known:at]):
            known = at
            yield at, next(part for part in name.groups() if part is not None)
        at += len(line)


def _is_whole(text: str) -> bool:
    """Whether a text ends where a line of TOML may begin, in no array and no text of lines."""
    try:
        tomllib.loads(text)
    except ValueError:
        return False
    return True


def _without_tail(text: str, begin: int, stop: int) -> int:
    """The end of a table without the comments and empty lines that stand before the next one."""
    lines = toml_lines(text[begin:stop])
    while len(lines) > 1 and _NOTHING.fullmatch(lines[-1]):
        shorter = lines[:-1]
        if not _is_whole("".join(shorter)):  # it is a line of a text
            break
        lines = shorter
    return begin + sum(map(len, lines))


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    # A basic string of TOML has JSON's escapes, but no DEL.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
