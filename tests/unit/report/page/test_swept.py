"""A sweep as a report shows it: accuracy against time, a result for each board."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.sweep_results import configuration, searched, sweep_results, time, trial
from toolchain.errors import ModelError
from toolchain.report.page.documents import make_report, read_document
from toolchain.report.page.tradeoff_chart import tradeoff_chart
from toolchain.sweep.document import SweepResults


def written(folder: Path, results: SweepResults) -> Path:
    path = folder / "sweep.json"
    path.write_text(results.model_dump_json(by_alias=True))
    return path


def test_each_board_is_a_result_and_each_configuration_a_model(tmp_path: Path) -> None:
    results = sweep_results(
        configuration(
            "s30", 0.90, 700, time("rpi4", 7.0), time("rpi5", 3.0, "measured"), policy="tile"
        ),
        configuration("dense", 0.92, 1000, time("rpi4", 10.0)),
    )
    _, found = read_document(written(tmp_path, results), {})
    assert [(one.board, one.kind) for one in found] == [("rpi4", "estimated"), ("rpi5", "measured")]
    dense, masked = found[0].models
    assert (dense.name, masked.name) == ("dense", "s30")
    assert masked.cost == pytest.approx(7000)
    assert masked.accuracy == 0.90
    assert masked.ratio == pytest.approx(10 / 7)
    assert masked.by_pixels == pytest.approx(1000 / 700)
    assert masked.interval is not None
    assert (masked.interval.low, masked.interval.high) == pytest.approx((5600, 8400))
    assert make_report([read_document(tmp_path / "sweep.json", {})], {}).title == "RPI4, RPI5"


def test_the_pareto_front_is_marked(tmp_path: Path) -> None:
    results = sweep_results(
        configuration("dense", 0.92, 1000, time("rpi4", 10.0)),
        configuration("slow", 0.91, 900, time("rpi4", 11.0), policy="tile"),
        configuration("fast", 0.90, 700, time("rpi4", 7.0), policy="tile"),
    )
    _, (found,) = read_document(written(tmp_path, results), {})
    chart = tradeoff_chart(found, "")
    assert chart.says.endswith("On the Pareto front: fast, dense.")
    points = {row["model"]: row["front"] for row in chart.spec["datasets"]["points"]}
    assert points == {"dense": True, "slow": False, "fast": True}


def test_an_ideal_of_another_type_is_not_drawn(tmp_path: Path) -> None:
    results = sweep_results(
        configuration("a", 0.92, 1000, time("rpi4", 10.0), kind="float32"),
        configuration("b", 0.91, 1000, time("rpi4", 6.0), kind="int8"),
    )
    _, (found,) = read_document(written(tmp_path, results), {})
    assert [one.by_pixels for one in found.models] == [1.0, None]


def test_an_emulated_board_counts_instructions(tmp_path: Path) -> None:
    counted = time("qemu", None, "measured").model_copy(update={"instructions": 5e6})
    _, (found,) = read_document(
        written(tmp_path, sweep_results(configuration("a", 0.9, 10, counted))), {}
    )
    assert (found.kind, found.unit, found.models[0].cost) == ("counted", "instructions", 5e6)


def test_a_sweep_without_times_is_told_what_it_lacks(tmp_path: Path) -> None:
    path = written(tmp_path, sweep_results(configuration("a", 0.9, 10)))
    with pytest.raises(ModelError, match="has no times") as raised:
        read_document(path, {})
    assert "[[estimate]]" in (raised.value.hint or "")


def test_a_damaged_sweep_is_told(tmp_path: Path) -> None:
    path = tmp_path / "sweep.json"
    path.write_text(json.dumps({"configurations": 3}))
    with pytest.raises(ModelError, match="is no sweep: tool: is missing"):
        read_document(path, {})


def test_a_search_is_told_with_its_best_trials(tmp_path: Path) -> None:
    results = sweep_results(configuration("search-1", 0.93, 700, time("rpi4", 9.0)))
    search = searched(trial(0, 0.9), trial(1, 0.93, best=True), most_ms=12)
    path = written(tmp_path, results.model_copy(update={"search": search}))
    _, (found,) = read_document(path, {})
    facts = {fact.name: fact.before or "" for fact in found.facts}
    assert facts["search"] == "tpe (seed 0), 2 of 4 trials"
    assert facts["searched for"] == "accuracy, at most 12 ms"
    assert "policy tile, sparsity 0.25" in facts["best: search-1"]
