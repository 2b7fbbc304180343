"""The drawing and the table of rooms are those of the contract."""

from __future__ import annotations

from xml.etree import ElementTree

from support.places import REPOSITORY
from toolchain.dev.reference.drawing import layers, room_table, rooms_svg


def test_every_room_is_in_the_contract() -> None:
    listed = {room for line in layers(REPOSITORY) for room in line}
    here = REPOSITORY / "toolchain"
    folders = {path.parent.name for path in here.glob("*/__init__.py")}
    modules = {path.stem for path in here.glob("*.py")}
    assert listed == (folders | modules) - {"_data", "__init__"}


def test_every_room_is_drawn_once() -> None:
    svg = rooms_svg(REPOSITORY)
    texts = [item.text for item in ElementTree.fromstring(svg).iter() if item.text]  # noqa: S314 - we made it
    for line in layers(REPOSITORY):
        for room in line:
            assert texts.count(room) == 1, room


def test_the_table_says_what_a_room_says_of_itself() -> None:
    assert "| `errors.py` | Every error that ends a command, each with its own exit code. |" in (
        room_table(REPOSITORY)
    )
