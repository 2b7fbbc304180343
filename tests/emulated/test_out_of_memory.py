"""A board whose memory does not suffice: its kernel ends the runner, and that is told in words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from support.bundles import write_masked_model
from support.places import BoardMaker
from toolchain.api.board import Board, ConnectedBoard
from toolchain.board import emulator
from toolchain.board.connect import connect
from toolchain.build.bundle import Bundle
from toolchain.errors import BoardError, DeployError
from toolchain.hardware.board_file import load_board
from toolchain.profile.document import Profile
from toolchain.progress import Silent

MEMORY_MIB = 320
"""Enough to boot and for small models; not for activations of 192 MiB."""


@pytest.fixture(scope="module")
def small_board(make_board: BoardMaker, qemu_bundle: Bundle) -> Board:
    path = Path(make_board("small").given)
    path.write_text(path.read_text().replace("memory_mib = 1024", f"memory_mib = {MEMORY_MIB}"))
    description = load_board(str(path))
    assert description.emulator is not None
    assert description.emulator.memory_mib == MEMORY_MIB
    emulator.start(description, Silent())
    return Board(description, bundle=qemu_bundle.path.absolute())


@pytest.fixture
def there(small_board: Board) -> Iterator[ConnectedBoard]:
    with small_board.connect() as connected:
        yield connected


def test_a_runner_that_was_ended_for_want_of_memory(
    small_board: Board, there: ConnectedBoard, tmp_path: Path
) -> None:
    large = write_masked_model(tmp_path / "large.tflite", size=1024, channels=48)
    little = write_masked_model(tmp_path / "little.tflite")
    for _ in range(2):
        with pytest.raises(BoardError, match=r"SIGKILL: the board ran out of memory") as caught:
            there.run(large, np.zeros((1, 1024, 1024, 3), np.float32))
        assert "take a smaller model" in (caught.value.hint or "")
        # The board works on, and nothing of the run is left there.
        (output,) = there.run(little, np.zeros((1, 16, 16, 3), np.float32))
        assert output.shape == (1, 16, 16, 8)
        with connect(small_board.description) as connection:
            left = connection.run(["sh", "-c", "ls tileskip; ps"]).text
        assert "run-" not in left.replace("tileskip-run", "")
        assert "tileskip-run" not in left


def test_what_was_measured_of_others_is_kept_and_the_one_is_named(
    there: ConnectedBoard, tmp_path: Path
) -> None:
    large = write_masked_model(tmp_path / "large.tflite", size=1024, channels=48)
    little = write_masked_model(tmp_path / "little.tflite")
    with pytest.raises(DeployError, match="out of memory") as caught:
        there.profile(large, little, estimate=False)
    kept = caught.value.result
    assert isinstance(kept, Profile)
    assert [one.name for one in kept.measurements] == ["little"]
    assert [one.model for one in kept.failed] == [str(large)]
