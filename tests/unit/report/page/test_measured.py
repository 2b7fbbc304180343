"""A profile as a report shows it: every figure is the profile's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.profiles import in_turns, measurement, powered, profile_of
from support.reports import PI, measured_profile, models, turns
from support.runner_outputs import runner_output
from toolchain.profile.document import BoardRecord, Failure
from toolchain.profile.facts import BoardFacts, Vitals
from toolchain.profile.protocol import Limits
from toolchain.report.page.measured import results_of_profile, split_doubt
from toolchain.report.page.view import Result


def shown(*items: object, **settings: object) -> Result:
    return next(results_of_profile(profile_of(*items, **settings), "p.json", {}))  # type: ignore[arg-type]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    return models(tmp_path, dense=0.0, s25=0.25)


def test_figures_of_models_are_those_of_the_profile(files: dict[str, Path]) -> None:
    profile = measured_profile(files)
    result = next(results_of_profile(profile, "p.json", {"s25": 0.91}))
    for model, item in zip(result.models, profile.measurements, strict=True):
        assert model.cost == profile.cost(item)
        assert model.ratio == profile.ratio(item)
        assert model.by_pixels == profile.ratio_by_pixels(item)
        assert model.by_plan == profile.ratio_by_plan(item)
        assert model.macs_left == item.macs - item.macs_saved
        assert model.sha256 == item.sha256
    interval = profile.ratio_interval(profile.measurements[1])
    assert interval is not None
    assert result.models[1].ratio_interval is not None
    assert dict(result.models[1].ratio_interval) == dict(interval)
    assert [model.accuracy for model in result.models] == [None, 0.91]


def test_models_are_compared_with_the_first_one_of_as_many_threads() -> None:
    items = [
        in_turns(name, turns(us)).model_copy(update={"threads": threads})
        for name, us, threads in (
            ("dense", 10_000.0, 1), ("s20", 8000.0, 1), ("dense", 4000.0, 4), ("s20", 2500.0, 4),
        )
    ]  # fmt: skip
    one, four = results_of_profile(profile_of(*items), "p.json", {"s20": 0.9})
    assert [one.threads, four.threads] == [1, 4]
    assert "1 thread: s20 is 1.25 times as fast as dense" in one.headline.text
    assert "4 threads: s20 is 1.60 times as fast as dense" in four.headline.text
    assert [model.accuracy for model in four.models] == [None, 0.9]
    assert one.again == four.again
    assert "--threads 1,4" in four.again.commands[-1]


def test_every_turn_is_there_with_nine_of_ten_of_its_runs() -> None:
    times = turns(1000.0)
    (model,) = shown(in_turns("dense", times)).models
    assert [turn.number for turn in model.turns] == list(range(1, 16))
    for turn, samples in zip(model.turns, times, strict=True):
        assert turn.median == sorted(samples)[2]
        assert turn.span.low == pytest.approx(np.percentile(samples, 5))
        assert turn.span.high == pytest.approx(np.percentile(samples, 95))


def test_turns_of_unlike_lengths_have_their_own_runs() -> None:
    times = [[1.0], [2.0, 3.0, 4.0], [5.0, 7.0]]
    (model,) = shown(in_turns("dense", times)).models
    assert [turn.median for turn in model.turns] == [1.0, 3.0, 7.0]
    assert model.turns[1].span.low == pytest.approx(2.1)


def test_where_there_were_no_turns_every_run_is_one() -> None:
    (model,) = shown(measurement("m", runner_output(samples_us=[3.0, 1.0, 2.0]))).models
    assert [turn.median for turn in model.turns] == [3.0, 1.0, 2.0]


def test_of_an_emulated_board_instructions_are_shown_and_no_roofline() -> None:
    result = shown(
        measurement("dense", runner_output(instructions=1500)),
        measurement("s20", runner_output(instructions=1000)),
        emulated=True,
    )
    assert (result.kind, result.unit) == ("counted", "instructions")
    assert [model.cost for model in result.models] == [1500, 1000]
    assert [turn.median for turn in result.models[1].turns] == [1000] * 5
    assert result.no_roofline == "The board is emulated: its seconds mean nothing."
    facts = BoardFacts(emulated=True, max_frequency_khz=1_000_000)
    assert shown(measurement("m", runner_output(instructions=1)), facts=facts).clock_mhz is None


def test_a_stock_runtime_saves_nothing() -> None:
    stock = measurement("s20", runner_output(patched=False), macs_saved=200)
    assert shown(measurement("s20", macs_saved=200), stock).models[1].macs_left == 1000


def test_layers_stand_beside_those_of_the_first_model(files: dict[str, Path]) -> None:
    profile = measured_profile(files)
    first, second = next(results_of_profile(profile, "p.json", {})).layers
    assert (first.model, first.beside) == ("dense", None)
    assert (second.model, second.beside) == ("s25", "dense")
    assert second.rows == profile.measurements[1].operators


def test_a_profile_without_layers_says_how_they_are_timed() -> None:
    result = shown(in_turns("dense", turns(1000.0)))
    assert result.layers == []
    assert "--per-op" in (result.no_layers or "")
    assert "--per-op" in (result.no_roofline or "")


def test_doubts_are_told_once_with_their_models_and_what_to_do() -> None:
    busy = [1.0] * 15
    result = shown(
        in_turns("dense", turns(1200.0), load=busy), in_turns("s20", turns(1000.0), load=busy)
    )
    (doubt,) = result.doubts
    assert doubt.models == ["dense", "s20"]
    assert doubt.what == "other programs kept 1.0 cores busy"
    assert doubt.to_do == "end them, and measure it again"
    assert all(model.in_doubt for model in result.models)


def test_a_ratio_that_is_doubtful_by_itself_is_a_doubt() -> None:
    few = [[1000.0], [1010.0]]
    doubts = [doubt.what for doubt in shown(in_turns("a", few), in_turns("b", few)).doubts]
    assert doubts == ["only 2 runs"]
    calm = measurement("a"), measurement("b")
    assert [one.what for one in shown(*calm).doubts] == ["the ratio has no interval: too few turns"]


def test_a_doubt_without_a_colon_is_kept_whole() -> None:
    assert split_doubt("no idea") == ("no idea", None)
    assert split_doubt("a: b: c") == ("a", "b: c")


def test_the_board_is_told_before_and_after(files: dict[str, Path]) -> None:
    result = next(results_of_profile(measured_profile(files), "p.json", {}))
    facts = {fact.name: fact for fact in result.facts}
    assert (facts["temperature"].before, facts["temperature"].after) == ("48.2 °C", "61.0 °C")
    assert facts["cores"].before == "4 x Cortex-A72"
    assert facts["held back since its boot"].after == "under-voltage"
    assert facts["governor"].after == "performance"


@pytest.mark.parametrize(
    ("cores", "said"),
    [
        ({"AMD EPYC": 2}, "The peak of AMD EPYC and the bandwidth of its memory are not known"),
        ({"Cortex-A55": 4, "Cortex-A76": 2}, "a roofline is of one kind of core"),
        ({}, "cores that it does not name"),
        ({"Cortex-A78": 8}, "are not known here"),
    ],
)
def test_where_a_peak_is_not_known_it_says_why(
    files: dict[str, Path], cores: dict[str, int], said: str
) -> None:
    facts = PI.model_copy(update={"cores": cores})
    result = next(results_of_profile(measured_profile(files, facts=facts), "p.json", {}))
    assert result.roofline is None
    assert said in (result.no_roofline or "")


def test_a_clock_comes_from_the_board_else_from_its_file(files: dict[str, Path]) -> None:
    profile = measured_profile(files)
    assert next(results_of_profile(profile, "p", {})).clock_mhz == 1800
    silent = profile.board.facts.model_copy(update={"max_frequency_khz": None})
    for name, clock in (("rpi5", 2400), ("no-such-board", None)):
        board = profile.board.model_copy(update={"name": name, "facts": silent})
        result = next(results_of_profile(profile.model_copy(update={"board": board}), "p", {}))
        assert result.clock_mhz == clock
        assert (result.roofline is None) == (clock is None)


def test_what_failed_is_told() -> None:
    result = shown(measurement("m"), failed=[Failure(model="bad.tflite", error="is no model")])
    assert result.failed == {"bad.tflite": "is no model"}


def test_the_first_model_that_failed_leaves_no_ratio() -> None:
    result = shown(measurement("s20"), reference_failed=True)
    assert result.models[0].ratio is None


# --- to do it again --------------------------------------------------------------------------


def commands(name: str, **update: object) -> list[str]:
    profile = profile_of(measurement("my dense"), measurement("s20"))
    board = BoardRecord(
        name=name, title="T", facts=BoardFacts(emulated=name == "qemu"), after=Vitals()
    )
    changed = profile.model_copy(update={"board": board, "threads": 4, **update})
    return next(results_of_profile(changed, "out.json", {})).again.commands


def test_commands_repeat_the_measurement() -> None:
    assert commands("host", runs=0) == [
        "deploy build --board host",
        "deploy profile 'my dense.tflite' s20.tflite --board host --threads 4 --output out.json",
    ]


def test_a_board_that_is_far_is_named_by_the_reader() -> None:
    assert commands("rpi4", runs=30, warmup=3)[-1].endswith(
        "--board rpi4 --threads 4 --runs 30 --warmup 3 --output out.json --host USER@ADDRESS"
    )
    assert commands("mine")[0] == "deploy build --board mine.toml"


def test_an_emulated_board_is_started_first() -> None:
    assert commands("qemu")[1] == "deploy emulator start"


def test_a_stock_runtime_is_built_too() -> None:
    stock = [measurement("s20"), measurement("s20", runner_output(patched=False))]
    found = commands("host", measurements=stock)
    assert found[1] == "deploy build --board host --stock"
    assert "profile s20.tflite --board" in found[2]
    assert "--stock-bundle build/host-stock" in found[2]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"runs": 0, "warmup": None, "limits": Limits()}, ""),
        ({"runs": 0, "warmup": 1, "limits": Limits()}, " --warmup 1"),
        ({"runs": 20, "warmup": 1}, " --runs 20"),
        ({"runs": 20, "warmup": 3}, " --runs 20 --warmup 3"),
        (
            {"runs": 0, "warmup": None, "limits": Limits(precision=0.005, max_wait_s=5)},
            " --precision 0.5 --max-wait 5",
        ),
    ],
)
def test_the_line_to_measure_again_has_what_is_not_the_rule(
    changes: dict[str, Any], words: str
) -> None:
    profile = profile_of(in_turns("m", [[1.0]] * 8)).model_copy(update=changes)
    line = next(results_of_profile(profile, "p.json", {})).again.commands[-1]
    assert f"--threads 1{words} --output p.json" in line


@pytest.mark.parametrize(
    ("source", "words"), [("pmic", " --energy "), ("meter", " --meter METER "), (None, None)]
)
def test_the_line_to_measure_again_measures_energy_where_it_was(
    source: Any, words: str | None
) -> None:
    item = in_turns("m", [[10_000.0]] * 15)
    line = shown(powered(item, 5.0, source=source) if source else item).again.commands[-1]
    assert ("--energy" in line, "--meter" in line) == (source == "pmic", source == "meter")
    assert words is None or words in line
