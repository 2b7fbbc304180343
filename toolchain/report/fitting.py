"""Tables that fit the width there is: columns are left out, names never are.

What is left out is told below the table; ``--json`` has all of it. Long names go below it, too,
rather than what they are the names of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from toolchain.formats.json_text import without_lone_bytes

NAME = 0
"""The rank of a column that is never left out."""
FIRST = 1
"""The rank of a column without which names say nothing: it is left out last, and before it is, long
names go below the table."""


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
    explained: Mapping[str, Sequence[str]] | None = None,
) -> RenderableType:
    """A table of no more than ``width``, and what was left out of it.

    Names stay whole. Those too long to stand beside the columns that matter most are listed below;
    one that is wider than the terminal by itself loses its middle.

    Args:
        columns: in order, of equal length; those without a heading and any text are left away.
        width: columns of the terminal.
        title: above it.
        boxed: whether lines are drawn around the cells.
        row_styles: a style a row, where rows have any.
        bold_last: whether the last row is a sum.
        explained: lines that explain what stands in a column, by its heading: they stand below the
            table where that column is shown.
    """
    wanted = [_printable(column) for column in columns if column.heading or column.width]
    wanted, names = _numbered(wanted, width, boxed=boxed)
    shown, left_out = _chosen(wanted, width, boxed=boxed)
    legend = [_legend(number, name, width) for number, name in names.items()]
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
    if left_out:
        titles = ", ".join(column.title for column in left_out if column.title)
        legend.append(note(f"left out for want of width: {titles}; --json has all"))
    headings = {column.heading for column in shown}
    for heading, lines in (explained or {}).items():
        legend += [Text(line) for line in lines if heading in headings]
    return Group(table, *legend) if legend else table


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
    left, begin = width - 1 - head, len(text)
    while begin and cell_len(text[begin - 1]) <= left:  # from the end: a name may be long
        begin -= 1
        left -= cell_len(text[begin])
    tail = text[begin:]
    return f"{set_cell_size(text, head)}…{tail}"


def printable(text: str) -> str:
    """A text as tables show it: control characters as escapes."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in without_lone_bytes(text)
    )


def _printable(column: Column) -> Column:
    """The same with control characters written as escapes: a name may hold anything."""
    cells = [cell if isinstance(cell, Text) else printable(cell) for cell in column.cells]
    return replace(column, cells=cells)


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


def _legend(number: str, name: str, width: int) -> Text:
    """A name below the table; on a line of its own where there is no room beside its number."""
    between = " " if cell_len(f"{number} {name}") <= width else "\n"
    return Text(f"{number}{between}{shortened(name, width)}", no_wrap=True)


def _numbered(
    columns: Sequence[Column], width: int, *, boxed: bool
) -> tuple[list[Column], dict[str, str]]:
    """Columns in which names too long to stand beside what matters most are numbers.

    Returns:
        The columns, and the name of each number.
    """
    kept = [column for column in columns if column.rank <= FIRST]
    if _needed(kept, boxed=boxed) <= width:
        return list(columns), {}
    bare = [replace(one, cells=[], footer="") if one.rank == NAME else one for one in kept]
    room = width - _needed(bare, boxed=boxed) + sum(one.width for one in bare if one.rank == NAME)
    names: dict[str, str] = {}

    def number(name: str) -> str:
        if cell_len(name) <= room:
            return name
        for known, other in names.items():
            if other == name:
                return known
        names[f"[{len(names) + 1}]"] = name
        return f"[{len(names)}]"

    found = []
    for column in columns:
        if column.rank == NAME:
            cells = [one if isinstance(one, Text) else number(one) for one in column.cells]
            column = replace(column, cells=cells)
        found.append(column)
    return found, names
