"""Two emulated boards at once: one document, one that dies alone, and Ctrl-C on both."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from support.bundles import write_masked_model
from support.patience import PATIENCE, await_that
from support.places import REPOSITORY, BoardMaker
from toolchain.board import emulator
from toolchain.board.connect import connect
from toolchain.build.bundle import Bundle
from toolchain.hardware.board_file import Board
from toolchain.progress import Silent

DEPLOY = [sys.executable, str(REPOSITORY / "deploy.py")]


@pytest.fixture(scope="module")
def pair(make_board: BoardMaker) -> Iterator[tuple[Board, Board]]:
    """Two boards that run."""
    first, second = make_board("fleet-1"), make_board("fleet-2")
    for board in (first, second):
        emulator.start(board, Silent())
    yield first, second
    for board in (first, second):
        emulator.stop(board, Silent())


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("models")
    dense = write_masked_model(folder / "dense.tflite", sparsity=0)
    return [str(dense), str(write_masked_model(folder / "masked.tflite", sparsity=0.3))]


def words(command: str, models: list[str], pair: tuple[Board, Board], bundle: Bundle) -> list[str]:
    boards = ",".join(board.given for board in pair)
    return [*DEPLOY, command, *models, "--board", boards, "--bundle", str(bundle.path), "--json"]


def told(line: list[str], code: int = 0) -> list[Any]:
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert "Traceback" not in done.stderr
    assert done.returncode == code, done.stderr
    boards: list[Any] = json.loads(done.stdout)["boards"]
    return boards


def test_two_boards_are_pushed_to_verified_and_measured(
    pair: tuple[Board, Board], models: list[str], qemu_bundle: Bundle
) -> None:
    pushed = told(words("push", models, pair, qemu_bundle))
    assert [one["name"] for one in pushed] == [board.name for board in pair]
    assert all(len(one["files"]) == 4 for one in pushed)
    for one in told(words("verify", models, pair, qemu_bundle)):
        assert all(model["passed"] for model in one["models"])
    line = [*words("profile", models, pair, qemu_bundle), "--no-estimate", "--no-history"]
    first, second = (
        [model["output"]["instructions"]["median"] for model in one["measurements"]]
        for one in told(line)
    )
    assert first[1] < first[0]
    assert first == pytest.approx(second, rel=0.01)


def test_ctrl_c_ends_what_runs_on_both_boards(
    pair: tuple[Board, Board], models: list[str], qemu_bundle: Bundle
) -> None:
    line = [*words("profile", models[:1], pair, qemu_bundle), "--runs", "100000"]
    connections = [connect(board) for board in pair]

    def runners() -> list[str]:
        script = "grep -ls tileskip-run /proc/[0-9]*/cmdline; true"
        return [
            one.run(["sh", "-c", script.replace("run /", "[r]un /")]).text for one in connections
        ]

    try:
        with subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            await_that("it runs on both", lambda: all(runners()) or process.poll() is not None)
            process.send_signal(signal.SIGINT)
            said, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130, errors
        assert "Traceback" not in errors
        assert [one["error"]["exit_code"] for one in json.loads(said)["boards"]] == [130, 130]
        await_that("nothing runs there", lambda: not any(runners()))
    finally:
        for one in connections:
            one.close()


def test_one_that_dies_is_told_and_the_other_is_done(
    pair: tuple[Board, Board], models: list[str], qemu_bundle: Bundle
) -> None:
    """The last test of these boards: one is gone afterwards."""
    state = emulator.status(pair[1])
    assert state is not None
    os.kill(state.pid, signal.SIGKILL)
    while state.alive:
        time.sleep(0.05)
    first, second = told(words("verify", models, pair, qemu_bundle), code=12)
    assert first["error"] is None
    assert [model["passed"] for model in first["models"]] == [True, True]
    assert second["error"]["exit_code"] == 12
    assert "does not run" in second["error"]["what"]
