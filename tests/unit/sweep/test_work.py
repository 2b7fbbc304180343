"""What a task does, where a sweep differs from the command that does the same alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from support.tiny_sweeps import DENSE, NoWatch, named, plan_of
from support.tiny_training import recipe
from toolchain.errors import DeployError, ModelError, OutputError, RecipeError
from toolchain.sweep.driver import run, state_of
from toolchain.sweep.pools import Here
from toolchain.sweep.store import Store
from toolchain.sweep.work import perform
from toolchain.train.run import train_recipe
from toolchain.train.saved_state import locked


def _damaged(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "state.pt").write_bytes(b"no state")


def _of_another_recipe(folder: Path) -> None:
    folder.mkdir(parents=True)
    train_recipe(recipe(training={"epochs": 1}), folder.parent / "other.safetensors", folder)


@pytest.mark.parametrize(
    ("spoil", "fault"), [(_damaged, ModelError), (_of_another_recipe, RecipeError)]
)
def test_a_state_that_cannot_be_used_is_told_with_the_folder_to_remove(
    tmp_path: Path, spoil: Callable[[Path], None], fault: type[DeployError]
) -> None:
    store = Store(tmp_path / "s")
    task = named(plan_of(tmp_path, DENSE), "train", "dense-seed0")
    spoil(store.state(task))
    with pytest.raises(fault) as caught:
        perform(store, task)
    assert caught.value.hint == f"remove {store.state(task)} to begin anew"


def test_a_training_that_another_one_is_at_work_on_is_to_be_waited_for(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    task = named(plan_of(tmp_path, DENSE), "train", "dense-seed0")
    with locked(store.state(task)), pytest.raises(OutputError) as caught:
        perform(store, task)
    assert caught.value.hint == "wait for it"


def test_a_network_that_a_grid_has_trained_may_teach_itself(tmp_path: Path) -> None:
    text = (
        '[[grid]]\nname = "dense"\nsparsities = [0]\n'
        '[[grid]]\nname = "masked"\nstart = "dense"\n'
        'settings = { "distillation.weight" = [0.5] }\n'
    )
    plan, store = plan_of(tmp_path, text, model={"new_head": True}), Store(tmp_path / "s")
    state = state_of(plan, store)
    run(state, store, Here(store), NoWatch())
    assert not state.failed
    assert len(state.done) == 2
