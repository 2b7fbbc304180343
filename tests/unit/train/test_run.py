"""What a run writes, where, and what it says of it."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file

from support.stopped_runs import RECIPES, StopAt, crash, interrupt, stop, train, write_start
from support.tiny_training import (
    STEPS,
    STEPS_PER_EPOCH,
    TiedNet,
    images,
    net,
    recipe,
)
from toolchain.errors import OutputError
from toolchain.progress import Silent, Stage
from toolchain.sparsity.checkpoint import (
    load_checkpoint,
    load_metadata,
    load_model,
)
from toolchain.sparsity.distillation import Distillation
from toolchain.sparsity.statistics import measure_statistics
from toolchain.train.data import load_data
from toolchain.train.recipe import Recipe
from toolchain.train.run import plan_recipe, train_recipe
from toolchain.train.setup import build_student, training_batches

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
