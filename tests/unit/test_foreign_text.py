"""Nothing that others wrote reaches the terminal as anything but letters."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from support.places import REPOSITORY
from support.profiles import measurement, profile_of
from support.tflite_writer import GraphWriter
from toolchain.console import Screen
from toolchain.foreign_text import harmless, harmless_json
from toolchain.progress import Lines

TITLE = "\x1b]0;owned\x07"
HOSTILE = f"{TITLE}\x9b31m\x1b[2J\x08\x7f\u202ekcatta\u2066[red]x[/red]"
"""Sets a title, a colour by C1, clears the screen, moves back, turns letters around, markup."""
SEEN = [*range(0x20, 0x7F), 0x0A]


def assert_harmless(text: str) -> None:
    acted_on = [char for char in text if char != "\n" and not char.isprintable()]
    assert acted_on == [], text


@given(st.text())
def test_what_is_left_is_letters(text: str) -> None:
    assert not set(harmless(text)) & set("\x1b\x07\x08\x7f\x9b\r\u202e\u2066\u200b")
    assert harmless(harmless(text)) == harmless(text)
    assert json.loads(harmless_json(json.dumps(text, ensure_ascii=False))) == text


def test_letters_of_all_languages_stay() -> None:
    for text in ("Grüße, 你好, здравствуйте ±·…→≤ │┃━", "a\n\tb", "été", "🙂"):
        assert harmless(text) == text


def test_a_screen_writes_its_own_escapes_and_no_others() -> None:
    stream = io.StringIO()
    screen = Screen(file=stream, force_terminal=True, color_system="standard", width=200)
    screen.print(f"a{HOSTILE}", style="red", markup=False, highlight=False)
    assert stream.getvalue().startswith("\x1b[31ma\\x1b]0;owned\\x9b31m\\x1b[2J\\x7f")
    assert stream.getvalue().count("\x1b") == 2
    assert "[red]x[/red]" in stream.getvalue()


def test_lines_of_a_log_are_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    Lines().note(HOSTILE)
    assert_harmless(capsys.readouterr().err)


def model(folder: Path) -> list[str]:
    graph = GraphWriter()
    graph.prefix = HOSTILE
    source = graph.tensor((1, 4, 4, 3))
    bias, filters = torch.zeros(2).numpy(), torch.ones(2, 1, 1, 3).numpy()
    output = graph.conv_2d(source, filters, bias, (1, 4, 4, 2))
    graph.write(folder / "model.tflite", [source], [output])
    return ["inspect", "model.tflite"]


def board(folder: Path) -> list[str]:
    (folder / "b.toml").write_text(f"{json.dumps(HOSTILE)} = 1\ntitle = {json.dumps(HOSTILE)}\n")
    return ["build", "--board", "b.toml"]


def recipe(folder: Path) -> list[str]:
    name = json.dumps(HOSTILE)
    (folder / "r.toml").write_text(f"[model]\nfactory = {name}\n[{name}]\n")
    return ["train", "r.toml"]


def profile(folder: Path) -> list[str]:
    profile_of(measurement(HOSTILE)).save(folder / "p.json")
    return ["compare", "p.json", "p.json"]


def checkpoint(folder: Path) -> list[str]:
    tensors = {HOSTILE: torch.zeros(1)}
    metadata = {"factory": HOSTILE, "arguments": HOSTILE, "input_shape": HOSTILE}
    safetensors.torch.save_file(tensors, folder / "c.safetensors", metadata)
    return ["convert", "c.safetensors"]


def weights(folder: Path) -> list[str]:
    torch.save({HOSTILE: torch.zeros(1)}, folder / "w.pt")
    return ["convert", "w.pt", "--model", "fashion_resnet_dense"]


def file_name(folder: Path) -> list[str]:
    name = HOSTILE.replace("/", "") + ".tflite"
    (folder / name).write_bytes(b"no model")
    return ["inspect", name]


def bundle(folder: Path) -> list[str]:
    (folder / "b").mkdir()
    (folder / "b/manifest.json").write_text(json.dumps({HOSTILE: 1}))
    return ["verify", model(folder)[1], "--board", "host", "--bundle", "b"]


@pytest.mark.parametrize("json_output", [[], ["--json"]], ids=["text", "json"])
@pytest.mark.parametrize(
    "write", [model, board, recipe, profile, checkpoint, weights, file_name, bundle]
)
def test_what_a_file_holds_is_harmless_on_the_screen(
    tmp_path: Path, write: Callable[[Path], list[str]], json_output: list[str]
) -> None:
    done = subprocess.run(
        [sys.executable, REPOSITORY / "deploy.py", *write(tmp_path), *json_output],
        cwd=tmp_path, capture_output=True, check=False, env={**os.environ, "PYTHONUTF8": "1"},
    )  # fmt: skip
    assert b"Traceback" not in done.stderr
    for stream in (done.stdout, done.stderr):
        assert_harmless(stream.decode())
    if json_output and not done.returncode:
        json.loads(done.stdout)
