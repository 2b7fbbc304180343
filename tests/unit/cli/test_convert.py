from __future__ import annotations

import argparse
import json
import os
import pty
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from support.bundles import write_bundle
from support.masked_case import Case
from support.patience import PATIENCE
from support.places import REPOSITORY
from support.plans import operator, runner_plan
from support.published import write_header
from support.python_runner import python_runner
from toolchain.cli.app import app
from toolchain.errors import BoardConfigError, DataError, ModelError, VerificationError
from toolchain.zoo.fashion_resnet import fashion_resnet

CASE = Case(
    batch=1, height=4, width=4, channels_in=2, channels_out=3, kernel=(1, 1), stride=1, dilation=1,
    padding="SAME", depthwise=False, activation=None, form="select", mask_kind="columns",
    sparsity=0.0, seed=1,
)  # fmt: skip


def _invoke(*arguments: str | Path) -> str:
    result = CliRunner().invoke(
        app, [str(argument) for argument in arguments], catch_exceptions=False
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


def test_convert_takes_the_weights_that_are_asked_for_and_says_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    plain, averaged = fashion_resnet(), fashion_resnet()
    states = [{f"module._orig_mod.{n}": t for n, t in m.state_dict().items()}
              for m in (plain, averaged)]  # fmt: skip
    beside = {"args": argparse.Namespace(lr=0.1), "epoch": 3}
    torch.save({"model": states[0], "model_ema": states[1], **beside}, "both.pt")
    torch.save({"model": averaged.state_dict()}, "averaged.pt")
    command = ("convert", "both.pt", "--model", "fashion_resnet_dense", "-o", "net.tflite")
    told = json.loads(_invoke(*command, "--json"))["weights"]
    assert told == [
        "the weights 'model' are taken; the file also holds 'model_ema' "
        "(--weights model_ema takes them)"
    ]
    files = []
    for weights in ("ema", "model_ema"):
        printed = " ".join(_invoke(*command, "--weights", weights).split())
        assert "weights: the weights 'model_ema', an average, are taken" in printed
        files.append(Path("net.tflite").read_bytes())
    _invoke("convert", "averaged.pt", "--model", "fashion_resnet_dense", "-o", "net.tflite")
    assert files == [Path("net.tflite").read_bytes()] * 2
    for wrong, message in (("best", "no weights called 'best'"), ("args", "called 'args'")):
        with pytest.raises(ModelError, match=message):
            _invoke(*command, "--weights", wrong)


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What ``--json`` says of a network that was quantised with data of its own."""
    folder = tmp_path_factory.mktemp("int8")
    images = np.random.default_rng(0).standard_normal((40, 1, 28, 28)).astype(np.float32)
    np.savez(folder / "images.npz", images)
    command: list[str | Path] = ["convert", "--model", "fashion_resnet_s20", "--json"]
    command += ["-o", folder / "net.tflite"]
    command += ["--quantize", "int8", "--calibration", folder / "images.npz", "--io", "int8"]
    done: dict[str, Any] = json.loads(_invoke(*command))
    return done


def test_convert_to_int8_says_what_it_did_and_how_far_it_is_from_torch(
    int8: dict[str, Any],
) -> None:
    assert int8["quantize"] == "int8"
    assert int8["calibration"]["inferences"] == 35
    assert int8["calibration"]["checked"] == 5
    assert int8["sqnr_db"] > 25 > int8["min_sqnr_db"] == 10
    assert 0 < int8["max_steps"] < 10
    assert int8["float_relative_diff"] < 1e-5
    assert {layer["form"] for layer in int8["layers"]} == {"select"}
    assert all(layer["skipped"] for layer in int8["layers"])
    assert int8["float_operators"] == {}
    runs = [(item["runtime"].split()[0], item["kernels"]) for item in int8["runtimes"]]
    assert runs[:2] == [("ai-edge-litert", "xnnpack"), ("ai-edge-litert", "builtin")]
    absent = " ".join(int8["not_run"])
    for name, told, kernels in (
        ("tflite-runtime", "tflite-runtime", 2),
        ("tileskip", "this project's runtime", 1),
    ):
        ran = sum(runtime == name for runtime, _ in runs)
        assert ran == (0 if told in absent else kernels)


def test_int8_inputs_and_outputs_have_a_scale(int8: dict[str, Any]) -> None:
    for tensor in (*int8["inputs"], *int8["outputs"]):
        assert tensor["dtype"] == "int8"
        assert tensor["scale"] > 0
        assert -128 <= tensor["zero_point"] <= 127
    report = json.loads(_invoke("inspect", int8["path"], "--json"))
    assert report["inputs"][0]["scale"] == pytest.approx(int8["inputs"][0]["scale"])
    assert report["inputs"][0]["zero_point"] == int8["inputs"][0]["zero_point"]
    assert "zero point" in _invoke("inspect", int8["path"])


def test_inspect_shows_the_masks_of_an_int8_file(int8: dict[str, Any]) -> None:
    report = json.loads(_invoke("inspect", int8["path"], "--json"))
    assert report["masked_layers"] == report["skipped_layers"] == len(int8["layers"])
    assert report["macs_saved"] == int8["macs_saved"] > 0
    layer = next(item for item in report["layers"] if item["name"] == "layer1.0.conv2")
    assert layer["dtype"] == "int8"
    assert layer["mask"]["fill"]["minimum"] < 0 < layer["mask"]["fill"]["maximum"]


@pytest.mark.parametrize("kind", ["fp16", "dynamic"])
def test_convert_quantises_weights_without_data(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "net.tflite"
    command = ("convert", "--model", "fashion_resnet_s20", "-o", path, "--quantize", kind)
    done = json.loads(_invoke(*command, "--json"))
    assert done["calibration"] is None
    assert done["sqnr_db"] > done["min_sqnr_db"]
    assert done["max_steps"] is None
    skipped = {layer["skipped"] for layer in done["layers"]}
    assert skipped == {kind == "fp16"}
    assert {tensor["dtype"] for tensor in done["inputs"]} == {"float32"}
    assert done["bytes"] < 200_000  # 330 kB in float32


def test_int8_without_data_says_what_is_missing(tmp_path: Path) -> None:
    command = ["convert", "--model", "fashion_resnet_s20", "--quantize", "int8"]
    with pytest.raises(DataError, match="int8 needs data") as caught:
        _invoke(*command, "-o", tmp_path / "net.tflite")
    assert "--calibration" in (caught.value.hint or "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("source", ["nowhere", "images.npz", "no_such_module:data", "empty"])
def test_data_that_does_not_fit_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "images.npz", np.zeros((3, 1, 27, 28), np.float32))
    command = ["convert", "--model", "fashion_resnet_s20", "--quantize", "int8"]
    with pytest.raises(DataError):
        _invoke(*command, "--calibration", source, "-o", "net.tflite")
    assert {path.name for path in tmp_path.iterdir()} == {"empty", "images.npz"}


def test_a_quantised_file_that_is_too_far_from_torch_is_not_written(tmp_path: Path) -> None:
    command = ("convert", "--model", "fashion_resnet_s20", "-o", tmp_path / "net.tflite")
    with pytest.raises(VerificationError, match=r"too far from torch: output 0, .*dB") as caught:
        _invoke(*command, "--quantize", "fp16", "--min-sqnr", "200")
    assert "no file was written" in (caught.value.hint or "")
    assert "--min-sqnr" not in (caught.value.hint or "")
    assert not list(tmp_path.iterdir())


def test_what_was_not_tried_is_for_those_who_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No environment of tflite-runtime, and no bundle for this machine, is nothing to tell."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VENV_TFLITE", raising=False)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "here" / "venv"))
    command = ("convert", "--model", "fashion_resnet_dense", "-o", tmp_path / "net.tflite")
    plain, verbose = _invoke(*command), _invoke(*command, "--verbose")
    for word in ("not run", ".venv-tflite", "build/host"):
        assert word not in plain
        assert word in verbose
    assert "output 0: " in verbose
    told = json.loads(_invoke(*command, "--json"))["not_run"]
    assert ["tflite-runtime" in told[0], "deploy build --board host" in told[1]] == [True, True]


def test_a_file_is_tried_on_the_runtime_of_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_bundle(tmp_path / "build" / "host", python_runner("outputs[0][0, 3] += 1"))
    command = ("convert", "--model", "fashion_resnet_dense", "-o", "net.tflite")
    with pytest.raises(VerificationError, match=r"channel 3 .* on tileskip 0 \(build/host\)"):
        _invoke(*command)
    write_bundle(tmp_path / "right", python_runner())
    shutil.rmtree("build/host")
    Path("right").rename("build/host")
    done = json.loads(_invoke(*command, "--json"))
    assert done["runtimes"][-1]["runtime"] == "tileskip 0 (build/host)"


@pytest.mark.parametrize(
    "options",
    [
        ("--quantize", "int4"),
        ("--calibration", "random"),
        ("--quantize", "fp16", "--calibration", "random"),
        ("--quantize", "dynamic", "--io", "int8"),
        ("--quantize", "dynamic", "--samples", "10"),
        ("--quantize", "int8", "--calibration", "random", "--samples", "0"),
        ("--quantize", "int8", "--calibration", "random", "--io", "uint8"),
        ("--min-sqnr", "20"),
    ],
)
def test_options_that_do_not_go_together_are_usage_errors(options: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, ["convert", "--model", "a:b", *options])
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output


def test_inspect_draws_a_mask(tmp_path: Path) -> None:
    path = CASE.write(tmp_path / "model.tflite")
    assert _invoke("inspect", path, "--mask", "0").splitlines() == ["██  ██"] * 4
    drawn = json.loads(_invoke("inspect", path, "--mask", "0", "--json"))
    assert drawn == [[1, 0, 1, 0]] * 4


def test_inspect_counts_in_the_tiles_of_a_board_whose_runtime_is_not_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = CASE.write(tmp_path / "model.tflite")
    kept = int(CASE.mask.sum())
    (tiles,) = json.loads(_invoke("inspect", path, "--board", "rpi4", "--json"))["tiling"]["layers"]
    rows = tiles["masked"]
    assert rows["tiles"] * rows["mr"] - rows["wasted"] == kept
    text = _invoke("inspect", path, "--board", "rpi4")
    assert "wasted" in text
    assert "deploy build --board rpi4" in " ".join(text.split())
    assert json.loads(_invoke("inspect", path, "--json"))["tiling"] is None
    with pytest.raises(BoardConfigError, match="no board called 'rpi9'"):
        _invoke("inspect", path, "--board", "rpi9")


def test_inspect_shows_the_plan_of_a_board_whose_runtime_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = CASE.write(tmp_path / "model.tflite")
    told = operator(path="live-taps", pixels=16, kept=int(CASE.mask.sum()))
    script = f"#!/bin/sh\necho {shlex.quote(runner_plan([told]))}\n"
    write_bundle(tmp_path / "build/host", script.encode()).runner.chmod(0o755)
    report = json.loads(_invoke("inspect", path, "--board", "host", "--json"))
    assert report["plan"]["layers"][0]["operator"]["path"] == "live-taps"
    assert report["no_plan"] is None
    assert "live-taps" in _invoke("inspect", path, "--board", "host")


@pytest.mark.parametrize("shape", ["", "1,3,x", "1,0,8,8", "-1", "three"])
def test_an_input_shape_that_is_none_is_a_usage_error(shape: str) -> None:
    result = CliRunner().invoke(app, ["convert", "--model", "a:b", "--input-shape", shape])
    assert result.exit_code == 2


def test_a_fault_of_the_model_reaches_the_caller() -> None:
    with pytest.raises(ModelError, match=r"net\.pt: cannot be read"):
        CliRunner().invoke(app, ["convert", "net.pt"], catch_exceptions=False)


def test_a_truncated_file_is_one_message_and_exit_code_3(tmp_path: Path) -> None:
    path = CASE.write(tmp_path / "model.tflite")
    path.write_bytes(path.read_bytes()[:-200])
    done = subprocess.run(
        [sys.executable, REPOSITORY / "deploy.py", "inspect", path],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 3
    assert not done.stdout
    assert "is truncated or damaged" in done.stderr
    assert "hint:" in done.stderr
    assert "Traceback" not in done.stderr


# --- trust -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "net.pt2"
    model = torch.nn.Conv2d(3, 4, 3).eval()
    torch.export.save(torch.export.export(model, (torch.randn(1, 3, 8, 8),)), path)
    return path


def test_a_program_is_not_loaded_where_nobody_can_be_asked(program: Path, tmp_path: Path) -> None:
    output = tmp_path / "net.tflite"
    line = ["convert", str(program), "--output", str(output)]
    result = CliRunner().invoke(app, line)
    assert isinstance(result.exception, ModelError)
    assert result.exception.hint == (
        f"if you trust whoever made it, run: deploy convert {program} --trust"
    )
    assert not output.exists()
    _invoke(*line, "--trust")
    assert output.exists()


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 3), ("", 3)])
def test_a_program_is_asked_for_on_a_terminal(
    program: Path, tmp_path: Path, answer: str, code: int
) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, REPOSITORY / "deploy.py", "convert", program, "-o", "net.tflite"],
        cwd=tmp_path, stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    said, answered = b"", False
    while True:
        try:
            part = os.read(ours, 1 << 16)
        except OSError:  # the program has gone
            break
        said += part
        if b"[y/N]" in said and not answered:
            os.write(ours, f"{answer}\n".encode())
            answered = True
    os.close(ours)
    assert process.wait() == code, said
    assert answered
    assert (tmp_path / "net.tflite").exists() == (code == 0)
