"""One form for the results of every tool, and which file is of which."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from support.foreign_samples import SAMPLES, sample
from support.profiles import in_turns, measurement, profile_of
from support.runner_outputs import runner_output
from toolchain.errors import ModelError
from toolchain.profile.document import Failure
from toolchain.profile.facts import BoardFacts, Vitals
from toolchain.profile.results import (
    KINDS,
    ModelResult,
    Result,
    Summary,
    from_profile,
    read_result,
    summary_of,
)

EXPECTED = {
    "benchmark_model": "benchmark_model/xnnpack.txt",
    "benchncnn": "benchncnn/one_model.txt",
    "executorch": "executorch/xnnpack.csv",
}


# --- our own profiles -------------------------------------------------------------------------


def test_a_profile_of_ours_is_read(tmp_path: Path) -> None:
    turns = [[1000.0, 1010.0], [990.0], [1005.0, 1001.0, 1002.0]]
    profile = profile_of(in_turns("dense", turns, instructions=[700]), in_turns("s20", [[800.0]]))
    profile.save(tmp_path / "p.json")
    result = read_result(tmp_path / "p.json")
    assert result == from_profile(profile, tmp_path / "p.json")
    assert (result.tool, result.file) == ("tileskip", str(tmp_path / "p.json"))
    assert (result.created, result.threads) == (profile.created, 1)
    dense, s20 = result.models
    assert dense.turns == turns
    assert dense.summary == summary_of([us for turn in turns for us in turn])
    assert dense.summary.median_us == profile.measurements[0].median_us
    assert (dense.instructions, s20.instructions) == (700, None)
    assert (dense.init_us, dense.first_run_us, dense.peak_memory_kib) == (10, 20, 2048)
    assert (dense.sha256, dense.model_bytes, dense.warmup_us) == ("0" * 64, 100, None)


def test_a_profile_of_an_earlier_version_has_one_turn() -> None:
    (model,) = from_profile(profile_of(measurement("m"))).models
    assert model.turns == [[1000.0, 1001.0, 999.0, 1000.0, 1002.0]]


def test_runtimes_of_ours_are_named_with_their_versions() -> None:
    profile = profile_of(measurement("m"), measurement("m", runner_output(patched=False)))
    assert [model.runtime for model in from_profile(profile).models] == [
        "Tileskip 0.1.0, XNNPACK 4ea82e5", "TensorFlow Lite 2.14.1, XNNPACK 4ea82e5",
    ]  # fmt: skip


def test_what_is_known_of_a_board_is_kept() -> None:
    vitals = Vitals(governor="performance", frequency_khz=2_400_000, temperature_c=51.5)
    facts = BoardFacts(
        emulated=False, model="Raspberry Pi 5", machine="aarch64", cores={"Cortex-A76": 4},
        vitals=vitals,
    )  # fmt: skip
    board = from_profile(profile_of(measurement("m"), facts=facts)).board
    assert (board.name, board.model, board.machine) == ("rpi4", "Raspberry Pi 5", "aarch64")
    assert (board.core, board.clock_mhz) == ("Cortex-A76", 2400)
    assert (board.governor, board.temperature_c, board.emulated) == ("performance", 51.5, False)


def test_a_board_that_tells_nothing_has_no_facts() -> None:
    board = from_profile(profile_of(measurement("m"), emulated=True)).board
    assert (board.core, board.clock_mhz, board.governor, board.temperature_c) == (None,) * 4
    assert board.emulated


def test_operators_of_ours_are_read() -> None:
    (model,) = from_profile(profile_of(measurement("m", runner_output(ops=True)))).models
    assert [(one.index, one.median_us, one.share) for one in model.operators] == [
        (0, 900, 0.9), (1, 100, 0.1),
    ]  # fmt: skip
    assert model.operators[0].type == "Convolution (NHWC, F32) IGEMM"
    assert model.operators[1].name == "outside of operators"
    assert model.operators[0].mean_us is None


def test_models_of_ours_that_failed_are_told() -> None:
    failed = [Failure(model="models/b.tflite", error="cannot be read")]
    result = from_profile(profile_of(measurement("a"), failed=failed))
    assert [(one.name, one.error) for one in result.failed] == [("b", "cannot be read")]


def test_a_profile_with_a_time_out_of_any_range_is_refused() -> None:
    profile = profile_of(measurement("m", runner_output(samples_us=[1e15] * 5)))
    with pytest.raises(ModelError, match="cannot be set beside others: mean_us"):
        from_profile(profile)


# --- which tool -------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", EXPECTED)
@pytest.mark.parametrize("name", ["a.json", "a.csv", "a"])
def test_a_file_is_told_by_what_it_says(tmp_path: Path, tool: str, name: str) -> None:
    path = tmp_path / name
    path.write_text(sample(EXPECTED[tool]))
    assert read_result(path).tool == tool


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*/*.*")), ids=lambda path: path.name)
def test_every_sample_is_of_its_tool_alone(path: Path) -> None:
    text = path.read_text()
    assert [kind.tool for kind in KINDS if kind.recognises(text)] == [path.parent.name]


def test_a_file_of_two_tools_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(sample(EXPECTED["benchmark_model"]) + sample(EXPECTED["benchncnn"]))
    with pytest.raises(ModelError, match="of several tools: benchmark_model and benchncnn"):
        read_result(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "is empty"), ("\n \n", "is empty"), ("hello\n", "is no benchmark result"),
     ("{}", "is no profile"), ('{"schema": 1', "is no profile"), ("a,b\n1,2\n", "is no benchmark")],
)  # fmt: skip
def test_what_is_no_result_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text(text)
    with pytest.raises(ModelError, match=rf"a\.txt: {said}") as caught:
        read_result(path)
    if "benchmark" in said:
        assert all(kind.what in (caught.value.hint or "") for kind in KINDS)


# --- the form ---------------------------------------------------------------------------------


def test_a_summary_of_nothing_tells_nothing() -> None:
    assert summary_of([]) == Summary()


def test_a_summary_is_of_all_samples() -> None:
    found = summary_of([4.0, 1.0, 3.0, 2.0])
    assert (found.count, found.mean_us, found.median_us) == (4, 2.5, 2.5)
    assert (found.min_us, found.max_us) == (1, 4)
    assert found.std_us == pytest.approx(1.25**0.5)
    assert found.p90_us == pytest.approx(3.7)


def test_equal_samples_have_their_own_mean() -> None:
    """Rounding takes a mean of many past them."""
    found = summary_of([0.1] * 3)
    assert found.mean_us == 0.1


@pytest.mark.parametrize(
    "figures",
    [
        {"mean_us": -1.0}, {"mean_us": float("nan")}, {"mean_us": float("inf")}, {"mean_us": 1e14},
        {"count": -1}, {"min_us": 2.0, "max_us": 1.0}, {"min_us": 2.0, "mean_us": 1.0},
        {"max_us": 2.0, "mean_us": 3.0}, {"median_us": 3.0, "p90_us": 2.0}, {"unknown": 1.0},
    ],
)  # fmt: skip
def test_a_summary_that_cannot_be_is_refused(figures: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Summary.model_validate(figures)


def test_digits_that_a_tool_rounds_away_are_no_contradiction() -> None:
    Summary(min_us=1240274, mean_us=1.24027e6, max_us=1240274)


def test_a_result_is_a_document_that_is_read_as_it_was_written() -> None:
    for name in EXPECTED.values():
        result = read_result(SAMPLES / name)
        assert Result.model_validate_json(result.model_dump_json()) == result
        assert "NaN" not in json.dumps(json.loads(result.model_dump_json()))


def test_a_result_without_a_model_is_none() -> None:
    with pytest.raises(ValidationError):
        Result(tool="benchncnn", file=None, models=[])
    with pytest.raises(ValidationError):
        ModelResult(name="a", runtime="b", threads=0)
