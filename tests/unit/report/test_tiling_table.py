from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from support.tflite_writer import GraphWriter
from toolchain.hardware.tile import CoreTiles, Tiles
from toolchain.report.tiling_table import tiling_table
from toolchain.tflite_file.inspection import Inspection, inspect_model

KNOWN = CoreTiles("rpi4", Tiles(rows=4, columns=8), "rpi4")
UNKNOWN = CoreTiles("mine", None, None)


def write(path: Path, *, kept: int, reader: bool = False) -> Path:
    """A 3x3 convolution and a depthwise one, 14x14, each under a mask of ``kept`` pixels."""
    graph = GraphWriter()
    x = graph.tensor((1, 14, 14, 8))
    shape, bias = (1, 14, 14, 8), np.zeros(8, np.float32)
    mask = graph.constant((np.arange(196) < kept).reshape(1, 14, 14, 1))
    fill = graph.constant(np.zeros((), np.float32))
    conv = graph.conv_2d(x, np.ones((8, 3, 3, 8), np.float32), bias, shape)
    value = graph.select(mask, conv, fill, shape)
    deep = graph.conv_2d(value, np.ones((1, 3, 3, 8), np.float32), bias, shape, depthwise=True)
    value = graph.select(mask, deep, fill, shape)
    return graph.write(path, [x], [value, conv] if reader else [value])


def shown(report: Inspection, width: int = 200) -> str:
    assert report.tiling is not None
    console = Console(width=width, force_terminal=False)
    with console.capture() as captured:
        console.print(tiling_table(report, report.tiling, width))
    return captured.get()


def test_a_line_says_path_tile_and_waste_of_a_layer(tmp_path: Path) -> None:
    text = shown(inspect_model(write(tmp_path / "m.tflite", kept=157), KNOWN))
    conv, depthwise, total = (
        next(line.split() for line in text.splitlines() if part in line)
        for part in ("CONV 3x3 ", "DWCONV 3x3", "total")
    )
    assert conv[-7:] == ["4x8", "157/196", "40", "3", "49", "1.248", "1.225"]
    assert depthwise[-4:] == ["DWCONV", "157/196", "1.248", "1.248"]
    assert total == ["total", "40", "3", "49", "1.248", "1.228"]
    assert "3 of 160 rows that are computed (1.88%) are wasted" in text
    assert (
        "retraining with `[masks] tile_rows = 4` in the recipe (docs/reference/recipes.md) would "
        "save 4 of these rows, for 1 kept pixel of 1 layer:" in text
    )


def test_masks_that_fit_need_no_retraining(tmp_path: Path) -> None:
    text = shown(inspect_model(write(tmp_path / "m.tflite", kept=156), KNOWN))
    assert "would save no row" in text
    assert "0 of 156 rows that are computed (0.00%) are wasted" in text


def test_a_mask_that_is_not_skipped_has_a_footnote(tmp_path: Path) -> None:
    text = shown(inspect_model(write(tmp_path / "m.tflite", kept=157, reader=True), KNOWN))
    line = next(line for line in text.splitlines() if "CONV 3x3 " in line)
    assert line.split()[-5:] == ["157/196", "49", "0", "49", "[1]"]
    assert "[1] not skipped: the convolution's own output is an output of the model" in text


def test_a_board_whose_core_is_not_known_is_told_what_to_do(tmp_path: Path) -> None:
    text = shown(inspect_model(write(tmp_path / "m.tflite", kept=157), UNKNOWN))
    assert "the tiles of board 'mine' are not known: give its file a [tile] table" in text
    line = next(line for line in text.splitlines() if "CONV 3x3 " in line)
    assert line.split()[-3:] == ["IGEMM", "157/196", "1.248"]
    assert "retraining" not in text


def test_tiles_of_another_board_with_the_core_are_told(tmp_path: Path) -> None:
    core = CoreTiles("mine", KNOWN.tiles, "rpi4")
    assert "on board 'mine', as in board 'rpi4'" in shown(
        inspect_model(write(tmp_path / "m.tflite", kept=157), core)
    )


@pytest.mark.parametrize("width", [70, 80, 100, 130])
def test_no_line_is_wider_than_the_terminal(tmp_path: Path, width: int) -> None:
    text = shown(inspect_model(write(tmp_path / "m.tflite", kept=157), KNOWN), width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "1.225" in text
