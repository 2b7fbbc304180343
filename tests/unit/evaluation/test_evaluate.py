"""Networks on labelled images: what is told, what is kept, what is doubted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from support.brightness import CLASSES, SIDE, TRAINED, bright_images, write_classifier
from toolchain.agreement.differences import Array
from toolchain.convert.source import module_source
from toolchain.errors import BoardError, ConnectionFailed, DataError, ModelError
from toolchain.evaluation.classifier import read_classifier
from toolchain.evaluation.document import Evaluation
from toolchain.evaluation.evaluate import MOST_IMAGES, Plan, evaluate, read_classifiers
from toolchain.evaluation.image_file import ImageFile, normalised
from toolchain.evaluation.labelled_data import LabelledData, load_labelled
from toolchain.evaluation.places import Host, TorchNet, Where
from toolchain.failures import Failures
from toolchain.progress import Silent
from toolchain.tflite_file.image_metadata import Normalization

COUNT = 250
UNIT = Normalization.of_unit((0.0,), (1.0,))


@dataclass
class Counting:
    """A board that this machine plays; it counts the images that reach it."""

    where: Where = "board"
    runtime: str = "a played board"
    key: str = "played"
    most: int = 10**6
    """Images, after which it goes away."""
    seen: list[int] = field(default_factory=list)

    def run(self, file: ImageFile, images: Array) -> list[Array]:
        if sum(self.seen) + len(images) > self.most:
            raise ConnectionFailed("the board went away")
        self.seen.append(len(images))
        return Host().run(file, images)


@pytest.fixture
def data(tmp_path: Path) -> LabelledData:
    return labelled(tmp_path, bright_images(COUNT))


def labelled(folder: Path, pair: tuple[Array, Array]) -> LabelledData:
    np.savez(folder / "data.npz", x=pair[0], y=pair[1])
    return load_labelled(str(folder / "data.npz"))


def plan_of(*paths: Path, places: Sequence[Host | Counting] = (), **more: object) -> Plan:
    files = tuple(map(read_classifier, paths))
    return Plan(files, tuple(places) or (Host(),), **more)  # type: ignore[arg-type]


def done(plan: Plan, data: LabelledData, **more: object) -> Evaluation:
    found = evaluate(plan, data, **more)  # type: ignore[arg-type]
    assert found is not None
    return found


# --- what is told ----------------------------------------------------------------------------


def test_a_file_that_is_right_is_told_so(tmp_path: Path, data: LabelledData) -> None:
    found = done(plan_of(write_classifier(tmp_path / "m.tflite")), data)
    (row,) = found.rows
    assert (found.of, found.images, found.classes) == (COUNT, COUNT, CLASSES)
    assert (row.name, row.where, row.images, row.kept) == ("m", "host", COUNT, 0)
    assert row.top1.value == 1
    assert row.top1.low < row.top1.high == pytest.approx(1)
    assert row.top5 is not None
    assert row.preparation.said_by == "the file"
    assert row.preparation.mean == pytest.approx(TRAINED.unit[0])
    assert not found.doubts
    assert not found.pairs


def test_networks_are_compared_on_the_same_images(tmp_path: Path, data: LabelledData) -> None:
    right = write_classifier(tmp_path / "right.tflite")
    wrong = write_classifier(tmp_path / "wrong.tflite", broken=True)
    found = done(plan_of(right, wrong), data)
    (pair,) = found.pairs
    assert (pair.first, pair.second, pair.kind) == (1, 0, "network")
    assert pair.difference.value == found.rows[1].top1.value - found.rows[0].top1.value < 0
    assert pair.difference.high < 0
    assert pair.p_value < 1e-6
    assert pair.only_first == 0
    assert pair.agreement.value < 0.5


def test_a_board_is_compared_with_this_machine(tmp_path: Path, data: LabelledData) -> None:
    model = write_classifier(tmp_path / "m.tflite")
    found = done(plan_of(model, places=[Host(), Counting()]), data)
    assert [row.where for row in found.rows] == ["host", "board"]
    (pair,) = found.pairs
    assert (pair.first, pair.second, pair.kind) == (1, 0, "place")
    assert pair.agreement.value == 1
    assert pair.max_abs_diff == pair.relative_diff == 0


def test_a_checkpoint_stands_once_beside_all_its_files(tmp_path: Path, data: LabelledData) -> None:
    models = [write_classifier(tmp_path / f"{name}.tflite") for name in ("fp32", "int8")]
    net = torch_net()
    found = done(plan_of(*models, in_torch=dict.fromkeys(models, net)), data)
    assert [(row.name, row.where) for row in found.rows] == [
        ("net", "torch"), ("fp32", "host"), ("int8", "host"),
    ]  # fmt: skip
    assert {row.top1.value for row in found.rows} == {1.0}
    kinds = [(pair.first, pair.second, pair.kind) for pair in found.pairs]
    assert kinds == [(1, 0, "place"), (2, 0, "place"), (2, 1, "network")]
    assert all(pair.relative_diff < 1e-5 for pair in found.pairs)


def test_some_images_are_drawn(tmp_path: Path, data: LabelledData) -> None:
    plan = plan_of(write_classifier(tmp_path / "m.tflite"))
    found = done(plan, data, limit=30, seed=4)
    assert (found.of, found.images, found.seed) == (COUNT, 30, 4)


def test_values_go_in_as_they_are(tmp_path: Path) -> None:
    pixels, labels = bright_images(COUNT)
    values = labelled(tmp_path, (normalised(pixels, TRAINED), labels))
    found = done(plan_of(write_classifier(tmp_path / "m.tflite")), values)
    assert found.rows[0].top1.value == 1
    assert found.rows[0].preparation.mean is None
    assert not found.doubts


def test_a_label_that_a_model_does_not_know_is_told(tmp_path: Path) -> None:
    pixels, labels = bright_images(COUNT)
    labels[7] = CLASSES
    plan = plan_of(write_classifier(tmp_path / "m.tflite"))
    failures = Failures()
    assert evaluate(plan, labelled(tmp_path, (pixels, labels)), failures=failures) is None
    with pytest.raises(DataError, match=f"tells {CLASSES} classes apart, .* has {CLASSES + 1}"):
        failures.require()


def test_one_bad_model_holds_up_no_other(tmp_path: Path, data: LabelledData) -> None:
    good = write_classifier(tmp_path / "good.tflite")
    silent = write_classifier(tmp_path / "silent.tflite", says=None)
    failures = Failures()
    found = done(plan_of(silent, good), data, failures=failures)
    assert [row.name for row in found.rows] == ["good"]
    assert [failed["model"] for failed in found.failed] == [str(silent)]
    with pytest.raises(ModelError, match="does not say"):
        failures.require()


def test_a_board_that_fails_in_the_middle_leaves_what_others_have(
    tmp_path: Path, data: LabelledData
) -> None:
    class Failing(Counting):
        def run(self, file: ImageFile, images: Array) -> list[Array]:
            if self.seen:
                raise BoardError("the runner crashed")
            return super().run(file, images)

    failures = Failures()
    plan = plan_of(write_classifier(tmp_path / "m.tflite"), places=[Host(), Failing()])
    found = done(plan, data, failures=failures)
    assert [(row.where, row.images) for row in found.rows] == [("host", COUNT)]
    assert [error.what for _, error in failures.items] == ["the runner crashed"]


def test_files_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    good, bad = write_classifier(tmp_path / "good.tflite"), tmp_path / "bad.tflite"
    bad.write_bytes(b"TFL3")
    failures = Failures()
    assert [one.path for one in read_classifiers([bad, good], failures)] == [good]
    assert [name for name, _ in failures.items] == [str(bad)]
    with pytest.raises(ModelError):
        read_classifiers([bad], Failures())


# --- what is kept ----------------------------------------------------------------------------


def test_a_run_that_was_broken_off_goes_on(tmp_path: Path, data: LabelledData) -> None:
    plan = plan_of(write_classifier(tmp_path / "m.tflite"), places=[Counting(most=MOST_IMAGES)])
    with pytest.raises(ConnectionFailed):
        evaluate(plan, data)
    board = Counting()
    found = done(plan_of(plan.classifiers[0].path, places=[board]), data)
    assert sum(board.seen) == COUNT - MOST_IMAGES
    assert found.rows[0].kept == MOST_IMAGES
    assert found.rows[0].top1.value == 1


def test_what_is_kept_is_not_computed_again_unless_asked_for(
    tmp_path: Path, data: LabelledData
) -> None:
    model, board = write_classifier(tmp_path / "m.tflite"), Counting()
    first = done(plan_of(model, places=[board]), data)
    second = done(plan_of(model, places=[board]), data)
    assert sum(board.seen) == COUNT
    assert (first.rows[0].kept, second.rows[0].kept) == (0, COUNT)
    assert first.rows[0].top1 == second.rows[0].top1
    assert done(plan_of(model, places=[board]), data, again=True).rows[0].kept == 0
    assert sum(board.seen) == 2 * COUNT


def test_what_is_kept_is_of_one_file_one_preparation_and_one_place(
    tmp_path: Path, data: LabelledData
) -> None:
    one, other = (write_classifier(tmp_path / f"{n}.tflite", broken=n == "b") for n in "ab")
    done(plan_of(one, places=[Counting()]), data)
    for plan in (
        plan_of(other, places=[Counting()]),
        plan_of(one, places=[Counting()], given=UNIT),
        plan_of(one, places=[Counting(key="another")]),
    ):
        assert done(plan, data).rows[0].kept == 0


# --- what is doubted -------------------------------------------------------------------------


def test_figures_that_are_not_the_files_are_noticed(tmp_path: Path, data: LabelledData) -> None:
    plan = plan_of(write_classifier(tmp_path / "m.tflite"), given=UNIT)
    (doubt,) = done(plan, data).doubts
    assert "images were normalised with mean 0 and std 1, and " in doubt.what
    assert "the file says mean 0.286 and std 0.353, and 100.0% are" in doubt.what


def test_the_files_own_figures_may_be_given(tmp_path: Path, data: LabelledData) -> None:
    plan = plan_of(write_classifier(tmp_path / "m.tflite"), given=TRAINED)
    assert not done(plan, data).doubts


def test_figures_that_are_better_than_the_files_are_no_fault_of_the_users(
    tmp_path: Path, data: LabelledData
) -> None:
    path = write_classifier(tmp_path / "m.tflite", says=UNIT)
    notes = Notes()
    found = done(plan_of(path, given=TRAINED), data, progress=notes)
    assert found.rows[0].top1.value == 1
    assert not found.doubts
    (note,) = notes.said
    assert "says mean 0 and std 1" in note
    assert "convert it again" in note


def test_a_file_that_says_wrong_figures_is_noticed(tmp_path: Path, data: LabelledData) -> None:
    path = write_classifier(tmp_path / "m.tflite", says=Normalization.of_unit((0.5,), (0.5,)))
    found = done(plan_of(path), data)
    assert found.rows[0].top1.value < 0.5
    (doubt,) = found.doubts
    assert "are right; with Fashion-MNIST's figures" in doubt.what
    assert f"deploy evaluate {path} --data {data.name} --mean 0.286 --std 0.353" in doubt.hint


def test_a_calibrated_file_knows_which_values_it_was_made_for(tmp_path: Path) -> None:
    pixels, labels = bright_images(COUNT)
    path = write_classifier(tmp_path / "m.tflite", calibrated=True, says=None)
    good = labelled(tmp_path, (normalised(pixels, TRAINED), labels))
    assert not done(plan_of(path), good).doubts
    bad = labelled(tmp_path, (pixels.astype(np.float32), labels))
    (doubt,) = done(plan_of(path), bad).doubts
    assert "go far beyond the -0.811 to 2.02 that the file was calibrated with" in doubt.what


@pytest.mark.parametrize(("factor", "said"), [(255, "go far beyond"), (1, "fill little of")])
def test_values_that_were_scaled_otherwise_are_noticed(
    tmp_path: Path, factor: int, said: str
) -> None:
    pixels, labels = bright_images(COUNT)
    values = labelled(tmp_path, (factor * pixels.astype(np.float32) / 255, labels))
    (doubt,) = done(plan_of(write_classifier(tmp_path / "m.tflite")), values).doubts
    assert said in doubt.what
    assert "the file's metadata name" in doubt.what


def test_a_file_that_is_worse_than_its_checkpoint_is_noticed(
    tmp_path: Path, data: LabelledData
) -> None:
    path = write_classifier(tmp_path / "m.tflite", broken=True)
    (doubt,) = done(plan_of(path, in_torch={path: torch_net()}), data).doubts
    assert "100.0% in torch" in doubt.what


@pytest.mark.parametrize(("names", "doubted"), [(0, False), (3, True), (CLASSES, False)])
def test_named_classes_of_which_some_are_missing_are_noticed(
    tmp_path: Path, names: int, doubted: bool
) -> None:
    pixels, labels = bright_images(COUNT)
    few = labelled(tmp_path, (pixels[labels < 3], labels[labels < 3]))
    named = replace(few, classes=tuple("abcdefghijkl"[:names]))
    found = done(plan_of(write_classifier(tmp_path / "m.tflite")), named).doubts
    assert [doubt.what.partition(": ")[0] for doubt in found] == doubted * [
        f"{few.name} has 3 classes, 'a' being 0 and 'c' 2, and the network tells {CLASSES} apart"
    ]


def test_few_images_need_not_fill_a_range(tmp_path: Path) -> None:
    path = write_classifier(tmp_path / "m.tflite")
    dark = np.full((40, SIDE, SIDE, 1), TRAINED.low[0], np.float32)
    values = labelled(tmp_path, (dark, np.zeros(40, int)))
    assert not done(plan_of(path), values, limit=5).doubts
    assert done(plan_of(path), values).doubts


# --- by hand ---------------------------------------------------------------------------------


class Notes(Silent):
    """Progress that keeps its notes."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, message: str) -> None:
        self.said.append(message)


class Net(nn.Module):
    """The same network in torch."""

    def __init__(self) -> None:
        super().__init__()
        values = (torch.linspace(20, 235, CLASSES) / 255 - TRAINED.unit[0][0]) / TRAINED.unit[1][0]
        self.values = nn.Parameter(values)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        middle = images.mean((1, 2, 3))[:, None]
        return 2 * middle * self.values - self.values**2


def torch_net() -> TorchNet:
    return TorchNet("net", module_source(Net(), [torch.zeros(1, 1, SIDE, SIDE)], "net"))
