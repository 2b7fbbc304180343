"""Every exit code of the documentation: one meaning, and a command that ends with it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from support.bundles import LYING_RUNNER, write_bundle, write_masked_model
from support.patience import PATIENCE
from support.places import REPOSITORY
from support.profiles import measurement, profile_of
from toolchain import console, errors
from toolchain.board.lease import Lease
from toolchain.board.local import LocalConnection
from toolchain.cli import removal

CLASSES = [
    item
    for item in vars(errors).values()
    if isinstance(item, type)
    and issubclass(item, errors.DeployError)
    and item is not errors.DeployError
]
NOT_OURS = {0, 1, 2, 130, console.READER_GONE, 143}
"""Those that no class of error has."""


def documented() -> dict[int, str]:
    text = (REPOSITORY / "docs/reference/exit-codes.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", text, re.MULTILINE)
    found = {int(number): meaning for number, meaning in rows}
    assert len(found) == len(rows)
    return found


def test_each_code_has_one_meaning() -> None:
    codes = [kind.exit_code for kind in CLASSES]
    assert len(set(codes)) == len(codes)
    assert sorted([*codes, *NOT_OURS]) == sorted(documented())


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with a model, and a board whose runner fails."""
    write_masked_model(tmp_path / "model.tflite", size=4, channels=2)
    (tmp_path / "damaged.tflite").write_bytes((tmp_path / "model.tflite").read_bytes()[:-200])
    board = (REPOSITORY / "boards/host.toml").read_text()
    for name in ("failing", "lying", "bare"):
        (tmp_path / f"{name}.toml").write_text(board)
    write_bundle(tmp_path / "build/failing", b"#!/bin/sh\nexit 4\n")
    write_bundle(tmp_path / "build/lying", LYING_RUNNER)
    (tmp_path / "wrong.toml").write_text(f"{board}\nthread = 2\n")
    profile_of(measurement("model")).save(tmp_path / "p.json")
    return tmp_path


def run(here: Path, *arguments: str, redirect: str = "", **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        ["/bin/bash", "-c", f'"$@" {redirect}', "bash", sys.executable,
         str(REPOSITORY / "deploy.py"), *arguments],
        cwd=here, capture_output=True, text=True, check=False, timeout=PATIENCE,
        env=os.environ | {"TILESKIP_CACHE": str(here / "cache")} | environment,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


NOWHERE = {"PATH": "/nowhere"}
CASES: dict[str, tuple[int, list[str], dict[str, str]]] = {
    "done": (0, ["boards"], {}),
    "nothing to convert": (2, ["convert"], {}),
    "no such command": (2, ["bild"], {}),
    "no command": (2, [], {}),
    "no group's command": (2, ["emulator"], {}),
    "no such option": (2, ["boards", "--yaml"], {}),
    "no such value": (2, ["convert", "--model", "resnet18", "--quantize", "int4"], {}),
    "an option of another kind": (2, ["convert", "--model", "resnet18", "--io", "int8"], {}),
    "a missing argument": (2, ["inspect"], {}),
    "no model": (3, ["inspect", "nothing.tflite"], {}),
    "a damaged model": (3, ["inspect", "damaged.tflite"], {}),
    "a folder": (3, ["inspect", "build"], {}),
    "no checkpoint": (3, ["convert", "nothing.pt", "--model", "resnet18"], {}),
    "a model instead of a checkpoint": (3, ["convert", "model.tflite"], {}),
    "no header": (3, ["convert", "--model", "resnet18", "--masks", "bin_mask.h"], {}),
    "no network": (3, ["convert", "--model", "resnet19"], {}),
    "no profile": (3, ["compare", "a.json", "b.json"], {}),
    "no input": (3, ["run", "model.tflite", "--input", "x.npy", "-o", "out"], {}),
    "outputs that differ": (4, ["verify", "model.tflite", "-b", "lying.toml"], {}),
    "no board": (5, ["build", "--board", "toaster"], {}),
    "no board's file": (5, ["build", "--board", "toaster.toml"], {}),
    "a board with a fault": (5, ["build", "--board", "wrong.toml"], {}),
    "no emulated board": (5, ["emulator", "status", "--board", "rpi4"], {}),
    "no emulated board to stop": (5, ["emulator", "stop", "--board", "rpi4"], {}),
    "a board that cannot be played": (5, ["emulator", "start", "--like", "rpi3-armv7"], {}),
    "no emulated board at all": (5, ["emulator", "stop", "--board", "emulated"], {}),
    "no process to end with": (2, ["emulator", "start", "--ends-with", "4194305"], {}),
    "two ends": (2, ["emulator", "start", "--stay", "--ends-with", "1"], {}),
    "all boards and some": (2, ["emulator", "stop", "--all", "--board", "qemu"], {}),
    "no server to link to": (2, ["emulator", "link", "nowhere", "20ms"], {}),
    "no link": (2, ["emulator", "link", "127.0.0.1:1", "slow"], {}),
    "a link of a board that is none": (2, ["emulator", "start", "--link", "slow"], {}),
    "nobody there": (6, ["push", "-b", "failing.toml", "--host", "me@127.0.0.1:1"], {}),
    "no address": (6, ["push", "-b", "bare.toml", "--host", "me@"], {}),
    "a runner that fails": (8, ["verify", "model.tflite", "-b", "failing.toml"], {}),
    "nobody there to add": (6, ["boards", "add", "me@127.0.0.1:1"], {}),
    "a board that ships, once more": (5, ["boards", "add", "me@pi", "--name", "rpi4"], {}),
    "no board to show": (5, ["boards", "show", "toaster"], {}),
    "nobody there to trust": (6, ["boards", "trust", "me@127.0.0.1:1"], {}),
    "nobody there to look at": (6, ["boards", "check", "rpi4", "--host", "me@127.0.0.1:1"], {}),
    "a board that is down, by hand": (12, ["boards", "shell", "qemu"], {}),
    "no ssh": (11, ["boards", "shell", "rpi4", "--host", "me@127.0.0.1"], NOWHERE),
    "what a program there ends with": (
        9,
        ["boards", "shell", "host", "--", "sh", "-c", "exit 9"],
        {},
    ),
    "no time to hold": (2, ["boards", "lease", "host", "--hold", "soon"], {}),
    "nothing to limit": (2, ["boards", "clean", "host", "--all", "--older-than", "1d"], {}),
    "no archive": (9, ["emulator", "start"], {"TILESKIP_DEBIAN_MIRROR": "http://127.0.0.1:1"}),
    "a machine without compilers": (11, ["doctor"], NOWHERE),
    "no compiler": (11, ["build", "--board", "bare.toml"], NOWHERE),
    "no QEMU": (11, ["emulator", "start"], NOWHERE),
    "a board that is down": (12, ["emulator", "status"], {}),
    "a board that is down, for programs": (12, ["emulator", "status", "--json"], {}),
    "no folder to build in": (13, ["build", "--out", "model.tflite/x"], {}),
    "no folder of outputs": (13, ["demo", "-o", "model.tflite/demo"], {}),
    "a folder that is no bundle": (13, ["build", "--out", "."], NOWHERE),
    "no calibration data": (
        14,
        ["convert", "--model", "resnet18", "--quantize", "int8", "--calibration", "nowhere"],
        {},
    ),
    "no recipe": (15, ["train", "recipe.toml"], {}),
    "a file past its limit": (16, ["compare", "p.json", "p.json", "--fail-if", "size > 1B"], {}),
    "no bundle": (17, ["verify", "model.tflite", "--board", "bare.toml"], {}),
    "no stock bundle": (
        17,
        ["profile", "model.tflite", "-b", "failing.toml", "--stock-bundle", "stock"],
        {},
    ),
    "a meter that is none": (
        18,
        ["profile", "model.tflite", "-b", "failing.toml", "--meter", "no-such-meter"],
        {},
    ),
    "boards that fail for several reasons": (
        20,
        ["verify", "model.tflite", "-b", "lying.toml,failing.toml"],
        {},
    ),
    "no meter's program": (2, ["profile", "model.tflite", "--meter", " "], {}),
    "a reader that has gone": (141, ["boards"], {"redirect": '| true; exit "${PIPESTATUS[0]}"'}),
}

ELSEWHERE = {
    1: "tests/unit/cli/test_cache.py: a terminal, on which no is answered; a defect has no test",
    7: "tests/unit/board/test_ssh.py: needs an SSH server",
    10: "tests/unit/build/test_ninja.py: needs a compiler",
    130: "tests/unit/cli/test_train.py",
    143: "tests/unit/cli/test_app.py",
}


@pytest.mark.parametrize("case", CASES)
def test_commands_end_with_the_code_of_their_fault(
    here: Path, case: str, fake_qemu: dict[str, str]
) -> None:
    code, arguments, environment = CASES[case]
    if case == "no archive":
        environment = environment | fake_qemu
    assert run(here, *arguments, **environment)[0] == code


@pytest.fixture
def fake_qemu(tmp_path: Path) -> dict[str, str]:
    """QEMU is there, so that what comes after the search for it is reached."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "qemu-system-aarch64").write_text("#!/bin/sh\nexit 1\n")
    (folder / "qemu-system-aarch64").chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def test_what_an_answer_of_no_ends_with_is_documented() -> None:
    """The same code for each question before something is removed or recorded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(removal, "confirm", lambda _: False)
        with pytest.raises(typer.Exit) as caught:
            removal.ask_for_removal("Remove it?", can_ask=True)
    assert "answered with no" in documented()[caught.value.exit_code]


def test_every_documented_code_is_tried() -> None:
    tried = {code for code, _, _ in CASES.values()} | {13, 19}
    assert tried | set(ELSEWHERE) == set(documented())


def test_a_board_that_others_use_is_not_waited_for_longer_than_was_asked(here: Path) -> None:
    board = LocalConnection("host", here / "home")
    with Lease(board, "profile other.tflite", note=lambda _: None):
        code, said = run(here, "verify", "model.tflite", "-b", "lying.toml", "--queue", "0")
    assert code == 19
    assert "profile other.tflite, for " in said


BARE = ("-b", "bare.toml", "--host", "me@127.0.0.1:1")
"""Neither a bundle nor anybody there."""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("push", "nothing.tflite", *BARE), 3),
        (("run", "nothing.tflite", "--input", "x.npy", "-o", "out", *BARE), 3),
        (("run", "model.tflite", "--input", "x.npy", "-o", "out", *BARE), 3),
        (("verify", "nothing.tflite", *BARE), 3),
        (("profile", "nothing.tflite", "damaged.tflite", *BARE), 3),
        (("profile", "nothing.tflite", "-o", "nodir/p.json", *BARE), 3),
        (("verify", "model.tflite", *BARE), 17),
        (("profile", "model.tflite", *BARE), 17),
        (("push", "model.tflite", *BARE), 17),
        (("verify", "nothing.tflite", "-b", "toaster", "--host", "me@127.0.0.1:1"), 5),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, tuple) else str(value),
)
def test_what_is_cheap_is_told_first(here: Path, arguments: tuple[str, ...], code: int) -> None:
    assert run(here, *arguments)[0] == code


def test_a_folder_of_outputs_that_cannot_be_made_is_told_before_the_board_is_asked(
    here: Path,
) -> None:
    (here / "x.bin").write_bytes(bytes(4 * 4 * 4 * 3))
    line = ("run", "model.tflite", "--input", "x.bin", "-o", "model.tflite/out", *BARE)
    assert run(here, *line)[0] == 13
    assert run(here, *line[:5], "new/out", *BARE)[0] == 17
    assert not (here / "new").exists()


def test_wrong_use_of_convert_draws_no_bar(here: Path) -> None:
    for arguments in (("convert",), ("convert", "nothing.pt", "--model", "resnet18")):
        assert "load and export" not in run(here, *arguments)[1]


def test_a_board_that_is_down_is_said_on_standard_output_too(here: Path) -> None:
    environment = os.environ | {"TILESKIP_CACHE": str(here / "cache")}
    for words, said in (
        ((), "no emulated board runs\n"),
        (("--board", "qemu"), "emulated board 'qemu' does not run\n"),
    ):
        line = [sys.executable, str(REPOSITORY / "deploy.py"), "emulator", "status", *words]
        done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment)
        assert (done.stdout, done.stderr, done.returncode) == (said, "", 12)
