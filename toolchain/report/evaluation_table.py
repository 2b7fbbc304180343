"""The table of ``deploy evaluate``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType

from toolchain.evaluation.document import (
    BoxPair,
    BoxRow,
    Detection,
    Evaluation,
    Pair,
    Row,
    Share,
)
from toolchain.report.fitting import NAME, Column, fitted_table, note


def evaluation_table(result: Evaluation, width: int = 200) -> RenderableType:
    """A row a network and place, with what the figures mean below.

    Args:
        result: of the evaluation.
        width: columns that there are.
    """
    rows = result.rows
    elsewhere = [_pair(result, index, "place") for index in range(len(rows))]
    beside = [_pair(result, index, "network") for index in range(len(rows))]
    columns = [
        Column("network", [Path(row.name).name for row in rows], NAME, right=False),
        Column("where", [row.where for row in rows], NAME, right=False),
        Column("top-1", [_percent(row.top1.value) for row in rows], 1),
        Column(_interval_of(result), [_between(row.top1) for row in rows], 2),
        Column("top-5", [_percent(row.top5.value) if row.top5 else "" for row in rows], 6),
        Column(
            "same class\nelsewhere",
            [_agreement(pair, rows) for pair in elsewhere],
            3,
        ),
        Column("less the\nfirst's", [_points(pair) for pair in beside], 3),
        Column(
            _interval_of(result),
            [_between(pair.difference, signed=True) if pair else "" for pair in beside],
            4,
        ),
        Column("same class\nas the first", [_agreement(pair) for pair in beside], 5),
    ]
    columns = [column for column in columns if any(column.cells)]
    title = f"{result.data}: {result.images:,} of {result.of:,} images"
    return Group(fitted_table(columns, width, title=title), *map(note, _notes(result)))


def detection_table(result: Detection, width: int = 200) -> RenderableType:
    """A row a detector and place, with what the figures mean below.

    Args:
        result: of the evaluation.
        width: columns that there are.
    """
    rows = result.rows
    pairs = {(pair.first, pair.kind): pair for pair in result.pairs}
    columns = [
        Column("network", [row.name for row in rows], NAME, right=False),
        Column("where", [row.where for row in rows], NAME, right=False),
        Column("AP", [_percent(row.ap.value) for row in rows], 1),
        Column(_interval_of(result), [_between(row.ap) for row in rows], 2),
        Column("AP50", [_percent(row.ap50.value) for row in rows], 2),
        Column(_interval_of(result), [_between(row.ap50) for row in rows], 5),
        Column("boxes", [f"{row.found:,}" for row in rows], 6),
    ]
    for kind, heading, rank in (
        ("place", "less\nelsewhere", 3),
        ("network", "less the\nfirst's", 3),
    ):
        own = [pairs.get((index, kind)) for index in range(len(rows))]
        columns += [
            Column(heading, [_points(pair) for pair in own], rank),
            Column(
                _interval_of(result),
                [_between(pair.difference, signed=True) if pair else "" for pair in own],
                rank + 1,
            ),
        ]
    columns = [column for column in columns if any(column.cells)]
    title = f"{result.data}: {result.images:,} of {result.of:,} images, {result.boxes:,} boxes"
    notes = [*_origins(rows), "AP: COCO's, a mean over overlaps of 0.5 to 0.95; AP50: at 0.5."]
    return Group(fitted_table(columns, width, title=title), *map(note, notes + _kept(rows)))


def _notes(result: Evaluation) -> list[str]:
    rows = result.rows
    found = _origins(rows)
    if any(pair.kind == "network" for pair in result.pairs):
        found.append(
            "Less the first's: share that is right, less that of the first network in the same "
            "place; the two do not differ surely where 0 is in the interval."
        )
    return found + _kept(rows)


def _origins(rows: Sequence[Row | BoxRow]) -> list[str]:
    """What computed, and who said how images are prepared."""
    runtimes = {row.where: row.runtime for row in rows}
    found = ["; ".join(f"{where}: {runtime}" for where, runtime in runtimes.items())]
    found += [
        f"Images: {said} ({', '.join(names)})." for said, names in _preparations(rows).items()
    ]
    return found


def _kept(rows: Sequence[Row | BoxRow]) -> list[str]:
    kept = sum(row.kept for row in rows)
    if not kept:
        return []
    return [
        f"Of {sum(row.images for row in rows):,} outputs, {kept:,} were kept from an earlier "
        "run; --again computes them anew."
    ]


def _preparations(rows: Sequence[Row | BoxRow]) -> dict[str, list[str]]:
    """How pixels were prepared, and for which networks."""
    found: dict[str, list[str]] = {}
    for row in rows:
        used = row.preparation
        said = used.said_by
        if used.mean is not None and used.std is not None:
            mean, std = (
                ",".join(f"{value:.4g}" for value in part) for part in (used.mean, used.std)
            )
            said = f"mean {mean}, std {std}, from {said}" if said != "given" else (
                f"mean {mean}, std {std}, as given"
            )  # fmt: skip
        names = found.setdefault(said, [])
        if row.name not in names:
            names.append(row.name)
    return found


def _pair(result: Evaluation, index: int, kind: str) -> Pair | None:
    return next((one for one in result.pairs if one.first == index and one.kind == kind), None)


def _agreement(pair: Pair | None, rows: list[Row] | None = None) -> str:
    if pair is None:
        return ""
    share = _percent(pair.agreement.value)
    return share if rows is None else f"{share} {rows[pair.second].where}"


def _interval_of(result: Evaluation | Detection) -> str:
    return f"{result.confidence:.0%}\ninterval"


def _points(pair: Pair | BoxPair | None) -> str:
    return "" if pair is None else f"{pair.difference.value:+.2%}"


def _between(share: Share, *, signed: bool = False) -> str:
    if signed:
        return f"{100 * share.low:+.2f} to {100 * share.high:+.2f}"
    return f"{100 * share.low:.2f} to {100 * share.high:.2f}"


def _percent(value: float) -> str:
    return f"{value:.2%}"
