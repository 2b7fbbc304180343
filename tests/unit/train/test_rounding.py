"""Masks are rounded to tiles where the plan of a board gains by it, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from support.planners import ROW, Planner
from support.tiny_training import net
from toolchain.errors import BundleError, ModelError
from toolchain.hardware.board_file import Board, load_board
from toolchain.sparsity.policies import POLICIES, TileRows
from toolchain.sparsity.sparsify import sparsify
from toolchain.tflite_file.plan import CorePlan
from toolchain.train.rounding import Rounding, plan_rounding

EXAMPLE = torch.zeros(1, 1, 8, 8)
BOARD = load_board("rpi4")


def masked(
    sparsity: float = 0.17, policy: str = "pooled", model: Callable[[], nn.Module] = net
) -> Callable[[TileRows], nn.Module]:
    """Of 64 and of 16 pixels: 0.17 keeps 53 and 13, which wastes 3 rows in tiles of 4."""

    def make(rows: TileRows) -> nn.Module:
        made = model()
        drawn = POLICIES[policy](tile_rows=rows, tile_share=0.1)
        sparsify(made, EXAMPLE, drawn, sparsity)
        return made.eval()

    return make


def decide(planner: Planner, make: Callable[[TileRows], nn.Module]) -> Rounding:
    return plan_rounding(BOARD, make, EXAMPLE, planner)


def test_a_layer_of_whole_tiles_is_rounded_and_one_of_single_rows_is_not() -> None:
    planner = Planner(tiled=["0"])
    found = decide(planner, masked())
    assert found.tile_rows == {"0": 4}
    first, second = found.layers
    assert (first.path, first.kept, first.wasted_rows) == ("masked-igemm", 53, 3)
    assert (first.kept_rounded, first.wasted_rows_rounded, first.tile_rows) == (52, 0, 4)
    assert (second.path, second.kept, second.kept_rounded) == ("live-taps", 13, 13)
    assert (second.wasted_rows, second.tile_rows) == (0, 1)
    assert (found.board, found.core, found.reason) == ("rpi4", "Cortex-A72", None)
    assert (found.macs_computed, found.macs_wasted) == ((56 + 13) * ROW, 3 * ROW)
    assert planner.asked == [{"0": 53, "3": 13}, {"0": 52, "3": 13}]
    assert str(found) == (
        "masks rounded to tiles: 1 of 2, those that gain by the plan of board 'rpi4' (Cortex-A72)"
    )


def test_where_no_row_is_wasted_nothing_is_rounded_and_nothing_more_is_asked() -> None:
    planner = Planner(tiled=[])
    found = decide(planner, masked())
    assert found.tile_rows == {}
    assert [layer.tile_rows for layer in found.layers] == [1, 1]
    assert len(planner.asked) == 1
    assert str(found).startswith("no mask is rounded to tiles: none gains by the plan")


@pytest.mark.parametrize(
    ("sparsity", "kept", "rounded"),
    [(0.17, 53, True), (0.16, 54, True), (0.14, 55, False), (0.125, 56, False)],
)
def test_rows_for_nobody_are_to_be_worth_the_pixels(
    sparsity: float, kept: int, rounded: bool
) -> None:
    """One pixel for three rows, two for two; three for one row are too many."""
    found = decide(Planner(tiled=["0"]), masked(sparsity))
    assert found.layers[0].kept == kept
    assert found.tile_rows == ({"0": 4} if rounded else {})


def test_what_the_recipe_s_share_forbids_is_not_rounded() -> None:
    def make(rows: TileRows) -> nn.Module:
        made = net()
        sparsify(made, EXAMPLE, POLICIES["pooled"](tile_rows=rows, tile_share=0.02), 0.17)
        return made.eval()

    found = decide(Planner(tiled=["0", "3"]), make)
    assert found.tile_rows == {"0": 4}  # one of 64 is 1.6 %, one of 16 is 6 %


def twins() -> nn.Module:
    """Three layers of one size."""
    return nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1) for _ in range(3)))


@pytest.mark.parametrize(("sparsity", "rounded"), [(0.17, ["0", "1", "2"]), (0.16, [])])
def test_layers_of_one_mask_are_rounded_together_or_not_at_all(
    sparsity: float, rounded: list[str]
) -> None:
    """Three rows for three layers' pixel; two rows for twice as many pixels are too few."""
    found = decide(Planner(tiled=["1"]), masked(sparsity, model=twins))
    assert list(found.tile_rows) == rounded


def test_layers_of_masks_of_their_own_are_rounded_alone() -> None:
    found = decide(Planner(tiled=["1"]), masked(policy="random", model=twins))
    assert found.tile_rows == {"1": 4}


def test_without_a_plan_nothing_is_rounded_and_the_reason_is_told() -> None:
    def planner(board: Board, model: nn.Module, example: Tensor) -> CorePlan:
        del board, model, example
        raise BundleError("it is not built", hint="run: deploy build")

    found = plan_rounding(BOARD, masked(), EXAMPLE, planner)
    assert (found.tile_rows, found.core, found.layers) == ({}, None, [])
    assert str(found) == (
        "no mask is rounded to the tiles of board 'rpi4': it is not built; run: deploy build"
    )


def test_a_network_that_cannot_be_planned_has_no_plan() -> None:
    def make(rows: TileRows) -> nn.Module:
        del rows
        raise ModelError("it cannot be copied")

    assert plan_rounding(BOARD, make, EXAMPLE, Planner([])).reason == "it cannot be copied"


def test_without_a_planner_nothing_is_rounded() -> None:
    found = plan_rounding(BOARD, masked(), EXAMPLE, None)
    assert found.tile_rows == {}
    assert found.reason is not None
