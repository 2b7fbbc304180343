"""The search of a sweep: what it tries depends on results alone, not on when they come."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("optuna")

from support.tiny_sweeps import DENSE, NoWatch, ScriptedPool, write_sweep
from toolchain.errors import DeployError, ModelError, RecipeError
from toolchain.sweep.document import SearchResults
from toolchain.sweep.driver import State, run, state_of
from toolchain.sweep.plan import Planning
from toolchain.sweep.pools import Ended
from toolchain.sweep.results import results_of
from toolchain.sweep.search import Search
from toolchain.sweep.spec import load_sweep
from toolchain.sweep.store import Store
from toolchain.sweep.tasks import Task

SEARCH = """[search]
trials = 12
startup = 4
at_once = 3
objectives = ["accuracy", "macs"]
policies = ["pooled", "tile"]
sparsity = { low = 0.05, high = 0.6 }
settings = { "optimizer.learning_rate" = { low = 0.01, high = 0.3, log = true } }
"""
LIMITED = SEARCH.replace('objectives = ["accuracy", "macs"]', "most_macs = 700")
Ends = Callable[[Task], dict[str, object] | DeployError | str]


def result(task: Task) -> dict[str, object]:
    """The more is masked the worse, by little; and one learning rate is the best."""
    recipe = task.settings["recipe"]
    sparsity, rate = recipe["masks"]["sparsity"], recipe["optimizer"]["learning_rate"]
    accuracy = 0.95 - 0.2 * sparsity**2 - abs(rate - 0.1)
    kept = round(1000 * (1 - sparsity))
    return {"accuracy": accuracy, "macs": 1000, "macs_kept": kept, "parameters": 10}


def opened(path: Path, store: Store) -> State:
    chosen = load_sweep(path)
    planning = Planning.of(chosen, path)
    assert chosen.search is not None
    return state_of(planning.plan, store, Search(planning, chosen.search))


def searched(
    folder: Path,
    text: str = SEARCH,
    ends: Ends = result,
    *,
    pool: type[ScriptedPool] | None = None,
    room: int = 4,
) -> SearchResults:
    """All trials of a search whose results are made up."""
    store = Store(folder / "s")
    state = opened(write_sweep(folder, text), store)
    run(state, store, (pool or ScriptedPool)(store, ends, room), NoWatch())
    assert state.finished
    found = results_of(state, store).search
    assert found is not None
    return found


class LastFirst(ScriptedPool):
    """Ends what was begun last first."""

    def ended(self, seconds: float) -> list[Ended]:
        self._waiting.reverse()
        return super().ended(seconds)


def test_trials_do_not_depend_on_how_many_tasks_run_and_which_ends_first(tmp_path: Path) -> None:
    results = []
    for name, pool, room in (("a", ScriptedPool, 1), ("b", ScriptedPool, 9), ("c", LastFirst, 9)):
        (tmp_path / name).mkdir()
        results.append(searched(tmp_path / name, pool=pool, room=room))
    assert results[0] == results[1] == results[2]
    assert [one.number for one in results[0].tried] == list(range(12))
    assert len({str(one.parameters) for one in results[0].tried}) == 12


def test_a_search_that_was_killed_anywhere_goes_on_with_the_same_trials(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole = searched(tmp_path / "whole")
    store, path = Store(tmp_path / "s"), write_sweep(tmp_path, SEARCH)
    done: list[str] = []
    while True:
        left = [2]  # tasks that end before the next kill

        def ends(task: Task, left: list[int] = left) -> dict[str, object]:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            done.append(task.key)
            return result(task)

        state = opened(path, store)
        if state.finished:
            break
        try:
            run(state, store, ScriptedPool(store, ends), NoWatch())
        except KeyboardInterrupt:
            continue
    assert results_of(state, store).search == whole
    assert len(done) == len(set(done)) == 12


def test_more_trials_leave_the_first_ones_as_they_are(tmp_path: Path) -> None:
    few = searched(tmp_path)
    more = searched(tmp_path, SEARCH.replace("trials = 12", "trials = 20"))
    named = [(one.parameters, one.values) for one in more.tried]
    assert named[:12] == [(one.parameters, one.values) for one in few.tried]
    assert len(more.tried) == 20


def test_a_trial_is_chosen_by_what_came_out_before_it(tmp_path: Path) -> None:
    def best_at_high_rates(task: Task) -> dict[str, object]:
        return result(task) | {"accuracy": task.settings["recipe"]["optimizer"]["learning_rate"]}

    found = []
    for name, ends in (("a", result), ("b", best_at_high_rates)):
        (tmp_path / name).mkdir()
        found.append([one.parameters for one in searched(tmp_path / name, ends=ends).tried])
    same = [one == other for one, other in zip(*found, strict=True)]
    # Four by chance; a trial does not know the last two before it.
    assert same[:4] == [True] * 4
    assert not all(same[4:])


def test_with_one_at_once_each_trial_knows_all_before_it(tmp_path: Path) -> None:
    state = opened(
        write_sweep(tmp_path, SEARCH.replace("at_once = 3", "at_once = 1")), Store(tmp_path)
    )
    assert len(state.plan.networks) == 1
    (tmp_path / "three").mkdir()
    state = opened(write_sweep(tmp_path / "three", SEARCH), Store(tmp_path / "three"))
    assert len(state.plan.networks) == 3


def test_of_two_objectives_the_pareto_front_is_best(tmp_path: Path) -> None:
    found = searched(tmp_path)
    points = [(one.values["accuracy"], -one.values["macs"]) for one in found.tried]
    for one, point in zip(found.tried, points, strict=True):
        beaten = any(a >= point[0] and b >= point[1] and (a, b) != point for a, b in points)
        assert one.best is not beaten


def test_below_a_limit_the_most_accurate_trial_is_best(tmp_path: Path) -> None:
    found = searched(tmp_path, LIMITED.replace("trials = 12", "trials = 30"))
    within = [one for one in found.tried if one.values["macs"] <= 700]
    assert [one.within_limits for one in found.tried] == [one in within for one in found.tried]
    (best,) = [one for one in found.tried if one.best]
    assert best.values["accuracy"] == max(one.values["accuracy"] for one in within)
    # It has learnt of the limit: chance alone would keep to it in half of the trials.
    assert len([one for one in found.tried[10:] if one in within]) > 10


def test_a_search_beats_chance_with_as_many_trials(tmp_path: Path) -> None:
    best = {}
    text = LIMITED.replace("trials = 12", "trials = 40")
    for sampler in ("tpe", "random"):
        (tmp_path / sampler).mkdir()
        found = searched(tmp_path / sampler, text + f'sampler = "{sampler}"\n')
        (best[sampler],) = [one.values["accuracy"] for one in found.tried if one.best]
    assert best["tpe"] > best["random"]


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_every_sampler_keeps_to_what_may_be_chosen(tmp_path: Path, sampler: str) -> None:
    text = LIMITED + (
        f'sampler = "{sampler}"\nseeds = [0, 1]\nlayers = [["0"], ["0", "3"]]\n'
        'layer_sparsities = { "3" = { low = 0.1, high = 0.4, step = 0.1 } }\n'
        "pruning = [0, 0.25]\n"
        'models = ["support.tiny_training:net", '
        '{ factory = "support.tiny_training:net", arguments = { channels = 4 } }]\n'
    )
    text = text.replace("log = true }", 'log = true }, "training.epochs" = { low = 1, high = 3 }')
    store = Store(tmp_path / "s")
    state = opened(write_sweep(tmp_path, text), store)
    run(state, store, ScriptedPool(store, result), NoWatch())
    assert len(state.plan.networks) == 2 * 12
    for network in state.plan.networks:
        recipe = network.recipe
        assert recipe.masks is not None
        assert recipe.masks.policy in ("pooled", "tile")
        assert 0.05 <= recipe.masks.sparsity <= 0.6
        assert recipe.masks.layers in (("0",), ("0", "3"))
        assert recipe.masks.targets["3"] == pytest.approx(round(recipe.masks.targets["3"], 1))
        assert 0.1 <= recipe.masks.targets["3"] <= 0.4
        assert recipe.pruning is None or recipe.pruning.ratio == 0.25
        assert recipe.training.epochs in (1, 2, 3)
        assert 0.01 <= recipe.optimizer.learning_rate <= 0.3
        assert recipe.model.arguments in ({}, {"channels": 4})
    assert len({one.recipe.training.epochs for one in state.plan.networks}) > 1


def test_the_mean_over_the_seeds_counts(tmp_path: Path) -> None:
    def of_seed(task: Task) -> dict[str, object]:
        return result(task) | {"accuracy": 0.5 + 0.1 * task.settings["recipe"]["training"]["seed"]}

    found = searched(tmp_path, SEARCH + "seeds = [1, 3]\n", of_seed)
    assert [one.values["accuracy"] for one in found.tried] == pytest.approx([0.7] * 12)


def test_what_was_chosen_twice_is_trained_once(tmp_path: Path) -> None:
    text = '[search]\ntrials = 9\npolicies = ["pooled", "tile"]\nsparsity = [0.25, 0.5]\n'
    store = Store(tmp_path / "s")
    state = opened(write_sweep(tmp_path, text), store)
    pool = ScriptedPool(store, result)
    run(state, store, pool, NoWatch())
    found = results_of(state, store)
    assert found.search is not None
    assert len(found.search.tried) == 9
    assert len(pool.begun) == len(found.configurations) <= 4
    assert {one.configuration for one in found.search.tried} == {
        one.name for one in found.configurations
    }


def test_a_trial_that_fails_is_told_and_others_are_tried(tmp_path: Path) -> None:
    def ends(task: Task) -> dict[str, object] | DeployError:
        bad = task.settings["recipe"]["masks"]["policy"] == "tile"
        return ModelError("no such thing") if bad else result(task)

    found = searched(tmp_path, LIMITED, ends)
    failed = [one for one in found.tried if one.parameters["policy"] == "tile"]
    assert 0 < len(failed) < 12
    assert {one.error for one in failed} == {"no such thing"}
    assert not any(one.best or one.values for one in failed)
    assert [one.number for one in found.tried] == list(range(12))


def test_trials_whose_start_cannot_be_trained_end_the_search(tmp_path: Path) -> None:
    def ends(task: Task) -> dict[str, object] | DeployError:
        return ModelError("no such thing") if task.name.startswith("dense") else result(task)

    found = searched(tmp_path, DENSE + SEARCH + 'start = "dense"\n', ends)
    assert {one.error for one in found.tried} == {"what its trainings start from cannot be done"}
    assert len(found.tried) == 12


def test_a_value_that_is_none_of_a_recipe_is_told_before_any_trial(tmp_path: Path) -> None:
    wrong = SEARCH.replace("low = 0.01", "low = -0.1").replace(", log = true", "")
    with pytest.raises(RecipeError, match=r"optimizer\.learning_rate"):
        opened(write_sweep(tmp_path, wrong), Store(tmp_path))


def test_settings_that_do_not_go_together_end_their_trial_alone(tmp_path: Path) -> None:
    text = (
        '[search]\ntrials = 16\nsampler = "random"\nsettings = { '
        '"schedule.begin" = { low = 0.1, high = 0.6 }, "schedule.end" = [0.7, 0.3] }\n'
    )
    found = searched(tmp_path, text)
    for one in found.tried:
        begin, end = one.parameters["schedule.begin"], float(one.parameters["schedule.end"])
        assert (one.error is not None) is (float(begin) > end)
    errors = [one.error for one in found.tried if one.error]
    assert 0 < len(errors) < 16
    assert all("comes after end 0.3" in error for error in errors)


def test_a_trial_is_no_configuration_of_a_grid(tmp_path: Path) -> None:
    store, grid = Store(tmp_path / "s"), '[[grid]]\nname = "search-1"\nsparsities = [0.3]\n'
    state = opened(write_sweep(tmp_path, grid + SEARCH), store)
    run(state, store, ScriptedPool(store, result), NoWatch())
    names = [one.configuration for one in state.plan.networks]
    assert len(names) == len(set(names)) == 1 + 12
    assert {"search-0", "search-1", "search-1-trial", "search-2"} <= set(names)
