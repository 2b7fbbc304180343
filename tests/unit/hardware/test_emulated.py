"""Emulated boards that were started are known by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolchain.build.bundle import bundle_path
from toolchain.errors import BoardConfigError
from toolchain.hardware import emulated, inventory
from toolchain.hardware.board_file import (
    Board,
    boards_named,
    load_board,
    stands_for_several,
    started_boards,
)


@pytest.fixture(autouse=True)
def _own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILESKIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(inventory.ENVIRONMENT, str(tmp_path / "boards.toml"))


def started(name: str, like: str = "rpi4") -> Board:
    board = load_board(like).named(name, tags=("kitchen", emulated.TAG))
    emulated.folder(name).mkdir(parents=True)
    keys = board.model_dump(mode="json", exclude={"name"}, exclude_none=True)
    emulated.record(name, keys, board.built_as)
    return board


@pytest.mark.parametrize("like", ["qemu", "rpi3", "rpi4", "rpi5", "zero2w", "host"])
def test_a_board_that_was_started_is_read_as_it_was(like: str) -> None:
    board = started("lab-1", like)
    assert load_board("lab-1") == board


def test_a_board_that_was_started_takes_the_bundle_of_the_board_that_it_is_like() -> None:
    started("lab-1")
    assert bundle_path(load_board("lab-1")) == bundle_path(load_board("rpi4"))


def test_hints_name_it_as_it_is_called() -> None:
    started("lab-1")
    assert load_board("lab-1").given == "lab-1"


def test_a_board_that_was_stopped_is_known_no_longer() -> None:
    started("lab-1")
    emulated.forget("lab-1")
    emulated.forget("lab-1")
    with pytest.raises(BoardConfigError, match="no board called 'lab-1'"):
        load_board("lab-1")


def test_a_name_that_is_mistyped_is_told_with_the_one_that_was_meant() -> None:
    started("laboratory-1")
    with pytest.raises(BoardConfigError) as caught:
        load_board("labratory-1")
    assert "did you mean 'laboratory-1'?" in (caught.value.hint or "")


def test_a_word_stands_for_all_that_were_started() -> None:
    for name in ("lab-2", "lab-1"):
        started(name)
    assert [board.name for board in boards_named(["emulated"])] == ["lab-1", "lab-2"]
    assert [board.name for board in boards_named(["lab-2,emulated,rpi4"])] == [
        "lab-2",
        "lab-1",
        "rpi4",
    ]


def test_their_own_tags_stand_for_them_too(tmp_path: Path) -> None:
    (tmp_path / "boards.toml").write_text('[pi]\nlike = "rpi4"\ntags = ["kitchen"]\n')
    started("lab-1")
    assert [board.name for board in boards_named(["kitchen"])] == ["pi", "lab-1"]


def test_all_of_the_inventory_is_none_of_them(tmp_path: Path) -> None:
    (tmp_path / "boards.toml").write_text('[pi]\nlike = "rpi4"\n')
    started("lab-1")
    assert [board.name for board in boards_named(["all"])] == ["pi"]


def test_where_none_was_started_the_line_that_starts_some_is_told() -> None:
    with pytest.raises(BoardConfigError, match="no emulated board was started") as caught:
        boards_named(["emulated"])
    assert caught.value.hint == "deploy emulator start --count 2"


def test_a_board_of_the_inventory_goes_before_one_that_was_started(tmp_path: Path) -> None:
    (tmp_path / "boards.toml").write_text('[lab-1]\nlike = "rpi5"\n')
    started("lab-1")
    assert load_board("lab-1").cpu == "Cortex-A76"
    assert started_boards() == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cpu": 1}', '{"new key": 1}'])
def test_a_damaged_record_is_passed_over(text: str) -> None:
    started("lab-1")
    (emulated.folder("lab-2")).mkdir()
    (emulated.folder("lab-2") / "board.json").write_text(text)
    assert [board.name for board in started_boards()] == ["lab-1"]
    with pytest.raises(BoardConfigError):
        load_board("lab-2")


def test_the_word_for_all_of_them_is_no_single_board() -> None:
    assert stands_for_several(["emulated"]), "also where there is none, or one"
    started("lab-1")
    assert stands_for_several(["emulated"])
    assert not stands_for_several(["lab-1"])
