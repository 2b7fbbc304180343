"""What charts are made of: their data is the result's, and their words say what is drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.profiles import in_turns, measurement, profile_of
from support.reports import HOSTILE, estimate_of, measured_profile, models, turns
from support.runner_outputs import runner_output
from toolchain.foreign_text import harmless
from toolchain.profile.document import Profile
from toolchain.report.page.chart import Chart
from toolchain.report.page.charts import charts_of
from toolchain.report.page.estimated import result_of_estimate
from toolchain.report.page.headline import headline
from toolchain.report.page.measured import results_of_profile
from toolchain.report.page.tradeoff_chart import pareto_front
from toolchain.report.page.view import Model, Report, Result


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    return models(tmp_path, dense=0.0, s25=0.25, s50=0.5)


def _report(*results: Result) -> Report:
    return Report(tool="0", title="T", results=list(results), sources=[])


def charts(*results: Result) -> dict[str, Chart]:
    return {chart.name: chart for chart in charts_of(_report(*results))}


def measured(profile: Profile, **accuracies: float) -> Result:
    return next(results_of_profile(profile, "p.json", accuracies))


def data(chart: Chart, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = chart.spec["datasets"][name]
    return rows


# --- gain and cost ---------------------------------------------------------------------------


def point(name: str, cost: float, accuracy: float, like: Model) -> Model:
    return like.model_copy(update={"name": name, "cost": cost, "accuracy": accuracy})


def test_the_front_has_those_that_no_other_beats_in_both(files: dict[str, Path]) -> None:
    like = measured(measured_profile(files)).models[0]
    every = [
        point("slow and good", 9.0, 0.95, like),
        point("beaten", 8.0, 0.80, like),
        point("fast", 3.0, 0.85, like),
        point("as fast and worse", 3.0, 0.84, like),
        point("slower and alike", 4.0, 0.85, like),
    ]
    assert [one.name for one in pareto_front(every)] == ["fast", "slow and good"]


def test_the_front_is_drawn_as_stairs_and_marked(files: dict[str, Path]) -> None:
    result = measured(measured_profile(files), dense=0.9, s25=0.91, s50=0.8)
    chart = charts(result)["tradeoff"]
    assert [row["model"] for row in data(chart, "points") if row["front"]] == ["s25", "s50"]
    line = [row["accuracy"] for row in data(chart, "line")]
    assert line == [0.8, 0.91]
    assert "On the Pareto front: s50, s25." in chart.says
    marks = [layer["mark"] for layer in chart.spec["layer"]]
    assert "step-after" in [mark.get("interpolate") for mark in marks]
    assert [row[-1].text for row in chart.table.rows] == ["no", "yes", "yes"]


def test_ideals_stand_where_cost_would_be_by_work(files: dict[str, Path]) -> None:
    profile = measured_profile(files)
    chart = charts(measured(profile, dense=0.9, s25=0.9, s50=0.8))["tradeoff"]
    dense, item = profile.cost(profile.measurements[0]) or 0, profile.measurements[2]
    found = {row["how"]: row["cost"] for row in data(chart, "ideals") if row["model"] == "s50"}
    for how, ratio in (
        ("ideal by pixels", profile.ratio_by_pixels(item)),
        ("ideal by plan", profile.ratio_by_plan(item)),
    ):
        assert ratio
        assert ratio > 1
        assert found[how] == pytest.approx(dense / ratio / 1e3)
    assert "dense" not in {row["model"] for row in data(chart, "ideals")}


def test_models_without_an_accuracy_are_left_out_and_told(files: dict[str, Path]) -> None:
    chart = charts(measured(measured_profile(files), dense=0.9, s25=0.91))["tradeoff"]
    assert [row["model"] for row in data(chart, "points")] == ["dense", "s25"]
    assert "Models without an accuracy are not shown: 1." in chart.notes


def test_without_accuracies_costs_stand_over_what_masks_leave(files: dict[str, Path]) -> None:
    profile = measured_profile(files)
    chart = charts(measured(profile))["tradeoff"]
    for row, item in zip(data(chart, "points"), profile.measurements, strict=True):
        assert row["share"] == pytest.approx(1 - item.macs_saved / item.macs)
    dense = (profile.cost(profile.measurements[0]) or 0) / 1e3
    assert [(row["share"], row["cost"]) for row in data(chart, "line")] == [(0, 0), (1, dense)]
    assert {row["how"] for row in data(chart, "ideals")} == {"ideal by plan"}
    assert "--accuracy" in chart.notes[0]
    assert "Pareto" not in json.dumps(chart.spec)


def test_names_stand_beside_points_only_where_they_have_room(files: dict[str, Path]) -> None:
    def named(**accuracies: float) -> bool:
        chart = charts(measured(measured_profile(files), **accuracies))["tradeoff"]
        return any(layer["mark"]["type"] == "text" for layer in chart.spec["layer"])

    assert named(dense=0.9, s25=0.85, s50=0.8)
    close = measured(measured_profile(files), dense=0.9, s25=0.9, s50=0.9)
    models_of = [
        one.model_copy(update={"cost": 1000.0 + index}) for index, one in enumerate(close.models)
    ]
    models_of[0] = models_of[0].model_copy(update={"cost": 2000.0})
    chart = charts(close.model_copy(update={"models": models_of}))["tradeoff"]
    assert not any(layer["mark"]["type"] == "text" for layer in chart.spec["layer"])


# --- turns -----------------------------------------------------------------------------------


def test_a_turn_that_is_far_away_stands_at_the_edge_and_is_told() -> None:
    times = turns(1000.0)
    times[4] = [9000.0] * 5
    chart = charts(measured(profile_of(in_turns("dense", times))))["turns"]
    rows = data(chart, "turns")
    (far,) = [row for row in rows if row["beyond"]]
    assert (far["turn"], far["median"]) == (5, 9.0)
    domains = [
        layer["encoding"]["x"]["scale"]["domain"]
        for layer in chart.spec["layer"]
        if "scale" in layer["encoding"]["x"]
    ]
    assert far["at"] == domains[0][1] < 1.3
    assert chart.notes[-1] == "Triangle: a turn that lies beyond the edge: 1, up to 9.00 ms."
    assert min(row["low"] for row in rows) > domains[0][0]


def test_turns_that_are_near_all_stand_where_they_are() -> None:
    chart = charts(measured(profile_of(in_turns("dense", turns(1000.0)))))["turns"]
    assert not any(row["beyond"] for row in data(chart, "turns"))
    assert all(row["at"] == row["median"] for row in data(chart, "turns"))
    assert "Triangle" not in " ".join(chart.notes)


def test_medians_have_the_interval_of_their_turns() -> None:
    result = measured(profile_of(in_turns("dense", turns(1000.0))))
    (row,) = data(charts(result)["turns"], "models")
    interval = result.models[0].interval
    assert interval is not None
    assert (row["low"], row["high"]) == (interval.low / 1e3, interval.high / 1e3)


def test_instructions_are_drawn_in_a_unit_that_suits_them() -> None:
    counted = profile_of(
        measurement("dense", runner_output(instructions=1_500_000)),
        measurement("s20", runner_output(instructions=1_200_000)),
        emulated=True,
    )
    chart = charts(measured(counted))["turns"]
    assert [row["median"] for row in data(chart, "models")] == [1.5, 1.2]
    assert "million instructions" in json.dumps(chart.spec["layer"])


def test_a_model_without_a_time_leaves_the_charts_of_times_out() -> None:
    nothing = runner_output().model_copy(update={"timing": None})
    assert charts(measured(profile_of(measurement("a"), measurement("b", nothing)))) == {}


# --- layers ----------------------------------------------------------------------------------


def test_layers_have_both_times_the_ideal_and_both_orders(files: dict[str, Path]) -> None:
    profile = measured_profile(files)
    chart = charts(measured(profile))["layers"]
    rows = [row for row in data(chart, "layers") if row["of"] == 1 and row["what"] == "masked"]
    wanted = profile.measurements[2].operators
    assert [row["time"] for row in rows] == [one.masked for one in wanted]
    assert [row["ideal"] for row in rows] == [one.ideal for one in wanted]
    assert [row["lost"] for row in rows] == [one.lost for one in wanted]
    lost = sorted(range(len(wanted)), key=lambda at: -wanted[at].lost)
    assert [row["rank"] for row in rows] == [lost.index(at) for at in range(len(wanted))]
    assert {one.parameter: list(one.choices) for one in chart.controls} == {
        "shown": [(0, "s25"), (1, "s50")],
        "order": [(0, "of the network"), (1, "most lost first")],
    }
    assert chart.parameters == {"s25": {"shown": 0}, "s50": {"shown": 1}}


def test_layers_of_one_name_are_told_apart(files: dict[str, Path]) -> None:
    profile = measured_profile(files)
    item = profile.measurements[1]
    rows = [row.model_copy(update={"name": "same"}) for row in item.operators]
    again = item.model_copy(update={"operators": rows})
    changed = profile.model_copy(update={"measurements": [profile.measurements[0], again]})
    names = [row["layer"] for row in data(charts(measured(changed))["layers"], "layers")]
    assert names[::2] == ["same", "same (2)", "same (3)", "same (4)"]


def test_operators_too_short_to_be_timed_are_counted(files: dict[str, Path]) -> None:
    profile = measured_profile(files)
    item = profile.measurements[1]
    rows = [*item.operators]
    rows[1] = rows[1].model_copy(update={"dense": 0.0, "masked": 0.0})
    changed = item.model_copy(update={"operators": rows})
    both = profile.model_copy(update={"measurements": [profile.measurements[0], changed]})
    chart = charts(measured(both))["layers"]
    assert rows[1].name not in {row["layer"] for row in data(chart, "layers")}
    assert "Not shown, because no time was told for them: 1 operators." in chart.notes


def test_one_model_alone_has_its_own_times(files: dict[str, Path]) -> None:
    profile = measured_profile({"dense": files["dense"]})
    chart = charts(measured(profile))["layers"]
    assert {row["what"] for row in data(chart, "layers")} == {"time"}
    assert chart.controls == []
    assert [head.title for head in chart.table.columns][-2:] == ["masked", "MACs a second"]


# --- all of them -----------------------------------------------------------------------------


def test_several_results_have_charts_with_numbers(files: dict[str, Path]) -> None:
    estimated = result_of_estimate(estimate_of(files), "e.json", {})
    found = charts(measured(measured_profile(files)), estimated)
    assert list(found) == [
        f"{number}-{kind}"
        for kind in ("tradeoff", "turns", "layers", "roofline")
        for number in (1, 2)
    ]
    assert [found[f"{number}-turns"].place for number in (1, 2)] == [
        "Raspberry Pi 4 Model B, 1 thread, measured",
        "Raspberry Pi 4 Model B, 1 thread, estimated",
    ]


def test_an_estimate_is_drawn_with_its_interval(files: dict[str, Path]) -> None:
    estimate = estimate_of(files)
    chart = charts(result_of_estimate(estimate, "e", {}))["turns"]
    assert list(chart.spec["datasets"]) == ["models"]
    assert [row["high"] for row in data(chart, "models")] == [
        pytest.approx(one.high_ms) for one in estimate.models
    ]


def test_texts_of_models_are_in_data_and_scales_alone(files: dict[str, Path]) -> None:
    names = {"dense": HOSTILE, "s25": "s25", "s50": "s50"}
    result = measured(measured_profile(files, names=names), **{HOSTILE: 0.9, "s25": 0.8})
    for chart in charts(result).values():
        for text, path in strings(chart.spec):
            if "onerror" in text:
                assert text == harmless(HOSTILE)
                assert path[0] == "datasets" or path[-2] in ("domain", "sort"), path


def strings(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[str, tuple[Any, ...]]]:
    """Every text of a specification, with where it stands."""
    if isinstance(value, str):
        return [(value, path)]
    parts: Any = value.items() if isinstance(value, dict) else ()
    parts = enumerate(value) if isinstance(value, list) else parts
    return [found for key, part in parts for found in strings(part, (*path, key))]


def test_a_chart_asks_for_data_that_it_brings(files: dict[str, Path]) -> None:
    result = measured(measured_profile(files), dense=0.9, s25=0.8, s50=0.7)
    for chart in charts(result, result_of_estimate(estimate_of(files), "e", {})).values():
        shared = chart.spec.get("data")
        asked = {layer.get("data", shared)["name"] for layer in chart.spec["layer"]}
        assert asked == set(chart.spec["datasets"])
        assert "url" not in json.dumps(chart.spec)


def test_a_legend_tells_how_much_room_it_needs(files: dict[str, Path]) -> None:
    result = measured(measured_profile(files), dense=0.9, s25=0.8, s50=0.7)
    short = charts(result)["tradeoff"].spec["usermeta"]
    names = {name: f"a_network_of_long_name_{name}" for name in files}
    long = charts(measured(measured_profile(files, names=names)))["tradeoff"].spec["usermeta"]
    assert long["entry"] > short["entry"]
    assert long["legend"] > 3 * long["entry"]


def test_a_headline_and_a_chart_use_the_same_figures(files: dict[str, Path]) -> None:
    result = measured(measured_profile(files))
    assert headline("measured", result.title, 1, result.models).text == result.headline.text
