"""The table of ``deploy detect``."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from toolchain.board.detect import DetectedObjects
from toolchain.report.fitting import NAME, Column, fitted_table


def detection_table(done: DetectedObjects, width: int = 200) -> RenderableType:
    """A line an object; pictures without any are named below."""
    rows = [(one, found) for one in done.pictures for found in one.objects]
    table = fitted_table(
        [
            Column("picture", [one.picture for one, _ in rows], NAME, right=False),
            Column("object", [found.name for _, found in rows], 1, right=False),
            Column("score", [f"{found.score:.2f}" for _, found in rows], 2),
            Column("left", [f"{found.box[0]:.0f}" for _, found in rows], 3),
            Column("top", [f"{found.box[1]:.0f}" for _, found in rows], 3),
            Column("right", [f"{found.box[2]:.0f}" for _, found in rows], 3),
            Column("bottom", [f"{found.box[3]:.0f}" for _, found in rows], 3),
        ],
        width,
        boxed=False,
    )
    lines: list[RenderableType] = [table, Text()] if rows else []
    empty = [one.picture for one in done.pictures if not one.objects]
    if empty:
        named = ", ".join(empty[:5]) + (f" and {len(empty) - 5} more" if len(empty) > 5 else "")
        lines.append(
            Text(f"nothing with a score of {done.score:g} or more: {named}; --score sets it lower")
        )
    count = f"{len(rows)} object{'' if len(rows) == 1 else 's'}"
    pictures = f"{len(done.pictures)} picture{'' if len(done.pictures) == 1 else 's'}"
    lines.append(Text(f"{count} on {pictures}, by {done.model} on {done.ran_on}"))
    drawn = [one.drawn for one in done.pictures if one.drawn is not None]
    if drawn:
        more = f" and {len(drawn) - 1} more" if len(drawn) > 1 else ""
        lines.append(Text(f"boxes are drawn in {drawn[0]}{more}"))
    return Group(*lines)
