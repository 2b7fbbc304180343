"""Blocks of figures are written between their comments, and nothing else of a page changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolchain.dev.blocks import names, rendered, write_pages
from toolchain.errors import OutputError

PAGE = "# Title\n<!-- figures: one -->\nold\n\n<!-- end of figures -->\ntext\n"
WRITERS = {"one": lambda: "| new |\n|---|\n"}


def test_a_block_is_written_anew_and_the_rest_stays() -> None:
    after = "# Title\n<!-- figures: one -->\n| new |\n|---|\n<!-- end of figures -->\ntext\n"
    assert rendered(PAGE, WRITERS, page="p.md") == after
    assert rendered(after, WRITERS, page="p.md") == after


def test_the_blocks_of_a_page_are_named() -> None:
    assert names(PAGE * 2) == ["one", "one"]
    assert names("no block\n") == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("<!-- figures: one -->\n", "p.md: block 'one' is not closed"),
        ("a\n<!-- end of figures -->\n", "p.md:2: no block begins before this end"),
        ("a\n<!-- figures: other -->\n<!-- end of figures -->\n", "p.md:2: nothing writes"),
        ("<!-- figures: one -->\n<!-- figures: one -->\n", "p.md:2: block 'one' is not closed"),
    ],
)
def test_a_block_that_is_wrong_is_named(text: str, fault: str) -> None:
    with pytest.raises(OutputError, match=fault):
        rendered(text, WRITERS, page="p.md")


def test_a_check_tells_a_stale_page_and_leaves_it(tmp_path: Path) -> None:
    page = tmp_path / "p.md"
    page.write_text(PAGE)
    assert write_pages([page], WRITERS, check=True) == [page]
    assert page.read_text() == PAGE
    assert write_pages([page], WRITERS, check=False) == [page]
    assert write_pages([page], WRITERS, check=True) == []
