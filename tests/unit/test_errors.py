"""Every error is made in one way, so that several can be told in one of their class."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

from support.places import REPOSITORY
from toolchain.errors import DeployError


def _classes(path: Path) -> dict[str, set[str]]:
    """The classes that a module defines, and what each is derived from, by their last names."""
    found = [
        node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)
    ]
    return {one.name: {ast.unparse(base).rpartition(".")[2] for base in one.bases} for one in found}


def _errors() -> list[tuple[str, str]]:
    """Module and name of every subclass of ``DeployError``: not all modules can be imported."""
    modules = {
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts): _classes(path)
        for path in sorted((REPOSITORY / "toolchain").rglob("*.py"))
    }
    known, found = {"DeployError"}, set[tuple[str, str]]()
    while True:
        more = {
            (module, name)
            for module, classes in modules.items()
            for name, bases in classes.items()
            if bases & known
        }
        if more <= found:
            return sorted(found)
        found |= more
        known |= {name for _, name in more}


def test_errors_of_other_modules_are_found() -> None:
    assert ("toolchain.board.host_keys", "ChangedKeyError") in _errors()


@pytest.mark.parametrize(("module", "name"), _errors())
def test_every_error_can_be_made_of_what_failed_and_a_hint(module: str, name: str) -> None:
    kind = getattr(importlib.import_module(module), name)
    assert issubclass(kind, DeployError)
    error = kind("a: failed", hint="look at a")
    assert (error.what, error.hint) == ("a: failed", "look at a")
    assert kind("a: failed").hint is None
