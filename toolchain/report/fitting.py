"""Tables that fit the width there is: columns are left out, names never are.

What is left out is told below the table; ``--json`` has all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from toolchain.json_text import without_lone_bytes

NAME = 0
"""The rank of a column that is never left out."""


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    heading: str
    """May have several lines."""
    cells: Sequence[str | Text]
    """Never taken as markup."""
    rank: int
    """Of columns that do not fit, those of the highest rank are left out first."""
    footer: str = ""
    right: bool = True
    """Whether cells stand at the right."""
    style: str = ""

    @property
    def width(self) -> int:
        """Of its widest line."""
        cells = [cell.plain if isinstance(cell, Text) else cell for cell in self.cells]
        lines = [line for text in (self.heading, self.footer, *cells) for line in text.split("\n")]
        return max(map(cell_len, lines), default=0)

    @property
    def title(self) -> str:
        """The heading on one line."""
        return self.heading.replace("\n", " ")


def fitted_table(
    columns: Sequence[Column],
    width: int,
    *,
    title: str | None = None,
    boxed: bool = True,
    row_styles: Sequence[str | None] = (),
    bold_last: bool = False,
) -> RenderableType:
    """A table of no more than ``width``, and what was left out of it.

    Names are shortened, in the middle, only where a column of them is wider than that by itself.

    Args:
        columns: in order, of equal length; those without a heading and any text are left away.
        width: columns of the terminal.
        title: above it.
        boxed: whether lines are drawn around the cells.
        row_styles: a style a row, where rows have any.
        bold_last: whether the last row is a sum.
    """
    wanted = [_printable(column) for column in columns if column.heading or column.width]
    shown, left_out = _chosen(wanted, width, boxed=boxed)
    if _needed(shown, boxed=boxed) > width:  # only names are left
        room = width - _needed([replace(shown[0], cells=[], heading="", footer="")], boxed=boxed)
        shown = [_shortened(column, max(1, room)) for column in shown]
    footed = any(column.footer for column in shown)
    table = (
        Table(show_footer=footed)
        if boxed
        else Table(box=None, pad_edge=False, header_style="bold", show_footer=footed)
    )
    if title is not None:
        table.title, table.title_justify = Text(title), "left"
    for column in shown:
        table.add_column(
            Text(column.heading),
            Text(column.footer),
            justify="right" if column.right else "left",
            style=column.style,
            no_wrap=True,
        )
    cells = zip(*(column.cells for column in shown), strict=True)
    styles = [*row_styles, *[None] * len(shown[0].cells)]
    for index, row in enumerate(cells):
        last = bold_last and index == len(shown[0].cells) - 1
        if last:
            table.add_section()
        table.add_row(
            *(cell if isinstance(cell, Text) else Text(cell) for cell in row),
            style="bold" if last else styles[index],
        )
    if not left_out:
        return table
    names = ", ".join(column.title for column in left_out if column.title)
    return Group(table, note(f"left out for want of width: {names}; --json has all"))


def note(text: str) -> Text:
    """A line below a table."""
    return Text(text, style="dim")


def shortened(text: str, width: int) -> str:
    """A text with its middle left out, if it is wider than ``width``."""
    if cell_len(text) <= width:
        return text
    if width < 3:
        return set_cell_size(text, width)
    head = (width - 1) // 2
    tail = text
    while cell_len(tail) > width - 1 - head:
        tail = tail[1:]
    return f"{set_cell_size(text, head)}…{tail}"


def _printable(column: Column) -> Column:
    """The same with control characters written as escapes: a name may hold anything."""
    cells = [cell if isinstance(cell, Text) else _escaped(cell) for cell in column.cells]
    return replace(column, cells=cells)


def _escaped(text: str) -> str:
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in without_lone_bytes(text)
    )


def _chosen(
    columns: Sequence[Column], width: int, *, boxed: bool
) -> tuple[list[Column], list[Column]]:
    """The columns that fit, and those that were left out."""
    shown, left_out = list(columns), list[Column]()
    while _needed(shown, boxed=boxed) > width:
        worst = max(shown, key=lambda column: column.rank)
        if worst.rank == NAME:
            break
        shown.remove(worst)
        left_out.append(worst)
    # A narrow column may fit where a wider one, which matters more, did not.
    for column in sorted(left_out, key=lambda column: column.rank):
        more = [one for one in columns if any(one is each for each in (*shown, column))]
        if _needed(more, boxed=boxed) <= width:
            shown = more
    return shown, [one for one in columns if not any(one is each for each in shown)]


def _needed(columns: Sequence[Column], *, boxed: bool) -> int:
    cells = sum(column.width for column in columns)
    return cells + 3 * len(columns) + 1 if boxed else cells + 2 * (len(columns) - 1)


def _shortened(column: Column, width: int) -> Column:
    cells = [
        Text(shortened(cell.plain, width), style=cell.style)
        if isinstance(cell, Text)
        else shortened(cell, width)
        for cell in column.cells
    ]
    heading = "\n".join(shortened(line, width) for line in column.heading.split("\n"))
    return replace(column, cells=cells, heading=heading, footer=shortened(column.footer, width))
