"""The tables of keys have every key, with what the models allow."""

from __future__ import annotations

from toolchain.dev.reference.keys import board_keys, recipe_keys


def test_a_key_has_its_type_default_and_meaning() -> None:
    rows = board_keys().splitlines()
    assert "| `threads` | 1 to 64 | `1` |" in "\n".join(rows)
    assert not [row for row in rows if row.startswith("| `name`")], "the file's own name"
    assert [row for row in rows if row.startswith("| `tile.int8` | table like `[tile]` |")]


def test_every_key_has_a_meaning() -> None:
    for row in [*board_keys().splitlines(), *recipe_keys().splitlines()]:
        if row.startswith("| `"):
            assert not row.endswith("| |"), row


def test_a_recipe_has_a_section_for_each_table() -> None:
    text = recipe_keys()
    for table in ("model", "data", "training", "optimizer", "masks", "schedule", "pruning"):
        assert f"### `[{table}]`" in text
    assert '"lattice"' in text, "the policies that there are"
