"""The tiles of board files are those that XNNPACK takes on the boards' cores: QEMU's user mode.

Two witnesses: XNNPACK's own configuration of each type, and what the runner tells of convolutions
of many sizes, which is compared with what ``deploy inspect --board`` makes of the same file.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from support.tflite_writer import GraphWriter
from toolchain.build import stages
from toolchain.build.bundle import Bundle, recipe_for
from toolchain.build.qemu_user import emulator_command
from toolchain.build.stages import Workshop
from toolchain.fetch.apt import AptRoot
from toolchain.fetch.sources import tree
from toolchain.hardware.board_file import board_names, known_tiles, load_board
from toolchain.hardware.facts import Core, Isa, played_cores
from toolchain.profile.runner_output import Op, computes_any_rows, parse_output
from toolchain.progress import Silent
from toolchain.storage.cache import locked
from toolchain.tflite_file.graph import read_model
from toolchain.tflite_file.layers import find_layers
from toolchain.tflite_file.tiling import tile_layers

BOARDS = [name for name in board_names() if load_board(name).tile is not None]
TYPES = ("float32", "int8", "uint8", "float16")
_SOURCE = Path(__file__).with_name("core_tiles.cc")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[Isa, Path]:
    """``core_tiles.cc``, linked with the XNNPACK that each instruction set's bundle gets."""
    folder = tmp_path_factory.mktemp("tiles")
    made: dict[Isa, Path] = {}
    for name in BOARDS:
        board = load_board(name)
        if board.isa in made:
            continue
        recipe = recipe_for(board)
        shop = Workshop(AptRoot(Silent()), 1, Silent())
        with locked("tests-tiles"):  # pytest-xdist starts several sessions at once
            xnnpack = stages.build_xnnpack(recipe, shop)
        includes = [xnnpack / "src/xnnpack/include", xnnpack / "src/xnnpack/src"]
        includes += [
            tree(recipe.sources.get(source), shop.apt) / "include"
            for source in ("pthreadpool", "cpuinfo", "fxdiv")
        ]
        libraries = ("XNNPACK", "microkernels-prod", "pthreadpool", "cpuinfo")
        program = made[board.isa] = folder / board.isa
        subprocess.run(
            [
                recipe.compiler.cxx, "-std=gnu++17", "-static", str(_SOURCE), "-o", str(program),
                *(f"-D{flag}" for flag in (xnnpack / "definitions.txt").read_text().split()),
                *(f"-I{path}" for path in includes),
                *(str(xnnpack / f"lib/lib{library}.a") for library in libraries),
                "-pthread",
            ],
            check=True,
        )  # fmt: skip
    return made


def core_of(name: str) -> Core:
    board = load_board(name)
    core = cast(Core, board.cpu.lower())
    assert core in played_cores(board.isa)
    return core


@pytest.mark.parametrize("name", BOARDS)
def test_the_tiles_of_a_board_are_those_of_its_core(
    programs: dict[Isa, Path], tmp_path: Path, name: str
) -> None:
    board = load_board(name)
    command = emulator_command(core_of(name), tmp_path, board.isa)
    done = subprocess.run(
        [*command, str(programs[board.isa])], check=True, capture_output=True, text=True
    )
    told: dict[str, tuple[int, ...]] = {}
    for line in done.stdout.splitlines():
        kind, *numbers = line.split(" ")
        told[kind] = tuple(int(number) for number in numbers)
    assert board.tile is not None
    written = {kind: board.tile.of(kind) for kind in TYPES}
    assert told == {
        kind: (tile.columns, *tile.fewer_rows, tile.rows) for kind, tile in written.items() if tile
    }


# --- the runner and deploy inspect -----------------------------------------------------------


def write_convolutions(path: Path, *, masked: bool, seed: int = 0) -> Path:
    """Convolutions of every kind and of outputs of 1 to 144 pixels, one after the other."""
    random = np.random.default_rng(seed)
    graph = GraphWriter()
    source = value = graph.tensor((1, 12, 12, 4))
    side, channels = 12, 4

    def layer(kernel: int, out: int, *, stride: int = 1, depthwise: bool = False) -> None:
        nonlocal value, side, channels
        filters = (1, kernel, kernel, out) if depthwise else (out, kernel, kernel, channels)
        side = -(-side // stride)
        shape = (1, side, side, out)
        value = graph.conv_2d(
            value,
            random.standard_normal(filters).astype(np.float32),
            random.standard_normal(out).astype(np.float32),
            shape,
            stride=stride,
            depthwise=depthwise,
        )
        channels = out
        if masked:
            kept = random.permutation(side * side) < max(1, round(side * side * random.random()))
            fill = random.random((1, 1, 1, out)).astype(np.float32)
            mask = graph.constant(kept.reshape(1, side, side, 1))
            value = graph.select(mask, value, graph.constant(fill), shape)

    layer(3, 12)
    layer(1, 20)
    layer(3, 20, depthwise=True)
    layer(5, 20, depthwise=True)
    layer(7, 20, depthwise=True)
    layer(1, 5)
    layer(1, 12, stride=2)
    layer(3, 24, depthwise=True)
    layer(3, 3)
    layer(3, 17, stride=2)
    layer(1, 8)
    layer(3, 8, stride=2)
    layer(1, 9)
    layer(3, 4, stride=2)
    layer(1, 16)
    return graph.write(path, [source], [value])


def convolutions(bundle: Bundle, model: Path, core: Core, folder: Path) -> list[Op]:
    command = [*emulator_command(core, folder), str(bundle.runner), "--model", str(model)]
    command += ["--per-op", "--runs", "1", "--warmup", "0", "--json", "-"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    operators = parse_output(done.stdout).ops
    assert operators is not None
    return [op for op in operators if op.pixels is not None]


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
@pytest.mark.parametrize("name", ["rpi3", "rpi4", "rpi5"])
def test_inspect_counts_in_the_tiles_that_the_runtime_takes(
    qemu_bundle: Bundle, tmp_path: Path, name: str, seed: int | None
) -> None:
    path = write_convolutions(tmp_path / "m.tflite", masked=seed is not None, seed=seed or 0)
    layers = find_layers(read_model(path))
    tiling = tile_layers(layers, known_tiles(load_board(name)))
    ran = convolutions(qemu_bundle, path, core_of(name), tmp_path)
    assert len(ran) == len(layers)
    for layer, tiles, op in zip(layers, tiling.layers, ran, strict=True):
        assert (op.pixels, op.kept) == (layer.pixels, layer.kept), layer
        assert op.ukernel is not None
        assert ("dwconv" in op.ukernel) == (tiles.path == "DWCONV"), layer
        if tiles.path == "DWCONV":
            assert tiles.masked is None
        else:
            assert tiles.masked is not None
            assert op.nr == tiles.columns, layer
            if computes_any_rows(op.ukernel):
                # Two-sided skipping; whole tiles of the other micro-kernel would waste more.
                assert seed is not None, layer
            else:
                assert op.mr == tiles.masked.mr, layer
