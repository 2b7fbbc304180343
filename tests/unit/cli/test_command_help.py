"""Help texts to the letter, an example each, completion, and what was meant."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from support.places import REPOSITORY
from support.tiny_training import write_recipe
from toolchain.cli.app import app
from toolchain.errors import DeployError
from toolchain.hardware.board_file import board_names
from toolchain.zoo.catalog import ZOO


def commands() -> dict[str, Any]:
    """Every command and group by the words that call it."""
    found: dict[str, Any] = {}

    def walk(command: Any, words: str) -> None:
        found[words] = command
        for name, inner in getattr(command, "commands", {}).items():
            walk(inner, f"{words} {name}".strip())

    walk(get_command(app), "")
    return found


COMMANDS = commands()


def shown(words: str, columns: str = "200") -> str:
    result = CliRunner().invoke(
        app, [*words.split(), "--help"], env={"COLUMNS": columns}, catch_exceptions=False
    )
    assert result.exit_code == 0
    return result.output


def letters(text: str) -> str:
    """A text without white space and frames."""
    return re.sub(r"[\s│╭╮╰╯─]", "", text)


@pytest.mark.parametrize("words", COMMANDS)
def test_help_shows_every_text_to_the_letter(words: str) -> None:
    source, command = COMMANDS[words], COMMANDS[words]
    output = letters(shown(words))
    written = re.sub(r"\\([<&])", r"\1", source.help or "")
    assert letters(re.sub(r"\*\*|`", "", written)) in output
    for parameter in command.params:
        plain = re.sub(r"\\([^a-zA-Z0-9\s])", r"\1", getattr(parameter, "help", None) or "")
        assert letters(plain) in output, parameter.name


@pytest.mark.parametrize("words", COMMANDS)
def test_what_an_option_takes_is_told_in_words_and_a_flag_takes_nothing(words: str) -> None:
    told = shown(words)
    assert not re.search(r"<(?:bool|str|int|float|list|tuple)\b", told)
    assert re.search(r"--help +-h +Show", told)


@pytest.mark.parametrize("words", COMMANDS)
def test_help_speaks_one_dialect(words: str) -> None:
    command = COMMANDS[words]
    first = command.help.split("\n\n")[0].replace("\n", " ")
    assert re.fullmatch(r"[A-Z].*\.", first)
    for parameter in command.params:
        if text := re.sub(r"\\(\W)", r"\1", getattr(parameter, "help", None) or ""):
            assert re.fullmatch(r"([A-Z]|\.tflite ).*\.", text), parameter.name
            assert "default" not in text, "it is shown by itself"
        if parameter.name == "json_output":
            assert text == "Print one JSON document."


@pytest.mark.parametrize("words", COMMANDS)
@pytest.mark.parametrize("columns", ["50", "70"])
def test_help_cuts_no_word_off(words: str, columns: str) -> None:
    text = shown(words, columns)
    assert "…" not in text
    frames = [line for line in text.splitlines() if line.startswith("│")]
    assert max(map(len, frames), default=0) <= int(columns)


def test_what_looks_like_html_or_markdown_is_shown() -> None:
    assert "output<i>.npy" in shown("run")
    assert "push [OPTIONS] [MODEL]..." in shown("push")
    assert "convert [OPTIONS] [CHECKPOINT|PROGRAM.pt2|MODEL]" in shown("convert")


@pytest.mark.parametrize("words", COMMANDS)
@pytest.mark.parametrize("columns", ["80", "100"])
def test_help_shows_an_example_that_is_understood(words: str, columns: str) -> None:
    text = shown(words, columns)
    _, _, below = text.rpartition("Example")
    lines = [line.strip() for line in below.splitlines() if line.strip().startswith("deploy ")]
    assert lines[0].startswith(f"deploy {words}".strip())
    for line in lines:
        command, rest = get_command(app), shlex.split(line)[1:]
        while hasattr(command, "commands") and (
            rest or not getattr(command, "invoke_without_command", False)
        ):
            command, rest = command.commands[rest[0]], rest[1:]
        command.make_context(line, rest)


def test_examples_name_files_of_the_project_that_are_there() -> None:
    for words in COMMANDS:
        for path in re.findall(r"toolchain/\S+", shown(words)):
            assert (REPOSITORY / path).is_file()


# --- networks --------------------------------------------------------------------------------


def test_models_lists_every_network() -> None:
    result = CliRunner().invoke(app, ["models"], catch_exceptions=False)
    rows = [line.split() for line in result.output.splitlines()]
    assert [row[0] for row in rows[1 : len(ZOO) + 1]] == list(ZOO)
    assert ["resnet18_s20", "1,3,224,224", "1000", "20%", "random"] in rows
    assert ["fashion_resnet_dense", "1,1,28,28", "10", "fashion-mnist"] in rows


# --- completion ------------------------------------------------------------------------------

_PROGRAM = f"""
import sys
sys.path.insert(0, {str(REPOSITORY)!r})
sys.argv = ["deploy", *sys.argv[1:]]
import deploy
try:
    deploy.main()
finally:
    print("torch" in sys.modules, file=sys.stderr)
"""


def completed(line: str, here: Path) -> list[str]:
    """What bash would offer behind a line; torch may not be imported for it."""
    words = line.split(" ")
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], cwd=here, capture_output=True, text=True, check=True,
        env=os.environ | {
            "_DEPLOY_COMPLETE": "complete_bash", "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        },
    )  # fmt: skip
    assert done.stderr.strip() == "False"
    return done.stdout.split()


def test_completion_knows_boards_and_files_of_boards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TILESKIP_CACHE", str(tmp_path / "cache"))  # of no emulated boards
    (tmp_path / "mine.toml").write_text((REPOSITORY / "boards/rpi4.toml").read_text())
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    assert sorted(completed("deploy build --board ", tmp_path)) == [
        *sorted([*board_names(), "mine.toml"])
    ]
    assert completed("deploy emulator start -b q", tmp_path) == ["qemu"]
    assert completed("deploy inspect x --board rpi4", tmp_path) == ["rpi4"]
    (tmp_path / "below").mkdir()
    assert completed("deploy push -b ../m", tmp_path / "below") == ["../mine.toml"]
    # As it was typed, for the shell goes on from there.
    assert completed("deploy push -b ./m", tmp_path) == ["./mine.toml"]
    assert completed("deploy push -b below/../m", tmp_path) == ["below/../mine.toml"]
    (tmp_path / "below/yours.toml").write_bytes((tmp_path / "mine.toml").read_bytes())
    monkeypatch.setenv("HOME", str(tmp_path))
    assert completed("deploy push -b ~/below/", tmp_path) == ["~/below/yours.toml"]


def test_completion_knows_networks(tmp_path: Path) -> None:
    offered = completed("deploy convert --model mobilenet", tmp_path)
    assert offered == [name for name in ZOO if name.startswith("mobilenet")]


def test_completion_knows_commands_and_values(tmp_path: Path) -> None:
    assert completed("deploy mo", tmp_path) == ["models"]
    assert completed("deploy convert --quantize ", tmp_path) == ["int8", "fp16", "dynamic"]


@pytest.mark.parametrize("line", ["--help", "models --json", "boards", "convert --help"])
def test_what_is_asked_often_needs_no_torch(tmp_path: Path, line: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *line.split()],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr.strip() == "False"


# --- what was meant --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("biuld", "'build'"),
        ("emulator strat", "'start'"),
        ("build --bord rpi4", "--board"),
        ("convert --model resnet18 --quantize int16", "did you mean 'int8'?"),
        ("convert --model resnet18 --quantize dynamc", "did you mean 'dynamic'?"),
        ("convert --model resnet18 --io float23", "did you mean 'float32'?"),
    ],
)
def test_wrong_use_is_told_with_what_was_meant(line: str, meant: str) -> None:
    result = CliRunner().invoke(app, line.split())
    assert result.exit_code == 2
    assert meant in re.sub(r"\s*│\n│\s*", " ", result.output)


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("build --board rpi44", "did you mean 'rpi4'? use one of host, "),
        ("build --board mine", "did you mean the file mine.toml?"),
        ("inspect net.tflite --board Qemu", "did you mean 'qemu'?"),
        ("convert --model resnet81", "did you mean 'resnet18'?"),
        ("convert --model mobilenetv2", "did you mean 'mobilenet_v2'?"),
        ("inspect ned.tflite", "did you mean net.tflite?"),
        ("train recipi.toml", "did you mean recipe.toml?"),
        ("train policy.toml", "did you mean 'lattice'?"),
        ("train key.toml", "masks.sparsty: is not a known key; did you mean 'sparsity'?"),
        ("train table.toml", "optimiser: is not a known key; did you mean 'optimizer'?"),
        ("train word.toml", "did you mean 'adamw'?"),
        ("train board.toml", "did you mean 'rpi4'?"),
        ("train layer.toml", "did you mean '0'?"),
        ("train network.toml", "did you mean 'resnet18'?"),
        ("train function.toml", "did you mean 'net'?"),
        ("train data.toml", "did you mean 'fashion-mnist'?"),
    ],
)
def test_a_wrong_name_is_told_with_what_was_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, meant: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text((REPOSITORY / "boards/rpi4.toml").read_text())
    (tmp_path / "net.tflite").write_bytes(b"")
    changes: dict[str, dict[str, dict[str, Any]]] = {
        "recipe": {},
        "policy": {"masks": {"policy": "latice"}},
        "key": {"masks": {"sparsty": 0.2}},
        "word": {"optimizer": {"kind": "adam"}},
        "board": {"masks": {"board": "rpi-4"}},
        "layer": {"masks": {"layers": ["00"]}},
        "network": {"model": {"factory": "resnet-18"}},
        "function": {"model": {"factory": "support.tiny_training:nett"}},
        "data": {"data": {"source": "fashion_mnist", "image_size": 8}},
    }
    for name, change in changes.items():
        write_recipe(tmp_path / f"{name}.toml", **change)
    text = (tmp_path / "recipe.toml").read_text()
    (tmp_path / "table.toml").write_text(f"{text}\n[optimiser]\n")
    with pytest.raises(DeployError) as caught:
        CliRunner().invoke(app, line.split(), catch_exceptions=False)
    assert meant in f"{caught.value.what} {caught.value.hint}"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("boards lease --board qemu --for soldering", "boards lease qemu --for soldering"),
        ("boards clean --board=qemu --dry-run", "boards clean qemu --dry-run"),
        ("boards show -b rpi4", "boards show rpi4"),
    ],
)
def test_who_gives_a_board_as_elsewhere_is_told_the_line_that_runs(words: str, line: str) -> None:
    done = CliRunner().invoke(app, words.split(), env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert f"Run: deploy {line}" in done.output
    if "show" in words:
        assert CliRunner().invoke(app, line.split()).exit_code == 0


def test_an_option_that_is_not_known_elsewhere_is_told_as_such() -> None:
    done = CliRunner().invoke(app, ["boards", "list", "--board", "qemu"], env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert "No such option: --board" in done.output
