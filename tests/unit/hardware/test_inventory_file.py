"""A board's table is written into the inventory, and all else in the file stays as it is."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.errors import BoardConfigError
from toolchain.hardware.inventory_file import table_text, with_table, write_table

PLACE = Path("boards.toml")
OTHERS = '''# My boards.

[attic]   # the old one
like = "rpi3"
note = """
[kitchen]
like = "rpi5"
"""
words = [
  ["kitchen"],
]

# The kitchen's.
[kitchen] # with a fan
like = "rpi4"
# Since May.
tags = ["lab"]

[kitchen.ssh]
host = "pi@kitchen"

# What comes next.

[cellar]
like = "rpi5"
'''
NEW = {"like": "rpi5", "threads": 4, "ssh": {"host": "pi@new", "shared": True}}


def changed(text: str, name: str = "kitchen") -> str:
    return with_table(text, name, table_text(name, NEW), PLACE)


def test_a_table_is_written_with_its_inner_tables_behind_it() -> None:
    text = table_text("kitchen", {"ssh": {"host": "a"}, "like": "rpi4", "tags": ["x", "y"]})
    assert text == '[kitchen]\nlike = "rpi4"\ntags = ["x", "y"]\n\n[kitchen.ssh]\nhost = "a"\n'


@pytest.mark.parametrize("value", ['a "b" \\ c', "tab\there", "ü€", "\x7f", "[x]\n[y]", "#"])
def test_every_text_comes_back(value: str) -> None:
    assert tomllib.loads(table_text("a", {"x": value})) == {"a": {"x": value}}


@pytest.mark.parametrize("text", ["", "# nothing yet\n", OTHERS, '[attic]\nlike = "rpi3"'])
def test_a_new_board_comes_last_and_what_was_there_stays(text: str) -> None:
    found = changed(text, "shed")
    assert found.startswith(text)
    assert tomllib.loads(found) == {**tomllib.loads(text), "shed": NEW}


def test_a_board_is_replaced_where_it_stood() -> None:
    found = changed(OTHERS)
    before, after = OTHERS.index("[kitchen] # with"), OTHERS.index("\n# What comes next.")
    assert found.startswith(OTHERS[:before])
    assert found.endswith(OTHERS[after:])
    assert found[before : len(found) - len(OTHERS[after:])] == table_text("kitchen", NEW)


def test_tables_of_a_board_that_stand_apart_are_all_replaced() -> None:
    text = '[kitchen.ssh]\nhost = "a"\n[attic]\nlike = "rpi3" # keep\n[kitchen]\nlike = "rpi4"\n'
    found = changed(text)
    assert tomllib.loads(found) == {"attic": {"like": "rpi3"}, "kitchen": NEW}
    assert '[attic]\nlike = "rpi3" # keep\n' in found


@pytest.mark.parametrize("header", ['["kitchen"]', "[ 'kitchen' ]", "  [kitchen]"])
def test_a_header_may_be_written_in_other_ways(header: str) -> None:
    found = changed(f'{header}\nlike = "rpi4"\n[attic]\nlike = "rpi3"\n')
    assert tomllib.loads(found)["kitchen"] == NEW


def test_lines_may_end_as_in_windows() -> None:
    found = changed(OTHERS.replace("\n", "\r\n"))
    assert "# What comes next.\r\n\r\n[cellar]\r\n" in found
    assert tomllib.loads(found)["kitchen"] == NEW


@pytest.mark.parametrize("text", ['kitchen.like = "rpi4"\n', 'kitchen = { like = "rpi4" }\n'])
def test_a_form_that_cannot_be_replaced_is_refused_and_told(text: str) -> None:
    with pytest.raises(BoardConfigError, match="in a form that is not replaced"):
        changed(text)


def test_a_file_that_is_no_toml_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "boards.toml"
    path.write_text("[attic\n")
    with pytest.raises(BoardConfigError, match="is not TOML"):
        write_table(path, "shed", table_text("shed", NEW))
    assert path.read_text() == "[attic\n"


def test_the_file_keeps_its_mode_and_its_encoding(tmp_path: Path) -> None:
    path = tmp_path / "boards.toml"
    path.write_bytes("\ufeff# Küche\n".encode())
    path.chmod(0o600)
    write_table(path, "shed", table_text("shed", NEW))
    assert path.read_bytes().startswith("\ufeff# Küche\n".encode())
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_not_there_is_made_with_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "new/boards.toml"
    write_table(path, "shed", table_text("shed", NEW))
    assert tomllib.loads(path.read_text()) == {"shed": NEW}


@pytest.mark.parametrize("character", ["\x85", "\u2028"])
def test_a_comment_is_one_line_whatever_is_in_it(character: str) -> None:
    comment = f"# of{character}the attic"
    found = changed(f'[kitchen]\nlike = "rpi4"\n\n{comment}\n[attic]\nlike = "rpi5"\n')
    assert f"{comment}\n[attic]" in found


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=20)
BOARDS = st.dictionaries(
    st.sampled_from(["a", "b-1", "c_d", "kitchen"]),
    st.fixed_dictionaries(
        {"like": TEXTS}, optional={"tags": st.lists(TEXTS, max_size=3), "ssh": st.just({"x": "y"})}
    ),
)


@given(boards=BOARDS, comment=st.from_regex(r"[^\x00-\x1f\x7f\ud800-\udfff]{0,20}", fullmatch=True))
def test_the_other_boards_are_the_same_bytes_whatever_they_hold(
    boards: dict[str, dict[str, object]], comment: str
) -> None:
    pieces = {name: f"#{comment}\n{table_text(name, table)}" for name, table in boards.items()}
    text = "\n".join(pieces.values())
    found = changed(text)
    assert tomllib.loads(found) == {**boards, "kitchen": NEW}
    for name, piece in pieces.items():
        if name != "kitchen":
            assert piece in found
