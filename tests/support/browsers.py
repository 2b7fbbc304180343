"""A browser that looks at pages, and what drives it: packages of npm, kept outside of the tree."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock
import platformdirs
import pytest

from support.places import REPOSITORY

HERE = REPOSITORY / "tests/browser"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_LEAST_NODE = 20
_PATIENCE = 900
"""Seconds for all visits of one plan, on a busy machine."""

Visit = dict[str, Any]
"""A page, a width, a theme, and steps of ``visit.mjs``."""
Look = Callable[[list[Visit]], list[Any]]
"""Makes visits, and gives what was seen on each."""


def browser() -> str:
    """The browser; a test that needs one is skipped without."""
    found = os.environ.get("TILESKIP_BROWSER") or next(
        filter(None, map(shutil.which, BROWSERS)), ""
    )
    if not found:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)}, and TILESKIP_BROWSER names none")
    return found


def node() -> str:
    """Node.js, new enough; a test that needs it is skipped without."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("node is not installed")
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.match(r"v(\d+)", said)
    if version is None or int(version[1]) < _LEAST_NODE:
        pytest.skip(f"node is {said.strip()}; {_LEAST_NODE} is needed")
    return found


def installed() -> Path:
    """The folder with the packages of ``package-lock.json``; filled where it is not yet."""
    node()
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    lock = (HERE / "package-lock.json").read_bytes()
    chosen = os.environ.get("TILESKIP_NODE_CACHE")
    root = Path(chosen) if chosen else platformdirs.user_cache_path("tileskip-tests")
    root.mkdir(parents=True, exist_ok=True)
    folder = root / "browser"
    with filelock.FileLock(f"{folder}.lock"):
        known = folder / "installed"
        if not known.is_file() or known.read_bytes() != lock:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for name in ("package.json", "package-lock.json"):
                shutil.copy(HERE / name, folder)
            done = subprocess.run(
                [npm, "ci", "--no-fund", "--no-audit", "--ignore-scripts"],
                cwd=folder, env=os.environ | {"npm_config_cache": str(folder / "npm")},
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode:
                pytest.skip(f"npm ci cannot install the packages: {done.stderr.strip()[-200:]}")
            known.write_bytes(lock)
    return folder


def visits(wanted: list[Visit], packages: Path, folder: Path) -> list[Any]:
    """What the browser saw.

    Args:
        wanted: visits.
        packages: what drives it.
        folder: for its own files.
    """
    plan = folder / "plan.json"
    plan.write_text(json.dumps({"browser": browser(), "packages": str(packages), "visits": wanted}))
    done = subprocess.run(
        [node(), HERE / "visit.mjs", plan],
        env=os.environ | {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder)},
        capture_output=True, text=True, timeout=_PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen: list[Any] = json.loads(done.stdout)
    return seen
