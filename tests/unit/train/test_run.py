"""A run that is stopped anywhere and resumed ends as one that was not, bit for bit."""

from __future__ import annotations

import fcntl
import functools
import json
import os
import random
import resource
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from support.patience import await_that
from support.planners import Planner
from support.tiny_training import (
    DRAWING,
    HELD,
    HOLD,
    STEPS,
    STEPS_PER_EPOCH,
    TiedNet,
    deploy_train,
    images,
    net,
    recipe,
    saved_since,
    scalars,
    write_recipe,
)
from toolchain.errors import DataError, ModelError, OutputError, RecipeError
from toolchain.progress import Silent, Stage
from toolchain.sparsity.checkpoint import (
    load_checkpoint,
    load_metadata,
    load_model,
    save_checkpoint,
)
from toolchain.sparsity.distillation import Distillation
from toolchain.sparsity.policies import POLICIES
from toolchain.sparsity.statistics import measure_statistics
from toolchain.train.data import load_data
from toolchain.train.interrupt import Stopped
from toolchain.train.recipe import Recipe
from toolchain.train.run import TrainingReport, plan_recipe, train_recipe
from toolchain.train.setup import build_student, training_batches
from toolchain.train.trainer import Epoch


class Crash(BaseException):
    """What ends a process at once: nothing catches it, and nothing is saved."""


def crash() -> None:
    raise Crash


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


class StopAt(Silent):
    """Does something after a step of the training, before its state is saved."""

    def __init__(self, step: int, act: Callable[[], None]) -> None:
        self.step, self.act = step, act

    @contextmanager
    def stage(self, title: str, total: float | None = None) -> Iterator[Stage]:
        yield _Counted(self) if title.startswith("train") else _Counted(StopAt(10**9, crash))
        del total


class _Counted:
    def __init__(self, owner: StopAt) -> None:
        self.owner, self.done = owner, 0.0

    def advance(self, steps: float = 1, detail: str | None = None) -> None:
        del detail
        self.done += steps
        if steps == 1 and self.done == self.owner.step:
            self.owner.act()

    def total(self, steps: float) -> None: ...


def train(chosen: Recipe, folder: Path, **options: Any) -> TrainingReport:
    return train_recipe(chosen, folder / "out.safetensors", folder / "run", base=folder, **options)


def stop(
    chosen: Recipe, folder: Path, step: int, act: Callable[[], None] = crash, **options: Any
) -> None:
    with suppress(Crash, Stopped):
        train(chosen, folder, progress=StopAt(step, act), **options)


def without_times(epochs: list[Epoch]) -> list[Epoch]:
    return [replace(epoch, seconds=0.0) for epoch in epochs]


def assert_alike(one: Path, first: TrainingReport, other: Path, second: TrainingReport) -> None:
    a, b = (load_file(folder / "out.safetensors") for folder in (one, other))
    assert [name for name in a if not torch.equal(a[name], b[name])] == []
    assert (one / "out.safetensors").read_bytes() == (other / "out.safetensors").read_bytes()
    last = [folder.joinpath("run/last.safetensors").read_bytes() for folder in (one, other)]
    assert last[0] == last[1]
    assert without_times(first.epochs) == without_times(second.epochs)
    assert (first.epoch, first.last.epoch) == (second.epoch, second.last.epoch)
    assert first.same_images == second.same_images
    assert first.network == second.network


# --- stopped and resumed ---------------------------------------------------------------------

RECIPES: dict[str, Recipe] = {
    **{policy: recipe(masks={"policy": policy}) for policy in POLICIES},
    "dense": recipe("masks"),
    "dropout and other draws in the model": recipe(
        model={"arguments": {"dropout": 0.4, "noise": True}}
    ),
    "data that draws": recipe(data={"source": DRAWING, "augment": ["mirror", "shift"]}),
    "data that draws in workers": recipe(
        data={"source": DRAWING}, training={"workers": 2, "epochs": 2}
    ),
    "adamw": recipe(optimizer={"kind": "adamw", "learning_rate": 0.01}),
    "pruned": recipe(pruning={"ratio": 0.5, "round_to": 4}),
    "bf16": recipe(training={"precision": "bf16"}),
    "saved every five steps": recipe(training={"checkpoint_every": 5}),
    "saved every step": recipe(training={"checkpoint_every": 1, "epochs": 2}),
    "masks from beginning to end": recipe(schedule={"begin": 0.0, "end": 1.0, "frequency": 3}),
    "masks that are final within an epoch": recipe(schedule={"end": 0.4, "frequency": 3}),
    "statistics that training depends on": recipe(
        model={"factory": "support.tiny_training:net_of_norms"}, schedule={"end": 0.4}
    ),
    "a high rate, so that an epoch within may be the best": recipe(
        optimizer={"learning_rate": 0.15, "cycle": "constant"}, schedule={"end": 0.1}
    ),
    "with a teacher and weights to start from": recipe(
        model={"weights": "start.safetensors"},
        distillation={"weights": "start.safetensors", "weight": 0.5},
    ),
    "taught by what it starts from, pruned": recipe(
        model={"weights": "start.safetensors"},
        distillation={"weight": 0.5},
        pruning={"ratio": 0.5},
    ),
}


def write_start(folder: Path) -> None:
    torch.manual_seed(7)
    save_checkpoint(folder / "start.safetensors", net())


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


# --- where it is written ---------------------------------------------------------------------


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    stop(recipe(), tmp_path, 8, interrupt)
    with (tmp_path / "run/.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(OutputError, match="another training is at work there"):
            train(recipe(), tmp_path)
    assert train(recipe(), tmp_path).resumed_at == 8


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent/out.safetensors", "No such file or directory"),
        ("folder", "folder: is a folder"),
        ("file/out.safetensors", "Not a directory"),
        ("/proc/out.safetensors", r"^/proc/out\.safetensors: cannot be written"),
    ],
)
def test_an_output_that_cannot_be_written_is_told_before_training(
    tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=message):
        train_recipe(recipe(), tmp_path / name, tmp_path / "run", progress=StopAt(1, crash))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("name", ["file", "file/run", "/proc/run"])
def test_a_run_folder_that_cannot_be_made_is_told_before_training(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        train_recipe(
            recipe(), tmp_path / "out.safetensors", tmp_path / name, progress=StopAt(1, crash)
        )
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_interrupted_start_leaves_nothing(tmp_path: Path) -> None:
    class Interrupted(Silent):
        @contextmanager
        def stage(self, title: str, total: float | None = None) -> Iterator[Stage]:
            if title == "read labels":
                raise KeyboardInterrupt
            with super().stage(title, total) as stage:
                yield stage

    with pytest.raises(KeyboardInterrupt):
        train(recipe(data={"source": "support.tiny_training:unlabelled_images"}), tmp_path,
              progress=Interrupted())  # fmt: skip
    assert list(tmp_path.iterdir()) == []


# --- what is said about it -------------------------------------------------------------------


def test_a_plan_writes_nothing_and_knows_what_will_be_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = plan_recipe(recipe())
    assert list(tmp_path.iterdir()) == []
    assert (plan.training_images, plan.test_images, plan.classes) == (96, 48, 3)
    assert (plan.epochs, plan.steps) == (STEPS // STEPS_PER_EPOCH, STEPS)
    report = train(recipe(), tmp_path)
    assert plan.network == report.network


def test_a_report_says_what_the_network_costs(tmp_path: Path) -> None:
    network = train(recipe(masks={"tile_rows": 5, "tile_share": 0.5}), tmp_path).network
    first, second = network.layers
    assert (first.pixels, first.kept, first.tiles, first.tiles_kept) == (64, 45, 13, 9)
    assert (second.pixels, second.kept, second.tiles, second.tiles_kept) == (16, 10, 4, 2)
    saved = sum(layer.macs - layer.macs_kept for layer in network.layers)
    assert network.macs - network.macs_kept == saved
    assert network.parameters == sum(p.numel() for p in net().parameters())


def test_a_checkpoint_tells_how_it_was_made_and_nothing_of_this_machine(tmp_path: Path) -> None:
    write_start(tmp_path)
    chosen = recipe(
        model={"weights": tmp_path / "start.safetensors", "arguments": {"classes": 3}},
        distillation={"weights": tmp_path / "start.safetensors", "weight": 0.1},
        pruning={"ratio": 0.5, "round_to": 4},
    )
    report = train(chosen, tmp_path, name="pets.toml")
    said = load_metadata(report.path)
    assert not [value for value in said.values() if str(tmp_path) in value]
    assert said["command"] == "deploy train pets.toml"
    assert said["factory"] == "support.tiny_training:net"
    assert said["arguments"] == '{"classes": 3}'
    assert said["input_shape"] == "1,1,8,8"
    assert (said["policy"], said["sparsity"], said["pruned"]) == ("pooled", "0.25", "channels")
    assert said["test_accuracy"] == f"{report.accuracy:.4f}"
    kept = Recipe.model_validate_json(said["recipe"])
    assert kept.masks == chosen.masks
    assert kept.model.weights == Path("start.safetensors")


def test_weights_that_layers_share_are_saved(tmp_path: Path) -> None:
    report = train(recipe(model={"factory": "support.tiny_training:TiedNet"}), tmp_path)
    weights = load_file(report.path)
    assert torch.equal(weights["first.weight"], weights["second.weight"])
    assert report.network.parameters == sum(p.numel() for p in TiedNet().parameters())


def test_the_folder_of_images_is_told_by_its_name(tmp_path: Path) -> None:
    from PIL import Image

    for name, colour in {"dark": 20, "light": 220}.items():
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(6):
            picture = Image.new("RGB", (8, 8), (colour + number,) * 3)
            picture.save(tmp_path / f"data/{name}/{number}.png")
    chosen = recipe(
        model={"factory": "support.tiny_training:colour_net"},
        data={"source": str(tmp_path / "data"), "image_size": 8},
        training={"batch_size": 4},
    )
    said = load_metadata(train(chosen, tmp_path).path)
    assert said["dataset"] == "data"
    assert Recipe.model_validate_json(said["recipe"]).data.source == "data"


# --- best and last ---------------------------------------------------------------------------


def right(path: Path) -> float:
    """The accuracy of a checkpoint, by nothing of the training's own."""
    model, (pictures, labels) = load_model(net(), load_checkpoint(path)), images("test").tensors
    with torch.no_grad():
        return float((model(pictures).argmax(1) == labels).float().mean())


def test_the_best_epoch_is_the_output_and_the_last_lies_beside_it(tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "optimizer": {"learning_rate": 0.15, "cycle": "constant"}, "training": {"epochs": 6},
        "schedule": {"end": 0.4},
    }  # fmt: skip
    seen = set()
    for seed in range(12):
        chosen = recipe(**changes | {"training": {"epochs": 6, "seed": seed}})
        report = train(chosen, tmp_path, restart=True)
        final = [epoch for epoch in report.epochs if epoch.final]
        assert [epoch.number for epoch in final] == [3, 4, 5, 6]
        most = max(epoch.accuracy for epoch in final)
        assert report.epoch == max(e.number for e in final if e.accuracy == most)
        assert (report.last.epoch, report.last.path) == (6, tmp_path / "run/last.safetensors")
        for one in (report, report.last):
            epoch = report.epochs[one.epoch - 1]
            assert (one.accuracy, one.loss) == (epoch.accuracy, epoch.loss)
            assert right(one.path) == pytest.approx(epoch.accuracy)
            said = load_metadata(one.path)
            assert (said["epoch"], said["epochs"]) == (str(one.epoch), "6")
            assert said["test_accuracy"] == f"{one.accuracy:.4f}"
        seen.add(report.epoch == 6)
        if seen == {True, False}:
            return
    pytest.fail("no seed has its best epoch within, or none at the end")


def test_an_epoch_with_other_masks_is_not_the_best(tmp_path: Path) -> None:
    chosen = recipe(schedule={"begin": 0.0, "end": 1.0, "frequency": 3})
    report = train(chosen, tmp_path)
    assert [epoch.final for epoch in report.epochs] == [False, False, False, True]
    assert report.epoch == report.last.epoch == 4
    assert report.path.read_bytes() == report.last.path.read_bytes()


def test_masks_and_weights_that_are_written_are_of_one_epoch(tmp_path: Path) -> None:
    report = train(RECIPES["a high rate, so that an epoch within may be the best"],
                   tmp_path)  # fmt: skip
    kept = {layer.name: layer.kept for layer in report.network.layers}
    for path in (report.path, report.last.path):
        masks = {n: m for n, m in load_file(path).items() if n.endswith(".mask")}
        assert {n.removesuffix(".mask"): int(m.sum()) for n, m in masks.items()} == kept


# --- statistics ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pooled", "dense", "pruned", "bf16", "data that draws"])
def test_what_is_written_has_the_statistics_of_its_own_weights(tmp_path: Path, name: str) -> None:
    chosen = RECIPES[name].model_copy(update={"training": RECIPES["pooled"].training})
    report = train(chosen, tmp_path)
    for path in (report.path, report.last.path):
        state = load_checkpoint(path)
        model = load_model(net(), state, resize=name == "pruned")
        before = {n: t for n, t in model.state_dict().items() if "running" in n}
        before = {n: t.clone() for n, t in before.items()}
        data = load_data(chosen.data.source)
        given = training_batches(chosen, data).unchanged(4096)
        assert measure_statistics(model, given) == ("1", "4")
        for entry, value in before.items():
            torch.testing.assert_close(model.state_dict()[entry], value)


def test_a_short_training_is_as_good_in_evaluation_as_in_training(tmp_path: Path) -> None:
    # Masks that change until shortly before the end: what training leaves is of other masks.
    chosen = recipe(training={"epochs": 3}, schedule={"begin": 0.0, "end": 0.9, "frequency": 1})
    same = train(chosen, tmp_path).same_images
    assert same.images == 96
    assert same.evaluation_loss == pytest.approx(same.training_loss, rel=0.5, abs=0.05)
    assert not same.far_apart


@pytest.mark.parametrize(
    ("factory", "word"),
    [("net_that_sleeps", "does worse than it was trained to"), ("net_that_drops", "dropout")],
)
def test_modes_that_are_far_apart_are_told(tmp_path: Path, factory: str, word: str) -> None:
    report = train(recipe(model={"factory": f"support.tiny_training:{factory}"}), tmp_path)
    assert report.same_images.far_apart
    (note,) = report.notes
    assert word in note
    assert "on 96 training images the loss is " in note
    assert f"{report.same_images.evaluation_loss:.3f} in evaluation mode" in note


# --- short runs ------------------------------------------------------------------------------


def test_a_run_that_is_too_short_says_so_before_and_what_to_set(tmp_path: Path) -> None:
    class Notes(Silent):
        told: ClassVar[list[str]] = []

        def note(self, message: str) -> None:
            self.told.append(message)

    chosen = recipe(schedule={"settle": 200})
    plan = plan_recipe(chosen)
    assert plan.schedule is not None
    assert (plan.schedule.final_step, plan.schedule.steps_left) == (12, 12)
    (note,) = plan.notes
    assert "final from step 12 of 24 on, which leaves 12 steps" in note
    assert "fewer than 200" in note
    report = train(chosen, tmp_path, progress=Notes())
    assert report.notes == [note]
    assert Notes.told == [f"note: {note}"]
    # Both of what it tells to set.
    epochs = int(note.partition("epochs = ")[2].partition(")")[0])
    for mended in (
        recipe(schedule={"settle": 200}, training={"epochs": epochs}),
        recipe(schedule={"settle": int(note.partition("settle = ")[2].partition(")")[0])}),
    ):
        assert plan_recipe(mended).notes == []
    assert plan_recipe(recipe(schedule={"settle": 200}, training={"epochs": epochs - 1})).notes


@pytest.mark.parametrize(("begin", "steps"), [(0, 400), (350, 550)])
def test_a_run_too_short_for_a_schedule_by_steps_is_told_how_long_is_enough(
    begin: int, steps: int
) -> None:
    schedule = {"begin_step": begin, "end_step": 10_000, "settle": 200}
    (note,) = plan_recipe(recipe(schedule=schedule)).notes
    epochs = int(note.partition("epochs = ")[2].partition(")")[0])
    assert epochs == -(-steps // 6)
    assert plan_recipe(recipe(schedule=schedule, training={"epochs": epochs})).notes == []
    assert plan_recipe(recipe(schedule=schedule, training={"epochs": epochs - 1})).notes


# --- weights to start from -------------------------------------------------------------------


def test_averaged_weights_may_be_started_from_and_are_told(tmp_path: Path) -> None:
    torch.manual_seed(7)
    plain, averaged = net(), net()
    content = {"model": plain.state_dict(), "ema": averaged.state_dict()}
    torch.save(content, tmp_path / "both.pt")
    keys = {"weights": "both.pt", "weights_key": "ema"}
    data = load_data(recipe().data.source)
    student = build_student(recipe(model=keys, distillation={"weights": "both.pt"}), data,
                            base=tmp_path)  # fmt: skip
    assert torch.equal(student.model.state_dict()["0.weight"], averaged.state_dict()["0.weight"])
    assert isinstance(student.loss, Distillation)
    assert torch.equal(
        student.loss.teacher.state_dict()["0.weight"], plain.state_dict()["0.weight"]
    )
    first, second = student.notes
    assert "'ema', an average, are taken" in first
    assert "'model' are taken; the file also holds 'ema'" in second
    assert train(recipe(model=keys), tmp_path).notes == [first]
