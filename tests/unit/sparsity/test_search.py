"""The search for masks: draw, judge, freeze."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from toolchain.sparsity.policies import POLICIES, Magnitude, Policy, Pooled
from toolchain.sparsity.schedule import PolynomialSchedule
from toolchain.sparsity.search import MaskSearch
from toolchain.sparsity.site import Site
from toolchain.sparsity.sparsify import MaskSet, sparsify

SIZE = (12, 12)
SITE = Site("0", SIZE, SIZE, 0.25)
SCHEDULE = PolynomialSchedule(100, frequency=20, settle=0)  # updates at 10, 30, 50, 70 and 90


def masks(policy: Policy | None = None) -> MaskSet:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 3, 2, 1))
    return sparsify(model, torch.zeros(1, 1, *SIZE), policy or Pooled(), 0.25, share=0.0)


def loss_at(step: int, losses: dict[int, float]) -> float:
    return next((losses[s] for s in sorted(losses, reverse=True) if s <= step), 1.0)


def run(search: MaskSearch, losses: dict[int, float]) -> dict[int, Tensor]:
    """Train 100 steps; ``losses`` is the loss from a step on. Gives the masks after each update."""
    seen: dict[int, Tensor] = {}
    for step in range(search.steps_done, 100):
        if search.step(loss_at(step, losses)):
            seen[step + 1] = search.masks.layers["0"].mask.clone()
    search.freeze()
    return seen


def test_sparsity_follows_the_schedule_and_each_update_has_a_draw_of_its_own() -> None:
    seen = run(MaskSearch(masks(), SCHEDULE), {})
    assert list(seen) == [10, 30, 50, 70, 90]
    for step, mask in seen.items():
        assert int((~mask).sum()) == round(0.25 * SCHEDULE.share_at(step) * 144)
    # Masks of growing sparsity out of one plane would be nested.
    assert bool((~seen[30] & seen[50]).any())


def test_the_draw_with_the_lowest_loss_is_frozen_at_the_target() -> None:
    search = MaskSearch(masks(), SCHEDULE)
    seen = run(search, {10: 3.0, 30: 2.0, 50: 0.5, 70: 2.5, 90: 0.1})
    assert search.frozen
    assert search.best_loss == 0.5
    assert search.best_draw is not None
    best = Pooled().mask(SITE, search.best_draw, SCHEDULE.share_at(50))
    assert torch.equal(best, seen[50])
    assert torch.equal(search.masks.layers["0"].mask, Pooled().mask(SITE, search.best_draw))


def test_masks_do_not_change_once_they_are_frozen() -> None:
    search = MaskSearch(masks(), SCHEDULE)
    run(search, {})
    assert not any(search.step(0.0) for _ in range(100))


def test_the_same_seed_ends_with_the_same_masks() -> None:
    ends = []
    for seed in (1, 1, 2):
        search = MaskSearch(masks(), SCHEDULE, seed=seed)
        run(search, {30: 0.5})
        ends.append(search.masks.layers["0"].mask)
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


def test_a_schedule_that_ends_with_the_training_is_frozen_after_it() -> None:
    search = MaskSearch(masks(), PolynomialSchedule(100, end=1.0, frequency=40, settle=0))
    run(search, {})
    assert int(search.masks.layers["0"].mask.sum()) == 108


def test_masks_reach_the_target_even_where_nothing_could_be_tried() -> None:
    search = MaskSearch(masks(), PolynomialSchedule(100, begin=0.0, end=0.0))
    assert search.frozen
    assert int(search.masks.layers["0"].mask.sum()) == 108


def test_a_loss_may_be_a_tensor_that_nobody_waits_for() -> None:
    one, other = MaskSearch(masks(), SCHEDULE), MaskSearch(masks(), SCHEDULE)
    for step in range(100):
        loss = math.sin(step)
        one.step(loss)
        other.step(torch.tensor(loss, dtype=torch.float64, requires_grad=True))
    assert one.best_loss == other.best_loss
    assert torch.equal(one.masks.layers["0"].mask, other.masks.layers["0"].mask)


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("stopped", [1, 10, 42, 90, 99])
def test_a_search_that_is_saved_and_resumed_ends_as_one_that_was_not(
    name: str, stopped: int
) -> None:
    images = torch.rand(4, 1, *SIZE, generator=torch.Generator().manual_seed(3))

    def policy() -> Policy:
        return Magnitude(lambda: [images]) if name == "magnitude" else POLICIES[name]()

    losses = {step: math.sin(step) for step in range(100)}
    whole = MaskSearch(masks(policy()), SCHEDULE, seed=4)
    run(whole, losses)

    first = MaskSearch(masks(policy()), SCHEDULE, seed=4)
    for step in range(stopped):
        first.step(loss_at(step, losses))
    second = MaskSearch(masks(policy()), SCHEDULE, seed=4)
    for key, layer in second.masks.layers.items():
        layer.load_state_dict(first.masks.layers[key].state_dict())
    second.load_state_dict(first.state_dict())
    run(second, losses)
    for key, layer in whole.masks.layers.items():
        assert torch.equal(layer.mask, second.masks.layers[key].mask)
    assert (whole.best_draw, whole.best_loss) == (second.best_draw, second.best_loss)
