"""The loop of a sweep: what it hands out, and what it does when a worker or a task fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.tiny_sweeps import DENSE, FILES, TUNED, NoWatch, ScriptedPool, named, plan_of
from toolchain.errors import DeployError, ModelError
from toolchain.sweep.driver import run, state_of
from toolchain.sweep.pools import Ended
from toolchain.sweep.store import Store
from toolchain.sweep.tasks import Task

DONE: dict[str, object] = {"accuracy": 0.5}


def test_each_task_is_handed_out_once_and_after_what_it_needs(tmp_path: Path) -> None:
    plan, store = plan_of(tmp_path, DENSE + TUNED + FILES), Store(tmp_path / "s")
    pool = ScriptedPool(store, lambda _: DONE, room=3)
    state = state_of(plan, store)
    run(state, store, pool, NoWatch())
    assert state.finished
    order = [task.key for task in pool.begun]
    assert sorted(order) == sorted(plan.tasks)
    assert all(
        order.index(need) < order.index(task.key) for task in pool.begun for need in task.needs
    )
    assert pool.most == 3
    assert pool.closed is True


def test_a_sweep_that_was_stopped_does_what_is_left(tmp_path: Path) -> None:
    plan, store = plan_of(tmp_path), Store(tmp_path / "s")
    stopped = named(plan, "train", "tuned-tile-seed1")

    def ends(task: Task) -> dict[str, object]:
        if task == stopped:
            raise KeyboardInterrupt
        return DONE

    first = ScriptedPool(store, ends, room=1)
    with pytest.raises(KeyboardInterrupt):
        run(state_of(plan, store), store, first, NoWatch())
    assert first.closed is True
    state = state_of(plan, store)
    assert set(plan.tasks) - set(state.done) == {stopped.key}
    second = ScriptedPool(store, lambda _: DONE)
    run(state, store, second, NoWatch())
    assert second.begun == [stopped]


def test_a_task_whose_worker_died_is_begun_again(tmp_path: Path) -> None:
    plan, store = plan_of(tmp_path), Store(tmp_path / "s")
    deaths = {named(plan, "train", "dense-seed0").key: 3}

    def ends(task: Task) -> dict[str, object] | str:
        if deaths.get(task.key):
            deaths[task.key] -= 1
            return "WorkerCrashedError"
        return DONE

    state = state_of(plan, store)
    run(state, store, ScriptedPool(store, ends), NoWatch())
    assert state.finished
    assert not state.failed
    assert list(state.lost.values()) == [3]


def test_a_task_at_which_workers_die_again_and_again_is_given_up(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, DENSE + TUNED + "[tasks]\nretries = 2\n")
    store, bad = Store(tmp_path / "s"), named(plan, "train", "dense-seed0")
    pool = ScriptedPool(store, lambda task: "out of memory" if task == bad else DONE)
    state = state_of(plan, store)
    run(state, store, pool, NoWatch())
    assert pool.begun.count(bad) == 3
    assert "has died 3 times: out of memory" in state.failed[bad.key].what
    assert {plan.tasks[key].name for key in state.left_out} == {
        "tuned-pooled-seed0", "tuned-tile-seed0",
    }  # fmt: skip
    assert len(state.done) == 3


def test_a_result_that_a_dying_worker_had_kept_counts(tmp_path: Path) -> None:
    plan, store = plan_of(tmp_path, DENSE), Store(tmp_path / "s")

    class Dying(ScriptedPool):
        def ended(self, seconds: float) -> list[Ended]:
            (end,) = super().ended(seconds)
            return [Ended(end.task, lost="it died behind its work")]

    pool = Dying(store, lambda _: DONE)
    state = state_of(plan, store)
    run(state, store, pool, NoWatch())
    assert len(pool.begun) == len(state.done) == 2
    assert not state.lost


def test_a_task_that_fails_leaves_out_what_needs_it_alone(tmp_path: Path) -> None:
    plan, store = plan_of(tmp_path, DENSE + TUNED + FILES), Store(tmp_path / "s")
    bad = named(plan, "convert", "dense-seed1")
    error = ModelError("no such operator")
    pool = ScriptedPool(store, lambda task: error if task == bad else DONE)
    state = state_of(plan, store)
    run(state, store, pool, NoWatch())
    assert state.failed == {bad.key: error}
    assert state.left_out == {named(plan, "evaluate", "dense-seed1").key}
    assert len(state.done) == len(plan.tasks) - 2
    again = ScriptedPool(store, lambda _: DONE)
    run(state_of(plan, store), store, again, NoWatch())
    assert [task.name for task in again.begun] == ["dense-seed1", "dense-seed1"]


def test_a_pool_that_fails_ends_the_sweep_at_once(tmp_path: Path) -> None:
    plan, store = plan_of(tmp_path, DENSE), Store(tmp_path / "s")

    class Gone(ScriptedPool):
        def ended(self, seconds: float) -> list[Ended]:
            del seconds
            raise DeployError("the cluster is gone")

    pool = Gone(store, lambda _: DONE)
    with pytest.raises(DeployError, match="is gone"):
        run(state_of(plan, store), store, pool, NoWatch())
    assert pool.closed is False
