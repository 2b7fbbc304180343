from __future__ import annotations

from pathlib import Path

import pytest

from support.profiles import in_turns, measurement, profile_of
from support.runner_outputs import runner_output
from toolchain.errors import ModelError
from toolchain.profile.comparable import baseline_of, subjects_of, subjects_of_result
from toolchain.profile.compare import compare
from toolchain.profile.document import Measurement
from toolchain.profile.facts import BoardFacts, Vitals
from toolchain.profile.history import append
from toolchain.profile.result_document import ModelResult, OperatorResult, Result, Summary
from toolchain.profile.results import read_result

SAMPLES = Path(__file__).parent / "foreign" / "samples"


def test_a_profiles_times_are_told_by_turn() -> None:
    (one,) = subjects_of(profile_of(in_turns("m", [[1.0, 3.0], [5.0, 7.0]])))
    assert one.figures["median"].value == 4.0
    assert one.figures["median"].turns == (2.0, 6.0)
    assert one.figures["mean"].turns == (2.0, 6.0)
    assert one.figures["p95"].turns == pytest.approx((2.9, 6.9))
    assert one.threads == 1


def test_seconds_of_an_emulated_board_are_no_figures() -> None:
    emulated = profile_of(measurement("m", runner_output(instructions=7)), emulated=True)
    (one,) = subjects_of(emulated)
    assert set(one.figures) == {"instructions", "memory", "size"}
    assert one.figures["instructions"].exact


@pytest.mark.parametrize(("governor", "mhz"), [("performance", 1800.0), ("ondemand", 2000.0)])
def test_the_clock_is_what_the_board_runs_at(governor: str, mhz: float) -> None:
    """Under another governor a board at rest shows a clock that it does not compute at."""
    facts = BoardFacts(
        emulated=False, cores={"Cortex-A72": 4}, max_frequency_khz=2_000_000,
        vitals=Vitals(governor=governor, frequency_khz=1_800_000),
    )  # fmt: skip
    (one,) = subjects_of(profile_of(measurement("m"), facts=facts))
    assert (one.setup.clock_mhz, one.setup.core) == (mhz, "Cortex-A72")


def test_what_another_tool_did_not_tell_is_no_figure() -> None:
    told = ModelResult(name="m", runtime="ncnn", summary=Summary(mean_us=2.0, min_us=1.0))
    (one,) = subjects_of_result(Result(tool="benchncnn", file=None, models=[told]))
    assert {name: figure.value for name, figure in one.figures.items()} == {"mean": 2.0}


def test_a_model_that_a_tool_measured_twice_is_numbered() -> None:
    told = ModelResult(name="m", runtime="ncnn")
    names = [one.model for one in subjects_of_result(
        Result(tool="benchncnn", file=None, models=[told, told, told])
    )]  # fmt: skip
    assert names == ["m", "m #2", "m #3"]


def test_operators_have_the_median_or_else_the_mean() -> None:
    operators = [
        OperatorResult(index=0, name="a", median_us=1.0, mean_us=9.0),
        OperatorResult(index=1, name="b", mean_us=2.0),
        OperatorResult(index=2, name="c"),
        OperatorResult(index=3, mean_us=4.0),
    ]
    told = ModelResult(name="m", runtime="x", operators=operators)
    (one,) = subjects_of_result(Result(tool="executorch", file=None, models=[told]))
    assert {name: figure.value for name, figure in one.operators.items()} == {"a": 1.0, "b": 2.0}


def test_another_tools_result_stands_beside_a_profile_without_a_verdict_on_times() -> None:
    other = subjects_of_result(read_result(SAMPLES / "benchmark_model" / "xnnpack.txt"))
    own = subjects_of(profile_of(in_turns("m", [[100.0, 101.0]] * 20)))
    found = compare(other, own)
    times = [one for one in found.changes if one.unit == "us"]
    assert times
    assert {one.verdict for one in times} == {"no verdict"}
    assert all(one.ratio for one in times)
    assert any("turns on both sides" in note for note in found.notes)


def test_the_baseline_of_a_model_is_its_own_on_the_same_runtime_with_as_many_threads(
    tmp_path: Path,
) -> None:
    def measured(us: float) -> list[Measurement]:
        item = in_turns("m", [[us]] * 9)
        runner = item.output.runner.model_copy(update={"patched": False})
        output = item.output.model_copy(update={"runner": runner})
        stock = item.model_copy(update={"stock": True, "output": output})
        return [item, stock, item.model_copy(update={"threads": 4})]

    log = tmp_path / "h"
    for number, us in enumerate((100.0, 200.0, 300.0)):
        append(log, profile_of(measured(us)[number]))
    found = baseline_of(profile_of(*measured(5.0)), log)
    told = {one.model: one.figures["median"].value for one in found}
    assert told == {
        "m, 1 thread": 100.0, "m (stock runtime), 1 thread": 200.0, "m, 4 threads": 300.0,
    }  # fmt: skip


def test_models_of_one_name_have_each_a_baseline_of_their_own(tmp_path: Path) -> None:
    """Two files, ``old/net.tflite`` and ``new/net.tflite``."""
    log = tmp_path / "h"
    both = [in_turns("net", [[us]] * 9) for us in (100.0, 50.0)]
    append(log, profile_of(*both))
    today = profile_of(*both, in_turns("net", [[7.0]] * 9)).model_copy(update={"tool": "0.1.1"})
    found = baseline_of(today, log)
    told = {one.model: one.figures["median"].value for one in found}
    assert told == {"net": 100.0, "net #2": 50.0}


def test_a_run_with_masks_that_were_not_trained_hides_no_baseline(tmp_path: Path) -> None:
    log = tmp_path / "h"
    trained = in_turns("m", [[100.0]] * 9)
    append(log, profile_of(trained))
    append(log, profile_of(trained.model_copy(update={"untrained": True})))
    (found,) = baseline_of(profile_of(trained).model_copy(update={"tool": "0.1.1"}), log)
    assert found.figures["median"].value == 100.0


def test_masks_that_were_not_trained_are_no_baseline_of_those_that_were(tmp_path: Path) -> None:
    trained = in_turns("m", [[100.0]] * 9)
    log = tmp_path / "h"
    append(log, profile_of(trained.model_copy(update={"untrained": True})))
    with pytest.raises(ModelError, match="has no earlier run of these models"):
        baseline_of(profile_of(trained), log)
