"""The search for a plane: try, judge, freeze."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from toolchain.sparsity.masked_conv import MaskedConv2d
from toolchain.sparsity.planes import mask_from_plane, sparsify
from toolchain.sparsity.schedule import PolynomialSchedule
from toolchain.sparsity.search import MaskSearch

SIZE = (12, 12)
SCHEDULE = PolynomialSchedule(0.25, 100, frequency=20)  # updates at 10, 30, 50, 70 and 90


def layers() -> dict[str, MaskedConv2d]:
    model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 3, 2, 1))
    return sparsify(model, torch.zeros(1, 1, *SIZE), 0.0)


def run(search: MaskSearch, losses: dict[int, float]) -> dict[int, Tensor]:
    """Train 100 steps; ``losses`` is the loss from a step on. Gives the masks after each update."""
    seen: dict[int, Tensor] = {}
    loss = 1.0
    for step in range(100):
        if search.before_step(step):
            seen[step] = search._layers["0"].mask.clone()
        loss = losses.get(step, loss)
        search.after_step(loss)
    search.finish()
    return seen


def test_sparsity_follows_the_schedule_and_each_update_has_a_plane_of_its_own() -> None:
    masked = layers()
    seen = run(MaskSearch(masked, SIZE, SCHEDULE), {})
    assert list(seen) == [10, 30, 50, 70, 90]
    for step, mask in seen.items():
        assert int((~mask).sum()) == round(SCHEDULE.sparsity_at(step) * 144)
    # Masks of growing sparsity out of one plane would be nested.
    assert bool((~seen[30] & seen[50]).any())


def test_the_plane_with_the_lowest_loss_is_frozen_at_the_target() -> None:
    masked = layers()
    search = MaskSearch(masked, SIZE, SCHEDULE)
    seen = run(search, {10: 3.0, 30: 2.0, 50: 0.5, 70: 2.5, 90: 0.1})
    assert search.frozen
    assert search.best_loss == 0.5
    assert search.best_plane is not None
    assert torch.equal(mask_from_plane(search.best_plane, SIZE, SCHEDULE.sparsity_at(50)), seen[50])
    assert torch.equal(masked["0"].mask, mask_from_plane(search.best_plane, SIZE, 0.25))
    assert torch.equal(masked["1"].mask, mask_from_plane(search.best_plane, (6, 6), 0.25))


def test_masks_do_not_change_once_they_are_frozen() -> None:
    search = MaskSearch(layers(), SIZE, SCHEDULE)
    run(search, {})
    assert not any(search.before_step(step) for step in range(90, 200))


def test_the_same_seed_ends_with_the_same_masks() -> None:
    ends = []
    for seed in (1, 1, 2):
        masked = layers()
        run(MaskSearch(masked, SIZE, SCHEDULE, seed=seed), {30: 0.5})
        ends.append(masked["0"].mask)
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


def test_a_schedule_that_ends_with_the_training_is_finished_after_it() -> None:
    masked = layers()
    search = MaskSearch(masked, SIZE, PolynomialSchedule(0.25, 100, end=1.0, frequency=40))
    run(search, {})
    assert int(masked["0"].mask.sum()) == 108


def test_masks_reach_the_target_even_where_no_plane_could_be_tried() -> None:
    masked = layers()
    search = MaskSearch(masked, SIZE, PolynomialSchedule(0.25, 100, begin=0.0, end=0.0))
    assert search.before_step(0)
    assert int(masked["0"].mask.sum()) == 108
