from __future__ import annotations

from pathlib import Path

import pytest
import rich.console
from rich.console import RenderableType

from support.profiles import measurement, profile_of
from support.runner_outputs import runner_output
from toolchain.errors import OutputError
from toolchain.profile.compare import compare
from toolchain.profile.facts import BoardFacts
from toolchain.report.profile_plot import plot_profile
from toolchain.report.profile_table import comparison_table, facts_table, ops_table, profile_table


def shown(what: RenderableType, width: int = 120) -> str:
    console = rich.console.Console(width=width, record=True, file=None, quiet=False)
    with console.capture() as capture:
        console.print(what)
    return capture.get()


def test_a_real_board_shows_times_ratio_and_ideal() -> None:
    text = shown(
        profile_table(
            profile_of(
                measurement("dense", runner_output(samples_us=[1200.0] * 5)),
                measurement("s20", runner_output(samples_us=[1000.0] * 5), macs_saved=200),
            )
        )
    )
    assert "1.20 ms ± 0 µs" in text
    assert "1.200x" in text
    assert "1.250x" in text
    assert "Emulated" not in text


def test_an_emulated_board_says_that_seconds_mean_nothing() -> None:
    text = shown(profile_table(profile_of(measurement("m", runner_output(instructions=1234567)),
                                          emulated=True)))  # fmt: skip
    assert "seconds mean nothing here" in text
    assert "1,234,567" in text
    assert "counts" in text


def test_missing_instruction_counts_come_with_the_runners_reason() -> None:
    assert "perf_event_open: denied" in shown(profile_table(profile_of(measurement("m"))))


def test_doubts_are_shown_with_what_to_do() -> None:
    text = shown(profile_table(profile_of(measurement("m", doubts=["only 2 runs: use --runs 5"]))))
    assert "may be unstable: only 2 runs: use --runs 5" in text


def test_operators_show_skipped_share_and_micro_kernel() -> None:
    text = shown(ops_table(measurement("m", runner_output(ops=True)), emulated=False))
    for part in ("Convolution IGEMM", "3/4", "25.0%", "6x8__aarch64_neonfma_cortex_a75", "other"):
        assert part in text


def test_operators_show_the_share_of_dead_taps_where_there_are_some() -> None:
    without = measurement("m", runner_output(ops=True))
    assert "dead" not in shown(ops_table(without, emulated=False))
    ops = without.output.ops
    assert ops
    dead = without.output.model_copy(
        update={"ops": [ops[0].model_copy(update={"dead_tap_share": 0.125}), *ops[1:]]}
    )
    text = shown(ops_table(without.model_copy(update={"output": dead}), emulated=False))
    assert "dead" in text
    assert "12.5%" in text


def test_operators_show_the_rows_that_their_last_tile_wastes() -> None:
    lines = shown(ops_table(measurement("m", runner_output(ops=True)), emulated=False)).splitlines()
    conv = next(line for line in lines if "IGEMM" in line)
    assert [cell.strip() for cell in conv.split("│")][5:8] == ["3/4", "25.0%", "3"]  # a tile of 6


@pytest.mark.parametrize("name", ["[red]m[/red]", "[/]", "a[0]"])
def test_names_are_never_taken_as_markup(name: str) -> None:
    profile = profile_of(measurement(name, runner_output(ops=True)))
    assert name in shown(profile_table(profile))
    assert name in shown(ops_table(profile.measurements[0], emulated=False))
    assert name in shown(comparison_table(compare(profile, profile)))


def test_absent_facts_are_shown_as_absent() -> None:
    text = shown(facts_table(BoardFacts(emulated=True)))
    assert "emulated" in text
    assert text.count("not told by this board") > 5


def test_a_comparison_says_better_worse_or_same() -> None:
    before = profile_of(measurement("m", runner_output(instructions=1000)), emulated=True)
    after = profile_of(measurement("m", runner_output(instructions=900)), emulated=True)
    text = shown(comparison_table(compare(before, after)))
    assert "better" in text
    assert "same" in text


@pytest.mark.parametrize(("name", "magic"), [("p.png", b"\x89PNG"), ("p.svg", b"<?xml")])
@pytest.mark.parametrize("emulated", [False, True])
def test_a_plot_is_written_in_the_format_of_its_name(
    tmp_path: Path, name: str, magic: bytes, emulated: bool
) -> None:
    profile = profile_of(
        measurement("dense", runner_output(instructions=100)),
        measurement("s20", runner_output(instructions=80), macs_saved=200),
        emulated=emulated,
    )
    plot_profile(profile, tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(magic)


def test_an_unknown_format_of_a_plot_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot be written as '\.docx'"):
        plot_profile(profile_of(measurement("m")), tmp_path / "p.docx")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no folder"):
        plot_profile(profile_of(measurement("m")), tmp_path / "absent" / "p.png")
