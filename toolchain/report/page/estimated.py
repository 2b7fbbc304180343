"""An estimate as what a report shows: times of a board that is not there."""

from __future__ import annotations

from collections.abc import Mapping

from toolchain.hints import command
from toolchain.profile.estimate_document import Estimate, ModelEstimate
from toolchain.profile.timed_operators import live_share, macs_computed, timed_rows
from toolchain.report.page.headline import headline
from toolchain.report.page.roofline import roofline
from toolchain.report.page.view import Again, Fact, Layers, Model, Result, Roofline, Span
from toolchain.timing.roof import Roof, roof_of_estimate

NOT_MEASURED = "Estimated, not measured: nine of ten published times lie within the interval."


def result_of_estimate(estimate: Estimate, file: str, accuracies: Mapping[str, float]) -> Result:
    """What an estimate says.

    Args:
        estimate: of one board.
        file: the name of the document that has it.
        accuracies: of models, by their names.
    """
    models = [_model(estimate, one, accuracies.get(one.name)) for one in estimate.models]
    found, missing = _roofline(estimate)
    return Result(
        file=file,
        kind="estimated",
        unit="us",
        board=estimate.board,
        title=estimate.title,
        threads=estimate.threads,
        core=estimate.core,
        clock_mhz=estimate.clock_mhz,
        created=None,
        headline=headline("estimated", estimate.title, estimate.threads, models),
        models=models,
        layers=_layers(estimate),
        no_layers=None,
        roofline=found,
        no_roofline=missing,
        facts=[
            Fact(name="board", before=f"{estimate.title} ({estimate.board}), not at hand"),
            Fact(name="core", before=estimate.core),
            Fact(name="clock", before=f"{estimate.clock_mhz:,} MHz"),
            Fact(name="threads", before=str(estimate.threads)),
        ],
        doubts=[],
        failed={one.get("model", ""): one.get("error", "") for one in estimate.failed},
        again=Again(commands=_commands(estimate, file), versions={"tileskip": estimate.tool}),
    )


def _model(estimate: Estimate, one: ModelEstimate, accuracy: float | None) -> Model:
    first = estimate.models[0]
    left, of_first = _left(one), _left(first)
    planned, of_dense = (macs_computed(each.timed_ops(), each.layers) for each in (one, first))
    masked = any(layer.masked for layer in one.layers)
    live = live_share(one.timed_ops(), one.layers) if masked else None
    return Model(
        name=one.label,
        sha256=one.sha256,
        cost=one.ms * 1e3,
        mad=None,
        interval=Span(low=one.low_ms * 1e3, high=one.high_ms * 1e3),
        ratio=estimate.speedup(one) if one.ms else None,
        ratio_interval=None,
        in_doubt=False,
        by_pixels=of_first / left if left and of_first else None,
        by_plan=of_dense / planned if planned and of_dense else None,
        macs=sum(layer.macs for layer in one.layers),
        macs_left=left,
        dead_tap_share=None if live is None else 1 - live,
        instructions=one.instructions,
        peak_rss_kib=None,
        accuracy=accuracy,
    )


def _left(one: ModelEstimate) -> int:
    return sum(layer.macs - layer.macs_saved for layer in one.layers)


def _layers(estimate: Estimate) -> list[Layers]:
    found = []
    for one in estimate.models:
        rows = one.beside or timed_rows(None, (one.timed_ops(), one.layers))
        beside = estimate.models[0].label if one.beside else None
        found.append(Layers(model=one.label, beside=beside, rows=rows))
    return found


def _roofline(estimate: Estimate) -> tuple[Roofline | None, str | None]:
    coefficients = estimate.timing_model.coefficients
    roof = roof_of_estimate(coefficients, estimate.core, estimate.clock_mhz, estimate.threads)
    if not isinstance(roof, Roof):
        return None, roof
    return roofline(roof, [(one.label, one.timed_ops(), one.layers) for one in estimate.models])


def _commands(estimate: Estimate, file: str) -> list[str]:
    models = [f"{one.name}.tflite" for one in estimate.models]
    board = ["--board", estimate.board]
    numbers = ["--threads", estimate.threads, "--clock", estimate.clock_mhz]
    return [
        command("build", *board),
        command("estimate", *models, *board, *numbers, "--output", file),
    ]
