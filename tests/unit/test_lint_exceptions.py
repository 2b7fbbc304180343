"""Rules of security (Bandit's, ruff's S) are on; each exception from one says why it is one."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from support.places import REPOSITORY

_EXCEPTION = re.compile(r"# noqa: (?P<rules>[A-Z]+[0-9]+(?:, ?[A-Z]+[0-9]+)*)(?P<reason>.*)$")
_SKIPPED = ("build", "node_modules")
"""Beside folders whose name begins with a dot."""


def _sources() -> Iterator[Path]:
    for path in sorted(REPOSITORY.rglob("*.py")):
        parts = path.relative_to(REPOSITORY).parts
        if not any(part in _SKIPPED or part.startswith(".") for part in parts):
            yield path


def test_all_rules_of_security_are_on() -> None:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert "S" in settings["select"]


def test_each_exception_in_a_source_says_why() -> None:
    without = []
    for path in _sources():
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = _EXCEPTION.search(line)
            if found is None or not re.search(r"\bS[0-9]{3}", found["rules"]):
                continue
            if not re.match(r" (?:- |\().*\w\w", found["reason"]):
                without.append(f"{path.relative_to(REPOSITORY)}:{number}: {line.strip()}")
    assert without == []


def test_each_exception_in_the_settings_says_why() -> None:
    lines = (REPOSITORY / "pyproject.toml").read_text().splitlines()
    without = [line for line in lines if re.search(r'"S[0-9]{3}"', line) and "#" not in line]
    assert without == []
