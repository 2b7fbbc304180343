"""Python as the light installation has it: with the packages of ``requirements-base.lock``."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from support.patience import PATIENCE
from support.places import REPOSITORY

LOCK = REPOSITORY / "requirements-base.lock"
_BLOCK = """
import sys
sys.path.insert(0, REPOSITORY)
sys.modules.update(dict.fromkeys(BLOCKED))  # None: there is no such module
"""


def canonical(name: str) -> str:
    """The name of a distribution as all its spellings are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def base_packages() -> frozenset[str]:
    """The distributions of the light installation."""
    names = re.findall(r"^([\w.-]+)==", LOCK.read_text(), re.MULTILINE)
    return frozenset({*map(canonical, names), "tileskip"})


@cache
def heavy_modules() -> frozenset[str]:
    """What is imported from packages of this environment that the light one does not have."""
    provided = importlib.metadata.packages_distributions()
    return frozenset(
        module
        for module, names in provided.items()
        if not base_packages().intersection(map(canonical, names))
    )


def python(
    folder: Path, program: str, *words: str, without: Iterable[str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program that cannot import some modules.

    Args:
        folder: to run it in.
        program: its source.
        words: its arguments.
        without: which; by default what the light installation does not have.
    """
    blocked = sorted(heavy_modules() if without is None else without)
    head = f"BLOCKED, REPOSITORY = {set(blocked)!r}, {str(REPOSITORY)!r}{_BLOCK}"
    return subprocess.run(
        [sys.executable, "-c", head + program, *words],
        cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE,
        env=os.environ | {"TILESKIP_CACHE": str(folder / "cache"), "COLUMNS": "1000"},
    )  # fmt: skip


def run(
    folder: Path, *words: str, without: Iterable[str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``deploy`` so."""
    program = "sys.argv[0] = 'deploy'\nimport deploy\ndeploy.main()\n"
    return python(folder, program, *words, without=without)
