"""The README and docs/ say what the kept results say, and hold no table typed in beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.places import REPOSITORY
from toolchain.dev.blocks import names, rendered
from toolchain.dev.figures.tables import writers

PAGES = [
    page
    for page in (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md")))
    if names(page.read_text())
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_figures_are_those_of_the_kept_results(page: Path) -> None:
    text = page.read_text()
    assert rendered(text, writers(REPOSITORY / "docs"), page=page.name) == text


def test_every_block_that_can_be_written_stands_on_a_page() -> None:
    standing = {name for page in PAGES for name in names(page.read_text())}
    assert standing == set(writers(REPOSITORY / "docs"))


def test_every_table_of_figures_in_the_readme_is_written() -> None:
    inside, typed = False, []
    for line in (REPOSITORY / "README.md").read_text().splitlines():
        if line.startswith("<!-- figures:"):
            inside = True
        elif line == "<!-- end of figures -->":
            inside = False
        elif (
            not inside
            and line.startswith(("|", "│"))
            and any(
                cell.strip().replace(".", "").isdigit() and "." in cell for cell in line.split("|")
            )
        ):
            typed.append(line)
    assert not typed
