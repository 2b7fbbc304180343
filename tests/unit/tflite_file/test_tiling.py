from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.tflite_writer import GraphWriter
from toolchain.hardware.tile import CoreTiles, Tile, Tiles
from toolchain.tflite_file.graph import read_model
from toolchain.tflite_file.inspection import inspect_model
from toolchain.tflite_file.layers import Layer, Mask, find_layers
from toolchain.tflite_file.tiling import Rows, Tiling, path_of, tile_layers

TILES = Tiles(rows=4, columns=8, int8=Tile(rows=2, columns=8))


def layer(
    side: int = 14,
    *,
    kept: int | None = None,
    skipped: bool = True,
    op: str = "CONV_2D",
    kernel: int = 3,
    stride: int = 1,
    channels: tuple[int, int] = (16, 16),
    dtype: str = "float32",
    index: int = 0,
) -> Layer:
    mask = None
    if kept is not None:
        plane = (np.arange(side * side) < kept).reshape(side, side)
        mask = Mask(plane, np.zeros(1), "form", skipped, None if skipped else "a reason")
    each = channels[0] if op == "CONV_2D" else 1
    return Layer(
        index=index,
        name=f"layer{index}",
        op=op,
        dtype=dtype,
        input_shape=(1, side * stride, side * stride, channels[0]),
        output_shape=(1, side, side, channels[1]),
        kernel=(kernel, kernel),
        stride=(stride, stride),
        dilation=(1, 1),
        padding="SAME",
        activation="NONE",
        macs=side * side * kernel**2 * channels[1] * each,
        mask=mask,
    )


def tile(*layers: Layer, tiles: Tiles | None = TILES) -> Tiling:
    return tile_layers(layers, CoreTiles("board", tiles, "board" if tiles else None))


@pytest.mark.parametrize(
    ("chosen", "path"),
    [
        (layer(), "IGEMM"),
        (layer(kernel=1), "GEMM"),
        (layer(kernel=1, stride=2), "IGEMM"),
        (layer(op="DEPTHWISE_CONV_2D"), "DWCONV"),
        (layer(op="DEPTHWISE_CONV_2D", kernel=5, stride=2), "DWCONV"),
        (layer(op="DEPTHWISE_CONV_2D", kernel=7), "IGEMM"),
        (layer(op="DEPTHWISE_CONV_2D", channels=(8, 16)), "IGEMM"),
        (layer(op="TRANSPOSE_CONV"), None),
    ],
)
def test_the_path_is_that_of_xnnpack(chosen: Layer, path: str | None) -> None:
    assert path_of(chosen) == path


def test_a_masked_layer_takes_the_tiles_of_its_kept_pixels() -> None:
    (found,) = tile(layer(kept=157)).layers
    assert found.dense == Rows(mr=4, tiles=49, wasted=0)
    assert found.masked == Rows(mr=4, tiles=40, wasted=3)
    assert found.columns == 8
    assert found.speedup_by_pixels == 196 / 157
    assert found.speedup_by_tiles == 49 / 40


def test_a_mask_that_is_not_skipped_saves_no_tile() -> None:
    (found,) = tile(layer(kept=157, skipped=False)).layers
    assert found.masked == found.dense == Rows(mr=4, tiles=49, wasted=0)
    assert found.speedup_by_pixels == found.speedup_by_tiles == 1


def test_a_type_has_tiles_of_its_own() -> None:
    (found,) = tile(layer(kept=157, dtype="int8")).layers
    assert found.masked == Rows(mr=2, tiles=79, wasted=1)


def test_a_depthwise_convolution_has_no_tile_and_wastes_nothing() -> None:
    (found,) = tile(layer(kept=157, op="DEPTHWISE_CONV_2D")).layers
    assert (found.dense, found.masked, found.columns) == (None, None, None)
    assert found.speedup_by_tiles == found.speedup_by_pixels == 196 / 157


def test_a_layer_of_which_nothing_is_kept_takes_no_tile() -> None:
    found = tile(layer(kept=0))
    assert found.layers[0].masked == Rows(mr=4, tiles=0, wasted=0)
    assert found.layers[0].speedup_by_tiles is None
    assert found.speedup_by_tiles is None


def test_sums_weigh_layers_by_their_multiply_accumulates() -> None:
    small, large = layer(7, kept=39, index=0), layer(14, kept=157, index=1, channels=(32, 32))
    found = tile(small, large, layer(7, op="DEPTHWISE_CONV_2D", kept=39, index=2))
    each = [one.macs / one.pixels for one in (small, large)]
    depthwise = 9 * 16
    dense = 52 * each[0] + 196 * each[1] + 49 * depthwise
    masked = 40 * each[0] + 160 * each[1] + 39 * depthwise
    assert found.speedup_by_tiles == pytest.approx(dense / masked)
    assert (found.tiles_dense, found.tiles_masked) == (13 + 49, 10 + 40)
    assert (found.rows_computed, found.rows_wasted) == (40 + 160, 1 + 3)


@given(st.lists(st.tuples(st.integers(1, 30), st.floats(0.05, 1)), min_size=1, max_size=5))
def test_waste_is_less_than_a_tile_a_layer(sizes: list[tuple[int, float]]) -> None:
    layers = [
        layer(side, kept=max(1, round(share * side * side)), index=i)
        for i, (side, share) in enumerate(sizes)
    ]
    found = tile(*layers, tiles=Tiles(rows=6, columns=8, fewer_rows=(1, 4)))
    for one, counted in zip(layers, found.layers, strict=True):
        assert counted.masked is not None
        assert counted.masked.tiles == math.ceil(one.kept / counted.masked.mr)
        assert counted.masked.computed - counted.masked.wasted == one.kept
        assert 0 <= counted.masked.wasted < counted.masked.mr


# --- what is not known -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tiles", "dtype"), [(None, "float32"), (TILES, "uint8"), (TILES, "float16")]
)
def test_where_no_tile_is_known_pixels_are_told_and_no_tiles(
    tiles: Tiles | None, dtype: str
) -> None:
    found = tile(layer(kept=157, dtype=dtype), tiles=tiles)
    assert found.layers[0].masked is None
    assert found.layers[0].speedup_by_pixels == found.speedup_by_pixels == 196 / 157
    assert found.layers[0].speedup_by_tiles is found.speedup_by_tiles is None
    assert found.retraining is None


# --- what training could save ----------------------------------------------------------------


def test_retraining_cuts_masks_to_tiles_where_that_masks_few_pixels_more() -> None:
    found = tile(
        layer(14, kept=157, index=0),  # 156: a tile less
        layer(14, kept=156, index=1),
        layer(7, kept=39, index=2),  # 36 would mask 6 % of its pixels more
        layer(14, index=3),
        layer(14, kept=157, index=4, op="DEPTHWISE_CONV_2D"),
    ).retraining
    assert found is not None
    assert (found.tile_rows, found.layers, found.rows_saved, found.pixels_lost) == (4, 1, 4, 1)
    again = tile(layer(14, kept=156)).retraining
    assert again is not None
    assert (again.layers, again.rows_saved, again.pixels_lost) == (0, 0, 0)


def test_the_speed_up_after_retraining_is_that_of_the_masks_it_would_make() -> None:
    before, after = (tile(layer(14, kept=kept), layer(7, kept=39, index=1)) for kept in (157, 156))
    assert before.retraining is not None
    assert before.speedup_by_tiles is not None
    assert after.speedup_by_tiles is not None
    assert before.retraining.speedup_by_tiles == after.speedup_by_tiles
    assert after.speedup_by_tiles > before.speedup_by_tiles


def test_the_tile_of_the_type_that_computes_most_is_what_a_recipe_is_told() -> None:
    found = tile(layer(7, kept=40, index=0), layer(14, kept=157, dtype="int8", index=1)).retraining
    assert found is not None
    assert found.tile_rows == 2


@pytest.mark.parametrize("kept", [None, 196])
def test_without_a_mask_there_is_nothing_to_retrain(kept: int | None) -> None:
    assert tile(layer(kept=kept)).retraining is None


# --- a file ----------------------------------------------------------------------------------


def test_a_file_is_counted_layer_by_layer(tmp_path: Path) -> None:
    graph = GraphWriter()
    x = graph.tensor((1, 6, 6, 3))
    shape = (1, 6, 6, 4)
    filters, bias = np.ones((4, 3, 3, 3), np.float32), np.zeros(4, np.float32)
    conv = graph.conv_2d(x, filters, bias, shape)
    kept = graph.constant((np.arange(36) < 21).reshape(1, 6, 6, 1))
    output = graph.select(kept, conv, graph.constant(np.zeros((), np.float32)), shape)
    path = graph.write(tmp_path / "m.tflite", [x], [output])
    core = CoreTiles("mine", TILES, "rpi4")
    found = inspect_model(path, core).tiling
    assert found == tile_layers(find_layers(read_model(path)), core)
    assert (found.board, found.source) == ("mine", "rpi4")
    assert found.layers[0].masked == Rows(mr=4, tiles=6, wasted=3)
    assert inspect_model(path).tiling is None
