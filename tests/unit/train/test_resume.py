"""A run that is stopped anywhere and resumed ends as one that was not, bit for bit."""

from __future__ import annotations

import functools
import json
import os
import random
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from support.patience import await_that
from support.planners import Planner
from support.stopped_runs import (
    RECIPES,
    StopAt,
    assert_alike,
    crash,
    interrupt,
    stop,
    terminate,
    train,
    write_start,
)
from support.tiny_training import (
    DRAWING,
    HELD,
    HOLD,
    STEPS,
    STEPS_PER_EPOCH,
    deploy_train,
    net,
    recipe,
    saved_since,
    scalars,
    write_recipe,
)
from toolchain.errors import DataError, ModelError, OutputError, RecipeError
from toolchain.sparsity.checkpoint import load_metadata, save_checkpoint
from toolchain.train.interrupt import Stopped
from toolchain.train.recipe import Recipe
from toolchain.train.run import TrainingReport

# --- stopped and resumed ---------------------------------------------------------------------


@pytest.mark.parametrize("name", RECIPES)
def test_a_stopped_run_ends_as_one_that_was_not(tmp_path: Path, name: str) -> None:
    chosen = RECIPES[name]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    for folder in (whole, stopped):
        folder.mkdir()
        write_start(folder)
    first = train(chosen, whole)
    stop(chosen, stopped, 4, interrupt)
    stop(chosen, stopped, 9, crash)
    second = train(chosen, stopped)
    assert second.resumed_at is not None
    assert_alike(whole, first, stopped, second)


def test_a_run_keeps_to_what_was_rounded_when_it_began(tmp_path: Path) -> None:
    chosen = recipe(masks={"board": "rpi4", "sparsity": 0.17})
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    first = train(chosen, made(whole), planner=Planner(tiled=["0"]))
    assert [layer.tile_rows for layer in first.network.layers] == [4, 1]
    assert [layer.kept for layer in first.network.layers] == [52, 13]
    stop(chosen, made(stopped), 9, interrupt, planner=Planner(tiled=["0"]))
    other = Planner(tiled=[])  # the board's runtime has been built anew meanwhile
    second = train(chosen, stopped, planner=other)
    assert second.resumed_at == 9
    assert other.asked == []
    assert_alike(whole, first, stopped, second)
    said = [json.loads((folder / "run/rounding.json").read_text()) for folder in (whole, stopped)]
    assert said[0] == said[1]
    assert [layer["tile_rows"] for layer in said[0]["layers"]] == [4, 1]


def test_the_recipe_in_a_checkpoint_repeats_the_run_without_the_board(tmp_path: Path) -> None:
    one, other = made(tmp_path / "one"), made(tmp_path / "other")
    chosen = recipe(masks={"board": "rpi4", "sparsity": 0.17})
    train(chosen, one, planner=Planner(tiled=["0"]))
    told = json.loads(load_metadata(one / "out.safetensors")["recipe"])
    assert told["masks"]["rounded"] == {"0": 4}
    train(Recipe.model_validate(told), other)
    assert (one / "out.safetensors").read_bytes() == (other / "out.safetensors").read_bytes()


def test_begun_anew_a_run_forgets_what_was_rounded(tmp_path: Path) -> None:
    quick = {"epochs": 1}
    board = recipe(training=quick, masks={"board": "rpi4", "sparsity": 0.17})
    train(board, tmp_path, planner=Planner(tiled=["0"]))
    anew = train(board, tmp_path, planner=Planner(tiled=[]), restart=True)
    assert [layer.tile_rows for layer in anew.network.layers] == [1, 1]
    train(recipe(training=quick), tmp_path, restart=True)
    assert not (tmp_path / "run/rounding.json").exists()


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@functools.cache
def plain_run() -> tuple[tempfile.TemporaryDirectory[str], TrainingReport]:
    folder = tempfile.TemporaryDirectory()
    return folder, train(recipe(training={"checkpoint_every": 5}), Path(folder.name))


@settings(max_examples=12, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, STEPS), st.sampled_from([crash, interrupt, terminate])),
        min_size=1,
        max_size=4,
    )
)
def test_wherever_and_however_often_it_is_stopped(
    stops: list[tuple[int, Callable[[], None]]],
) -> None:
    whole, first = plain_run()
    chosen = recipe(training={"checkpoint_every": 5})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for step, act in stops:
            stop(chosen, folder, step, act)
        second = train(chosen, folder)
        assert_alike(Path(whole.name), first, folder, second)


def test_a_command_that_is_killed_again_and_again_ends_alike(tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "model": {"arguments": {"dropout": 0.2, "noise": True}},
        "data": {"source": HELD},
        "training": {"epochs": 20, "checkpoint_every": 2},
    }
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    first = train(recipe(**changes), whole, name="r.toml")
    line, environment = deploy_train(write_recipe(killed / "r.toml", **changes), "-o",
                                     "out.safetensors", "--run-dir", "run", "--json")  # fmt: skip
    state = killed / "run/state.pt"

    hold = tmp_path / "hold"
    hold.write_text(str(30 * 16))  # some twenty steps from where it goes on
    for _ in range(2):
        before = state.stat().st_mtime_ns if state.exists() else 0
        with subprocess.Popen(
            line, cwd=killed, env=environment | {HOLD: str(hold)}, stdout=subprocess.PIPE
        ) as process:
            await_that("it has saved its state", partial(saved_since, state, before))
            time.sleep(random.random() / 4)  # noqa: S311 - at any moment, or when it is held
            process.kill()
    done = subprocess.run(line, cwd=killed, env=environment, capture_output=True, check=True)
    second = TrainingReport.model_validate_json(done.stdout)
    assert second.resumed_at
    assert_alike(whole, first, killed, second)
    # What was logged and not saved is hidden, and nothing that was saved is not logged.
    for tag in ("train/loss", "test/accuracy"):
        assert scalars(killed / "run", tag) == scalars(whole / "run", tag)
    assert [step for step, _ in scalars(killed / "run", "train/loss")] == list(range(1, 121))


@pytest.mark.parametrize("every", [None, 7])
def test_a_finished_run_is_only_written_again(tmp_path: Path, every: int | None) -> None:
    chosen = recipe(training={"checkpoint_every": every} if every else {})
    first = train(chosen, tmp_path)
    raw = (tmp_path / "out.safetensors").read_bytes()
    (tmp_path / "out.safetensors").unlink()
    trained = StopAt(STEPS, crash)
    again = train(chosen, tmp_path, progress=trained)
    assert again.resumed_at == STEPS
    assert again.epochs == first.epochs  # their times as well
    assert (tmp_path / "out.safetensors").read_bytes() == raw


def test_a_signal_at_the_last_step_stops_nothing(tmp_path: Path) -> None:
    report = train(recipe(), tmp_path, progress=StopAt(STEPS, interrupt))
    assert len(report.epochs) == STEPS // STEPS_PER_EPOCH
    assert report.path.is_file()


@pytest.mark.parametrize(("act", "number"), [(interrupt, 2), (terminate, 15)])
def test_a_signal_says_which_and_where(
    tmp_path: Path, act: Callable[[], None], number: int
) -> None:
    with pytest.raises(Stopped, match="stopped after step 7") as caught:
        train(recipe(), tmp_path, progress=StopAt(7, act))
    assert (caught.value.step, caught.value.signal_number) == (7, number)
    assert not (tmp_path / "out.safetensors").exists()
    assert train(recipe(), tmp_path).resumed_at == 7


# --- the state on disk -----------------------------------------------------------------------


def test_a_run_begins_anew_on_request(tmp_path: Path) -> None:
    train(recipe(), tmp_path)
    assert train(recipe(), tmp_path, restart=True).resumed_at is None
    other = train(recipe(masks={"sparsity": 0.5}), tmp_path, restart=True)
    assert [layer.kept for layer in other.network.layers] == [32, 8]


def test_a_run_that_was_begun_anew_and_killed_does_not_go_on_with_the_old_one(
    tmp_path: Path,
) -> None:
    train(recipe(), tmp_path)
    stop(recipe(), tmp_path, 2, crash, restart=True)
    assert train(recipe(), tmp_path).resumed_at is None


def test_a_recipe_that_fails_does_not_forget_a_run(tmp_path: Path) -> None:
    train(recipe(), tmp_path)
    with pytest.raises(ModelError):
        train(recipe(model={"factory": "resnet19"}), tmp_path, restart=True)
    assert train(recipe(), tmp_path).resumed_at == STEPS


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def flip(path: Path) -> None:
    """One bit of a weight, which torch does not notice."""
    raw = bytearray(path.read_bytes())
    weights = torch.load(path, weights_only=True)["trainer"]["model"]["0.weight"]
    raw[bytes(raw).index(weights.numpy().tobytes())] ^= 1
    path.write_bytes(raw)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("evil",)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": truncate,
    "one bit": flip,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("state"),
    "something else": lambda path: torch.save({"weights": torch.zeros(3)}, path),
    "code": lambda path: torch.save({"version": Evil()}, path),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_state_is_told_and_kept(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stop(recipe(), tmp_path, 8, interrupt)
    state = tmp_path / "run/state.pt"
    DAMAGES[name](state)
    damaged = state.read_bytes()
    with pytest.raises(ModelError, match=r"state\.pt: is no saved training, or a dam") as caught:
        train(recipe(), tmp_path)
    assert "--restart" in (caught.value.hint or "")
    assert state.read_bytes() == damaged
    assert not (tmp_path / "evil").exists()
    assert train(recipe(), tmp_path, restart=True).resumed_at is None


@pytest.mark.parametrize(("changed", "keys"), [
    (recipe(masks={"sparsity": 0.5}), "masks.sparsity"),
    (recipe("masks"), "masks"),
    (recipe(masks={"policy": "tile", "block": 3}), "masks.policy, masks.block"),
    (recipe(training={"seed": 1}, optimizer={"kind": "adamw"}), "training.seed, optimizer.kind"),
    (recipe(model={"arguments": {"dropout": 0.1}}), "model.arguments"),
    (recipe(pruning={"ratio": 0.5}), "pruning"),
])  # fmt: skip
def test_the_state_of_another_recipe_is_not_used(
    tmp_path: Path, changed: Recipe, keys: str
) -> None:
    stop(recipe(), tmp_path, 8, interrupt)
    with pytest.raises(RecipeError, match=rf"another recipe \(it differs in {keys}\)"):
        train(changed, tmp_path)


def test_what_changes_no_weights_may_differ(tmp_path: Path) -> None:
    stop(recipe(data={"source": DRAWING}), tmp_path, 8, interrupt)
    other = recipe(data={"source": DRAWING}, training={"workers": 1, "checkpoint_every": 3})
    assert train(other, tmp_path).resumed_at == 8


def test_other_data_is_not_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = recipe(data={"source": "support.tiny_training:changing_images"})
    monkeypatch.setenv("TINY_IMAGES", "40")
    stop(chosen, tmp_path, 3, interrupt)
    monkeypatch.setenv("TINY_IMAGES", "41")
    with pytest.raises(DataError, match=r"is not what the run in .* was trained on until now"):
        train(chosen, tmp_path)
    monkeypatch.setenv("TINY_IMAGES", "40")
    assert train(chosen, tmp_path).resumed_at == 3


def coloured(folder: Path) -> Path:
    """A folder of images, eight of each of two classes."""
    for number, name in enumerate(("ant", "bee")):
        (folder / "pets" / name).mkdir(parents=True)
        for index in range(8):
            image = Image.new("RGB", (8, 8), (20 * index, 200 * number, 90))
            image.save(folder / "pets" / name / f"{name}{index}.png")
    return folder / "pets"


FOLDER: dict[str, Any] = {
    "model": {"factory": "support.tiny_training:colour_net"},
    "data": {"source": "pets", "image_size": 8},
    "training": {"batch_size": 4},
}


def test_images_that_changed_their_classes_are_not_trained_on(tmp_path: Path) -> None:
    pets, chosen = coloured(tmp_path), recipe(**FOLDER)
    stop(chosen, tmp_path, 3, interrupt)
    for index in range(4):  # of half of them, so that each class has as many as before
        (pets / "ant" / f"ant{index}.png").rename(pets / "bee" / f"ant{index}.png")
        (pets / "bee" / f"bee{index}.png").rename(pets / "ant" / f"bee{index}.png")
    with pytest.raises(DataError, match=r"is not what the run in .* was trained on until now"):
        train(chosen, tmp_path)


def test_labels_that_changed_are_not_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = recipe(data={"source": "support.tiny_training:changing_images"})
    monkeypatch.setenv("TINY_IMAGES", "40")
    stop(chosen, tmp_path, 3, interrupt)
    monkeypatch.setenv("TINY_SWAPPED", "yes")
    with pytest.raises(DataError, match=r"is not what the run in .* was trained on until now"):
        train(chosen, tmp_path)


def test_a_damaged_image_is_mended_and_the_run_goes_on(tmp_path: Path) -> None:
    pets, chosen = coloured(tmp_path), recipe(**FOLDER)
    stop(chosen, tmp_path, 1, interrupt)
    images = {path: path.read_bytes() for path in pets.rglob("*.png")}
    for path, whole in images.items():
        path.write_bytes(whole[:45])  # the header is still there
    with pytest.raises(DataError, match=r"\.png: cannot be read as an image"):
        train(chosen, tmp_path)
    for path, whole in images.items():
        path.write_bytes(whole)
    assert train(chosen, tmp_path).resumed_at == 1


@pytest.mark.parametrize("name", ["start", "teacher"])
def test_a_run_does_not_go_on_with_other_weights(tmp_path: Path, name: str) -> None:
    write_start(tmp_path)
    shutil.copy(tmp_path / "start.safetensors", tmp_path / "teacher.safetensors")
    chosen = recipe(
        model={"weights": "start.safetensors"},
        distillation={"weights": "teacher.safetensors"},
        optimizer={"learning_rate": 0.01},
    )
    stop(chosen, tmp_path, 3, interrupt)
    path = tmp_path / f"{name}.safetensors"
    before = path.read_bytes()
    save_checkpoint(path, net())
    with pytest.raises(ModelError, match=rf"{name}\.safetensors: is not what the run in .* began"):
        train(chosen, tmp_path)
    path.write_bytes(before)
    stop(chosen, tmp_path, 4, interrupt)
    (tmp_path / "start.safetensors").unlink()  # its weights are in the state
    assert train(chosen, tmp_path).resumed_at == 4


def test_a_state_that_does_not_tell_its_inputs_is_gone_on_from(tmp_path: Path) -> None:
    chosen = recipe()
    stop(chosen, tmp_path, 3, interrupt)
    path = tmp_path / "run/state.pt"
    state = torch.load(path, weights_only=True)
    torch.save({key: state[key] for key in state if key not in ("labels", "checkpoints")}, path)
    assert train(chosen, tmp_path).resumed_at == 3


@pytest.mark.parametrize(
    ("kind", "message"),
    [("narrow", "makes other numbers of channels than when this run began"),
     ("deep", r"state\.pt: does not fit support\.tiny_training:changing_net")],
)  # fmt: skip
def test_a_network_whose_code_changed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, message: str
) -> None:
    chosen = recipe(model={"factory": "support.tiny_training:changing_net"})
    stop(chosen, tmp_path, 3, interrupt)
    monkeypatch.setenv("TINY_NET", kind)
    with pytest.raises(ModelError, match=message) as caught:
        train(chosen, tmp_path)
    assert "--restart" in (caught.value.hint or "")


def test_a_state_that_cannot_be_written_leaves_the_last_one(tmp_path: Path) -> None:
    chosen = recipe(model={"arguments": {"channels": 32}})
    stop(chosen, tmp_path, 8, interrupt)
    state = tmp_path / "run/state.pt"
    good = state.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_the_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(good) // 2, hard))

    try:
        with pytest.raises(OutputError, match=r"run/state\.pt: cannot be written: File too large"):
            train(chosen, tmp_path, progress=StopAt(10, fill_the_disk))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert state.read_bytes() == good
    assert {path.name for path in state.parent.iterdir()} <= {"state.pt", "tensorboard", ".lock"}
    assert train(chosen, tmp_path).resumed_at == 8


def test_what_a_kill_left_of_a_save_is_cleared(tmp_path: Path) -> None:
    stop(recipe(), tmp_path, 8, interrupt)
    half = tmp_path / "run/.state.pt-0123abcd.tileskip"
    half.write_bytes((tmp_path / "run/state.pt").read_bytes()[:5000])
    assert train(recipe(), tmp_path).resumed_at == 8
    assert not half.exists()


@pytest.mark.parametrize(("kind", "times"), [("sgd", 2), ("adamw", 3)])
def test_a_state_holds_weights_and_moments_and_little_else(
    tmp_path: Path, kind: str, times: int
) -> None:
    pruned = {"ratio": 0.5, "round_to": 8}  # tensors that are parts of larger ones
    stop(recipe(model={"arguments": {"channels": 128}}, optimizer={"kind": kind}, pruning=pruned),
         tmp_path, 2, interrupt)  # fmt: skip
    size = (tmp_path / "run/state.pt").stat().st_size
    model = torch.load(tmp_path / "run/state.pt", weights_only=True)["trainer"]["model"]
    weights = sum(tensor.numel() * tensor.element_size() for tensor in model.values())
    assert weights < size < times * weights + 100_000
