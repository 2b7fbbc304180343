"""What the wheel holds: all that users run, and nothing of what only developers do."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
_DATA = "toolchain._data"


def _setuptools() -> Any:
    text = (REPOSITORY / "pyproject.toml").read_text()
    return tomllib.loads(text)["tool"]["setuptools"]


def _rooms() -> set[str]:
    folders = (path.parent for path in (REPOSITORY / "toolchain").rglob("__init__.py"))
    return {".".join(folder.relative_to(REPOSITORY).parts) for folder in folders}


def test_every_room_is_in_the_wheel_but_that_of_the_developers() -> None:
    listed = {name for name in _setuptools()["packages"] if not name.startswith(_DATA)}
    used = {name for name in _rooms() if not name.startswith("toolchain.dev")}
    assert listed == used - {_DATA}


@pytest.mark.parametrize("kind", ["toml", "json", "safetensors"])
def test_no_data_of_the_developers_is_in_the_wheel(kind: str) -> None:
    assert f"**/*.{kind}" in _setuptools()["package-data"]["toolchain"]
    assert not list((REPOSITORY / "toolchain/dev").rglob(f"*.{kind}"))


def test_the_facts_of_cores_are_in_the_wheel() -> None:
    assert (REPOSITORY / "toolchain/hardware/facts.toml").is_file()
