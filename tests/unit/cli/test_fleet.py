"""``deploy push``, ``verify``, ``profile`` and ``estimate`` on several boards at once."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.bundles import write_masked_model
from support.fleets import FAILING, LYING, RIGHT, WAITING, timing_runner, write_board
from support.patience import PATIENCE, await_that
from support.places import REPOSITORY
from toolchain.profile.document import Profile, load_profile
from toolchain.profile.history import read

DEPLOY = [sys.executable, str(REPOSITORY / "deploy.py")]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder to work in, with a model."""
    write_masked_model(tmp_path / "m.tflite", size=4, channels=2)
    return tmp_path


def environment(here: Path) -> dict[str, str]:
    own = {
        "TILESKIP_CACHE": str(here / "cache"),
        "TILESKIP_BOARDS": str(here / "boards.toml"),
        "XDG_DATA_HOME": str(here / "data"),
    }
    return os.environ | own


def deploy(here: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*DEPLOY, *words], cwd=here, env=environment(here), capture_output=True, text=True,
        check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert done.returncode == code, done.stdout + done.stderr
    return done


def told(here: Path, *words: str, code: int = 0) -> list[Any]:
    """The boards of the document that a command prints."""
    found = json.loads(deploy(here, *words, "--json", code=code).stdout)
    assert list(found) == ["boards"]
    boards: list[Any] = found["boards"]
    return boards


# --- push --------------------------------------------------------------------------------------


def test_files_are_pushed_to_all_boards(here: Path) -> None:
    for name in ("a", "b"):
        write_board(here, name, name.encode())
    done = deploy(here, "push", "m.tflite", "--board", "a.toml,b.toml")
    rows = [line for line in done.stdout.splitlines() if re.search(r"\b[ab]\b.*done", line)]
    assert len(rows) == 2
    assert all(re.search(r"\b3\b", row) for row in rows)
    assert "a: connect" in done.stderr
    for name in ("a", "b"):
        assert list((here / "cache/local-board" / name).glob("models/*/m.tflite"))


def test_a_boards_part_of_the_document_is_what_it_is_alone(here: Path) -> None:
    for name in ("a", "b"):
        write_board(here, name, name.encode())
    first, second = told(here, "push", "m.tflite", "-b", "a.toml", "-b", "b.toml")
    assert (first.pop("name"), second.pop("name")) == ("a", "b")
    assert first.pop("error") is second.pop("error") is None
    alone = json.loads(deploy(here, "push", "m.tflite", "-b", "a.toml", "--json").stdout)
    for item in (*first["files"], *alone["files"]):
        item.pop("sent")
    assert first == alone
    assert second["board"] == "b"


def test_one_board_that_fails_is_told_and_the_others_go_on(here: Path) -> None:
    write_board(here, "a", b"a")
    write_board(here, "b", None)
    done = deploy(here, "push", "m.tflite", "--board", "a.toml,b.toml", code=17)
    assert re.search(r"\ba\b.*done", done.stdout)
    assert re.search(r"\bb\b.*failed", done.stdout)
    assert "error: 1 of 2 boards failed:\n  b: build/b is no bundle" in done.stderr
    assert "hint: b: run: deploy build --board b.toml" in done.stderr
    good, bad = told(here, "push", "--board", "a.toml,b.toml", code=17)
    assert good["error"] is None
    assert bad.keys() == {"name", "error"}
    assert bad["error"]["exit_code"] == 17


def test_a_model_that_cannot_be_read_is_told_once_and_the_others_are_pushed(here: Path) -> None:
    for name in ("a", "b"):
        write_board(here, name, name.encode())
    done = deploy(here, "push", "m.tflite", "no.tflite", "--board", "a.toml,b.toml", code=3)
    assert done.stderr.count("no.tflite") == 1
    assert "boards failed" not in done.stderr
    for board in told(here, "push", "m.tflite", "no.tflite", "-b", "a.toml,b.toml", code=3):
        assert [row["model"] for row in board["failed"]] == ["no.tflite"]
        assert board["error"] is None


# --- which boards ------------------------------------------------------------------------------


def write_inventory(here: Path, **tags: str) -> None:
    """An inventory of boards that are this machine."""
    lines = [
        f'[{name}]\nlike = "{name}-file.toml"\ntags = ["{tag}"]\n' for name, tag in tags.items()
    ]
    (here / "boards.toml").write_text("".join(lines))
    for name in tags:
        write_board(here, f"{name}-file", name.encode())


def test_a_tag_and_all_are_boards_of_the_inventory(here: Path) -> None:
    write_inventory(here, kitchen="lab", attic="lab", garden="out")
    assert [one["name"] for one in told(here, "push", "--board", "lab")] == ["kitchen", "attic"]
    assert len(told(here, "push", "--board", "all")) == 3


def test_the_form_of_the_document_does_not_hang_on_how_many_boards_a_tag_has(here: Path) -> None:
    write_inventory(here, kitchen="lab")
    assert [one["name"] for one in told(here, "push", "--board", "lab")] == ["kitchen"]
    alone = json.loads(deploy(here, "push", "--board", "kitchen", "--json").stdout)
    assert alone["board"] == "kitchen"


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["push", "--host", "pi@b"], "--host"),
        (["verify", "m.tflite", "--host", "pi@b"], "--host"),
        (["profile", "m.tflite", "--host", "pi@b"], "--host"),
        (["profile", "m.tflite", "--meter", "meter"], "--meter"),
        (["estimate", "m.tflite", "--calibrate", "p.json"], "--calibrate"),
        (["estimate", "m.tflite", "--calibrated", "e.json"], "--calibrated"),
    ],
)
def test_what_is_of_one_board_does_not_go_with_several(
    here: Path, words: list[str], option: str
) -> None:
    done = deploy(here, *words, "--board", "rpi4,rpi5", code=2)
    assert f"Invalid value for {option}" in done.stderr
    assert "--board stands for several" in " ".join(done.stderr.replace("│", " ").split())


# --- verify ------------------------------------------------------------------------------------


def test_each_boards_outputs_are_compared(here: Path) -> None:
    write_board(here, "right", RIGHT)
    write_board(here, "lying", LYING)
    words = ["verify", "m.tflite", "--board", "right.toml,lying.toml"]
    done = deploy(here, *words, code=4)
    assert re.search(r"\bright\b.*\bm\.tflite\b.*\bok\b", done.stdout)
    assert re.search(r"\blying\b.*\bm\.tflite\b.*\bdiffers\b", done.stdout)
    assert "1 of 2 boards failed:\n  lying: m.tflite: the board does not compute" in done.stderr
    right, lying = told(here, *words, code=4)
    assert right["models"][0]["passed"]
    assert not lying["models"][0]["passed"]
    assert lying["error"]["exit_code"] == 4


def test_boards_that_fail_otherwise_end_with_a_code_of_their_own(here: Path) -> None:
    write_board(here, "lying", LYING)
    write_board(here, "failing", FAILING)
    words = ["verify", "m.tflite", "--board", "lying.toml,failing.toml"]
    done = deploy(here, *words, code=20)
    assert "2 of 2 boards failed" in done.stderr
    lying, failing = told(here, *words, code=20)
    assert (lying["error"]["exit_code"], failing["error"]["exit_code"]) == (4, 8)


# --- profile -----------------------------------------------------------------------------------

MEASURE = ["profile", "m.tflite", "n.tflite", "--runs", "3", "--board", "slow.toml,fast.toml"]


@pytest.fixture
def measured(here: Path) -> Path:
    """Two boards of which each tells other times."""
    write_masked_model(here / "n.tflite", size=4, channels=2, seed=1)
    write_board(here, "slow", timing_runner(9000.0))
    write_board(here, "fast", timing_runner(1000.0))
    return here


def test_limits_may_come_from_the_environment(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_board(here, "a", timing_runner(1000.0))
    monkeypatch.setenv("TILESKIP_MAX_TIME", "0.25")
    monkeypatch.setenv("TILESKIP_MAX_WAIT", "0")
    for words, time in (([], 0.25), (["--max-time", "0.5"], 0.5)):
        deploy(here, "profile", "m.tflite", "-b", "a.toml", "-o", "p.json", *words)
        limits = load_profile(here / "p.json").limits
        assert limits is not None
        assert (limits.max_time_s, limits.max_wait_s) == (time, 0)
    monkeypatch.setenv("TILESKIP_MAX_TIME", "soon")
    refused = deploy(here, "profile", "m.tflite", "-b", "a.toml", code=2)
    assert "TILESKIP_MAX_TIME" in refused.stderr


def test_each_board_is_measured_and_has_a_line_in_the_history(measured: Path) -> None:
    done = deploy(measured, *MEASURE)
    for name, time in (("slow", "9.00 ms"), ("fast", "1.00 ms")):
        for model in ("m", "n"):
            assert re.search(rf"\b{name}\b.*\b{model}\b.*{time}", done.stdout)
    assert "1.000x" in done.stdout
    (path,) = (measured / "data").rglob("history.jsonl")
    assert sorted(run.board.name for run in read(path)) == ["fast", "slow"]


def test_doubts_carry_the_boards_name(measured: Path) -> None:
    done = deploy(measured, *MEASURE, "--no-history")
    assert re.search(r"^\? slow: ", done.stdout, re.MULTILINE)
    assert re.search(r"^\? fast: ", done.stdout, re.MULTILINE)


def test_what_is_written_of_several_boards_is_one_document_and_a_file_or_folder_each(
    measured: Path,
) -> None:
    files = ["--output", "p.json", "--plot", "p.svg", "--save", "run", "--history", "h.jsonl"]
    deploy(measured, *MEASURE, *files)
    written = json.loads((measured / "p.json").read_text())
    for board, name in zip(written["boards"], ("slow", "fast"), strict=True):
        assert board.pop("name") == name
        assert board.pop("error") is None
        assert Profile.model_validate(board).board.name == name
        saved = Profile.model_validate_json((measured / "run" / name / "profile.json").read_text())
        assert saved.board.name == name
        assert (measured / f"p-{name}.svg").stat().st_size > 0
    one = Path("run/slow/profile.json")
    compared = deploy(measured, "compare", "p.json", str(one), code=3)
    assert "p.json: has the profiles of several boards" in compared.stderr
    deploy(measured, "compare", str(one), "run/fast/profile.json")
    saved_in = {Path(run.saved or "").name for run in read(measured / "h.jsonl")}
    assert saved_in == {"slow", "fast"}


def test_places_are_looked_at_before_anything_is_measured(measured: Path) -> None:
    (measured / "run/fast").mkdir(parents=True)
    (measured / "run/fast/mine").write_text("x")
    done = deploy(measured, *MEASURE, "--save", "run", code=13)
    assert "run/fast" in done.stderr
    assert "connect" not in done.stderr


def test_a_file_that_cannot_be_written_is_told_after_what_was_measured(measured: Path) -> None:
    done = deploy(measured, *MEASURE, "--output", "/dev/full", code=13)
    assert "1.000x" in done.stdout


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_work_on_all_boards_and_what_there_is_is_shown(
    here: Path, number: signal.Signals, code: int
) -> None:
    for name in ("a", "b"):
        write_board(here, name, WAITING)
    begun = here / "cache/local-board/begun"
    with subprocess.Popen(
        [*DEPLOY, "verify", "m.tflite", "--board", "a.toml,b.toml", "--json"],
        cwd=here, env=environment(here), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        await_that("both run", lambda: begun.exists() and len(begun.read_text().split()) == 2)
        process.send_signal(number)
        said, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    assert [one["error"]["exit_code"] for one in json.loads(said)["boards"]] == [130, 130]
    for pid in begun.read_text().split():
        assert not Path(f"/proc/{pid}").exists()
    assert not list((here / "cache/local-board").glob("*/run-*"))


# --- estimate ----------------------------------------------------------------------------------


def test_boards_that_cannot_be_estimated_are_told_each(here: Path) -> None:
    (here / "bare.toml").write_text((REPOSITORY / "boards/host.toml").read_text())
    first, second = told(here, "estimate", "m.tflite", "--board", "bare.toml,rpi4", code=20)
    assert first["error"]["exit_code"] == 5
    assert second["error"]["exit_code"] == 17
