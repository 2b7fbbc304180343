"""``deploy gain`` and ``deploy mask``: options, files, and the mark that later commands repeat."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from support.bundles import write_bundle, write_masked_model
from support.python_runner import python_runner
from support.tflite_writer import GraphWriter
from toolchain.cli.app import app
from toolchain.cli.gain import sparsities
from toolchain.errors import BoardConfigError, ModelError, OutputError
from toolchain.tflite_file.graph import read_model
from toolchain.tflite_file.layers import find_layers
from toolchain.tflite_file.untrained import is_untrained


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, where this machine's runtime is built."""
    monkeypatch.chdir(tmp_path)
    write_masked_model(tmp_path / "dense.tflite", sparsity=0)
    write_bundle(tmp_path / "build/host", python_runner())
    return tmp_path


def deploy(*words: str | Path, code: int = 0) -> Result:
    done = CliRunner().invoke(app, [str(word) for word in words])
    error = done.exception
    found = getattr(error, "exit_code", done.exit_code)
    assert found == code, (done.output, error)
    return done


def wrong(kind: type[Exception], *words: str | Path) -> Exception:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert isinstance(done.exception, kind), done.output
    return done.exception


# --- sparsities ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (None, [0.1, 0.2, 0.3]),
        (["0.25"], [0.25]),
        (["0.1,0.2", "0.3"], [0.1, 0.2, 0.3]),
        (["0.3, 0.1,0.3"], [0.3, 0.1]),
    ],
)
def test_sparsities_are_a_list_with_commas_or_an_option_given_again(
    given: list[str] | None, found: list[float]
) -> None:
    assert sparsities(given) == found


@pytest.mark.parametrize("text", ["", "0", "1", "-0.1", "1.5", "20%", "nan", "0.1,", "0.1;0.2"])
def test_what_is_no_share_is_a_usage_error(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="takes shares above 0 and below 1"):
        sparsities([text])
    deploy("mask", "m.tflite", f"--sparsity={text}", code=2)
    deploy("gain", "m.tflite", f"--sparsity={text}", code=2)


# --- mask ------------------------------------------------------------------------------------


def test_mask_writes_a_copy_a_sparsity_and_says_what_it_is(here: Path) -> None:
    before = (here / "dense.tflite").read_bytes()
    told = deploy("mask", "dense.tflite", "--sparsity", "0.1,0.25").stdout.splitlines()
    assert len(told) == 2
    for line, name, share in zip(told, ("s10", "s25"), (0.1, 0.25), strict=True):
        assert line.startswith(f"dense_{name}.tflite: masks on 2 layers, {share:.0%} of their")
        assert line.endswith("for measuring: not trained")
        model = read_model(here / f"dense_{name}.tflite")
        assert is_untrained(model)
        assert [layer.sparsity for layer in find_layers(model)] == [round(share * 256) / 256] * 2
    assert (here / "dense.tflite").read_bytes() == before


@pytest.mark.usefixtures("here")
def test_mask_in_json_has_each_copy_and_what_gets_none() -> None:
    found = json.loads(
        deploy("mask", "dense.tflite", "-s", "0.5", "-o", "m.tflite", "--json").stdout
    )
    (copy,) = found["copies"]
    assert copy["file"] == "m.tflite"
    assert copy["masked_pixels"] == 256
    assert copy["untrained"]
    assert len(found["masked"]) == 2
    assert found["left_out"] == []


def test_one_name_is_for_one_copy(here: Path) -> None:
    done = deploy("mask", "dense.tflite", "-s", "0.1,0.2", "-o", "m.tflite", code=2)
    assert "is for one sparsity" in re.sub(r"[\s│]+", " ", done.output)  # at any width
    assert not (here / "m.tflite").exists()


@pytest.mark.usefixtures("here")
def test_a_model_is_not_replaced_by_its_copy() -> None:
    error = wrong(OutputError, "mask", "dense.tflite", "-s", "0.1", "-o", "dense.tflite")
    assert "is read here, and would be replaced" in str(error)


@pytest.mark.usefixtures("here")
def test_a_policy_that_was_meant_is_named() -> None:
    done = deploy("mask", "dense.tflite", "--policy", "latice", code=2)
    assert "did you mean 'lattice'?" in " ".join(done.output.replace("│", " ").split())


def test_mask_draws_with_the_policy_and_seed_that_were_given(here: Path) -> None:
    def plane(*words: str) -> object:
        deploy("mask", "dense.tflite", "-s", "0.2", "-o", "m.tflite", *words)
        mask = find_layers(read_model(here / "m.tflite"))[0].mask
        assert mask is not None
        return mask.kept

    first = plane()
    np.testing.assert_array_equal(first, plane("--seed", "0"))
    for words in (["--seed", "1"], ["--policy", "random"], ["--policy", "lattice"]):
        assert not np.array_equal(first, plane(*words))  # type: ignore[arg-type]


# --- gain ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("option", [["--host", "pi@x"], ["--max-time", "3"], ["--timeout", "9"]])
def test_options_of_measuring_need_it(option: list[str]) -> None:
    done = deploy("gain", "dense.tflite", *option, code=2)
    assert "is for --measure" in done.output


@pytest.mark.usefixtures("here")
def test_a_board_without_a_model_of_time_is_to_be_measured() -> None:
    error = wrong(BoardConfigError, "gain", "dense.tflite", "--board", "host")
    assert isinstance(error, BoardConfigError)
    assert error.hint is not None
    assert "add --measure" in error.hint


def test_what_the_runtime_cannot_run_is_told_before_anything_is_done(here: Path) -> None:
    graph = GraphWriter()
    source = graph.tensor((1, 4, 4, 2))
    ones = np.ones((2, 1, 1, 2), np.float32)
    first = graph.conv_2d(source, ones, np.ones(2, np.float32), (1, 4, 4, 2))
    graph.write(
        here / "odd.tflite", [source], [graph.operator("STABLEHLO_ABS", [first], (1, 4, 4, 2))]
    )
    error = wrong(ModelError, "gain", "odd.tflite")
    assert "the runtime cannot run it: STABLEHLO_ABS" in str(error)


def test_a_masked_model_is_one_sentence(here: Path) -> None:
    write_masked_model(here / "masked.tflite")
    error = wrong(ModelError, "gain", "masked.tflite")
    assert str(error) == "masked.tflite: nothing of it can be masked: its layers have masks already"


# --- the mark --------------------------------------------------------------------------------

MARK = "s20.tflite: its masks are for measuring: not trained"


@pytest.fixture
def masked(here: Path) -> Path:
    deploy("mask", "dense.tflite", "-s", "0.2", "-o", "s20.tflite")
    return here / "s20.tflite"


def test_inspect_repeats_the_mark(masked: Path) -> None:
    for words in ([], ["--board", "rpi4"]):
        assert "masks: for measuring: not trained" in deploy("inspect", masked, *words).stdout
    assert json.loads(deploy("inspect", masked, "--json").stdout)["untrained"] is True
    assert json.loads(deploy("inspect", "dense.tflite", "--json").stdout)["untrained"] is False


@pytest.mark.usefixtures("masked")
def test_push_repeats_the_mark() -> None:
    done = deploy("push", "dense.tflite", "s20.tflite", "--board", "host", "--json")
    assert MARK in done.stderr
    assert "dense.tflite" not in done.stderr
    rows = {Path(row["file"]).name: row["untrained"] for row in json.loads(done.stdout)["files"]}
    assert rows["s20.tflite"]
    assert not rows["dense.tflite"]


def test_run_and_verify_repeat_the_mark(masked: Path) -> None:
    np.save(masked.with_name("x.npy"), np.zeros((1, 16, 16, 3), np.float32))
    line = ["run", "s20.tflite", "--input", "x.npy", "-o", "out", "--board", "host"]
    done = deploy(*line, "--json")
    assert MARK in done.stderr
    assert json.loads(done.stdout)["untrained"] is True
    done = deploy("verify", "s20.tflite", "dense.tflite", "--board", "host", "--json")
    assert MARK in done.stderr
    models = json.loads(done.stdout)["models"]
    assert [one["untrained"] for one in models] == [True, False]
    assert "s20.tflite (not trained)" in deploy("verify", "s20.tflite", "--board", "host").stdout
