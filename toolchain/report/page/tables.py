"""Tables of the page: of the models, of the board, and of the numbers behind each chart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from toolchain.profile.figures import (
    count,
    energy,
    macs_a_second,
    memory,
    microseconds,
    power,
    ratio,
)
from toolchain.profile.runner_output import REMAINDER
from toolchain.profile.timed_operators import TimedRow
from toolchain.report.page.view import Kind, Layers, Model, PublishedRow, Result, Roofline, Unit


@dataclass(frozen=True)
class Cell:
    """One cell."""

    text: str
    note: str = ""
    """Small, below it."""
    bar: float | None = None
    """Length of a bar behind the text, 0 to 1."""
    mark: float | None = None
    """Where a mark stands on that bar, 0 to 1."""
    doubtful: bool = False


@dataclass(frozen=True)
class Column:
    """The head of a column."""

    title: str
    unit: str = ""
    number: bool = True
    """Whether its cells stand at the right."""


@dataclass(frozen=True)
class Table:
    """Heads and rows, of equal length."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Scale:
    """How large figures are written."""

    divisor: float
    unit: str

    def of(self, value: float) -> float:
        """A figure in this unit."""
        return value / self.divisor


def scale_of(values: Sequence[float], unit: Unit) -> Scale:
    """A unit that suits the largest of several figures."""
    most = max(values, default=0.0)
    if unit == "us":
        steps = [Scale(1e6, "s"), Scale(1e3, "ms"), Scale(1.0, "µs")]
    else:
        steps = [Scale(1e9, "billion instructions"), Scale(1e6, "million instructions"),
                 Scale(1.0, "instructions")]  # fmt: skip
    return next((one for one in steps if most >= one.divisor), steps[-1])


def written(value: float | None, unit: Unit) -> str:
    """A cost with its unit."""
    if value is None:
        return "-"
    return microseconds(value) if unit == "us" else count(value)


def model_table(result: Result) -> Table:
    """The figures of ``deploy profile``'s table; columns that say nothing are left out."""
    models, unit = result.models, result.unit
    longest = max((max(one.ratio or 0, *_ideals(one)) for one in models), default=0.0)
    columns: list[tuple[Column, list[Cell]]] = [
        (Column("model", number=False), [Cell(one.name) for one in models]),
        (
            Column(_cost_title(result.kind), _cost_unit(unit)),
            [_cost(one, result) for one in models],
        ),
        (Column("ratio", "first over this"), [_ratio(one, longest) for one in models]),
        (Column("95% interval", "of the ratio"), [_span(one) for one in models]),
        (Column("by pixels"), [Cell(ratio(one.by_pixels)) for one in models]),
        (Column("by plan"), [Cell(ratio(one.by_plan)) for one in models]),
        (Column("accuracy"), [Cell(_percent(one.accuracy)) for one in models]),
        (
            Column("MACs", "million left of all"),
            [Cell(f"{one.macs_left / 1e6:,.1f} of {one.macs / 1e6:,.1f}") for one in models],
        ),
        (Column("dead taps"), [Cell(_percent(one.dead_tap_share or None)) for one in models]),
        (Column("instructions", "an inference"), [_instructions(one, result) for one in models]),
        (Column("peak memory"), [Cell(memory(one.peak_rss_kib)) for one in models]),
        (Column("energy", "an inference"), [Cell(energy(one.energy_j)) for one in models]),
        (Column("power", "while it runs"), [Cell(power(one.power_w)) for one in models]),
    ]
    alone = len(models) == 1
    compared = ("ratio", "95% interval", "by pixels", "by plan")
    shown = [
        (head, cells)
        for head, cells in columns
        if any(cell.text != "-" for cell in cells) and not (alone and head.title in compared)
    ]
    rows = list(zip(*(cells for _, cells in shown), strict=True))
    used = "1 thread" if result.threads == 1 else f"{result.threads} threads"
    return Table(f"{result.title}, {used}, {result.kind}", [head for head, _ in shown], rows)


def _cost_title(kind: Kind) -> str:
    return {"measured": "median", "counted": "instructions", "estimated": "estimated"}[kind]


def _cost_unit(unit: Unit) -> str:
    return "time of an inference" if unit == "us" else "an inference"


def _cost(model: Model, result: Result) -> Cell:
    note = ""
    if result.kind == "estimated" and model.interval:
        low, high = written(model.interval.low, "us"), written(model.interval.high, "us")
        note = f"{low} to {high}"
    elif result.kind == "measured" and model.mad is not None:
        note = f"± {written(model.mad, 'us')}"
    doubtful = any(model.name in doubt.models for doubt in result.doubts)
    return Cell(written(model.cost, result.unit), note, doubtful=doubtful)


def _ideals(model: Model) -> tuple[float, float]:
    return model.by_pixels or 0.0, model.by_plan or 0.0


def _ratio(model: Model, longest: float) -> Cell:
    if model.ratio is None or not longest:
        return Cell("-")
    ideal = model.by_plan or model.by_pixels
    return Cell(
        ratio(model.ratio),
        bar=model.ratio / longest,
        mark=ideal / longest if ideal else None,
        doubtful=model.in_doubt,
    )


def _span(model: Model) -> Cell:
    span = model.ratio_interval
    return Cell("-" if span is None else f"{span.low:.3f} to {span.high:.3f}")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _instructions(model: Model, result: Result) -> Cell:
    return Cell("-" if result.kind == "counted" else count(model.instructions))


# --- the numbers of charts -------------------------------------------------------------------


def tradeoff_table(result: Result, front: Sequence[str]) -> Table:
    """The models as the first chart has them."""
    first = result.first.cost
    rows = []
    for one in result.models:
        by_pixels = first / one.by_pixels if first and one.by_pixels else None
        by_plan = first / one.by_plan if first and one.by_plan else None
        rows.append([
            Cell(one.name), Cell(written(one.cost, result.unit)),
            Cell(written(by_pixels, result.unit)), Cell(written(by_plan, result.unit)),
            Cell(f"{one.share_left:.1%}"), Cell(_percent(one.accuracy)),
            Cell("yes" if one.name in front else "no"),
        ])  # fmt: skip
    columns = [
        Column("model", number=False), Column("cost"), Column("ideal by pixels"),
        Column("ideal by plan"), Column("multiply-accumulates left"), Column("accuracy"),
        Column("on the Pareto front"),
    ]  # fmt: skip
    if not front:
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    return Table(f"Models on {result.title}", columns, rows)


def turn_table(result: Result) -> Table:
    """Every turn of every model; where there were none, the interval of each."""
    unit = result.unit
    rows = [
        [Cell(one.name), Cell(str(turn.number)), Cell(written(turn.median, unit)),
         Cell(written(turn.span.low, unit)), Cell(written(turn.span.high, unit))]
        for one in result.models
        for turn in one.turns
    ]  # fmt: skip
    heads = [Column("model", number=False), Column("turn"), Column("median"),
             Column("nine of ten", "from"), Column("", "to")]  # fmt: skip
    if rows:
        return Table(f"Turns on {result.title}", heads, rows)
    rows = [
        [Cell(one.name), Cell(written(one.cost, unit)),
         Cell(written(one.interval.low if one.interval else None, unit)),
         Cell(written(one.interval.high if one.interval else None, unit))]
        for one in result.models
    ]  # fmt: skip
    heads = [Column("model", number=False), Column("estimated"),
             Column("nine of ten", "from"), Column("", "to")]  # fmt: skip
    return Table(f"Estimated times on {result.title}", heads, rows)


def layer_table(models: Sequence[Layers]) -> Table:
    """Every operator of several models."""
    beside = any(one.beside for one in models)
    rows = [
        [
            Cell(one.model), Cell(row.name), Cell(row.kind if row.shape else ""), Cell(row.shape),
            Cell("" if row.pixels is None else f"{row.kept} of {row.pixels}"),
            Cell(_time(row.dense)), Cell(_time(row.masked)),
            Cell(_time(row.ideal)), Cell(_lost(row.lost, row.dense + row.masked)),
            Cell(macs_a_second(row.macs_per_second) if row.macs_per_second else ""),
            Cell(f"{row.of_peak:.1%}" if row.of_peak else ""),
            Cell(_why(row)),
        ]
        for one in models
        for row in one.rows
    ]  # fmt: skip
    heads = [
        Column("model", number=False), Column("layer", number=False), Column("kind", number=False),
        Column("shape", number=False), Column("pixels kept"), Column("dense"), Column("masked"),
        Column("ideal"), Column("lost"), Column("MACs a second"),
        Column("of the peak", "of what the cores can do at most"), Column("why", number=False),
    ]  # fmt: skip
    alone = () if beside else ("dense", "ideal", "lost")
    kept = [
        index
        for index, head in enumerate(heads)
        if head.title not in alone and any(row[index].text for row in rows)
    ]
    heads = [heads[index] for index in kept]
    return Table("Time of each layer", heads, [[row[index] for index in kept] for row in rows])


def _why(row: TimedRow) -> str:
    if row.delegated or row.kind == REMAINDER:
        return row.reason or ""
    said = f": {row.why_not_delegated}" if row.why_not_delegated else ""
    return f"XNNPACK does not run it{said}"


def _time(us: float) -> str:
    return microseconds(us) if us else "-"


def _lost(us: float, taken: float) -> str:
    if not taken:
        return ""
    return ("-" if us < 0 else "") + microseconds(abs(us))


def roofline_table(found: Roofline) -> Table:
    """Every layer under the roofs."""
    roof = found.peak, found.bandwidth
    rows = [
        [
            Cell(one.model), Cell(one.layer), Cell(f"{one.intensity:.2f}"),
            Cell(f"{one.rate / 1e9:.2f}"),
            Cell(f"{one.rate / min(roof[0], roof[1] * one.intensity):.0%}"),
        ]
        for one in found.points
    ]  # fmt: skip
    heads = [
        Column("model", number=False), Column("layer", number=False),
        Column("intensity", "multiply-accumulates a byte"),
        Column("rate", "billion multiply-accumulates a second"), Column("of its roof"),
    ]  # fmt: skip
    return Table(f"Layers on a {found.core}", heads, rows)


def published_table(rows: Sequence[PublishedRow], results: Sequence[Result]) -> Table:
    """What others published, beside what is known here of a model of that name."""
    lines = []
    for row in rows:
        ours = [
            (result, model)
            for result in results
            for model in result.models
            if result.unit == "us" and model.name.casefold() == row.model.casefold()
        ]
        pairs: list[tuple[Result | None, Model | None]] = [*ours] or [(None, None)]
        for result, model in pairs:
            own = model.cost if model else None
            times = f"{row.ms * 1e3 / own:.2f}x" if own else "-"
            place = f"{result.title} ({result.kind})" if result else "-"
            lines.append([
                Cell(row.model), Cell(row.board), Cell(row.threads), Cell(row.type),
                Cell(written(row.ms * 1e3, "us")), Cell(place), Cell(written(own, "us")),
                Cell(times), Cell(row.source),
            ])  # fmt: skip
    heads = [
        Column("model", number=False), Column("board", number=False), Column("threads"),
        Column("type", number=False), Column("published"), Column("here", number=False),
        Column("ours"), Column("published over ours"), Column("source", number=False),
    ]  # fmt: skip
    shown = [index for index in range(len(heads)) if any(line[index].text for line in lines)]
    return Table(
        "Published times",
        [heads[index] for index in shown],
        [[line[index] for index in shown] for line in lines],
    )
