"""What the source says of attributes is found, and is Markdown."""

from __future__ import annotations

from toolchain.dev.reference.attributes import attribute_docs, markdown
from toolchain.dev.reference.tables import table
from toolchain.hardware.tile import Tiles


def test_the_text_below_an_attribute_is_its_text() -> None:
    docs = attribute_docs(Tiles)
    assert docs["uint8"] == "Unsigned (QU8)."


def test_attributes_of_base_classes_are_there() -> None:
    assert attribute_docs(Tiles)["rows"].startswith("Output pixels")


def test_code_and_roles_become_code() -> None:
    assert markdown("``a``  and\n :class:`~b.C`") == "`a` and `b.C`"


def test_a_bar_in_a_cell_ends_no_cell() -> None:
    assert table(("a", "b"), [("x|y", "")]) == "| a | b |\n|---|---|\n| x\\|y | |"
