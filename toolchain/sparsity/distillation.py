"""Knowledge distillation from a dense teacher."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolchain.errors import ModelError


class Distillation(nn.Module):
    """Cross entropy, and the divergence of the student's classes from a teacher's.

    ``cross_entropy + weight * T^2 * KL(teacher || student)`` on softmax outputs at temperature
    ``T``, as the paper combines it (weight 5).

    Args:
        teacher: takes ``[N, C, H, W]``, gives logits; it is frozen and put in eval mode.
        weight: of the divergence, at least 0.
        temperature: above 0; the paper's is 1.

    Raises:
        ModelError: a value is out of range.
    """

    def __init__(
        self, teacher: nn.Module, *, weight: float = 5.0, temperature: float = 1.0
    ) -> None:
        super().__init__()
        if weight < 0 or not temperature > 0:
            raise ModelError(
                f"distillation weight {weight:g} is not at least 0, or temperature "
                f"{temperature:g} not above 0"
            )
        self.teacher = teacher.eval().requires_grad_(requires_grad=False)
        self.weight, self.temperature = weight, temperature

    def forward(self, logits: Tensor, labels: Tensor, images: Tensor) -> Tensor:
        """The loss of a batch: logits ``[N, classes]``, labels ``[N]``, images ``[N, C, H, W]``."""
        with torch.no_grad():
            # Networks that normalise their input in place leave the caller's images alone.
            aim = functional.log_softmax(self.teacher(images.clone()) / self.temperature, 1)
        guess = functional.log_softmax(logits / self.temperature, 1)
        divergence = functional.kl_div(guess, aim, reduction="batchmean", log_target=True)
        plain = functional.cross_entropy(logits, labels)
        return plain + self.weight * self.temperature**2 * divergence
