"""The user's own boards by name: one TOML file, a table each.

.. code-block:: toml

    [kitchen]
    like = "rpi4"
    tags = ["lab"]
    ssh = { host = "pi@kitchen.local" }

A table has the keys of a board file, and ``like``: the board whose keys it takes where it has none
of its own. ``--board kitchen`` is then a board as any other. See ``docs/reference/inventory.md``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import platformdirs

from toolchain.errors import BoardConfigError
from toolchain.formats.toml_file import read_toml
from toolchain.resources import boards_dir

ENVIRONMENT = "TILESKIP_BOARDS"
LIKE = "like"
"""The key of the board whose keys a table takes."""
TAGS = "tags"
"""The key of the words that stand for several boards."""
ALL = "all"
"""Stands for all boards of the inventory, so none has this name."""
EMULATED = "emulated"
"""Likewise, for the emulated boards that were started."""
_SEVERAL = (ALL, EMULATED)
_CHARACTERS = "that is 1 to 64 letters, digits, '-' and '_', the first a letter or digit"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def place() -> Path:
    """The inventory: ``$TILESKIP_BOARDS``, or ``boards.toml`` in the user's configuration."""
    chosen = os.environ.get(ENVIRONMENT)
    return Path(chosen) if chosen else platformdirs.user_config_path("tileskip") / "boards.toml"


def tables() -> dict[str, dict[str, Any]]:
    """Each board's table as it stands in the file; none where there is no file.

    Raises:
        BoardConfigError: it cannot be read, or has what is no board's table.
    """
    path = place()
    if not path.exists():
        return {}
    found = read_toml(path, BoardConfigError)
    ships = {one.stem for one in boards_dir().glob("*.toml")}
    for name in found.keys() & ships:
        raise BoardConfigError(
            f"{path}: {name}: is the name of a board that ships", hint="give yours another name"
        )
    for name, table in found.items():
        if isinstance(table, dict) and name in _SEVERAL:
            raise BoardConfigError(
                f"{path}: {name}: {why_no_name(name)}", hint="give the board another name there"
            )
        if not isinstance(table, dict) or not is_name(name):
            raise BoardConfigError(
                f"{path}: {name}: is no board",
                hint="write a table for each board, with a name of letters, digits, '-' and '_': "
                '[kitchen], and like = "rpi4" in it',
            )
    return found


def tagged(known: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """The boards of each tag.

    Args:
        known: :func:`tables`; what is no list of tags in one is passed over.
    """
    found: dict[str, list[str]] = {}
    for name, table in known.items():
        tags = table.get(TAGS)
        for tag in tags if isinstance(tags, list) else ():
            if isinstance(tag, str):
                found.setdefault(tag, []).append(name)
    return found


def check_new(name: str, tags: Sequence[str], *, replace: bool) -> None:
    """Make sure that a board can be added, and that ``--board`` means one thing by each word.

    Args:
        name: of the board.
        tags: likewise.
        replace: whether it may take the place of one of its name.

    Raises:
        BoardConfigError: the name is none, or is taken; a tag is the name of a board.
    """
    known, ships = tables(), {one.stem for one in boards_dir().glob("*.toml")}
    if not is_name(name):
        raise BoardConfigError(
            f"'{name}' {why_no_name(name)}", hint="give it another: --name kitchen"
        )
    if name in ships:
        raise BoardConfigError(
            f"'{name}' is the name of a board that ships", hint="give yours another: --name kitchen"
        )
    if name in known and not replace:
        raise BoardConfigError(
            f"there is a board called '{name}' already: {place()}",
            hint="give this one another name with --name, or replace that one with --replace",
        )
    if name in tagged(known):
        raise BoardConfigError(
            f"'{name}' is a tag of your boards, and --board {name} means all of them",
            hint="give it another name with --name",
        )
    for tag in tags:
        if not _NAME.fullmatch(tag):
            raise BoardConfigError(
                f"'{tag}' is no tag: {_CHARACTERS}",
                hint="give each tag on its own: --tag lab --tag attic",
            )
        if tag in (*_SEVERAL, name) or tag in known or tag in ships:
            raise BoardConfigError(
                f"'{tag}' is no tag: it is the name of a board, or stands for all",
                hint="take another word for --tag",
            )


def is_name(text: str) -> bool:
    """Whether a board of an inventory can have this name."""
    return _NAME.fullmatch(text) is not None and text not in _SEVERAL


def why_no_name(text: str) -> str:
    """Why a board cannot have a name, where it cannot."""
    if text in _SEVERAL:
        return "stands for several boards, so none has this name"
    return f"is no name of a board: {_CHARACTERS}"


def over(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A board's keys: its own, and else those of the board that it is like, tables key by key."""
    merged = dict(base)
    for key, value in own.items():
        known = merged.get(key)
        both = isinstance(value, dict) and isinstance(known, dict)
        merged[key] = over(known, value) if both else value  # type: ignore[arg-type]
    return merged
