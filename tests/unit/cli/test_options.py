"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from toolchain.cli.options import (
    board_names,
    board_words,
    cache_kinds,
    check_alone,
    network_names,
    power_source,
    wrong_use,
)
from toolchain.profile.power_sources import MeterSource, Pmic
from toolchain.zoo.catalog import ZOO


def test_wrong_use_names_the_option_and_ends_with_code_2() -> None:
    error = wrong_use("--io", "is for --quantize int8")
    assert error.format_message() == "Invalid value for --io: is for --quantize int8"
    assert error.exit_code == 2


@pytest.mark.parametrize("output", [None, Path("net.tflite"), Path("-")])
@pytest.mark.parametrize("json_output", [True, False])
def test_standard_output_takes_one_thing(output: Path | None, json_output: bool) -> None:
    if json_output and output == Path("-"):
        with pytest.raises(typer.BadParameter, match="is on standard output"):
            check_alone(output, json_output)
    else:
        check_alone(output, json_output)


def test_a_meter_is_a_program_and_its_arguments() -> None:
    found = power_source("./meter.py --port '/dev/tty 1'", energy=False)
    assert isinstance(found, MeterSource)
    assert found._argv == ("./meter.py", "--port", "/dev/tty 1")
    assert isinstance(power_source("meter", energy=True), MeterSource)
    assert isinstance(power_source(None, energy=True), Pmic)
    assert power_source(None, energy=False) is None


@pytest.mark.parametrize("text", ["", "  ", "''", "meter 'of"])
def test_a_meter_that_names_no_program_is_wrong_use(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        power_source(text, energy=False)


def test_what_is_offered_says_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text('march = "armv8-a"\n')
    (tmp_path / "other.toml").write_text("[project]\n")
    offered = dict(board_names(""))
    assert offered["rpi4"] == "a board that ships"
    assert offered["mine.toml"] == "a file"
    assert "other.toml" not in offered
    assert dict(network_names(""))["resnet18"] == ZOO["resnet18"].description


def test_tags_all_and_lists_of_boards_are_offered_with_what_they_stand_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "boards.toml"
    monkeypatch.setenv("TILESKIP_BOARDS", str(path))
    monkeypatch.chdir(tmp_path)
    assert "all" not in dict(board_words(""))
    path.write_text(
        '[kitchen]\nlike = "rpi4"\ntags = ["lab"]\n[attic]\nlike = "rpi5"\ntags = ["lab", 1]\n'
    )
    offered = dict(board_words(""))
    assert offered["lab"] == "a tag: kitchen, attic"
    assert offered["all"] == "all boards of yours: kitchen, attic"
    assert offered["kitchen"] == "a board of yours"
    assert "rpi4,kitchen" in dict(board_words("rpi4,ki"))
    path.write_text("no TOML")
    assert "rpi4" in dict(board_words(""))


def test_kinds_of_the_cache_are_its_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TILESKIP_CACHE", str(tmp_path))
    (tmp_path / "datasets/fashion").mkdir(parents=True)
    assert [kind for kind, _ in cache_kinds("")] == ["datasets"]
