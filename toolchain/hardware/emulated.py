"""The emulated boards that were started: an inventory that ``deploy emulator`` keeps by itself.

Each board has a folder in the cache, ``<cache>/emulator/<board>/``. While the board is there, its
``board.json`` has what a board file would have, so that every command knows it by its name. It
appears when the board is started, and goes when it is stopped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from toolchain.formats.input_file import read_limited
from toolchain.formats.json_text import loads
from toolchain.hardware import inventory
from toolchain.storage.cache import cache_place
from toolchain.storage.files import write_whole

TAG = inventory.EMULATED
"""``--board emulated`` is all of them."""
BUILT_AS = "built_as"
"""The key of the board whose bundle one takes; it is no key of a board file."""
_RECORD = "board.json"
_MOST = 1 << 20


def place() -> Path:
    """The folder that has one for each of them."""
    return cache_place() / "emulator"


def folder(name: str) -> Path:
    """What is kept of one."""
    return place() / name


def record_file(name: str) -> Path:
    """What has the keys of one, while it is there."""
    return folder(name) / _RECORD


def folders() -> list[Path]:
    """The folders that there are, also of boards that have ended, by name."""
    with suppress(OSError):
        return sorted(path for path in place().iterdir() if path.is_dir())
    return []


def tables() -> dict[str, dict[str, Any]]:
    """The keys of each that was started, with :data:`BUILT_AS`; what is damaged is passed over."""
    found = {}
    for path in folders():
        with suppress(OSError, ValueError):
            table = loads(read_limited(path / _RECORD, _MOST))
            if isinstance(table, dict):
                found[path.name] = table
    return found


def record(name: str, keys: Mapping[str, Any], built_as: str) -> None:
    """Let commands know a board by its name.

    Args:
        name: of the board.
        keys: those of its file.
        built_as: the board whose bundle it takes.
    """
    text = json.dumps({**keys, BUILT_AS: built_as}, indent=1)
    write_whole(record_file(name), text.encode())


def forget(name: str) -> None:
    """Let no command know it any longer."""
    record_file(name).unlink(missing_ok=True)
