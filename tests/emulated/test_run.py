"""The real runner on the emulated board, through the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.bundles import write_masked_model, write_two_input_model
from support.colour_detector import box_of, draw_cells, write_colour_detector
from support.places import REPOSITORY
from support.tflite_writer import GraphWriter
from toolchain.agreement.inputs import Batch
from toolchain.agreement.interpreter import run_here
from toolchain.board.connection import Connection
from toolchain.build.bundle import Bundle
from toolchain.hardware.board_file import Board
from toolchain.profile.document import load_profile
from toolchain.profile.runner_output import parse_output
from toolchain.tflite_file.graph import read_model
from toolchain.tflite_file.layers import find_layers


@dataclass
class Deploy:
    """The command line, on this session's board."""

    board: Path
    bundle: Path

    def __call__(self, command: str, *arguments: str | Path, code: int = 0) -> str:
        options = ["--board", self.board, "--bundle", self.bundle]
        result = subprocess.run(
            [sys.executable, "deploy.py", command, *map(str, [*arguments, *options])],
            cwd=REPOSITORY, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert result.returncode == code, result.stderr
        return result.stdout if code == 0 else result.stderr

    def json(self, command: str, *arguments: str | Path) -> Any:
        return json.loads(self(command, *arguments, "--json"))


@pytest.fixture(scope="module")
def deploy(board: Board, qemu_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Deploy:
    path = tmp_path_factory.mktemp("board") / f"{board.name}.toml"
    path.write_text((REPOSITORY / "boards" / "qemu.toml").read_text())
    return Deploy(path, qemu_bundle.path)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A dense network and its masked twin."""
    folder = tmp_path_factory.mktemp("models")
    return (
        write_masked_model(folder / "dense.tflite", sparsity=0),
        write_masked_model(folder / "masked.tflite", sparsity=0.3),
    )


def test_the_boards_outputs_are_the_hosts(deploy: Deploy, models: tuple[Path, Path]) -> None:
    found = deploy.json("verify", *models, "--inputs", "4")
    assert [item["passed"] for item in found["models"]] == [True, True]
    assert all(item["max_output"] > 0 for item in found["models"])


def test_a_tolerance_that_is_not_met_ends_with_code_4(deploy: Deploy, tmp_path: Path) -> None:
    """The two machines compute a logistic function differently in the last bit."""
    graph = GraphWriter()
    source = graph.tensor((1, 4096))
    output = graph.operator("LOGISTIC", [source], (1, 4096))
    model = graph.write(tmp_path / "logistic.tflite", [source], [output])
    assert deploy.json("verify", model)["models"][0]["passed"]
    said = deploy("verify", model, "--tolerance", "0", code=4)
    assert "differs from the host by" in said


def test_a_stack_of_inputs_is_run_one_by_one(
    deploy: Deploy, models: tuple[Path, Path], tmp_path: Path
) -> None:
    inputs = np.random.default_rng(3).standard_normal((5, 16, 16, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", inputs)
    deploy("run", models[1], "--input", tmp_path / "x.npy", "--output-dir", tmp_path / "out")
    output = np.load(tmp_path / "out" / "output0.npy")
    (expected,) = run_here(read_model(models[1]), Batch((inputs[:, None],), joined=True))
    assert output.shape == (5, 16, 16, 8)
    np.testing.assert_allclose(output, expected[:, 0], atol=1e-4)


def test_several_inputs_of_a_model(deploy: Deploy, tmp_path: Path) -> None:
    model = write_two_input_model(tmp_path / "pair.tflite")
    for name, value in (("a", 1.0), ("b", 2.0)):
        np.save(tmp_path / f"{name}.npy", np.full((1, 4), value, np.float32))
    deploy("run", model, "--input", tmp_path / "a.npy", "--input", tmp_path / "b.npy",
           "--output-dir", tmp_path)  # fmt: skip
    assert np.load(tmp_path / "output0.npy").tolist() == [[3.0] * 4]


def test_instruction_counts_repeat_exactly_and_masks_lower_them(
    deploy: Deploy, models: tuple[Path, Path], tmp_path: Path
) -> None:
    counts = []
    for name in ("one.json", "two.json"):
        deploy("profile", *models, "--runs", "5", "--output", tmp_path / name)
        profile = load_profile(tmp_path / name)
        assert profile.board.facts.emulated
        counts.append([item.instructions for item in profile.measurements])
    assert counts[0] == counts[1]
    dense, masked = counts[0]
    assert dense is not None
    assert masked is not None
    assert masked < dense
    assert profile.measurements[1].macs_saved > 0


# Waits until a second is nearly full, so that the runs go on into the next one.
_ACROSS_A_SECOND = """
while :; do case $(cut -d ' ' -f 1 /proc/uptime) in *.9[0-9]) break ;; esac; done
exec "$1" --model "$2" --runs 60000 --warmup 0 --json -
"""


def test_counts_are_the_same_while_a_second_begins(
    deploy: Deploy, connection: Connection, tmp_path: Path
) -> None:
    """The C library then takes more instructions to tell the time, until the kernel's next tick."""
    model = write_two_input_model(tmp_path / "model.tflite")
    pushed = deploy.json("push", model)["files"]
    runner, sent = (
        next(one["remote"] for one in pushed if one["remote"].endswith(end))
        for end in ("/tileskip-run", ".tflite")
    )
    done = connection.run(["sh", "-c", _ACROSS_A_SECOND, "sh", runner, sent])
    output = parse_output(done.stdout)
    assert output.instructions is not None
    assert output.timing is not None
    assert len(set(output.instructions.per_run)) == 1


def test_a_profile_has_operators_and_a_plot(
    deploy: Deploy, models: tuple[Path, Path], tmp_path: Path
) -> None:
    text = deploy(
        "profile", *models, "--runs", "2", "--per-op", "--wide", "--plot", tmp_path / "p.svg"
    )
    assert "seconds mean nothing" in text.replace("\n", " ")
    assert "masked beside dense" in text
    for layer in find_layers(read_model(models[1])):
        assert layer.name in text
    assert (tmp_path / "p.svg").read_bytes().startswith(b"<?xml")


def test_a_profile_asks_the_runtime_which_taps_it_skips(
    deploy: Deploy, models: tuple[Path, Path]
) -> None:
    dense, masked = deploy.json("profile", *models)["measurements"]
    assert dense["live_share"] == 1.0
    assert 0 < masked["live_share"] < 1


def test_two_profiles_of_one_model_are_the_same(
    deploy: Deploy, models: tuple[Path, Path], tmp_path: Path
) -> None:
    deploy("profile", models[0], "--runs", "2", "--output", tmp_path / "p.json")
    result = subprocess.run(
        [sys.executable, "deploy.py", "compare", tmp_path / "p.json", tmp_path / "p.json",
         "--json"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(result.stdout)
    (comparison,) = found["comparisons"]
    assert all(item["verdict"] == "no change" for item in comparison["changes"])


def test_a_truncated_model_is_refused_before_it_is_sent(
    deploy: Deploy, models: tuple[Path, Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(models[0].read_bytes()[:500])
    assert "broken.tflite" in deploy("verify", broken, code=3)
    assert "broken.tflite" in deploy("profile", broken, code=3)


def test_objects_are_found_on_the_board_where_they_lie(deploy: Deploy, tmp_path: Path) -> None:
    model = write_colour_detector(tmp_path / "detector.tflite")
    pictures = [
        draw_cells(tmp_path / f"{number}.png", {cell: "red"})
        for number, cell in enumerate([(5, 6), (9, 2)])
    ]
    told = deploy.json("detect", model, *pictures, "--output-dir", tmp_path / "out")
    boxes = [[one["box"] for one in picture["objects"]] for picture in told["pictures"]]
    np.testing.assert_allclose(boxes, [[box_of(5, 6)], [box_of(9, 2)]], atol=1e-3)
    assert "stock interpreter" not in told["ran_on"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.png", "1.png"]
