"""Repositories of users, in which pytest runs with the plugin."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from support.patience import PATIENCE
from support.places import REPOSITORY

PLUGIN = "toolchain.pytest_plugin"


def plugin_words() -> list[str]:
    """What makes pytest load the plugin of this checkout, where it is not installed with it."""
    found = importlib.metadata.entry_points(group="pytest11")
    return [] if any(one.value == PLUGIN for one in found) else ["-p", PLUGIN]


@dataclass(frozen=True)
class Ran:
    """How a run of pytest ended."""

    code: int
    text: str

    def count(self, outcome: str) -> int:
        """How many tests ended so: ``passed``, ``failed``, ``skipped``, ``error``."""
        found = re.search(rf"(\d+) {outcome}", self.text.strip().splitlines()[-1])
        return int(found[1]) if found else 0


def run_pytest(
    folder: Path, *words: str | Path, python: str = sys.executable, **environment: str
) -> Ran:
    """Run pytest in a repository.

    Args:
        folder: the repository.
        words: its arguments.
        python: another interpreter, which has the plugin installed.
        environment: variables that are added.
    """
    own = python == sys.executable
    variables = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    variables |= {"COLUMNS": "200", "PYTHONPATH": str(REPOSITORY) if own else ""} | environment
    done = subprocess.run(
        [python, "-m", "pytest", "-ra", "-p", "no:cacheprovider", *(plugin_words() if own else []),
         *map(str, words)],
        cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE, env=variables,
    )  # fmt: skip
    return Ran(done.returncode, done.stdout + done.stderr)
