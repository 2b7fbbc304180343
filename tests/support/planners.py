"""Played plans of networks: which layers a board computes in whole tiles, and which row by row."""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor, nn

from support.plans import RUNNER, operator
from toolchain.hardware.board_file import Board
from toolchain.sparsity.masked_conv import masked_layers
from toolchain.tflite_file.plan import CorePlan, LayerPlan
from toolchain.tflite_file.runner_facts import RunnerVersions

ROW = 100
"""Multiply-accumulates of a row, in every layer."""


class Planner:
    """Plans a network so that some layers go in tiles of four rows, the others row by row."""

    def __init__(self, tiled: Collection[str]) -> None:
        self.tiled = tiled
        self.asked: list[dict[str, int]] = []
        """Kept pixels of each layer of each network."""

    def __call__(self, board: Board, model: nn.Module, example: Tensor) -> CorePlan:
        assert not model.training
        assert example.shape[0] == 1
        layers = masked_layers(model)
        self.asked.append({name: int(layer.mask.sum()) for name, layer in layers.items()})
        return CorePlan(
            core=board.cpu,
            runner=RunnerVersions.model_validate(RUNNER),
            layers=[
                self._layer(name, layer.mask.numel(), self.asked[-1][name])
                for name, layer in layers.items()
            ],
            expansions=0,
            notes=[],
        )

    def _layer(self, name: str, pixels: int, kept: int) -> LayerPlan:
        tiled = name in self.tiled
        rows = -(-kept // 4) * 4 if tiled else kept
        told = operator(
            path="masked-igemm" if tiled else "live-taps", pixels=pixels, kept=kept, rows=rows,
            dense_rows=pixels, taps=9 * kept, live_taps=9 * kept, macs=ROW * pixels,
            macs_computed=ROW * rows,
        )  # fmt: skip
        return LayerPlan(
            index=0, name=name, operator=told, macs_dense=ROW * pixels, macs_computed=ROW * rows
        )
