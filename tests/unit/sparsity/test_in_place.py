"""Networks that write into their input leave the caller's alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from toolchain.sparsity.cost import model_cost
from toolchain.sparsity.masked_conv import output_shapes
from toolchain.sparsity.policies import POLICIES
from toolchain.sparsity.pruning import prune_channels
from toolchain.sparsity.resize import check_channels
from toolchain.sparsity.sparsify import sparsify


class InPlace(nn.Module):
    """Normalises its input in place."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.second(self.first(x.sub_(0.5).div_(0.25)).relu())
        return found


@pytest.mark.parametrize(
    "use",
    [
        lambda model, x: sparsify(model, x, POLICIES["pooled"](), 0.25),
        lambda model, x: output_shapes(model, x),
        lambda model, x: model_cost(model, x),
        lambda model, x: check_channels(model, x),
        lambda model, x: prune_channels(model, x, 0.25, round_to=1),
    ],
    ids=["sparsify", "output_shapes", "model_cost", "check_channels", "prune_channels"],
)
def test_an_example_stays_as_it_is(use: Callable[[nn.Module, Tensor], object]) -> None:
    x = torch.rand(1, 3, 12, 12)
    before = x.clone()
    use(InPlace().eval(), x)
    assert torch.equal(x, before)
