"""What the command line imports: little for help, and nothing below imports it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from support.histories import figures, run, write
from support.places import REPOSITORY
from toolchain.cli.app import app

OURS = {
    "toolchain",
    "toolchain.cli",
    *(f"toolchain.cli.{path.stem}" for path in (REPOSITORY / "toolchain/cli").glob("[!_]*.py")),
    "toolchain.console",
    "toolchain.convert",
    "toolchain.convert.kinds",
    "toolchain.errors",
    "toolchain.foreign_text",
    "toolchain.garbage",
    "toolchain.hints",
    "toolchain.openmp",
    "toolchain.progress",
    "toolchain.questions",
    "toolchain.signals",
}
"""What help needs of this project."""
OTHERS = {
    *("annotated_doc", "attr", "markdown_it", "mdurl", "pygments", "rich", "shellingham", "typer"),
}
"""What help may need of others', for which it needs no more than typer does. ``attr`` is attrs,
which rich looks for."""
PYDANTIC = {
    "annotated_types",
    "pydantic",
    "pydantic_core",
    "typing_extensions",
    "typing_inspection",
}
"""What the value of an option needs: that of ``cache --kind``, which is read before ``clean``."""
_PROGRAM = f"""
import sys
sys.path.insert(0, {str(REPOSITORY)!r})
sys.argv = ["deploy", *sys.argv[1:]]
before = set(sys.modules)
import deploy
try:
    deploy.main()
finally:
    print(*sorted(set(sys.modules) - before), file=sys.stderr)
"""


def commands() -> list[str]:
    """Every command and group, by the words that call it."""
    found = [""]

    def walk(command: Any, words: str) -> None:
        for name, inner in getattr(command, "commands", {}).items():
            found.append(f"{words} {name}".strip())
            walk(inner, found[-1])

    walk(get_command(app), "")
    return found


def imported(*words: str) -> set[str]:
    """The modules that a command imports before it ends."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *words], capture_output=True, text=True, check=True,
        env=os.environ | {"COLUMNS": "100"},
    )  # fmt: skip
    return set(done.stderr.split())


@pytest.mark.parametrize("words", commands())
def test_help_imports_what_shows_it_and_no_more(words: str) -> None:
    found = imported(*words.split(), "--help")
    ours = {name for name in found if name.partition(".")[0] == "toolchain"}
    others = {name.partition(".")[0] for name in found - ours - {"deploy"}}
    others = {name for name in others - sys.stdlib_module_names if "sysconfig" not in name}
    assert ours == OURS
    assert others <= (OTHERS | PYDANTIC if words == "cache clean" else OTHERS)


@pytest.mark.parametrize("words", ["boards", "models", "models --json", "cache", "--version"])
def test_lists_need_neither_torch_nor_numpy(words: str) -> None:
    assert not imported(*words.split()) & {"torch", "numpy", "tensorflow"}


def test_a_history_is_read_without_numpy(tmp_path: Path) -> None:
    log = write(tmp_path / "h.jsonl", [run(figures("m"))])
    for words in ([], ["m"], ["m", "--json"]):
        found = imported("history", *words, "--history", str(log))
        assert "toolchain.profile.history" in found
        assert not found & {"torch", "numpy", "matplotlib"}


def test_nothing_below_imports_the_command_line() -> None:
    """The programs of developers stand above it: one of them writes its reference."""
    found = set[Path]()
    for path in (REPOSITORY / "toolchain").rglob("*.py"):
        if path.relative_to(REPOSITORY / "toolchain").parts[0] in ("cli", "dev"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            if any(f"{name}.".startswith(("toolchain.cli.", "deploy.")) for name in names):
                found.add(path)
    assert found == set()
