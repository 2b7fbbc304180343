from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import toolchain
from support.places import REPOSITORY
from support.quantized_ops import FileWriter
from toolchain.cli.app import app
from toolchain.hardware.board_file import board_names
from toolchain.zoo.catalog import CHECKPOINTS


def run_deploy(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(REPOSITORY / "deploy.py"), *arguments],
        capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "100"},
    )  # fmt: skip


def commands() -> list[list[str]]:
    """Every command that does something, by the words that call it."""
    found: list[list[str]] = []
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", {})
        found += [[name, other] for other in inner]
        if not inner or command.invoke_without_command:
            found.append([name])
    return found


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_explains_itself(command: list[str]) -> None:
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_has_json_but_the_one_that_becomes_ssh(command: list[str]) -> None:
    told = CliRunner().invoke(app, [*command, "--help"]).output
    assert ("--json" in told) == (command != ["boards", "shell"])


def test_version_is_the_packages() -> None:
    assert CliRunner().invoke(app, ["--version"]).output.strip() == toolchain.__version__


def test_boards_lists_every_board_that_ships() -> None:
    listed = json.loads(CliRunner().invoke(app, ["boards", "--json"]).output)
    ship = board_names()
    assert [board["name"] for board in listed][: len(ship)] == ship  # emulated ones may run


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (["inspect", "nothing.tflite"], 3, "nothing.tflite"),
        (["build", "--board", "toaster"], 5, "no board called 'toaster'"),
        (["convert", "nothing.safetensors"], 3, "nothing.safetensors"),
        (["compare", "a.json", "b.json"], 3, "a.json"),
    ],
)
def test_a_mistake_ends_in_a_message_and_its_exit_code(
    arguments: list[str], code: int, what: str
) -> None:
    done = run_deploy(*arguments)
    assert done.returncode == code
    assert what in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("command", ["push", "run", "verify", "profile"])
def test_a_model_that_the_runtime_cannot_run_is_refused_before_any_board_is_asked(
    command: str, tmp_path: Path
) -> None:
    file = FileWriter()
    x, y = file.tensor((1, 2), "float32"), file.tensor((1, 2), "float32")
    file.operator("TransformLandmarks", [x], [y], custom=b"")
    path = file.write(tmp_path / "model.tflite", [x], [y])
    more = ["--input", "x.npy", "-o", str(tmp_path)] if command == "run" else []
    done = run_deploy(command, str(path), *more, "--board", "rpi4", "--host", "nowhere.invalid")
    assert done.returncode == 3
    assert "TransformLandmarks (operator 0): a custom operator" in done.stderr
    assert "Traceback" not in done.stderr
    told = run_deploy("inspect", str(path))
    assert "TransformLandmarks (operator 0)" in told.stdout
    assert json.loads(run_deploy("inspect", str(path), "--json").stdout)["unsupported"]


def test_output_that_is_no_terminal_has_no_colour() -> None:
    done = run_deploy("boards")
    assert "\x1b" not in done.stdout


def test_a_terminated_convert_leaves_nothing(tmp_path: Path) -> None:
    checkpoint = CHECKPOINTS / "fashion_resnet_dense.safetensors"
    line = [sys.executable, str(REPOSITORY / "deploy.py"), "convert", str(checkpoint)]
    with subprocess.Popen(
        [*line, "--output", str(tmp_path / "x.tflite")],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    ) as process:
        assert process.stderr is not None
        process.stderr.readline()  # the first stage is done
        process.terminate()
        assert process.wait(60) == 143
    assert list(tmp_path.iterdir()) == []
