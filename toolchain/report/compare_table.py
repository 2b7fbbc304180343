"""What ``deploy compare`` shows: a table, or Markdown for a pull request."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from toolchain.foreign_text import harmless
from toolchain.profile import figures
from toolchain.profile.compare import Change, Comparison
from toolchain.profile.gate import Idle, Judgement, failed
from toolchain.report.fitting import FIRST, NAME, Column, fitted_table, note

_STYLES = {"better": "green", "worse": "red", "no change": "", "no verdict": "yellow"}
_OUTCOMES = {"passes": "green", "fails": "red", "unclear": "yellow"}
_MARKS = {"better": "🟢 better", "worse": "🔴 worse", "no change": "no change",
          "no verdict": "❔ no verdict"}  # fmt: skip
_WORST_FIRST = ("fails", "unclear", "passes")
_QUIET = ("p95", "size")
"""Figures that are shown where they changed."""
_INSTEAD = "mean"
"""A figure that is shown where there is no median."""


def comparison_table(
    found: Comparison, title: str = "before and after", width: int = 200, *, per_op: bool = False
) -> RenderableType:
    """One row for each figure of each model, and below it what to know about them.

    Args:
        found: the comparison.
        title: what is compared.
        width: columns that there are.
        per_op: whether operators are shown as well.
    """
    parts: list[RenderableType] = []
    if found.obstacles:
        parts.append(Text(f"Not comparable: {'; '.join(found.obstacles)}.", style="yellow"))
    parts.append(_table(shown_changes(found), width, title))
    if per_op and found.operators:
        parts.append(_table(_by_time(found.operators), width, f"{title}, by operator"))
    return Group(*parts, *map(note, found.notes))


def shown_changes(found: Comparison) -> list[Change]:
    """The changes that a table shows: all but quiet figures that did not change."""
    has_median = {one.model for one in found.changes if one.figure == "median"}
    return [
        one
        for one in found.changes
        if (one.figure not in _QUIET or one.significant)
        and (one.figure != _INSTEAD or one.model not in has_median)
    ]


def _by_time(operators: Sequence[Change]) -> list[Change]:
    """Operators that changed first, and among them those that gained or lost most time."""
    return sorted(operators, key=lambda one: (not one.significant, -abs(one.after - one.before)))


def _worst_first(judgements: Sequence[Judgement]) -> list[Judgement]:
    return sorted(judgements, key=lambda one: _WORST_FIRST.index(one.outcome))


def gate_table(judgements: Sequence[Judgement], width: int = 200) -> RenderableType:
    """One row for each figure that is limited.

    Args:
        judgements: what the limits say.
        width: columns that there are.
    """
    judgements = _worst_first(judgements)
    return fitted_table(
        [
            Column("limit", [one.rule.text for one in judgements], NAME, right=False),
            Column("figure", [one.what for one in judgements], NAME, right=False),
            Column(
                "",
                [Text(one.outcome, style=_OUTCOMES[one.outcome]) for one in judgements],
                1,
                right=False,
            ),
        ],
        width,
        title="limits",
    )


def markdown(
    titles: Sequence[str],
    comparisons: Sequence[Comparison],
    judgements: Sequence[Judgement] = (),
    without: Sequence[Idle] = (),
    *,
    strict: bool = False,
    per_op: bool = False,
) -> str:
    """Comparisons as Markdown, for a pull request.

    Args:
        titles: what each compares.
        comparisons: as many.
        judgements: what limits say.
        without: limits that concern nothing.
        strict: whether what is unclear fails, too.
        per_op: whether operators are shown as well.
    """
    lines: list[str] = []
    if judgements:
        past = len(failed(judgements, strict=strict))
        lines += [f"**{past} of {len(judgements)} limited figures are past their limit.**", ""]
    for told in dict.fromkeys(f"{one.what}; they have: {one.they_have}" for one in without):
        lines += [f"**{_cell(told)}.**", ""]
    if judgements:
        lines += _rows(
            ("limit", "figure", ""),
            [(one.rule.text, one.what, one.outcome) for one in _worst_first(judgements)],
        )
    for title, found in zip(titles, comparisons, strict=True):
        lines += [f"### {_cell(title)}", ""]
        if found.obstacles:
            lines += [f"**Not comparable:** {_cell('; '.join(found.obstacles))}.", ""]
        columns = ("figure", "before", "after", "change", "95% interval", "verdict")
        lines += _rows(
            ("model", *columns),
            [
                (one.model, one.figure, *_figures(one), _MARKS[one.verdict])
                for one in shown_changes(found)
            ],
        )
        if per_op and found.operators:
            lines += _rows(
                ("model", "operator", *columns),
                [
                    (one.model, one.operator or "", one.figure, *_figures(one), _MARKS[one.verdict])
                    for one in _by_time(found.operators)
                ],
            )
        lines += [f"- {_cell(line)}" for line in found.notes]
        lines.append("")
    return "\n".join(lines)


def _table(rows: Sequence[Change], width: int, title: str) -> RenderableType:
    cells = [_figures(change) for change in rows]
    operators = [change.operator or "" for change in rows]
    columns = [
        Column("model", [change.model for change in rows], NAME, right=False),
        Column("operator", operators, NAME, right=False),
        Column("figure", [change.figure for change in rows], FIRST, right=False),
        Column("before", [before for before, *_ in cells], 3),
        Column("after", [after for _, after, *_ in cells], 3),
        Column("change", [change for _, _, change, _ in cells], 1),
        Column("95%\ninterval", [interval for *_, interval in cells], 4),
        Column(
            "verdict",
            [Text(change.verdict, style=_STYLES[change.verdict]) for change in rows],
            1,
            right=False,
        ),
    ]
    return fitted_table([one for one in columns if any(one.cells)], width, title=title)


def _figures(change: Change) -> tuple[str, str, str, str]:
    """Before, after, the change, and its interval, in words."""
    before, after = (figures.written(one, change.unit) for one in (change.before, change.after))
    grown = "" if change.ratio is None else figures.change(change.ratio)
    if change.low is None or change.high is None:
        return before, after, grown, ""
    return before, after, grown, f"{figures.change(change.low)} to {figures.change(change.high)}"


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    made = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    return [*made, *(f"| {' | '.join(map(_cell, row))} |" for row in rows), ""]


_MARKUP = {
    **{sign: f"\\{sign}" for sign in "\\`*_{}[]#|"},
    "<": "&lt;",
    ">": "&gt;",
    "@": "&#64;",  # else a name is a mention
    "\n": " ",
}


def _cell(text: str) -> str:
    """Text that no name can make markup of."""
    return "".join(_MARKUP.get(sign, sign) for sign in harmless(text))
