"""Text of any encoding, and the numbers in it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from support.foreign_samples import reading, sample
from toolchain.errors import ModelError
from toolchain.profile.foreign.log_text import (
    Log,
    name_of,
    name_of_file,
    number,
    read_log,
    tidy,
    whole_number,
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_text_of_any_encoding_with_a_mark_is_read(tmp_path: Path, encoding: str) -> None:
    """PowerShell writes UTF-16 where a program's output goes to a file."""
    text = sample("benchncnn/one_model.txt")
    path = tmp_path / "a.txt"
    path.write_bytes(text.replace("\n", "\r\n").encode(encoding))
    assert read_log(path).text.replace("\r\n", "\n").lstrip("\ufeff") == text


def test_bytes_that_are_no_text_harm_nothing(tmp_path: Path) -> None:
    text = sample("benchmark_model/xnnpack.txt").replace("net.tflite", "caf\udce9.tflite")
    (model,) = reading(tmp_path, text)
    assert model.name == "caf\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("data", [b"\x1c\0\0\0TFL3", b"a\0b", b"loop_count = 1\n\0"])
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.tflite"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"a\.tflite: is no text"):
        read_log(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"absent\.txt: cannot be read"):
        read_log(tmp_path / "absent.txt")


def test_what_a_pipe_gives_is_read(tmp_path: Path) -> None:
    """``deploy compare <(ssh board benchncnn) ...`` gives one."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("a\nb\n",))
    writer.start()
    assert [line.text for line in read_log(pipe).lines() if line.text] == ["a", "b"]
    writer.join()


def test_lines_are_numbered_by_their_ends_alone() -> None:
    lines = list(Log(Path("a"), "one\rover\r\n\r\ntwo\nthree").lines())
    assert [(line.number, line.text) for line in lines if line.text] == [
        (1, "one"), (1, "over"), (3, "two"), (4, "three"),
    ]  # fmt: skip
    assert [line.ended for line in lines if line.text] == [True, True, True, False]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12), ("1.5", 1.5), ("1,5", 1.5), ("2.95034e+06", 2.95034e6), ("+3", 3), (".5", 0.5),
        ("0", 0), ("", None), ("-1", None), ("nan", None), ("inf", None), ("1e400", None),
        ("1e17", None), ("1.2.3", None), ("1,234,567", None), ("12 ms", None), ("٣", None),
        ("1_000", None), ("0x10", None), ("9" * 400, None),
    ],
)  # fmt: skip
def test_a_number_is_told_from_what_looks_like_one(text: str, value: float | None) -> None:
    assert number(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("50", 50), ("-1", None), ("1.5", None), ("9" * 19, None), ("9" * 5000, None)],
)
def test_a_count_has_digits_alone(text: str, value: int | None) -> None:
    assert whole_number(text) == value


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("/data/local/tmp/net.tflite", "net"), (r"C:\models\net.tflite", "net"),
        ("net.param", "net"), ("yolo-fastest-1.1", "yolo-fastest-1.1"), (" a b.tflite ", "a b"),
        ("fd:3:0:100", "fd:3:0:100"), ("", "(no name)"), ("/", "/"), (".tflite", ".tflite"),
        ("a\x1b[31m.tflite", "a\\x1b[31m"),
    ],
)  # fmt: skip
def test_a_models_name_is_its_files(text: str, name: str) -> None:
    assert name_of(text) == name


def test_a_file_stands_for_a_model_without_a_name() -> None:
    names = [name_of_file(Path(f"x/net{end}")) for end in (".csv", ".tsv", ".txt", ".log", "")]
    assert names == ["net"] * 5


def test_a_long_text_is_cut() -> None:
    assert len(tidy("a" * 10_000)) <= 300
    assert len(name_of("a" * 10_000 + ".tflite")) <= 300
