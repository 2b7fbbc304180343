"""Pages of the documentation as scripts: the files that they show, and the commands on them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from support.places import REPOSITORY
from support.terminal import Terminal

DOCS = REPOSITORY / "docs"
TUTORIAL = "tutorial.md"
_SET_UP = ("make setup", "source .venv/bin/activate")
"""What a reader does once; the tests run in an environment that is set up."""
SHORT = {"TILESKIP_MAX_TIME": "1", "TILESKIP_MAX_WAIT": "0"}
"""Tests run beside each other: an idle machine is waited for in vain, and times are not exact."""
_FILE = re.compile(r'^```[a-z]+ title="([^"]+)"\n(.*?)^```$', re.DOTALL | re.MULTILINE)
_CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def guides() -> list[str]:
    """The pages whose commands a reader types: the tutorial and the how-to pages."""
    return [TUTORIAL, *sorted(f"how-to/{path.name}" for path in (DOCS / "how-to").glob("*.md"))]


def files(page: str) -> dict[str, str]:
    """The files that a page shows: name to content."""
    return dict(_FILE.findall((DOCS / page).read_text(encoding="utf-8")))


def commands(text: str) -> list[str]:
    """The commands in the console blocks of a Markdown text, in their order."""
    lines = "".join(_CONSOLE.findall(text)).splitlines()
    return [line.removeprefix("$ ") for line in lines]


def page_commands(page: str) -> list[str]:
    """The commands of a page, without those that set the environment up."""
    found = commands((DOCS / page).read_text(encoding="utf-8"))
    return [line for line in found if line not in _SET_UP]


def run_page(
    page: str,
    folder: Path,
    environment: Mapping[str, str],
    after: Callable[[str], None] = lambda _command: None,
    *,
    python: str = sys.executable,
    answers: Mapping[str, str] | None = None,
) -> None:
    """Write the files of a page and run its commands, as a reader of it would.

    Args:
        page: its path in ``docs``.
        folder: to work in; the project's ``toolchain`` is found in it, if it has none of its own.
        environment: variables that are added.
        after: is told each command that has run.
        python: what ``python`` is on the page.
        answers: what is typed where a command asks something; then each runs on a terminal.
    """
    if not (folder / "toolchain").exists():
        (folder / "toolchain").symlink_to(REPOSITORY / "toolchain")
    for name, content in files(page).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    everything = os.environ | SHORT | {"PYTHONPATH": str(REPOSITORY)} | dict(environment)
    for command in page_commands(page):
        line = ["/bin/bash", "-c", _programs(python) + command]
        if answers is None:
            done = subprocess.run(
                line, cwd=folder, env=everything, capture_output=True, text=True, check=False
            )
            code, said = done.returncode, done.stdout + done.stderr
        else:
            terminal = Terminal(line, cwd=folder, environment=everything)
            code, said = terminal.close(answers), terminal.text
        assert code == 0, f"{page}: {command}\n{said}"
        after(command)


def _programs(python: str) -> str:
    """What an active environment would find."""
    deploy = shlex.join([sys.executable, str(REPOSITORY / "deploy.py")])
    return f'deploy() {{ {deploy} "$@"; }}\npython() {{ {shlex.quote(python)} "$@"; }}\n'
