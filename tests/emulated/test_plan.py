"""The plans of boards' cores, which QEMU's user mode plays: what a run computes there."""

from __future__ import annotations

import subprocess
from functools import partial
from pathlib import Path

import pytest

from support.patience import PATIENCE
from support.runner_models import write_network
from support.tiny_training import FASHION, recipe
from toolchain.board.network_plan import network_plan
from toolchain.board.plan import core_plan, played_core
from toolchain.build.bundle import Bundle
from toolchain.build.qemu_user import emulator_command
from toolchain.hardware.board_file import load_board
from toolchain.profile.runner_output import parse_output
from toolchain.tflite_file.graph import read_model
from toolchain.tflite_file.layers import find_layers
from toolchain.train.run import plan_recipe


@pytest.mark.parametrize("name", ["rpi3", "rpi4", "rpi5"])
def test_the_plan_of_a_core_is_what_it_computes(
    qemu_bundle: Bundle, tmp_path: Path, name: str
) -> None:
    board = load_board(name)
    model = write_network(tmp_path / "net.tflite", masked=True)
    layers = find_layers(read_model(model))
    plan = core_plan(board, model, layers, qemu_bundle)
    assert plan.core == board.cpu
    assert [each.skipped for each in plan.layers] == [True] * 3
    core = played_core(board)
    assert core is not None
    command = [*emulator_command(core, tmp_path), str(qemu_bundle.runner), "--model", str(model)]
    command += ["--per-op", "--runs", "1", "--warmup", "0", "--json", "-"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE)
    ran = [op for op in parse_output(done.stdout).ops or [] if op.pixels is not None]
    for layer, op in zip(plan.layers, ran, strict=True):
        told = layer.operator
        assert told is not None
        assert (told.ukernel, told.mr, told.kept) == (op.ukernel, op.mr, op.kept)
        assert told.macs_computed == op.macs_computed


@pytest.mark.parametrize("name", ["rpi3", "rpi4"])
def test_a_recipe_rounds_no_mask_where_rows_that_a_core_computes_for_nobody_are_few(
    qemu_bundle: Bundle, name: str
) -> None:
    chosen = recipe(
        model={"factory": "fashion_resnet_dense"},
        data={"source": FASHION},
        masks={"board": name, "sparsity": 0.17, "kernels": "3x3", "layers": ["layer?.*"]},
    )
    rounding = plan_recipe(
        chosen, planner=partial(network_plan, bundle=qemu_bundle)
    ).network.rounding
    assert rounding is not None
    assert rounding.reason is None
    assert {layer.path for layer in rounding.layers} & {"live-taps", "masked-igemm"}
    assert all(layer.wasted_rows <= 1 for layer in rounding.layers)
    assert not rounding.tile_rows
