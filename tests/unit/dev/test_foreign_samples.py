"""Samples of other tools: how they are made, and that those that are kept are all of them."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from support.foreign_samples import SAMPLES
from toolchain.dev.foreign_samples import programs
from toolchain.dev.foreign_samples.__main__ import main
from toolchain.errors import BuildError


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}")
    path.chmod(0o755)
    return path


def test_the_samples_that_are_kept_are_those_that_are_made() -> None:
    kept = {
        folder.name: {path.name for path in folder.iterdir()}
        for folder in SAMPLES.iterdir()
        if folder.is_dir()
    }
    assert kept["benchmark_model"] == set(programs.BENCHMARK_MODEL)
    assert kept["benchncnn"] == set(programs.BENCHNCNN)
    assert set(kept) == {"benchmark_model", "benchncnn", "executorch"}


def test_no_sample_names_a_place_of_a_machine() -> None:
    for path in SAMPLES.glob("*/*"):
        text = path.read_text(encoding="utf-8")
        # A path from the root on; names of tensors have slashes, too.
        assert not re.search(r"(?<![\w.\]])/[a-z]+/", text), path
        assert socket.gethostname() not in text, path


def test_both_streams_of_a_tool_are_kept_in_their_order(tmp_path: Path) -> None:
    tool = program(tmp_path / "tool", 'echo "1 $*"; echo 2 >&2; echo 3; exit 4\n')
    made = programs.benchncnn(tool, tmp_path / "out")
    assert [path.name for path in made] == list(programs.BENCHNCNN)
    text = (tmp_path / "out/no_model.txt").read_text()
    assert text == "1 8 1 0 -1 0 param=absent.param shape=[32,32,3]\n2\n3\n"


def test_a_csv_is_the_file_and_names_are_short(tmp_path: Path) -> None:
    model = tmp_path / "m.tflite"
    model.write_bytes(b"model")
    long = programs._LONG
    script = (
        f'cat net.tflite; echo " {long}/a"\n'
        f'for word; do case $word in *csv_file=*) echo "{long}/b" > "${{word#*=}}";; esac; done\n'
        'echo "$1"\n'
    )
    made = programs.benchmark_model(program(tmp_path / "tool", script), model, tmp_path / "out")
    texts = {path.name: path.read_text() for path in made}
    assert texts["xnnpack.txt"] == "model net/a\n--graph=net.tflite\n"
    assert texts["xnnpack.csv"] == "net/b\n"
    assert "--graph=net.tflite" not in texts["no_model.txt"]


def test_a_tool_that_writes_no_csv_is_told(tmp_path: Path) -> None:
    model = tmp_path / "m.tflite"
    model.write_bytes(b"model")
    with pytest.raises(BuildError, match="wrote no CSV, and said: broken"):
        programs.benchmark_model(
            program(tmp_path / "tool", "echo broken\n"), model, tmp_path / "out"
        )


def test_a_python_without_executorch_is_told(tmp_path: Path) -> None:
    python = program(tmp_path / "python", "echo Traceback >&2; echo No module >&2; exit 1\n")
    with pytest.raises(BuildError, match="ExecuTorch failed: No module"):
        programs.executorch(python, tmp_path / "out")


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "example: python -m toolchain.dev.foreign_samples" in capsys.readouterr().out
