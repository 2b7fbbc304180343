from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import deploy
from support.masked_case import Case
from support.published import write_header
from toolchain.errors import BoardConfigError, ModelError
from toolchain.models.fashion_resnet import fashion_resnet

ROOT = Path(__file__).resolve().parents[2]
CASE = Case(
    batch=1, height=4, width=4, channels_in=2, channels_out=3, kernel=(1, 1), stride=1, dilation=1,
    padding="SAME", depthwise=False, activation=None, form="select", mask_kind="columns",
    sparsity=0.0, seed=1,
)  # fmt: skip


def _invoke(*arguments: str | Path) -> str:
    result = CliRunner().invoke(
        deploy.app, [str(argument) for argument in arguments], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return result.stdout


def test_convert_and_inspect_a_network_of_the_zoo(tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    done = json.loads(
        _invoke("convert", "--model", "fashion_resnet_dense", "-o", path, "--json", "--seed", "5")
    )
    assert done["path"] == str(path)
    assert done["seed"] == 5
    assert done["relative_diff"] <= done["tolerance"] == 1e-5
    report = json.loads(_invoke("inspect", path, "--json"))
    assert report["macs"] == done["macs"]
    assert report["inputs"][0]["shape"] == [1, 28, 28, 1]
    assert "CONV 3x3" in _invoke("inspect", path)


def test_convert_takes_the_masks_of_a_header_for_weights_without(tmp_path: Path) -> None:
    model = fashion_resnet()
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    mask = torch.arange(14 * 14).view(14, 14) % 5 != 0
    header = write_header(tmp_path / "bin_mask.h", {"layer1.0.conv1": mask})
    net = tmp_path / "net.tflite"
    command = ("convert", tmp_path / "weights.pt", "--model", "fashion_resnet_dense", "-o", net)
    done = json.loads(_invoke(*command, "--masks", header, "--json"))
    [layer] = done["layers"]
    assert (layer["name"], layer["kept"], layer["form"]) == ("layer1.0.conv1", 156, "select")
    assert done["mask_header"]["used"]
    assert done["mask_header"]["layers"] == ["layer1.0.conv1"]


def test_inspect_draws_a_mask(tmp_path: Path) -> None:
    path = CASE.write(tmp_path / "model.tflite")
    assert _invoke("inspect", path, "--mask", "0").splitlines() == ["██  ██"] * 4
    drawn = json.loads(_invoke("inspect", path, "--mask", "0", "--json"))
    assert drawn == [[1, 0, 1, 0]] * 4


def test_inspect_counts_in_the_tiles_of_a_board(tmp_path: Path) -> None:
    path = CASE.write(tmp_path / "model.tflite")
    kept = int(CASE.mask.sum())
    (tiles,) = json.loads(_invoke("inspect", path, "--board", "rpi4", "--json"))["tiling"]["layers"]
    rows = tiles["masked"]
    assert rows["tiles"] * rows["mr"] - rows["wasted"] == kept
    assert "wasted" in _invoke("inspect", path, "--board", "rpi4")
    assert json.loads(_invoke("inspect", path, "--json"))["tiling"] is None
    with pytest.raises(BoardConfigError, match="no board called 'rpi9'"):
        _invoke("inspect", path, "--board", "rpi9")


@pytest.mark.parametrize("shape", ["", "1,3,x", "1,0,8,8", "-1", "three"])
def test_an_input_shape_that_is_none_is_a_usage_error(shape: str) -> None:
    result = CliRunner().invoke(deploy.app, ["convert", "--model", "a:b", "--input-shape", shape])
    assert result.exit_code == 2


def test_a_fault_of_the_model_reaches_the_caller() -> None:
    with pytest.raises(ModelError, match="nothing to convert"):
        CliRunner().invoke(deploy.app, ["convert"], catch_exceptions=False)


def test_a_truncated_file_is_one_message_and_exit_code_3(tmp_path: Path) -> None:
    path = CASE.write(tmp_path / "model.tflite")
    path.write_bytes(path.read_bytes()[:-200])
    done = subprocess.run(
        [sys.executable, ROOT / "deploy.py", "inspect", path],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 3
    assert not done.stdout
    assert "is truncated or damaged" in done.stderr
    assert "hint:" in done.stderr
    assert "Traceback" not in done.stderr
