from __future__ import annotations

import re
from pathlib import Path

import pytest
import rich.console
from rich.console import RenderableType

from support.profiles import in_turns, measurement, powered, profile_of
from support.runner_outputs import runner_output
from toolchain.errors import OutputError
from toolchain.profile.comparable import subjects_of
from toolchain.profile.compare import Comparison, compare
from toolchain.profile.document import Profile
from toolchain.profile.facts import BoardFacts, Vitals
from toolchain.report.compare_table import comparison_table
from toolchain.report.profile_plot import check_plot_path, plot_profile
from toolchain.report.profile_table import facts_line, profile_table


def compared(before: Profile, after: Profile) -> Comparison:
    return compare(subjects_of(before), subjects_of(after))


def shown(what: RenderableType, width: int = 120) -> str:
    console = rich.console.Console(width=width, record=True, file=None, quiet=False)
    with console.capture() as capture:
        console.print(what)
    return capture.get()


def test_a_real_board_shows_times_ratio_interval_and_the_ratio_by_pixels() -> None:
    text = shown(
        profile_table(
            profile_of(
                in_turns("dense", [[1200.0] * 5] * 15),
                in_turns("s20", [[1000.0] * 5] * 15, macs_saved=200),
            )
        )
    )
    assert "1.20 ms ± 0 µs" in text
    assert "1.200x" in text
    assert "1.200 to 1.200" in text
    assert "1.250x" in text
    assert "?" not in text
    assert "ideal" not in text.lower()
    assert "Emulated" not in text


def test_a_ratio_that_is_not_to_be_relied_on_has_a_question_mark() -> None:
    shaky = [[1000.0 * (1 + 0.3 * (turn % 2))] * 5 for turn in range(15)]
    text = shown(profile_table(profile_of(in_turns("a", [[1200.0]] * 15), in_turns("b", shaky))))
    row = next(line for line in text.splitlines() if line.startswith("│ b "))
    assert row.count("?") == 2  # its time, and its ratio
    assert "? b: may be unstable: times differ by" in text


def test_what_dead_taps_add_is_said() -> None:
    def text(live: float) -> str:
        dense = measurement("dense", live_share=1.0)
        return shown(profile_table(profile_of(
            dense, measurement("s20", macs_saved=200, live_share=live))))  # fmt: skip

    assert "20.0%" in text(0.8)
    assert "1.562x" in text(0.8)
    assert "a ratio may go past the one by pixels" in " ".join(text(0.8).split())
    assert "taps" not in text(1.0)


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


@pytest.mark.parametrize("name", ["[red]m[/red]", "[/]", "a[0]"])
def test_names_are_never_taken_as_markup(name: str) -> None:
    profile = profile_of(measurement(name))
    assert name in shown(profile_table(profile))
    assert name in shown(comparison_table(compared(profile, profile)))


RASPBERRY = BoardFacts(
    emulated=False,
    model="Raspberry Pi 4 Model B Rev 1.4",
    machine="aarch64",
    kernel="Linux 6.6.31+rpt-rpi-v8",
    glibc="2.36",
    cores={"Cortex-A72": 4},
    features=["fp", "asimd", "evtstrm", "crc32", "cpuid"],
    hwcap="0x887",
    memory_total_kib=3884360,
    memory_available_kib=3500000,
    vitals=Vitals(governor="ondemand", frequency_khz=1800000, temperature_c=52.1),
)


def test_the_boards_facts_are_one_line() -> None:
    text = shown(profile_table(profile_of(measurement("m"), facts=RASPBERRY)), width=160)
    (line,) = [line for line in text.splitlines() if "Raspberry Pi 4 Model B" in line]
    for part in (
        "4 x Cortex-A72",
        "Linux 6.6.31",
        "glibc 2.36",
        "ondemand",
        "1,800 MHz",
        "52.1 °C",
    ):
        assert part in line
    assert "hwcap" not in text
    assert "not told" not in text


def test_all_of_the_facts_are_there_when_asked_for() -> None:
    text = shown(profile_table(profile_of(measurement("m"), facts=RASPBERRY), wide=True))
    for part in ("fp asimd evtstrm crc32 cpuid", "0x887", "3,418.0 MiB free of 3,793.3 MiB"):
        assert part in text
    assert "not told by this board: held back" in text


def test_a_board_that_tells_nothing_says_so_in_a_line() -> None:
    assert "does not tell" in facts_line(BoardFacts(emulated=True))


def test_a_comparison_says_better_or_no_change() -> None:
    before = profile_of(measurement("m", runner_output(instructions=1000)), emulated=True)
    after = profile_of(measurement("m", runner_output(instructions=900)), emulated=True)
    text = shown(comparison_table(compared(before, after)))
    assert "better" in text
    assert "no change" in text


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


def test_a_name_with_dollar_signs_is_no_formula_in_a_plot(tmp_path: Path) -> None:
    plot_profile(profile_of(measurement(r"$\nothing$"), measurement("b")), tmp_path / "p.svg")
    assert (tmp_path / "p.svg").stat().st_size


def test_an_unknown_format_of_a_plot_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"ends in '\.docx'") as caught:
        check_plot_path(tmp_path / "p.docx")
    assert str(tmp_path / "p.png") in str(caught.value.hint)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file") as caught:
        check_plot_path(tmp_path / "absent" / "p.png")
    assert f"mkdir -p {tmp_path / 'absent'}" in str(caught.value.hint)


STEADY = [[10_000.0] * 5] * 15


def test_energy_and_power_have_columns_and_say_what_they_are_of() -> None:
    dense, s20 = in_turns("dense", STEADY), in_turns("s20", [[8_000.0] * 5] * 15)
    profile = profile_of(powered(dense, 5.0, idle_w=2.0), powered(s20, 4.5, unreadable=2))
    text = " ".join(shown(profile_table(profile, 200), 200).split())
    for figure in ("50.0 mJ", "30.0 mJ", "5.00 W", "36.0 mJ", "4.50 W"):
        assert f" {figure} " in text, figure
    assert "the board's PMIC: its own rails, without USB and converters' losses." in text
    assert "dense: energy from 49.5 mJ to 50.5 mJ, by 22 readings; idle it was 2.00 W." in text
    assert "s20: energy from 35.6 mJ to 36.4 mJ, by 22 readings (2 were none)." in text
    assert "36.0 mJ │ - │ 4.50 W" in text, "idle power is not known"
    assert "meter" not in text


def test_a_meter_is_not_taken_for_the_board_itself() -> None:
    profile = profile_of(powered(in_turns("m", STEADY), 5.0, source="meter"))
    text = " ".join(shown(profile_table(profile, 200), 200).split())
    assert "Power: the readings of --meter." in text
    assert "PMIC" not in text
    assert "idle" not in text


def test_without_energy_nothing_is_said_of_it() -> None:
    text = shown(profile_table(profile_of(in_turns("m", STEADY)), 200), 200)
    assert "energy" not in text.lower()
    assert "power" not in text.lower()


def test_energy_that_was_asked_for_and_is_not_there_has_its_reason_and_no_column() -> None:
    missing = in_turns("m", STEADY).model_copy(update={"no_energy": "it has no vcgencmd"})
    text = shown(profile_table(profile_of(missing), 200), 200)
    assert "No energy of m: it has no vcgencmd." in text
    assert "power" not in text
    both = profile_of(powered(in_turns("other", STEADY), 5.0), missing)
    row = next(line for line in shown(profile_table(both, 200), 200).splitlines() if "│ m" in line)
    assert [cell.strip() for cell in row.split("│")][-3:] == ["-", "-", ""]


def test_a_board_that_was_slow_while_its_power_was_read_is_told() -> None:
    text = shown(
        profile_table(profile_of(powered(in_turns("m", STEADY), 5.0, slowed=1.2)), 200), 200
    )
    assert "while its power was read a run took 12.00 ms" in text
    fine = shown(profile_table(profile_of(powered(in_turns("m", STEADY), 5.0, slowed=1.03)), 200))
    assert "while its power was read" not in fine


def test_a_plot_of_several_numbers_of_threads_says_what_a_ratio_is_over(tmp_path: Path) -> None:
    path = tmp_path / "p.svg"
    items = [
        measurement(name).model_copy(update={"threads": threads})
        for threads in (1, 4)
        for name in ("dense", "s20")
    ]
    plot_profile(profile_of(*items), path)
    text = " ".join(re.findall(r"<!-- (.*?) -->", path.read_text()))
    assert "threads: 1, 4" in text
    assert "ratio over dense with as many threads" in text
    plot_profile(profile_of(*items[:2]), path)
    assert "ratio over dense with" not in path.read_text()
