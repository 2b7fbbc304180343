"""The cache of a worker of the tests: all of it is shared but the emulated boards that run."""

from __future__ import annotations

import re
from pathlib import Path

from support.own_emulators import OWN, SHARED, lay_out, not_shared
from support.places import REPOSITORY


def test_what_is_made_of_a_shared_kind_lies_in_the_cache(tmp_path: Path) -> None:
    cache, folder = tmp_path / "cache", tmp_path / "own"
    for path in (cache / "tflite/there", cache / OWN / "qemu", folder):
        path.mkdir(parents=True)
    lay_out(folder, cache)
    assert (folder / "tflite/there").is_dir()
    (folder / "traces/new").mkdir()
    assert (cache / "traces/new").is_dir()
    assert not_shared(folder) == []


def test_emulated_boards_are_not_shared_and_another_kind_is_told(tmp_path: Path) -> None:
    cache, folder = tmp_path / "cache", tmp_path / "own"
    for path in (cache / OWN / "qemu", folder):
        path.mkdir(parents=True)
    lay_out(folder, cache)
    (folder / OWN / "qemu").mkdir(parents=True)
    (folder / "another").mkdir()
    assert not (cache / "another").exists()
    assert not_shared(folder) == ["another"]


def test_every_kind_of_entry_is_shared() -> None:
    text = "\n".join(path.read_text() for path in (REPOSITORY / "toolchain").rglob("*.py"))
    kinds = set(re.findall(r'\b(?:entry|present)\(\s*"([a-z-]+)"', text))
    assert len(kinds) > 10
    assert kinds <= set(SHARED)
