"""The command line: ``deploy train``."""

from __future__ import annotations

import json
import signal
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from support.patience import PATIENCE, await_that
from support.places import REPOSITORY
from support.tiny_training import (
    FASHION,
    HELD,
    HOLD,
    NET,
    STEPS,
    deploy_train,
    images,
    net_of_slow_statistics,
    saved_since,
    scalars,
    write_recipe,
)
from toolchain.cli.app import app, main
from toolchain.sparsity.checkpoint import load_checkpoint, load_metadata, load_model
from toolchain.zoo.catalog import ZOO

FASHION_NET = ZOO["fashion_resnet_dense"].factory


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoke(*arguments: str | Path) -> str:
    result = CliRunner().invoke(
        app, [str(argument) for argument in arguments], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return result.stdout


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- what it prints and writes ---------------------------------------------------------------


def test_a_recipe_is_trained_into_files_of_its_name(here: Path) -> None:
    write_recipe(here / "tiny.toml", masks={"tile_rows": 4})
    printed = invoke("train", "tiny.toml")
    assert names(here) == ["tiny.run", "tiny.safetensors", "tiny.toml"]
    words = [" ".join(line.split()) for line in printed.splitlines()]
    assert words[0] == "layer pixels kept sparsity MACs MACs kept tiles saved"
    assert words[1] == "0 64 48 25.0% 4.6 k 3.5 k 4 of 16"
    assert "tiles of 4 pixels: 5 of 20 saved" in printed
    assert "test accuracy " in printed
    assert (
        f"tiny.safetensors is written; next: deploy convert tiny.safetensors --model {NET}"
    ) in printed
    assert "tensorboard --logdir tiny.run" in printed


def test_json_says_all_that_the_table_shows(here: Path) -> None:
    write_recipe(here / "tiny.toml", masks={"rounded": {"0": 4}, "tile_share": 1.0})
    said = json.loads(invoke("train", "tiny.toml", "--json", "-o", "out.st", "--run-dir", "run"))
    assert names(here) == ["out.st", "run", "tiny.toml"]
    assert (said["path"], said["run_folder"], said["resumed_at"]) == ("out.st", "run", None)
    assert said["convert_command"] == f"deploy convert out.st --model {NET}"
    for one in (said, said["last"]):
        assert one["accuracy"] == said["epochs"][one["epoch"] - 1]["accuracy"]
        assert one["loss"] == said["epochs"][one["epoch"] - 1]["loss"]
    assert said["last"]["epoch"] == 4
    assert said["schedule"] == {"first_step": 2, "final_step": 21, "steps": 24}
    assert said["same_images"]["images"] == 96
    assert said["notes"] == []
    assert [epoch["step"] for epoch in said["epochs"]] == [6, 12, 18, 24]
    network = said["network"]
    assert [layer["tile_rows"] for layer in network["layers"]] == [4, 1]
    assert [layer["kept"] for layer in network["layers"]] == [48, 12]
    assert network["macs_kept"] < network["macs"]


def test_a_board_without_a_runtime_rounds_nothing_and_says_what_builds_it(here: Path) -> None:
    write_recipe(here / "tiny.toml", masks={"board": "rpi4"})
    note = "note: no mask is rounded to the tiles of board 'rpi4': "
    printed = " ".join(invoke("train", "tiny.toml", "--check").split())
    assert note in printed
    assert "run: deploy build --board rpi4" in printed
    said = json.loads(invoke("train", "tiny.toml", "--json"))
    assert [layer["tile_rows"] for layer in said["network"]["layers"]] == [1, 1]
    assert said["notes"][0].startswith(note.removeprefix("note: "))
    assert json.loads((here / "tiny.run/rounding.json").read_text())["layers"] == []


def test_a_check_trains_and_writes_nothing(here: Path) -> None:
    write_recipe(here / "tiny.toml")
    printed = invoke("train", "tiny.toml", "--check")
    assert "96 training and 48 test images, 3 classes; 4 epochs, 24 steps" in printed
    assert "the recipe is good; nothing was trained" in printed
    said = json.loads(invoke("train", "tiny.toml", "--check", "--json"))
    assert said["steps"] == STEPS
    assert [layer["kept"] for layer in said["network"]["layers"]] == [48, 12]
    assert names(here) == ["tiny.toml"]


def test_a_recipe_of_any_name_is_trained(here: Path) -> None:
    write_recipe(here / "a [b] 'c'.toml", training={"epochs": 1})
    printed = invoke("train", "a [b] 'c'.toml")
    assert "a [b] 'c'.safetensors is written" in printed
    assert "curves: tensorboard --logdir 'a [b] '\"'\"'c'\"'\"'.run'" in printed
    assert f"deploy convert 'a [b] '\"'\"'c'\"'\"'.safetensors' --model {NET}" in printed


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"masks": {"policy": "poled"}}, 15, "r.toml: masks.policy: there is no policy 'poled'"),
        ({"masks": {"sparsity": 1}}, 15, "r.toml: masks.sparsity: Input should be less than 1"),
        ({"masks": {"layers": ["stem"]}}, 3, "layer pattern 'stem' matches none"),
        ({"data": {"source": "pets", "image_size": 8}}, 14, "there is no such folder"),
        ({"masks": {"board": "rpi9"}}, 5, "there is no board called 'rpi9'"),
    ],
)
def test_a_bad_recipe_is_one_message_and_its_exit_code(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any], code: int, message: str,
) -> None:  # fmt: skip
    write_recipe(here / "r.toml", **changes)
    for option in ([], ["--check"]):
        monkeypatch.setattr("sys.argv", ["deploy", "train", "r.toml", *option])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == code
        printed = capsys.readouterr()
        assert message in printed.err
        assert "hint:" in printed.err
        assert printed.out == ""
    assert names(here) == ["r.toml"]


# --- stopped and resumed ---------------------------------------------------------------------


def test_a_training_stops_on_request_goes_on_and_logs_each_step_once(tmp_path: Path) -> None:
    steps, hold = 240, tmp_path / "hold"
    data = {"source": HELD}
    write_recipe(tmp_path / "tiny.toml", data=data, training={"epochs": 40, "checkpoint_every": 4})
    line, environment = deploy_train("tiny.toml")
    state = tmp_path / "tiny.run/state.pt"
    stopped: list[int] = []
    for request, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        before = state.stat().st_mtime_ns if stopped else 0
        hold.write_text(str(30 * 16))  # some twenty steps from where it goes on
        with subprocess.Popen(
            line, cwd=tmp_path, env=environment | {HOLD: str(hold)}, stderr=subprocess.PIPE,
            text=True,
        ) as process:  # fmt: skip
            await_that("it has saved its state", partial(saved_since, state, before))
            process.send_signal(request)
            hold.unlink()
            _, told = process.communicate(timeout=PATIENCE)
        assert process.returncode == code, told
        assert "; saved: the same command goes on from there" in told
        assert "Traceback" not in told
        stopped.append(int(told.split("stopped after step ")[1].split(";")[0]))
        assert names(tmp_path) == ["tiny.run", "tiny.toml"]
    done = subprocess.run(
        line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert 0 < stopped[0] < stopped[1] < steps
    assert f"resumed after step {stopped[1]} of {steps}" in done.stderr
    assert "tiny.safetensors is written" in done.stdout
    run = tmp_path / "tiny.run"
    for tag in ("train/loss", "train/learning_rate"):
        assert [step for step, _ in scalars(run, tag)] == list(range(1, steps + 1))
    for tag in ("test/accuracy", "masks/sparsity"):
        assert [step for step, _ in scalars(run, tag)] == list(range(6, steps + 1, 6))
    assert scalars(run, "test/accuracy")[-1][1] > 0.9
    assert scalars(run, "masks/sparsity")[-1][1] == 0.25


# --- what becomes of it ----------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"pruning": {"ratio": 0.25}}], ids=["masked", "pruned"])
def test_a_network_of_ours_converts_without_further_options(
    here: Path, changes: dict[str, Any]
) -> None:
    write_recipe(
        here / "fashion.toml",
        model={"factory": FASHION_NET},
        data={"source": FASHION},
        training={"epochs": 1, "batch_size": 8},
        masks={"kernels": "3x3"},
        **changes,
    )
    trained = json.loads(invoke("train", "fashion.toml", "--json"))
    assert trained["convert_command"] == "deploy convert fashion.safetensors"
    done = json.loads(invoke("convert", "fashion.safetensors", "--json"))
    assert done["relative_diff"] <= done["tolerance"]
    layers = {layer["name"]: layer for layer in trained["network"]["layers"]}
    assert len(layers) == 7
    for layer in done["layers"]:
        assert layer["kept"] == layers[layer["name"]]["kept"]
    assert done["macs"] == pytest.approx(trained["network"]["macs"], rel=0.01)
    assert not [text for text in load_metadata("fashion.safetensors").values() if str(here) in text]


def test_a_network_of_the_users_converts_with_the_command_that_was_told(here: Path) -> None:
    write_recipe(here / "r.toml", model={"arguments": {"channels": 4}}, training={"epochs": 1})
    command = json.loads(invoke("train", "r.toml", "--json"))["convert_command"].split()
    assert command[0] == "deploy"
    done = json.loads(invoke(*command[1:], "--json"))
    assert [layer["kept"] for layer in done["layers"]] == [48, 12]


def test_a_short_training_is_written_as_good_as_it_was(here: Path) -> None:
    # Statistics that follow slowly, as in a network that is trained on for long: whether they were
    # measured anew or not is then all the difference.
    write_recipe(
        here / "r.toml",
        model={"factory": "support.tiny_training:net_of_slow_statistics"},
        masks={"sparsity": 0.25},
    )
    said = json.loads(invoke("train", "r.toml", "--json"))
    assert said["accuracy"] > 0.9
    pictures, labels = images("train").tensors
    for name in ("r.safetensors", "r.run/last.safetensors"):
        model = load_model(net_of_slow_statistics(), load_checkpoint(name))
        with torch.no_grad():
            assert float((model(pictures).argmax(1) == labels).float().mean()) > 0.9


def test_both_networks_that_are_kept_convert(here: Path) -> None:
    write_recipe(here / "r.toml", model={"arguments": {"channels": 4}}, training={"epochs": 1})
    said = json.loads(invoke("train", "r.toml", "--json"))
    assert said["last"]["path"] == "r.run/last.safetensors"
    for command in (said["convert_command"], said["last"]["convert_command"]):
        invoke(*command.split()[1:], "--json")


# --- where a recipe's names count from -------------------------------------------------------


def test_data_module_weights_and_board_count_from_the_recipes_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    (home / "nets_at_home.py").write_text(
        f"from {NET.partition(':')[0]} import images, net as made\n"
        "def net(**named): return made(**named)\n"
    )
    board = (REPOSITORY / "boards/rpi4.toml").read_text()
    (home / "mine.toml").write_text(board)
    code = {"factory": "nets_at_home:net"}
    data = {"source": "nets_at_home:images"}
    write_recipe(home / "first.toml", model=code, data=data, training={"epochs": 1})
    write_recipe(
        home / "second.toml",
        model={**code, "weights": "first.safetensors"},
        data=data,
        training={"epochs": 1},
        masks={"board": "mine.toml"},
        distillation={"weights": "first.safetensors", "factory": "nets_at_home:net"},
    )
    monkeypatch.chdir(elsewhere)
    invoke("train", "../home/first.toml", "-o", home / "first.safetensors", "--run-dir", "run1")
    said = json.loads(invoke("train", "../home/second.toml", "--json"))
    assert said["network"]["rounding"]["board"] == "mine"
    assert said["convert_command"] == (
        "deploy convert second.safetensors --model ../home/nets_at_home:net"
    )
    assert load_metadata("second.safetensors")["factory"] == "nets_at_home:net"
    invoke(*said["convert_command"].split()[1:])
    assert names(elsewhere) == ["run1", "second.run", "second.safetensors", "second.tflite"]
