"""From finished tasks to the document: means over seeds, and fronts."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.sweep_results import configuration, time
from support.tiny_sweeps import DENSE, FILES, TUNED, NoWatch, ScriptedPool, plan_of
from toolchain.sweep.document import load_results
from toolchain.sweep.driver import run, state_of
from toolchain.sweep.results import fronts, results_of
from toolchain.sweep.store import Store
from toolchain.sweep.tasks import Task

TRAINED: dict[str, object] = {"macs": 1000, "macs_kept": 700, "parameters": 10}


def result(task: Task) -> dict[str, object]:
    """Accuracies of 0.8 and 0.9 by the seed; files are a tenth worse."""
    seed = int(task.name.partition("seed")[2][0])
    accuracy = 0.8 + 0.1 * seed - (0.1 if task.kind == "evaluate" else 0)
    return {**TRAINED, "accuracy": accuracy, "bytes": 5}


def test_configurations_are_means_over_seeds_of_what_the_files_do(tmp_path: Path) -> None:
    plan, store = plan_of(tmp_path, DENSE + TUNED + FILES), Store(tmp_path / "s")
    state = state_of(plan, store)
    run(state, store, ScriptedPool(store, result), NoWatch())
    found = results_of(state, store)
    assert [one.name for one in found.configurations] == ["dense", "tuned-pooled", "tuned-tile"]
    one = found.configurations[0]
    assert one.seeds == [0, 1]
    assert one.accuracy == pytest.approx(0.75)
    assert one.spread == pytest.approx(0.1 / 2**0.5)
    assert [row.trained_accuracy for row in found.rows][:2] == pytest.approx([0.8, 0.9])
    assert all(row.evaluated for row in found.rows)
    path = tmp_path / "sweep.json"
    path.write_text(found.model_dump_json(by_alias=True))
    assert load_results(path) == found


def test_no_mean_is_over_two_networks(tmp_path: Path) -> None:
    text = '[[grid]]\nname = "g"\nmodels = ["nets_a:net", "nets_b:net"]\nseeds = [0, 1]\n'
    plan, store = plan_of(tmp_path, text), Store(tmp_path / "s")

    def ends(task: Task) -> dict[str, object]:
        first = task.settings["recipe"]["model"]["factory"] == "nets_a:net"
        return {**result(task), "macs": 1000 if first else 9000, "macs_kept": 10 if first else 90}

    state = state_of(plan, store)
    run(state, store, ScriptedPool(store, ends), NoWatch())
    found = [
        (one.seeds, one.macs, one.macs_kept) for one in results_of(state, store).configurations
    ]
    assert found == [([0, 1], 1000, 10), ([0, 1], 9000, 90)]


def test_a_network_that_is_not_evaluated_yet_has_no_row(tmp_path: Path) -> None:
    plan, store = plan_of(tmp_path, DENSE + FILES), Store(tmp_path / "s")

    def ends(task: Task) -> dict[str, object]:
        if task.kind == "evaluate" and task.name == "dense-seed1":
            raise KeyboardInterrupt
        return result(task)

    state = state_of(plan, store)
    with pytest.raises(KeyboardInterrupt):
        run(state, store, ScriptedPool(store, ends), NoWatch())
    found = results_of(state, store)
    assert [row.name for row in found.rows] == ["dense-seed0"]
    assert found.done < found.tasks


def test_fronts_are_by_board_and_without_times_by_work() -> None:
    alone = [configuration("a", 0.9, 100), configuration("b", 0.8, 50), configuration("c", 0.7, 60)]
    assert fronts(alone) == [["multiply-accumulates"], ["multiply-accumulates"], []]
    timed = [
        configuration("a", 0.9, 100, time("x", 5.0), time("y", 1.0, "measured")),
        configuration("b", 0.8, 50, time("x", 2.0), time("y", 3.0, "measured")),
        configuration("c", 0.95, 60),
    ]
    assert fronts(timed) == [["x (estimated)", "y (measured)"], ["x (estimated)"], []]
