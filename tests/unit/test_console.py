"""What is printed: on a full disk, into a closed pipe, in any encoding, at one width."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from support.masked_case import Case
from support.patience import PATIENCE
from support.places import REPOSITORY
from support.profiles import measurement, profile_of
from toolchain import console
from toolchain.formats.json_text import to_json

DEPLOY = [sys.executable, str(REPOSITORY / "deploy.py")]
CASE = Case(
    batch=1, height=4, width=4, channels_in=2, channels_out=3, kernel=(1, 1), stride=1, dilation=1,
    padding="SAME", depthwise=False, activation=None, form="select", mask_kind="columns",
    sparsity=0.0, seed=1,
)  # fmt: skip

COMMANDS = {
    "boards": ["boards"],
    "models": ["models"],
    "models --json": ["models", "--json"],
    "--help": ["--help"],
    "--version": ["--version"],
    "profile --help": ["profile", "--help"],
    "inspect": ["inspect", "model.tflite"],
    "inspect --json": ["inspect", "model.tflite", "--json"],
    "inspect --mask": ["inspect", "model.tflite", "--mask", "0"],
    "compare": ["compare", "profile.json", "profile.json"],
    "compare --json": ["compare", "profile.json", "profile.json", "--json"],
    "emulator stop": ["emulator", "stop", "--board", "never-started.toml"],
}
every_command = pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("console")
    CASE.write(folder / "model.tflite")
    profile_of(measurement("net")).save(folder / "profile.json")
    board = (REPOSITORY / "boards/qemu.toml").read_text()
    (folder / "never-started.toml").write_text(board)
    return folder


def run(
    folder: Path, command: list[str], redirect: str = "", **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """A command, with what a shell does to its streams: ``> /dev/full``."""
    known = {name: text for name, text in os.environ.items() if name != "COLUMNS"}
    return subprocess.run(
        ["/bin/bash", "-c", f'"$@" {redirect}', "bash", *DEPLOY, *command],
        cwd=folder, env=known | environment, capture_output=True, check=False, timeout=PATIENCE,
    )  # fmt: skip


@every_command
def test_a_full_disk_is_one_message_and_exit_code_13(files: Path, command: list[str]) -> None:
    done = run(files, command, "> /dev/full")
    assert done.stderr.decode().splitlines()[0] == (
        "error: standard output: cannot be written: No space left on device"
    )
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr
    assert done.returncode == 13


@every_command
def test_a_reader_that_has_gone_ends_the_command_as_sigpipe_does(
    files: Path, command: list[str]
) -> None:
    done = run(files, command, '| true; exit "${PIPESTATUS[0]}"')
    assert done.stderr == b""
    assert done.returncode == 141


@every_command
def test_a_closed_standard_output_is_told_before_any_work(files: Path, command: list[str]) -> None:
    done = run(files, command, ">&-")
    assert done.stderr.decode().startswith("error: standard output is closed")
    assert b"Traceback" not in done.stderr
    assert done.returncode == 13


@every_command
def test_an_encoding_without_frames_gets_what_it_can_show(files: Path, command: list[str]) -> None:
    encoding = "ascii"
    done = run(files, command, PYTHONIOENCODING=encoding)
    assert done.stderr == b""
    assert done.returncode == 0
    done.stdout.decode(encoding)
    if "--json" in command:
        assert json.loads(done.stdout) == json.loads(run(files, command).stdout)
    assert b"\\u2" not in done.stdout


@every_command
def test_a_pipe_is_100_columns_wide_whatever_terminal_is_near(
    files: Path, command: list[str]
) -> None:
    primary, terminal = pty.openpty()  # of another width, as standard input
    try:
        os.set_blocking(primary, False)
        known = {name: text for name, text in os.environ.items() if name != "COLUMNS"}
        done = subprocess.run(
            [*DEPLOY, *command], cwd=files, env=known, stdin=terminal, capture_output=True,
            check=True, timeout=PATIENCE,
        )  # fmt: skip
    finally:
        os.close(primary)
        os.close(terminal)
    lines = done.stdout.decode().splitlines()
    assert max(map(len, lines), default=0) <= 100 or "--json" in command
    if "--help" in command:
        assert max(map(len, lines)) == 100


def test_columns_goes_before_the_width_of_a_pipe(files: Path) -> None:
    for columns, wanted in (("70", 70), ("160", 160), ("0", 100), ("wide", 100)):
        lines = run(files, ["run", "--help"], COLUMNS=columns).stdout.decode().splitlines()
        assert max(map(len, lines)) == wanted


@pytest.mark.parametrize("columns", ["1", "19", "0", "-5"])
def test_columns_that_show_nothing_are_none(files: Path, columns: str) -> None:
    assert run(files, ["models"], COLUMNS=columns).stdout == run(files, ["models"]).stdout


def test_wrong_use_is_told_at_the_same_width(files: Path) -> None:
    done = run(files, ["bords"])
    assert done.returncode == 2
    assert max(map(len, done.stderr.decode().splitlines())) == 100


@pytest.mark.parametrize("redirect", ["2>&-", "2> /dev/full", "2>&1 | true; exit ${PIPESTATUS[0]}"])
def test_what_cannot_be_told_leaves_the_exit_code(files: Path, redirect: str) -> None:
    done = run(files, ["inspect", "nothing.tflite"], redirect)
    assert done.stdout == b""
    assert done.returncode == 3


def test_notes_do_not_end_in_the_result_where_standard_error_is_closed(files: Path) -> None:
    done = run(files, ["boards", "--json"], "2>&-")
    assert json.loads(done.stdout)
    assert done.returncode == 0


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_name_that_is_no_text_is_shown(files: Path, encoding: str) -> None:
    name = os.fsdecode(b"a\xff \xc2\xb1.tflite")
    CASE.write(files / name)
    shown = "a\\xff ±.tflite" if encoding == "utf-8" else "a\\xff +/-.tflite"
    done = run(files, ["inspect", name], PYTHONIOENCODING=encoding)
    assert done.stdout.decode(encoding).startswith(shown)
    assert done.returncode == 0
    said = json.loads(run(files, ["inspect", name, "--json"], PYTHONIOENCODING=encoding).stdout)
    assert said["path"] == "a\\xff ±.tflite"
    gone = run(files, ["inspect", os.fsdecode(b"b\xfe\xc2\xb1")], PYTHONIOENCODING=encoding)
    assert gone.returncode == 3
    assert b"Traceback" not in gone.stderr
    assert b"b\\xfe" in gone.stderr


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["convert", "--model", "fashion_resnet_s20", "-o", "a\udcff.tflite"], 13),
        (["convert", "a\udcff.tflite", "--model", "fashion_resnet_s20"], 3),
        (["verify", "a\udcff.tflite", "--board", "rpi4"], 3),
        (["train", "a\udcff.toml"], 15),
        (["build", "--board", "a\udcff.toml"], 5),
        (["build", "--board", "host", "--out", "a\udcff"], 13),
        (["run", "model.tflite", "--input", "a\udcff", "-o", "out"], 3),
        (["compare", "a\udcff.json", "profile.json"], 3),
        (["profile", "a\udcff.tflite"], 3),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else str(value),
)
def test_every_command_refuses_such_a_name_in_words(
    files: Path, command: list[str], code: int
) -> None:
    done = run(files, command)
    assert b"Traceback" not in done.stderr
    assert b"a\\xff" in done.stderr
    assert done.returncode == code


def test_a_name_that_some_library_refuses_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        console.run(lambda: "a\udcff".encode())
    assert ended.value.code == 2
    assert "holds bytes that are not UTF-8" in capsys.readouterr().err
    with pytest.raises(UnicodeEncodeError):
        console.run(lambda: "é".encode("ascii"))


def test_json_holds_no_value_that_is_no_json() -> None:
    assert json.loads(to_json({"a": float("inf"), "b": [float("nan"), 1.5], "c\udcff": "d\udcfe"}))
    assert json.loads(to_json({"a": float("inf")})) == {"a": None}
    assert json.loads(to_json({"c\udcff": "d\udcfe"})) == {"c\\xff": "d\\xfe"}


def test_characters_of_our_tables_have_plain_ones() -> None:
    text = "±×…→≤µ│─┏█ äß€\udcff"  # noqa: RUF001
    shown = text.encode("ascii", console._ERRORS).decode("ascii")
    assert shown == "+/-x...-><=u|-+# \\xe4\\xdf\\u20ac\\xff"


_SILENCED = """
import os, sys
from toolchain import console
from toolchain.agreement.silence import quiet

def command():
    with console.messages_apart():
        before = sys.stderr
        with quiet():
            assert sys.stderr is before
            os.write(2, b"silenced")
            console.err.print("told")
    console.err.print("afterwards")

console.run(command)
"""


def test_messages_that_are_apart_are_told_while_libraries_are_silenced() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SILENCED], cwd=REPOSITORY, capture_output=True, text=True,
        check=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.stderr == "told\nafterwards\n"
