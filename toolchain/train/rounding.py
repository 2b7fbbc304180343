"""Which masks of a recipe are rounded to tiles: those where the plan of its board gains by it.

A rounded mask keeps up to MR - 1 pixels fewer, which costs accuracy. It gains only where a core
computes whole tiles, by the rows of the last one that belong to no pixel. Which layers these are
is for the board's runtime to say: it is asked once, before training, with masks of one draw. What
it is asked with stands above this room (a conversion, the board's runner), so it is handed in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from toolchain.errors import DeployError
from toolchain.hardware.board_file import Board
from toolchain.progress import Progress
from toolchain.sparsity.masked_conv import masked_layers
from toolchain.sparsity.policies import TileRows
from toolchain.tflite_file.plan import CorePlan, LayerPlan

Planner = Callable[[Board, nn.Module, Tensor], CorePlan]
"""Asks a board's runtime how it computes a network, for an image ``[N, C, H, W]``."""


class _Report(BaseModel):
    model_config = ConfigDict(frozen=True)


class RoundedLayer(_Report):
    """A masked layer, and what rounding would change."""

    name: str
    path: str | None
    """Which way the board computes it; ``docs/reference/runner.md`` says what each is."""
    kept: int
    """Pixels, without rounding."""
    wasted_rows: int
    """Rows of the matrix that belong to no kept pixel, without rounding."""
    kept_rounded: int
    """As ``kept``, where it is rounded or might be."""
    wasted_rows_rounded: int
    tile_rows: int
    """What its kept pixels are rounded down to a multiple of; 1: they are not rounded."""


class Rounding(_Report):
    """What was decided for a run, before its first step; it keeps to it when it is resumed."""

    board: str
    core: str | None = None
    """Whose micro-kernels the plan has; ``None`` where there is no plan."""
    runtime: str | None = None
    """The version of the board's runtime; likewise."""
    layers: list[RoundedLayer] = []
    """The masked ones; empty where there is no plan."""
    macs_computed: int | None = None
    """Multiply-accumulates that the plan has without rounding, of the whole network."""
    macs_wasted: int | None = None
    """Of those, the ones of masked layers' rows that belong to no kept pixel."""
    reason: str | None = None
    """Why there is no plan, so that nothing is rounded, and what to do about it."""

    @property
    def tile_rows(self) -> dict[str, int]:
        """Name to tile of the layers whose masks are rounded."""
        return {layer.name: layer.tile_rows for layer in self.layers if layer.tile_rows > 1}

    def __str__(self) -> str:
        """The decision in a sentence."""
        if self.reason is not None:
            return f"no mask is rounded to the tiles of board '{self.board}': {self.reason}"
        plan = f"by the plan of board '{self.board}' ({self.core})"
        if not self.tile_rows:
            return f"no mask is rounded to tiles: none gains {plan}"
        count = f"{len(self.tile_rows)} of {len(self.layers)}"
        return f"masks rounded to tiles: {count}, those that gain {plan}"


def announced(planner: Planner | None, progress: Progress) -> Planner | None:
    """The same, shown as a stage: it takes as long as a conversion.

    Args:
        planner: asks a board's runtime.
        progress: where the stage is shown.
    """
    if planner is None:
        return None

    def asking(board: Board, model: nn.Module, example: Tensor) -> CorePlan:
        with progress.stage(f"plan for board {board.name}", 1) as stage:
            plan = planner(board, model, example)
            stage.advance()
        return plan

    return asking


def plan_rounding(
    board: Board, masked: Callable[[TileRows], nn.Module], example: Tensor, planner: Planner | None
) -> Rounding:
    """Decide which layers' masks are rounded to the tiles of a board.

    Layers of one mask are decided together: the runtime keeps pixels compact between layers that
    share a mask. They are rounded where the plan with rounded masks computes fewer rows that belong
    to no pixel, and where these are worth at least the pixels that rounding masks.

    Args:
        board: whose runtime is asked.
        masked: gives the network with masks of the target sparsity, rounded as it is told.
        example: an image ``[N, C, H, W]``.
        planner: what asks; without one nothing is rounded.

    Returns:
        The decision; one with a reason, and without layers, where the plan cannot be had.
    """
    if planner is None:
        return Rounding(board=board.name, reason="nothing is here that asks the board's runtime")
    try:
        plain = masked(1)
        plan = planner(board, plain, example)
        groups, before = _same_masks(plain), _costs(plain, plan)
        tiles = {name: rows for group in groups for name, rows in _tiles(group, before).items()}
        after = before
        if tiles:
            rounded = masked(tiles)
            after = _costs(rounded, planner(board, rounded, example))
    except DeployError as error:
        why = "; ".join(filter(None, (error.what, error.hint)))
        return Rounding(board=board.name, reason=why)
    gaining = {name for group in groups if _gains(group, before, after) for name in group}
    return Rounding(
        board=board.name,
        core=plan.core,
        runtime=plan.runner.version,
        layers=[
            RoundedLayer(
                name=name,
                path=cost.path,
                kept=cost.kept,
                wasted_rows=cost.wasted_rows,
                kept_rounded=after[name].kept,
                wasted_rows_rounded=after[name].wasted_rows,
                tile_rows=tiles[name] if name in gaining else 1,
            )
            for name, cost in before.items()
        ],
        macs_computed=plan.macs_computed,
        macs_wasted=sum(cost.wasted for cost in before.values()),
    )


@dataclass(frozen=True)
class _Cost:
    """What a masked layer costs by a plan."""

    kept: int
    path: str | None = None
    mr: int = 1
    wasted_rows: int = 0
    row: int = 0
    """Multiply-accumulates of a row."""

    @property
    def wasted(self) -> int:
        """Multiply-accumulates of rows that belong to no kept pixel."""
        return self.wasted_rows * self.row


def _costs(model: nn.Module, plan: CorePlan) -> dict[str, _Cost]:
    layers = {layer.name: layer for layer in plan.layers}
    return {
        name: _cost(int(masked.mask.sum()), layers.get(name))
        for name, masked in masked_layers(model).items()
    }


def _cost(kept: int, layer: LayerPlan | None) -> _Cost:
    told = layer.operator if layer else None
    if layer is None or told is None or not told.rows:
        return _Cost(kept, told.path if told else None)
    row = (told.macs_computed or 0) // told.rows
    return _Cost(kept, told.path, told.mr or 1, layer.wasted_rows, row)


def _same_masks(model: nn.Module) -> list[list[str]]:
    """Names of the masked layers, those of one mask together."""
    groups: dict[tuple[tuple[int, ...], bytes], list[str]] = {}
    for name, layer in masked_layers(model).items():
        mask = layer.mask.cpu().numpy()
        groups.setdefault((mask.shape, mask.tobytes()), []).append(name)
    return list(groups.values())


def _tiles(group: list[str], costs: Mapping[str, _Cost]) -> dict[str, int]:
    """What to round a group to: the tile that wastes most of it; empty where none wastes."""
    wasted = Counter[int]()
    for cost in (costs[name] for name in group):
        wasted[cost.mr] += cost.wasted
    rows, macs = wasted.most_common(1)[0]
    return dict.fromkeys(group, rows) if macs and rows > 1 else {}


def _gains(group: list[str], before: Mapping[str, _Cost], after: Mapping[str, _Cost]) -> bool:
    """Whether rows for no pixel are at least half of what rounding a group saves."""
    saved = sum(before[name].wasted - after[name].wasted for name in group)
    masked = sum((before[name].kept - after[name].kept) * before[name].row for name in group)
    return saved > 0 and saved >= masked
