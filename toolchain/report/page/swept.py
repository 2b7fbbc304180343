"""A sweep as what a report shows: accuracy against time, a result for each board."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from toolchain.errors import ModelError
from toolchain.hints import command
from toolchain.report.page.headline import headline
from toolchain.report.page.view import Again, Doubt, Fact, Kind, Model, Result, Span
from toolchain.report.sweep_table import limits, trial_line
from toolchain.sweep.document import Configuration, SearchResults, SweepResults, SweepTime

_NO_LAYERS = "A sweep keeps the times of whole networks; deploy estimate --per-op tells layers."
_BEST = 5
"""Best trials of a search that are listed."""

_Timed = tuple[Configuration, SweepTime]


def results_of_sweep(
    sweep: SweepResults, file: str, accuracies: Mapping[str, float]
) -> list[Result]:
    """What a sweep found, a result for each board that it estimated or measured.

    Args:
        sweep: with times.
        file: the name of the document that has it.
        accuracies: of configurations, by their names; they go before the sweep's own.

    Raises:
        ModelError: it has no times.
    """
    boards: dict[tuple[str, str], list[_Timed]] = {}
    for one in sweep.configurations:
        for time in one.times:
            if time.ms is not None or time.instructions is not None:
                boards.setdefault((time.kind, time.board), []).append((one, time))
    if not boards:
        raise ModelError(
            f"{file}: has no times, so that there is nothing to draw accuracy against",
            hint="add [convert] and [[estimate]] or [[measure]] to the sweep, and run it again",
        )
    return [_result(sweep, file, found, accuracies) for found in boards.values()]


def _result(
    sweep: SweepResults, file: str, found: Sequence[_Timed], accuracies: Mapping[str, float]
) -> Result:
    ordered = _first_ahead(found)
    time = ordered[0][1]
    kind: Kind = "counted" if time.ms is None else time.kind
    models = [_model(each, ordered[0], accuracies) for each in ordered]
    seeds = sorted({seed for one, _ in ordered for seed in one.seeds})
    return Result(
        file=file,
        kind=kind,
        unit="instructions" if kind == "counted" else "us",
        board=time.board,
        title=time.title,
        threads=time.threads,
        core=None,
        clock_mhz=None,
        created=None,
        headline=headline(kind, time.title, time.threads, models),
        models=models,
        layers=[],
        no_layers=_NO_LAYERS,
        roofline=None,
        no_roofline=_NO_LAYERS,
        facts=[
            Fact(name="sweep", before=sweep.name),
            Fact(name="board", before=f"{time.title} ({time.board})"),
            Fact(name="threads", before=str(time.threads)),
            Fact(name="accuracy", before=f"mean over seeds {', '.join(map(str, seeds))}"),
            *(_facts_of_search(sweep.search) if sweep.search else []),
        ],
        doubts=[
            Doubt(models=[one.name], what=said, to_do=None)
            for one, each in ordered
            for said in each.doubts
        ],
        failed={f"{one.kind} {one.name}": one.error for one in sweep.failed},
        again=Again(
            commands=[command("sweep", f"{sweep.name}.toml")], versions={"tileskip": sweep.tool}
        ),
    )


def _facts_of_search(search: SearchResults) -> list[Fact]:
    goals = [*search.objectives, *filter(None, [limits(search)])]
    said = f"{search.sampler} (seed {search.seed}), {len(search.tried)} of {search.trials} trials"
    best = [one for one in search.tried if one.best]
    return [
        Fact(name="search", before=said),
        Fact(name="searched for", before=", ".join(goals)),
        *(Fact(name=f"best: {one.configuration}", before=trial_line(one)) for one in best[:_BEST]),
    ]


def _first_ahead(found: Sequence[_Timed]) -> list[_Timed]:
    """The configuration that others are compared with, and they.

    It is the first without masks and with all its channels; where there is none, the slowest.
    """
    whole = [each for each in found if each[0].policy is None and not each[0].pruned]
    first = whole[0] if whole else max(found, key=lambda each: _cost(each[1]))
    return [first, *(each for each in found if each is not first)]


def _model(each: _Timed, first: _Timed, accuracies: Mapping[str, float]) -> Model:
    (one, time), cost = each, _cost(each[1])
    alike = (one.type, one.model) == (first[0].type, first[0].model)
    interval = None
    if time.ms is not None and time.low_ms is not None and time.high_ms is not None:
        interval = Span(low=1e3 * time.low_ms, high=1e3 * time.high_ms)
    return Model(
        name=one.name,
        sha256=one.sha256,
        cost=cost,
        mad=None,
        interval=interval,
        ratio=_cost(first[1]) / cost if cost else None,
        ratio_interval=None,
        in_doubt=bool(time.doubts),
        # Of another type or network it would say nothing.
        by_pixels=first[0].macs_kept / one.macs_kept if alike and one.macs_kept else None,
        by_plan=None,
        macs=one.macs,
        macs_left=round(one.macs_kept),
        dead_tap_share=None,
        instructions=time.instructions,
        peak_rss_kib=None,
        accuracy=accuracies.get(one.name, one.accuracy),
    )


def _cost(time: SweepTime) -> float:
    """Microseconds; of an emulated board instructions."""
    return 1e3 * time.ms if time.ms is not None else time.instructions or 0.0
