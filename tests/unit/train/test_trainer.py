"""The training loop, on networks that train in a blink."""

from __future__ import annotations

import math
import random
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from support.tiny_training import (
    EPOCHS,
    NET,
    STEPS,
    STEPS_PER_EPOCH,
    net,
    net_with_weights,
    recipe,
    self_masking_net,
)
from toolchain.errors import ModelError
from toolchain.sparsity.checkpoint import save_checkpoint
from toolchain.sparsity.distillation import Distillation
from toolchain.sparsity.masked_conv import attach_masks, masked_layers, summary
from toolchain.sparsity.policies import POLICIES
from toolchain.train.data import Data, load_data
from toolchain.train.recipe import Optimizer, Recipe
from toolchain.train.setup import build_student
from toolchain.train.trainer import Trainer, evaluate, rate_share

CHANCE = 1 / 3


@pytest.fixture(scope="module")
def data() -> Data:
    return load_data(recipe().data.source)


def trainer(data: Data, chosen: Recipe, base: Path | None = None) -> Trainer:
    return Trainer(chosen, data, build_student(chosen, data, base=base))


def trained(data: Data, chosen: Recipe, base: Path | None = None) -> Trainer:
    made = trainer(data, chosen, base)
    made.train()
    return made


def kept(model: nn.Module) -> dict[str, int]:
    return {layer.name: layer.kept for layer in summary(model)}


def same(one: nn.Module, other: nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


# --- what is trained -------------------------------------------------------------------------


@pytest.mark.parametrize("without", [(), ("masks",)], ids=["masked", "dense"])
def test_a_network_learns(data: Data, without: tuple[str, ...]) -> None:
    chosen = recipe(*without)
    before = trainer(data, chosen)
    assert abs(before.evaluate() - CHANCE) < 0.3
    done = trained(data, chosen)
    assert done.history[-1].accuracy > 0.9
    assert done.history[-1].loss < done.history[0].loss / 2
    assert done.history[-1].accuracy == evaluate(done.model, data)
    assert not done.model.training
    assert kept(done.model) == ({} if without else {"0": 48, "3": 12})


def test_the_history_tells_each_epoch(data: Data) -> None:
    steps: list[tuple[int, float, float]] = []
    made = trainer(data, recipe())
    history = made.train(on_step=lambda *step: steps.append(step))
    assert [epoch.number for epoch in history] == list(range(1, EPOCHS + 1))
    assert [epoch.step for epoch in history] == list(range(STEPS_PER_EPOCH, STEPS + 1, 6))
    assert [number for number, _, _ in steps] == list(range(1, STEPS + 1))
    for epoch in history:
        losses = [loss for _, loss, _ in steps[epoch.step - STEPS_PER_EPOCH : epoch.step]]
        assert epoch.loss == pytest.approx(sum(losses) / STEPS_PER_EPOCH)
        assert epoch.learning_rate == steps[epoch.step - 1][2]
    sparsities = [epoch.sparsity for epoch in history]
    assert 0 < sparsities[0] < sparsities[1] < sparsities[2]
    assert sparsities[3] == 0.25


def test_the_same_seed_gives_the_same_weights(data: Data) -> None:
    one = trained(data, recipe())
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    assert same(one.model, trained(data, recipe()).model)
    assert not same(one.model, trained(data, recipe(training={"seed": 1})).model)


def test_training_leaves_random_numbers_of_the_program_alone(data: Data) -> None:
    def drawn() -> list[float]:
        return [random.random(), float(np.random.rand()), float(torch.rand(()))]  # noqa: S311 - no secret

    def seed() -> None:
        random.seed(5), np.random.seed(5), torch.manual_seed(5)

    seed()
    before = drawn()
    seed()
    trained(data, recipe(model={"arguments": {"dropout": 0.2, "noise": True}}))
    assert drawn() == before


def test_frozen_parameters_stay(data: Data) -> None:
    made = trainer(data, recipe())
    first = made.model[0].weight.requires_grad_(requires_grad=False)  # type: ignore[index]
    before = first.clone()
    made.train()
    assert torch.equal(made.model[0].weight, before)  # type: ignore[index]


# --- every key -------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_trains(data: Data, policy: str) -> None:
    done = trained(data, recipe(masks={"policy": policy, "tile_rows": 4, "tile_share": 1.0}))
    for layer in summary(done.model):
        assert layer.kept % 4 == 0
        assert abs(layer.sparsity - 0.25) < 0.1
    assert done.student.search is not None
    assert done.student.search.frozen


def test_a_layer_may_have_a_target_of_its_own(data: Data) -> None:
    masks = {"kernels": "all", "targets": {"3": 0.5, "[36]": 0.0}}
    assert kept(trained(data, recipe(masks=masks)).model) == {"0": 48, "3": 8, "6": 16}


@pytest.mark.parametrize(("keys", "names"), [
    ({"kernels": "3x3"}, ["0", "3"]),
    ({"kernels": "all"}, ["0", "3", "6"]),
    ({"kernels": "all", "layers": ["[06]"]}, ["0", "6"]),
    ({"exclude": ["0"]}, ["3"]),
])  # fmt: skip
def test_a_recipe_chooses_layers(data: Data, keys: dict[str, Any], names: list[str]) -> None:
    assert list(masked_layers(trainer(data, recipe(masks=keys)).model)) == names


@pytest.mark.parametrize(("rounding", "pixels"), [
    ({}, {"0": 51, "3": 13}),  # 64 - 13 and 16 - 3
    ({"tile_rows": 4}, {"0": 48, "3": 12}),
    ({"rounded": {"3": 4}}, {"0": 51, "3": 12}),
])  # fmt: skip
def test_kept_pixels_fill_tiles_where_a_recipe_rounds_them(
    data: Data, rounding: dict[str, Any], pixels: dict[str, int]
) -> None:
    masks = {"sparsity": 0.2, "tile_share": 0.1}
    assert kept(trained(data, recipe(masks=masks | rounding)).model) == pixels


def test_the_optimizer_is_the_recipes(data: Data) -> None:
    optimizer = {"kind": "adamw", "learning_rate": 0.01, "weight_decay": 0.02}
    done = trained(data, recipe(optimizer=optimizer | {"cycle": "constant"}))
    assert isinstance(done._optimizer, torch.optim.AdamW)
    assert done._optimizer.param_groups[0]["weight_decay"] == 0.02
    assert {epoch.learning_rate for epoch in done.history} == {0.01}
    assert done.history[-1].accuracy > 0.9


def test_half_precision_computes_in_bf16_and_keeps_fp32(data: Data) -> None:
    seen = []
    made = trainer(data, recipe(training={"precision": "bf16"}))
    made.model[0].register_forward_hook(lambda _, __, output: seen.append(output.dtype))  # type: ignore[index]
    made.train()
    assert seen.count(torch.bfloat16) == STEPS
    assert all(p.dtype == torch.float32 for p in made.model.parameters())
    assert made.history[-1].accuracy > 0.9


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_model_trains_alike(data: Data) -> None:
    # A network of few kernels: each is a call of the compiler.
    few = {"model": {"factory": "support.tiny_training:net_of_groups"}}
    plain = trained(data, recipe(**few))
    compiled = trained(data, recipe(**few, training={"compile": True}))
    assert list(compiled.model.state_dict()) == list(plain.model.state_dict())
    assert kept(compiled.model) == kept(plain.model)
    assert compiled.history[-1].loss == pytest.approx(plain.history[-1].loss, rel=0.02)


def test_a_limit_shortens_the_epoch(data: Data) -> None:
    assert trainer(data, recipe(data={"limit": 50})).steps_per_epoch == 3


# --- weights, teachers, pruning --------------------------------------------------------------


def test_training_starts_from_weights_and_drops_their_masks(data: Data, tmp_path: Path) -> None:
    first = trained(data, recipe())
    save_checkpoint(tmp_path / "first.safetensors", first.model)
    start = {"model": {"weights": "first.safetensors"}}
    dense = trainer(data, recipe("masks", **start), tmp_path)
    assert not masked_layers(dense.model)
    for name, tensor in dense.model.state_dict().items():
        assert torch.equal(tensor, first.model.state_dict()[name])
    masked = trainer(data, recipe(**start), tmp_path)
    assert kept(masked.model) == {"0": 64, "3": 16}
    assert masked.evaluate() > 0.9


def test_a_network_that_masks_by_itself_starts_with_its_own_masks(
    data: Data, tmp_path: Path
) -> None:
    factory = "support.tiny_training:self_masking_net"
    start = self_masking_net()
    start.get_buffer("1.mask").copy_(torch.eye(8))
    save_checkpoint(tmp_path / "start.safetensors", start)
    chosen = recipe("masks", model={"factory": factory, "weights": "start.safetensors"})
    assert same(trainer(data, chosen, tmp_path).model, start)


def test_a_network_of_the_zoo_starts_from_its_weights() -> None:
    images = load_data("support.tiny_training:fashion_noise")
    made = {
        name: build_student(recipe("masks", model={"factory": factory}), images).model.state_dict()
        for name, factory in {
            "trained": "fashion_resnet_dense",
            "fresh": "toolchain.zoo.fashion_resnet:fashion_resnet",
        }.items()
    }
    assert not torch.equal(made["trained"]["fc.weight"], made["fresh"]["fc.weight"])


def test_a_teacher_is_learnt_from_and_stays_as_it_is(data: Data, tmp_path: Path) -> None:
    teacher = trained(data, recipe("masks"))
    save_checkpoint(tmp_path / "teacher.safetensors", teacher.model)
    told = {"weights": "teacher.safetensors", "weight": 2.0, "temperature": 3.0}
    optimizer = {"learning_rate": 0.02}
    done = trained(data, recipe(distillation=told, optimizer=optimizer), tmp_path)
    loss = done.student.loss
    assert isinstance(loss, Distillation)
    assert (loss.weight, loss.temperature) == (2.0, 3.0)
    assert same(loss.teacher, teacher.model)
    assert not same(done.model, trained(data, recipe(optimizer=optimizer)).model)
    assert done.history[-1].accuracy > 0.9


def test_what_training_starts_from_teaches_it_without_masks(data: Data, tmp_path: Path) -> None:
    start = trained(data, recipe())  # with masks, which the teacher has not
    save_checkpoint(tmp_path / "start.safetensors", start.model)
    chosen = recipe(model={"weights": "start.safetensors"}, distillation={"weight": 2.0})
    made = trainer(data, chosen, tmp_path)
    loss = made.student.loss
    assert isinstance(loss, Distillation)
    assert not masked_layers(loss.teacher)
    before = {name: value.clone() for name, value in loss.teacher.state_dict().items()}
    assert all(torch.equal(value, start.model.state_dict()[name]) for name, value in before.items())
    made.train()
    assert all(
        torch.equal(before[name], value) for name, value in loss.teacher.state_dict().items()
    )
    assert not torch.equal(made.model.state_dict()["0.weight"], before["0.weight"])


def test_pruning_leaves_the_teacher_whole(data: Data, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "start.safetensors", net())
    chosen = recipe(
        model={"weights": "start.safetensors"},
        distillation={},
        pruning={"ratio": 0.5, "round_to": 4},
    )
    made = trainer(data, chosen, tmp_path)
    assert made.model.state_dict()["0.weight"].shape == (4, 1, 3, 3)
    loss = made.student.loss
    assert isinstance(loss, Distillation)
    assert loss.teacher.state_dict()["0.weight"].shape == (8, 1, 3, 3)


def test_weights_of_other_classes_start_all_but_the_head(data: Data, tmp_path: Path) -> None:
    torch.manual_seed(7)
    other = net(10)
    save_checkpoint(tmp_path / "other.safetensors", other)
    chosen = recipe(model={"weights": "other.safetensors", "new_head": True})
    made = trainer(data, chosen, tmp_path).model.state_dict()
    for name, value in other.state_dict().items():
        if not name.startswith("9."):
            assert torch.equal(made[name], value), name
    assert made["9.weight"].shape == (3, 128)
    assert torch.equal(made["9.weight"], trainer(data, recipe()).model.state_dict()["9.weight"])


def test_a_teacher_may_be_another_network(data: Data, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "t.safetensors", net())
    narrow = {"model": {"arguments": {"channels": 4}}}
    teacher = {"weights": "t.safetensors", "factory": NET}
    made = trainer(data, recipe(**narrow, distillation=teacher), tmp_path)
    assert isinstance(made.student.loss, Distillation)
    assert len(made.student.loss.teacher[0].weight) == 8  # type: ignore[index]


def test_a_teacher_has_arguments_of_its_own(data: Data, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "t.safetensors", net(channels=4))
    told = {"weights": "t.safetensors", "factory": NET, "arguments": {"channels": 4}}
    made = trainer(data, recipe(distillation=told), tmp_path)
    assert isinstance(made.student.loss, Distillation)
    assert len(made.student.loss.teacher[0].weight) == 4  # type: ignore[index]
    assert len(made.model[0].weight) == 8  # type: ignore[index]


def test_a_teacher_of_the_zoo_has_its_weights() -> None:
    images = load_data("support.tiny_training:fashion_noise")
    name = "fashion_resnet_dense"
    chosen = recipe("masks", model={"factory": name}, distillation={"factory": name})
    made = build_student(chosen, images)
    assert isinstance(made.loss, Distillation)
    assert same(made.loss.teacher, made.model)


@pytest.mark.parametrize("named", [{}, {"factory": "support.tiny_training:net_with_weights"}])
def test_a_network_that_brings_its_weights_may_teach(data: Data, named: dict[str, Any]) -> None:
    chosen = recipe(model={"factory": "support.tiny_training:net_with_weights"}, distillation=named)
    made = build_student(chosen, data)
    assert isinstance(made.loss, Distillation)
    weights = net_with_weights().state_dict()
    assert all(torch.equal(made.loss.teacher.state_dict()[name], weights[name]) for name in weights)


def test_channels_are_pruned_before_masks_are_laid(data: Data) -> None:
    done = trained(data, recipe(pruning={"ratio": 0.5, "round_to": 4}))
    assert done.student.pruned
    assert [len(done.model[index].weight) for index in (0, 3, 6)] == [4, 8, 4]  # type: ignore[index]
    assert kept(done.model) == {"0": 48, "3": 12}
    assert done.history[-1].accuracy > 0.8


def test_pruned_weights_may_be_started_from(data: Data, tmp_path: Path) -> None:
    pruned = trained(data, recipe("masks", pruning={"ratio": 0.5, "round_to": 4}))
    save_checkpoint(tmp_path / "p.safetensors", pruned.model, {"pruned": "channels"})
    made = trainer(data, recipe(model={"weights": "p.safetensors"}), tmp_path)
    assert made.student.pruned
    assert len(made.model[0].weight) == 4  # type: ignore[index]


# --- what goes wrong on the way --------------------------------------------------------------


def test_a_loss_that_is_not_finite_is_told_with_its_step(data: Data) -> None:
    optimizer = {"learning_rate": 1e30, "cycle": "constant"}
    with pytest.raises(ModelError, match=r"diverged: the loss at step \d+ is (nan|inf)") as caught:
        trained(data, recipe(optimizer=optimizer))
    assert "lower learning rate" in (caught.value.hint or "")


class FailsInTraining(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            raise ValueError("more than one value is needed\nand more of this")
        return x


def test_a_model_that_fails_in_training_only_is_told_without_a_traceback(data: Data) -> None:
    made = trainer(data, recipe("masks"))
    made.model.append(FailsInTraining())  # type: ignore[operator]
    with pytest.raises(ModelError, match="on 16 images failed: ValueError: more than one value is"):
        made.train()


def test_masks_that_do_not_fit_the_images_say_so(data: Data) -> None:
    made = trainer(data, recipe("masks"))
    attach_masks(made.model, {"0": torch.ones(4, 4)})
    with pytest.raises(ModelError, match="mask of layer '0' is 4x4"):
        made.train()


# --- the learning rate -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cycle", "shares"),
    [
        ("constant", {0: 1.0, 30: 1.0, 65: 1.0, 100: 1.0}),
        ("cosine", {0: 1.0, 50: 0.5, 100: 0.0}),
        ("one-cycle", {0: 0.04, 15: 0.52, 30: 1.0, 65: 0.5, 100: 0.0}),
    ],
)
def test_the_rate_starts_peaks_and_ends_as_its_cycle_says(
    cycle: str, shares: dict[int, float]
) -> None:
    optimizer = Optimizer.model_validate({"cycle": cycle})
    for step, share in shares.items():
        assert rate_share(optimizer, step, 100) == pytest.approx(share)
    every = [rate_share(optimizer, step, 100) for step in range(101)]
    assert max(every) == pytest.approx(1.0)
    assert min(every) >= 0.0
    assert max(abs(a - b) for a, b in pairwise(every)) < 0.06


@pytest.mark.parametrize("cycle", ["constant", "cosine", "one-cycle"])
def test_a_training_of_one_step_has_a_rate(cycle: str) -> None:
    share = rate_share(Optimizer.model_validate({"cycle": cycle}), 0, 1)
    assert math.isfinite(share)
    assert share > 0


def test_the_accuracy_is_the_share_that_is_right(data: Data) -> None:
    class Says(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor([0.0, 1.0, 0.0]).expand(len(x), 3)

    assert evaluate(Says(), data) == pytest.approx(CHANCE)
    labels = data.test.tensors[1]  # type: ignore[attr-defined]
    ones = torch.utils.data.TensorDataset(data.test.tensors[0], torch.ones_like(labels))  # type: ignore[attr-defined]
    assert evaluate(Says(), replace(data, test=ones)) == 1.0


class InPlace(nn.Module):
    """Normalises its images in place."""

    def __init__(self) -> None:
        super().__init__()
        self.rest = net()

    def forward(self, x: Tensor) -> Tensor:
        classes: Tensor = self.rest(x.sub_(0.5).div_(0.25))
        return classes


def test_the_loss_sees_the_images_that_the_model_was_given(data: Data) -> None:
    """A teacher learns nothing from what a student has made of its input."""
    seen: list[Tensor] = []

    class Loss(nn.Module):
        def forward(self, logits: Tensor, labels: Tensor, images: Tensor) -> Tensor:
            seen.append(images.clone())
            return nn.functional.cross_entropy(logits, labels)

    def images_of(model: nn.Module) -> Tensor:
        seen.clear()
        chosen = recipe()
        student = build_student(chosen, data, base=None)
        Trainer(chosen, data, replace(student, model=model, search=None, loss=Loss())).train()
        return torch.cat(seen)

    assert torch.equal(images_of(InPlace()), images_of(net()))
