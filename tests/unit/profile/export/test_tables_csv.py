"""Tables as CSV: what is in them, and that a name of anybody's does no harm in a spreadsheet."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest

from support.profiles import in_turns, measurement, powered, profile_of, timed_in_turns
from support.runner_outputs import runner_output
from support.timed_ops import conv, listed, other, two_layers
from toolchain.profile.export.tables_csv import models_csv, operators_csv, samples_csv

Row = dict[str, str]


def rows(text: str | None) -> list[Row]:
    assert text is not None
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def test_each_model_is_a_row_with_its_figures() -> None:
    samples = [[1000.0, 1010.0]] * 15
    profile = profile_of(
        in_turns("dense", samples, instructions=[500]),
        in_turns("s20", [[us / 2 for us in one] for one in samples], macs_saved=200),
    )
    first, second = rows(models_csv(profile))
    assert [first["model"], second["model"]] == ["dense", "s20"]
    assert float(first["median_us"]) == 1005.0
    assert float(second["ratio"]) == pytest.approx(2.0)
    assert float(second["ratio_low"]) == pytest.approx(2.0)
    assert float(second["ratio_by_pixels"]) == 1.25
    assert [first["instructions"], second["instructions"]] == ["500.0", ""]
    assert [first["runs"], first["turns"], first["peak_memory_kib"]] == ["30", "15", "2048"]
    assert first["model_bytes"] == "100"
    assert second["ratio_of"] == "times"


def test_what_is_not_known_is_an_empty_cell_and_no_zero() -> None:
    bare = runner_output().model_copy(update={"timing": None, "peak_rss_kib": None})
    (row,) = rows(models_csv(profile_of(measurement("m", bare))))
    absent = {name for name, value in row.items() if value == ""}
    assert absent >= {
        "median_us", "mad_us", "min_us", "runs", "turns", "instructions", "median_low_us",
        "ratio_low", "dead_tap_share", "macs_computed", "peak_memory_kib", "doubts",
        "energy_j", "energy_low_j", "energy_above_idle_j", "power_w", "idle_power_w", "power_of",
    }  # fmt: skip
    assert row["macs_saved"] == "0", "this one is known"


def test_energy_is_in_joules_and_power_in_watts() -> None:
    item = powered(in_turns("m", [[10_000.0]] * 8), 5.0, idle_w=2.0)
    (row,) = rows(models_csv(profile_of(item)))
    assert float(row["energy_j"]) == pytest.approx(0.05)
    assert float(row["energy_low_j"]) < 0.05 < float(row["energy_high_j"])
    assert float(row["energy_above_idle_j"]) == pytest.approx(0.03)
    assert (row["power_w"], row["idle_power_w"], row["power_of"]) == ("5.0", "2.0", "pmic")


def test_under_emulation_the_ratio_is_said_to_be_of_instructions() -> None:
    profile = profile_of(
        measurement("dense", runner_output(instructions=1250)),
        measurement("s20", runner_output(instructions=1000)),
        emulated=True,
    )
    second = rows(models_csv(profile))[1]
    assert [second["emulated"], second["ratio_of"], second["ratio"]] == [
        "true", "instructions", "1.25",
    ]  # fmt: skip


def test_numbers_read_back_as_the_same() -> None:
    odd = [0.1 + 0.2, 1e-7, 123456789.123456789, 5e15]
    read = [float(row["time_us"]) for row in rows(samples_csv(profile_of(in_turns("m", [odd]))))]
    assert read == odd


def test_every_timed_run_is_a_row_with_its_turn() -> None:
    profile = profile_of(in_turns("a", [[1.0, 2.0], [3.0]]), in_turns("b", [[4.0]]))
    assert [list(row.values()) for row in rows(samples_csv(profile))] == [
        ["a", "1", "1", "1.0"], ["a", "1", "2", "2.0"], ["a", "2", "1", "3.0"],
        ["b", "1", "1", "4.0"],
    ]  # fmt: skip


def test_without_samples_the_table_has_its_headings() -> None:
    bare = runner_output().model_copy(update={"timing": None})
    assert samples_csv(profile_of(measurement("m", bare))) == "model,turn,run,time_us\r\n"


def test_operators_are_rows_beside_those_of_the_first_model(tmp_path: Path) -> None:
    layers = two_layers(tmp_path)
    first = timed_in_turns("dense", [([9.0], listed(conv(4.0), other(1.0), conv(2.0)))], layers)
    second = timed_in_turns(
        "s20", [([9.0], listed(conv(2.0, kept=64, macs=7), conv(0.0)))], layers, first=first
    )
    own = [row for row in rows(operators_csv(profile_of(first, second))) if row["model"] == "s20"]
    assert [row["time_us"] for row in own] == ["2.0", "", "0.0", "5.0"], "0 is a time, none is not"
    assert [row["first_model_us"] for row in own] == ["4.0", "1.0", "2.0", "5.0"]
    assert [row["index"] for row in own] == ["0", "", "1", "2"]
    layer = own[0]
    assert [layer["pixels"], layer["computed_pixels"], layer["macs_computed"]] == ["256", "64", "7"]
    assert layer["kept_pixels"] == str(layers[0].kept), "of its mask"
    assert float(layer["ratio"]) == 2.0
    assert float(layer["lost_us"]) == float(layer["time_us"]) - float(layer["ideal_us"])
    assert layer["micro_kernel"].startswith("xnn_f32_igemm")
    assert own[-1]["operator"] == "outside of operators"
    assert own[1]["lost_us"] == own[1]["ideal_us"] == ""


def test_operators_of_one_model_are_compared_with_none(tmp_path: Path) -> None:
    item = timed_in_turns(
        "m", [([9.0], listed(conv(4.0), conv(2.0, dead=0.5)))], two_layers(tmp_path)
    )
    found = rows(operators_csv(profile_of(item)))
    assert {row["first_model_us"] + row["ideal_us"] + row["lost_us"] for row in found} == {""}
    assert [row["dead_tap_share"] for row in found] == ["", "0.5", ""]


def test_where_operators_were_not_timed_there_is_no_table_of_them() -> None:
    assert operators_csv(profile_of(measurement("m"))) is None


# --- hostile names ---------------------------------------------------------------------------

FORMULAS = [
    "=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(1)", "\t=1", "\n=1", "＝1+1",  # noqa: RUF001
]  # fmt: skip


@pytest.mark.parametrize("name", FORMULAS)
def test_a_name_that_is_a_formula_is_made_a_text(name: str) -> None:
    (row,) = rows(models_csv(profile_of(measurement(name))))
    assert row["model"] == f"'{name}"


def test_a_carriage_return_before_a_formula_is_written_out() -> None:
    (row,) = rows(models_csv(profile_of(measurement("\r=1"))))
    assert row["model"] == "\\r=1"


def test_every_text_of_a_table_is_looked_at(tmp_path: Path) -> None:
    layers = [one.model_copy(update={"name": "=1", "kind": "=2", "shape": "=3"})
              for one in two_layers(tmp_path)]  # fmt: skip
    hostile = conv(1.0).model_copy(update={"ukernel": "=4"})
    item = timed_in_turns("=m", [([9.0], listed(hostile, other(1.0, "=5"), conv(2.0)))], layers)
    item = item.model_copy(update={"sha256": "=6", "doubts": ["=7"]})
    profile = profile_of(item)
    for text in (models_csv(profile), operators_csv(profile), samples_csv(profile)):
        cells = [cell for row in rows(text) for cell in row.values()]
        assert any(cell.startswith("'=") for cell in cells)
        assert not any(cell.startswith(("=", "+", "@")) for cell in cells)


def test_a_number_below_0_stays_a_number(tmp_path: Path) -> None:
    layers = two_layers(tmp_path)
    first = timed_in_turns("a", [([9.0], listed(conv(4.0), conv(2.0)))], layers)
    second = timed_in_turns("b", [([9.0], listed(conv(1.0), conv(2.0)))], layers, first=first)
    lost = [row["lost_us"] for row in rows(operators_csv(profile_of(first, second)))]
    assert "-" in {value[:1] for value in lost}
    assert all(float(value) is not None for value in lost if value)


def test_commas_quotes_and_line_ends_stay_in_their_cell() -> None:
    name = 'a,"b"\nc;d'
    text = models_csv(profile_of(measurement(name)))
    assert rows(text)[0]["model"] == name
    assert '"a,""b""\nc;d"' in text


def test_lines_end_as_the_standard_says() -> None:
    text = samples_csv(profile_of(in_turns("m", [[1.0, 2.0]])))
    assert text.count("\r\n") == text.count("\n") == 3


def test_no_control_character_of_a_name_is_left() -> None:
    text = models_csv(profile_of(measurement("a\x1b]0;x\x07\u202eb\udcff")))
    assert not re.search("[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u202e]", text)
    text.encode()
