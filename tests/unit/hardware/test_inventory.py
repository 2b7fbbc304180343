"""The user's own boards by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolchain.build.bundle import bundle_path
from toolchain.errors import BoardConfigError
from toolchain.hardware import inventory
from toolchain.hardware.board_file import boards_named, load_board, stands_for_several

INVENTORY = """
[kitchen]
like = "rpi4"
tags = ["lab", "a72"]
ssh = { host = "pi@kitchen.local" }

[attic]
like = "rpi5"
tags = ["lab"]
clock_mhz = 2400
ssh = { host = "attic", user = "pi" }

[own]
title = "A board of one's own"
cpu = "Cortex-A53"
isa = "aarch64"
march = "armv8-a"
"""


@pytest.fixture(autouse=True)
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "boards.toml"
    path.write_text(INVENTORY)
    monkeypatch.setenv(inventory.ENVIRONMENT, str(path))
    return path


def test_a_board_has_its_own_keys_and_those_of_the_board_that_it_is_like() -> None:
    board = load_board("attic")
    assert (board.name, board.cpu, board.clock_mhz) == ("attic", "Cortex-A76", 2400)
    assert (board.ssh.host, board.ssh.user) == ("attic", "pi")
    assert board.ssh.directory == load_board("rpi5").ssh.directory


def test_a_board_takes_the_bundle_of_the_board_that_it_is_like() -> None:
    assert bundle_path(load_board("kitchen")) == bundle_path(load_board("rpi4"))
    assert bundle_path(load_board("own")) == Path("build/own")


def test_a_board_that_is_built_for_otherwise_has_a_bundle_of_its_own(written: Path) -> None:
    written.write_text('[kitchen]\nlike = "rpi4"\nmarch = "armv8.2-a"\n')
    assert bundle_path(load_board("kitchen")) == Path("build/kitchen")


def test_a_board_may_be_like_a_file_beside_the_inventory(written: Path) -> None:
    (written.parent / "jetson.toml").write_text(
        'title = "x"\ncpu = "y"\nisa = "aarch64"\nmarch = "armv8-a"\n'
    )
    written.write_text('[lab]\nlike = "jetson.toml"\n')
    board = load_board("lab")
    assert (board.title, board.built_as) == ("x", "jetson")


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["kitchen"], ["kitchen"]),
        (["lab"], ["kitchen", "attic"]),
        (["a72,own"], ["kitchen", "own"]),
        (["own", "all"], ["own", "kitchen", "attic"]),
        (["rpi4", "kitchen"], ["rpi4", "kitchen"]),
    ],
)
def test_boards_are_named_by_name_tag_or_all(words: list[str], names: list[str]) -> None:
    assert [board.name for board in boards_named(words)] == names


def test_a_name_goes_before_a_tag(written: Path) -> None:
    written.write_text(INVENTORY.replace('["lab", "a72"]', '["lab", "rpi4", "own"]'))
    for word in ("rpi4", "own"):
        assert [board.name for board in boards_named([word])] == [word]


def test_a_board_that_ships_needs_no_inventory(written: Path) -> None:
    written.write_text("no TOML")
    assert [board.name for board in boards_named(["rpi4"])] == ["rpi4"]
    assert not stands_for_several(["rpi4"])


def test_a_file_may_have_commas_in_its_name(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(written.parent)
    text = 'title = "x"\ncpu = "y"\nisa = "aarch64"\nmarch = "armv8-a"\n'
    Path("my,board.toml").write_text(text)
    assert [board.name for board in boards_named(["my,board.toml"])] == ["my,board"]
    assert not stands_for_several(["my,board.toml"])


@pytest.mark.parametrize(
    ("words", "several"),
    [
        (["kitchen"], False),
        (["rpi4"], False),
        (["nowhere.toml"], False),
        (["kitchn"], False),
        (["kitchen", "kitchen"], False),
        (["a72"], True),
        (["lab"], True),
        (["all"], True),
        (["kitchen,own"], True),
        (["kitchen", "own"], True),
    ],
)
def test_a_tag_stands_for_several_however_many_have_it(words: list[str], several: bool) -> None:
    assert stands_for_several(words) is several


def test_an_unknown_board_is_told_with_the_users_own() -> None:
    with pytest.raises(BoardConfigError, match="no board called 'kitchn'") as caught:
        load_board("kitchn")
    assert "kitchen" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kitchen = 1\n", "kitchen: is no board"),
        ("['a b']\nlike = 'rpi4'\n", "a b: is no board"),
        ("[all]\nlike = 'rpi4'\n", "all: stands for several boards"),
        ("[rpi4]\nlike = 'rpi5'\n", "rpi4: is the name of a board that ships"),
        ("[kitchen]\nlike = 'attic'\n", "kitchen: like: must name a board that ships"),
        ("[kitchen]\nlike = 'rpi4'\nspeed = 1\n", "speed: is not a known key"),
        ("[kitchen]\nlike = 'rpi4'\ntags = ['a b']\n", "must be one word"),
    ],
)
def test_a_faulty_inventory_is_refused_with_what_is_wrong(
    written: Path, text: str, said: str
) -> None:
    written.write_text(text)
    with pytest.raises(BoardConfigError) as caught:
        load_board("kitchen")
    assert said in caught.value.what
    assert str(written) in caught.value.what


def test_all_of_an_inventory_that_is_empty_is_an_error(written: Path) -> None:
    written.unlink()
    with pytest.raises(BoardConfigError, match="the inventory has no boards"):
        boards_named(["all"])


@pytest.mark.parametrize("word", ["all", "emulated"])
def test_a_word_that_stands_for_several_is_no_name(written: Path, word: str) -> None:
    with pytest.raises(BoardConfigError, match=f"'{word}' stands for several boards"):
        inventory.check_new(word, [], replace=False)
    written.write_text(f'[{word}]\nlike = "rpi4"\n')
    with pytest.raises(BoardConfigError, match=rf"boards.toml: {word}: stands for several boards"):
        inventory.tables()


@pytest.mark.parametrize("tag", ["x,y", "two words", "", "-x"])
def test_a_tag_is_one_word(tag: str) -> None:
    with pytest.raises(BoardConfigError, match="is no tag: that is 1 to 64 letters") as caught:
        inventory.check_new("new", [tag], replace=False)
    assert caught.value.hint == "give each tag on its own: --tag lab --tag attic"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("threadz = 3", "threadz: is not a known key; did you mean 'threads'?"),
        ('tags = "lab"', "tags: must be a list"),
        ('ssh = "pi@x"', "ssh: must be a table"),
    ],
)
def test_a_mistake_is_told_with_its_table(written: Path, line: str, said: str) -> None:
    written.write_text(f'[good]\nlike = "rpi4"\n[bad]\nlike = "rpi4"\n{line}\n')
    with pytest.raises(BoardConfigError) as caught:
        load_board("bad")
    assert caught.value.what == f"{written}: bad: {said}"


@pytest.mark.parametrize(
    ("word", "names"), [("lab", "kitchen, attic"), ("kitchen,own", "kitchen, own")]
)
def test_what_stands_for_several_is_not_taken_for_one(word: str, names: str) -> None:
    with pytest.raises(BoardConfigError, match=f"'{word}' stands for several boards") as caught:
        load_board(word)
    assert caught.value.hint == f"name one of {names}"
