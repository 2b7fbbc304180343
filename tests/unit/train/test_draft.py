"""The text of a recipe."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from toolchain.errors import RecipeError
from toolchain.train.draft import Choice, Draft, toml

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
SIMPLE = st.one_of(
    TEXTS, st.booleans(), st.integers(-(10**9), 10**9), st.floats(-1e6, 1e6).map(float)
)


@given(st.one_of(SIMPLE, st.lists(SIMPLE), st.dictionaries(TEXTS, SIMPLE)))
@example("a\x7f\x00\\\"'\n")
def test_a_value_is_read_as_it_was(value: Any) -> None:
    assert tomllib.loads(f"key = {toml(value)}")["key"] == value


def test_a_reason_stands_behind_its_choice_or_above_where_it_is_long() -> None:
    draft = Draft(
        ["What it is."],
        {"a": [Choice("x", 1, "short"), Choice("y", "z", 90 * "w"), Choice("v", 2)]},
    )
    assert draft.text().splitlines() == [
        "# What it is.", "", "[a]", "x = 1  # short", "# " + 90 * "w", 'y = "z"', "v = 2",
    ]  # fmt: skip


def test_a_comment_cannot_end_before_its_line() -> None:
    draft = Draft(["one\ntwo\x1b[31m"], {"a": [Choice("x", 1, "three\nfour = 5")]})
    assert tomllib.loads(draft.text()) == {"a": {"x": 1}}
    assert "\x1b" not in draft.text()


def test_a_name_that_is_no_text_is_refused() -> None:
    tables = {
        "model": [Choice("factory", "resnet18")],
        "data": [Choice("source", "pictures\udcff")],
    }
    with pytest.raises(RecipeError, match="not UTF-8"):
        Draft([], tables).recipe()
