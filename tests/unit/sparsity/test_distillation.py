"""Learning from a teacher."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from toolchain.errors import ModelError
from toolchain.sparsity.distillation import Distillation

IMAGES = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def teacher() -> nn.Linear:
    torch.manual_seed(2)
    return nn.Linear(4, 3)


def test_the_loss_is_cross_entropy_and_the_divergence_of_softmax_outputs() -> None:
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    model = teacher()
    p, q = (model(IMAGES) / 2).softmax(1), (logits / 2).softmax(1)
    divergence = (p * (p.log() - q.log())).sum(1).mean()
    wanted = functional.cross_entropy(logits, LABELS) + 5 * 4 * divergence
    loss = Distillation(model, weight=5, temperature=2)(logits, LABELS, IMAGES)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_a_student_that_agrees_with_its_teacher_has_only_the_plain_loss() -> None:
    model = teacher()
    logits = model(IMAGES)
    loss = Distillation(model)(logits, LABELS, IMAGES)
    assert loss.item() == pytest.approx(functional.cross_entropy(logits, LABELS).item())


def test_the_teacher_does_not_learn() -> None:
    model = nn.Sequential(teacher(), nn.BatchNorm1d(3)).train()
    loss = Distillation(model)
    logits = torch.zeros(6, 3, requires_grad=True)
    loss(logits, LABELS, IMAGES).backward()
    assert logits.grad is not None
    assert not model.training
    assert all(p.grad is None and not p.requires_grad for p in model.parameters())


class InPlace(nn.Module):
    """Normalises what it is given, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = teacher()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        classes: torch.Tensor = self.linear(x.sub_(0.5).div_(0.25))
        return classes


def test_a_teacher_that_changes_its_input_changes_its_own() -> None:
    images, logits = IMAGES.clone(), torch.zeros(6, 3)
    loss = Distillation(InPlace())
    assert loss(logits, LABELS, images) == loss(logits, LABELS, images)
    assert torch.equal(images, IMAGES)


@pytest.mark.parametrize("options", [{"weight": -1}, {"temperature": 0}])
def test_values_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ModelError, match="distillation weight"):
        Distillation(teacher(), **options)
