from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from support.bundles import write_bundle, write_masked_model
from support.plans import operator, runner_plan
from toolchain.board import plan as planning
from toolchain.board.plan import core_plan, played_core
from toolchain.build.bundle import Bundle
from toolchain.errors import BoardError, BundleError, DeployError, ModelError
from toolchain.hardware.board_file import load_board
from toolchain.hardware.facts import Core, Isa
from toolchain.tflite_file.graph import read_model
from toolchain.tflite_file.layers import Layer, find_layers

HOST = load_board("host")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_masked_model(tmp_path / "m.tflite")


@pytest.fixture
def layers(model: Path) -> list[Layer]:
    return find_layers(read_model(model))


def bundle_of(folder: Path, script: str) -> Bundle:
    bundle = write_bundle(folder / "bundle", f"#!/bin/sh\n{script}\n".encode())
    bundle.runner.chmod(0o755)
    return bundle


def test_this_machine_s_runner_is_asked(tmp_path: Path, model: Path, layers: list[Layer]) -> None:
    text = runner_plan([operator(node=layers[0].index)])
    script = f'[ "$*" = "--plan --json - --model {model}" ] && echo {shlex.quote(text)}'
    plan = core_plan(HOST, model, layers, bundle_of(tmp_path, script))
    assert plan.core == "this machine"
    assert plan.layers[0].operator is not None


@pytest.mark.parametrize(
    ("script", "kind", "said"),
    [
        ("echo 'error: unknown argument' >&2; exit 2", BundleError, "tells no plan"),
        (f"echo {shlex.quote(runner_plan(None))}", BundleError, "is not patched"),
        ("echo 'tileskip-run: error: m is damaged' >&2; exit 3", ModelError, "^m is damaged"),
        ("exit 1", BoardError, "no reason given"),
        ("kill -KILL $$", BoardError, "ended by SIGKILL"),
        ("echo nothing", BoardError, "cannot be read"),
    ],
)
def test_a_runner_that_tells_none_is_an_error(
    tmp_path: Path,
    model: Path,
    layers: list[Layer],
    script: str,
    kind: type[DeployError],
    said: str,
) -> None:
    with pytest.raises(kind, match=said):
        core_plan(HOST, model, layers, bundle_of(tmp_path, script))


def test_without_a_bundle_the_line_that_builds_it_is_told(
    tmp_path: Path, model: Path, layers: list[Layer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError) as caught:
        core_plan(load_board("rpi4"), model, layers)
    assert caught.value.hint == "run: deploy build --board rpi4"


def test_qemu_plays_the_core_of_a_board(
    tmp_path: Path, model: Path, layers: list[Layer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def played(core: Core, root: Path, isa: Isa) -> list[str]:
        assert root.is_dir()
        return ["env", f"PLAYED={core},{isa}"]

    monkeypatch.setattr(planning, "emulator_command", played)
    text = runner_plan([operator()])
    script = f'[ "$PLAYED" = cortex-a76,aarch64 ] && echo {shlex.quote(text)}'
    plan = core_plan(load_board("rpi5"), model, layers, bundle_of(tmp_path, script))
    assert plan.core == "Cortex-A76"


def test_a_core_that_is_not_played_is_told(
    tmp_path: Path, model: Path, layers: list[Layer]
) -> None:
    board = load_board("rpi5").model_copy(update={"cpu": "Cortex-X9"})
    assert played_core(board) is None
    with pytest.raises(BoardError, match="QEMU plays no Cortex-X9"):
        core_plan(board, model, layers, bundle_of(tmp_path, "exit 0"))


@pytest.mark.parametrize("name", ["rpi3", "rpi3-armv7", "rpi4", "rpi5", "zero2w", "qemu"])
def test_the_core_of_every_board_that_ships_is_played(name: str) -> None:
    assert played_core(load_board(name)) is not None
