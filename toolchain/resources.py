"""Where the data that ships with the project lies: in a checkout or in an installed package."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _find(name: str) -> Path:
    beside = _PACKAGE.parent / name  # a checkout, or an editable install of one
    if (_PACKAGE.parent / "pyproject.toml").is_file() and beside.is_dir():
        return beside
    return _PACKAGE / "_data" / name  # where pyproject.toml's package-dir puts it on install


def boards_dir() -> Path:
    """The folder of ``<board>.toml`` files."""
    return _find("boards")


def runtime_patch_dir() -> Path:
    """The folder of patches, sources.toml and the C++ programs of the runtime."""
    return _find("runtime_patch")
