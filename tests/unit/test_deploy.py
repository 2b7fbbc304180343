"""The door: Ctrl-C in the first moments, while modules are imported."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.patience import PATIENCE
from support.places import REPOSITORY

DOOR = REPOSITORY / "deploy.py"
WAITS = "import os, time\nos.write(1, b'imported\\n')\n"
SLEEPS = f"{WAITS}time.sleep(300)\n"
SWALLOWS = f"""{WAITS}
try:
    time.sleep(300)
except BaseException:
    raise ImportError("no such thing") from None
"""


def interrupted(
    folder: Path, package: str, source: str, *words: str
) -> subprocess.CompletedProcess[str]:
    """A command to which Ctrl-C comes while it imports a package, which is played by a source."""
    (folder / package).mkdir()
    (folder / package / "__init__.py").write_text(source)
    with subprocess.Popen(
        [sys.executable, DOOR, *words], cwd=folder, env=os.environ | {"PYTHONPATH": str(folder)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "imported\n"
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    return subprocess.CompletedProcess(words, process.returncode, out, err)


@pytest.mark.parametrize("package", ["rich", "typer"])
@pytest.mark.parametrize("source", [SLEEPS, SWALLOWS], ids=["sleeps", "swallows"])
def test_ctrl_c_while_the_command_line_is_imported(
    tmp_path: Path, package: str, source: str
) -> None:
    done = interrupted(tmp_path, package, source, "--help")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize(
    ("package", "words"),
    [
        ("markdown_it", ["--help"]),
        ("torch", ["convert", "--model", "resnet18"]),
        ("pydantic", ["build"]),
        ("numpy", ["verify", "model.tflite"]),
    ],
)
def test_ctrl_c_while_a_command_is_imported(tmp_path: Path, package: str, words: list[str]) -> None:
    done = interrupted(tmp_path, package, SLEEPS, *words)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_ctrl_c_that_is_ignored_stays_ignored() -> None:
    """As in what a shell starts in the background."""
    line = f"import signal, deploy; signal.signal({signal.SIGINT:d}, signal.SIG_IGN)\n"
    line += "try: deploy.main()\nfinally: print(signal.getsignal(signal.SIGINT).name)"
    done = subprocess.run(
        [sys.executable, "-c", line, "--version"], cwd=REPOSITORY, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[1:] == ["SIG_IGN"]


def test_the_door_imports_nothing_but_sys_before_it_is_opened() -> None:
    tree = ast.parse(DOOR.read_text())
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in imports] == [
        "from __future__ import annotations",
        "import sys",
    ]
