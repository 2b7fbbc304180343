from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.profiles import measurement, profile_of
from support.runner_outputs import runner_output
from toolchain.errors import ModelError, OutputError
from toolchain.profile.document import load_profile


def test_a_profile_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = profile_of(measurement("dense", runner_output(ops=True, instructions=5000)))
    written.save(tmp_path / "p.json")
    assert load_profile(tmp_path / "p.json") == written
    assert json.loads((tmp_path / "p.json").read_text())["schema"] == 1


def test_the_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    profile_of(measurement("one")).save(tmp_path / "p.json")
    with pytest.raises(OutputError, match="cannot be written"):
        profile_of(measurement("two")).save(tmp_path / "absent" / "p.json")
    assert [path.name for path in tmp_path.iterdir()] == ["p.json"]


def test_on_a_real_board_the_ratio_is_of_times() -> None:
    profile = profile_of(
        measurement("dense", runner_output(samples_us=[1200.0] * 5, instructions=100)),
        measurement("s20", runner_output(samples_us=[1000.0] * 5, instructions=99)),
    )
    assert profile.ratio(profile.measurements[1]) == pytest.approx(1.2)


def test_under_emulation_the_ratio_is_of_instructions() -> None:
    profile = profile_of(
        measurement("dense", runner_output(samples_us=[1.0] * 5, instructions=1250)),
        measurement("s20", runner_output(samples_us=[9.0] * 5, instructions=1000)),
        emulated=True,
    )
    assert profile.ratio(profile.measurements[1]) == pytest.approx(1.25)


def test_the_ideal_ratio_is_of_the_multiply_accumulates_that_remain() -> None:
    profile = profile_of(
        measurement("dense"),
        measurement("s20", macs_saved=200),
        measurement("s20", runner_output(patched=False), macs_saved=200),
    )
    ideals = [profile.ideal_ratio(item) for item in profile.measurements]
    assert ideals == [1.0, pytest.approx(1.25), 1.0], "the stock runtime saves nothing"


def test_without_counts_there_is_no_ratio_under_emulation() -> None:
    profile = profile_of(measurement("dense"), measurement("s20"), emulated=True)
    assert profile.ratio(profile.measurements[1]) is None


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "is no profile"),
        ("{}", "schema|tool"),
        ('{"schema": 2}', "schema"),
        ("[1]", "is no profile"),
    ],
)
def test_what_is_no_profile_is_refused(tmp_path: Path, content: str, fault: str) -> None:
    (tmp_path / "p.json").write_text(content)
    with pytest.raises(ModelError, match=fault) as caught:
        load_profile(tmp_path / "p.json")
    assert "p.json" in caught.value.what


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        load_profile(tmp_path / "absent.json")
