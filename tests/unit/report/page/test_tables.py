"""Tables of the page: figures as ``deploy profile`` writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.profiles import in_turns, measurement, powered, profile_of
from support.reports import estimate_of, measured_profile, models, turns
from support.runner_outputs import runner_output
from toolchain.profile.figures import microseconds, ratio
from toolchain.report.page.estimated import result_of_estimate
from toolchain.report.page.measured import results_of_profile
from toolchain.report.page.tables import (
    Scale,
    Table,
    layer_table,
    model_table,
    published_table,
    roofline_table,
    scale_of,
    turn_table,
)
from toolchain.report.page.view import PublishedRow


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    return models(tmp_path, dense=0.0, s25=0.25)


def heads(table: Table) -> list[str]:
    return [column.title for column in table.columns]


def column(table: Table, title: str) -> list[str]:
    at = heads(table).index(title)
    return [row[at].text for row in table.rows]


def test_the_models_have_the_figures_of_the_profile(files: dict[str, Path]) -> None:
    profile = measured_profile(files)
    table = model_table(next(results_of_profile(profile, "p", {"s25": 0.914})))
    items = profile.measurements
    assert column(table, "model") == ["dense", "s25"]
    assert column(table, "median") == [microseconds(item.median_us or 0) for item in items]
    assert column(table, "ratio") == [ratio(profile.ratio(item)) for item in items]
    assert column(table, "by plan") == [ratio(profile.ratio_by_plan(item)) for item in items]
    assert column(table, "accuracy") == ["-", "91.4%"]
    assert column(table, "MACs") == ["0.2 of 0.2", "0.1 of 0.2"]
    assert "instructions" not in heads(table)
    interval = profile.ratio_interval(items[1])
    assert interval is not None
    assert column(table, "95% interval") == ["-", f"{interval.low:.3f} to {interval.high:.3f}"]


def test_energy_has_columns_where_it_was_measured() -> None:
    one, other = (in_turns(name, [[10_000.0]] * 15) for name in ("dense", "s20"))
    table = model_table(next(results_of_profile(profile_of(powered(one, 5.0), other), "p", {})))
    assert column(table, "energy") == ["50.0 mJ", "-"]
    assert column(table, "power") == ["5.00 W", "-"]
    without = heads(model_table(next(results_of_profile(profile_of(one, other), "p", {}))))
    assert not {"energy", "power"} & set(without)


def test_bars_are_as_long_as_ratios_and_end_at_the_longest(files: dict[str, Path]) -> None:
    result = next(results_of_profile(measured_profile(files), "p", {}))
    table = model_table(result)
    at = heads(table).index("ratio")
    dense, masked = (row[at] for row in table.rows)
    best = result.models[1]
    assert best.by_plan is not None
    assert best.ratio is not None
    assert best.by_plan > best.ratio
    assert masked.mark == 1.0
    assert masked.bar == pytest.approx(best.ratio / best.by_plan)
    assert dense.bar == pytest.approx(1 / best.by_plan)


def test_one_model_alone_has_no_ratios() -> None:
    table = model_table(next(results_of_profile(profile_of(in_turns("m", turns(1000.0))), "p", {})))
    assert not {"ratio", "95% interval", "by pixels", "by plan"} & set(heads(table))


def test_a_doubtful_figure_is_marked() -> None:
    busy = [1.0] * 15
    profile = profile_of(
        in_turns("a", turns(1200.0), load=busy), in_turns("b", turns(1000.0), load=busy)
    )
    table = model_table(next(results_of_profile(profile, "p", {})))
    for title in ("median", "ratio"):
        at = heads(table).index(title)
        assert all(row[at].doubtful for row in table.rows)


def test_an_emulated_board_has_instructions_and_no_times() -> None:
    profile = profile_of(measurement("m", runner_output(instructions=1234567)), emulated=True)
    table = model_table(next(results_of_profile(profile, "p", {})))
    assert column(table, "instructions") == ["1,234,567"]
    assert heads(table).count("instructions") == 1


def test_an_estimate_has_its_interval_below_the_time(files: dict[str, Path]) -> None:
    estimate = estimate_of(files)
    table = model_table(result_of_estimate(estimate, "e", {}))
    at = heads(table).index("estimated")
    one = estimate.models[0]
    assert table.rows[0][at].note == (
        f"{microseconds(one.low_ms * 1e3)} to {microseconds(one.high_ms * 1e3)}"
    )


@pytest.mark.parametrize(
    ("most", "unit", "scale"),
    [
        (2.5e6, "us", Scale(1e6, "s")),
        (1000.0, "us", Scale(1e3, "ms")),
        (999.0, "us", Scale(1.0, "µs")),
        (0.0, "us", Scale(1.0, "µs")),
        (3e9, "instructions", Scale(1e9, "billion instructions")),
        (2e6, "instructions", Scale(1e6, "million instructions")),
        (5.0, "instructions", Scale(1.0, "instructions")),
    ],
)
def test_a_unit_suits_the_largest_figure(most: float, unit: str, scale: Scale) -> None:
    assert scale_of([0.0, most], unit) == scale  # type: ignore[arg-type]


def test_the_numbers_of_charts_are_in_their_tables(files: dict[str, Path]) -> None:
    result = next(results_of_profile(measured_profile(files), "p", {}))
    assert len(turn_table(result).rows) == 30
    assert column(layer_table(result.layers[1:]), "layer") == [
        row.name for row in result.layers[1].rows
    ]
    assert set(column(layer_table(result.layers[1:]), "MACs a second")) > {""}
    assert "of the peak" not in heads(layer_table(result.layers[1:]))
    assert result.roofline is not None
    shares = column(roofline_table(result.roofline), "of its roof")
    assert len(shares) == 4
    assert all(share.endswith("%") for share in shares)


def test_what_an_operator_does_of_the_peak_and_why_xnnpack_leaves_it_are_in_its_table(
    files: dict[str, Path],
) -> None:
    layers = next(results_of_profile(measured_profile(files), "p", {})).layers[1]
    changes: dict[int, dict[str, object]] = {
        0: {"of_peak": 0.625},
        1: {"delegated": False, "why_not_delegated": "unsupported type INT16 in tensor #3"},
        2: {"delegated": False},
    }
    rows = [row.model_copy(update=changes.get(i, {})) for i, row in enumerate(layers.rows)]
    table = layer_table([layers.model_copy(update={"rows": rows})])
    assert column(table, "of the peak")[:2] == ["62.5%", ""]
    assert column(table, "why")[1:3] == [
        "XNNPACK does not run it: unsupported type INT16 in tensor #3",
        "XNNPACK does not run it",
    ]


def test_published_times_stand_beside_those_of_models_of_the_same_name(
    files: dict[str, Path],
) -> None:
    rows = [
        PublishedRow(model="DENSE", ms=2.686, source="a"),
        PublishedRow(model="other", ms=5.0, source="b", board="rpi4"),
    ]
    measured = next(results_of_profile(measured_profile(files), "p", {}))
    counted = profile_of(measurement("dense", runner_output(instructions=5)), emulated=True)
    table = published_table(rows, [measured, next(results_of_profile(counted, "q", {}))])
    assert column(table, "model") == ["DENSE", "other"]
    assert column(table, "ours") == ["1.34 ms", "-"]
    assert column(table, "published over ours") == ["2.00x", "-"]
    assert column(table, "board") == ["", "rpi4"]
    assert "threads" not in heads(table)
