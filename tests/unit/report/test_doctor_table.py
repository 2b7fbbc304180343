"""What doctor shows: faults first, sentences folded, commands to be copied."""

from __future__ import annotations

import pytest
import rich.console
from rich.cells import cell_len

from toolchain.doctor.finding import Diagnosis, Finding, Findings
from toolchain.errors import BoardError, MissingToolError
from toolchain.report.doctor_table import doctor_table

HERE, SSH, BOARD = Findings("host"), Findings("ssh"), Findings("board")
LINE = (
    "ssh -t pi@raspberrypi 'echo performance | sudo tee /sys/devices/system/cpu/cpu*/" + "x" * 150
)
ADVICE = "cool it with a heat sink or a fan, and let it rest before it is measured " * 3
LOST = "was not asked: the connection was lost"
FOUND = [
    HERE.ok("Python", "Python 3.11.7"),
    HERE.fault(
        "build for aarch64", MissingToolError, "not installed: cmake", run="apt-get install"
    ),
    SSH.warning("keys", "/home/me/.ssh/id_ed25519 may be read by others", run="chmod 600 x"),
    BOARD.ok("machine", "aarch64"),
    BOARD.warning("governor", "the frequency governor is 'ondemand': times vary " * 3, run=LINE),
    BOARD.warning("temperature", "it has 84 °C", advice=ADVICE),
    *BOARD.all_unknown(["counters", "load"], LOST),
]


def lines(
    found: list[Finding], width: int, board: str | None = "rpi4 (pi@pi)", **how: bool
) -> list[str]:
    console = rich.console.Console(width=width, color_system=None)
    with console.capture() as capture:
        table = doctor_table(Diagnosis.of(found, board), width, **how)
        console.print(table, soft_wrap=True)
    return [line.rstrip() for line in capture.get().splitlines()]


@pytest.mark.parametrize("width", [50, 70, 100, 160, 250])
def test_no_line_but_a_command_is_wider_than_the_terminal(width: int) -> None:
    shown = lines(FOUND, width, everything=True)
    wide = [line for line in shown if cell_len(line) > width]
    assert [line for line in wide if "run: " not in line] == []


@pytest.mark.parametrize("width", [50, 70, 100, 160, 250])
def test_no_word_is_lost_at_any_width(width: int) -> None:
    text = " ".join(" ".join(lines(FOUND, width)).split())
    for word in ("cmake", "ondemand", "84", "id_ed25519", "counters", "load", "lost", "fan"):
        assert word in text, word


@pytest.mark.parametrize("width", [70, 100, 160])
def test_a_command_stands_whole_on_a_line_of_its_own(width: int) -> None:
    shown = lines(FOUND, width)
    (line,) = [line for line in shown if "performance" in line]
    assert line.endswith(f"run: {LINE}")
    assert any(line.endswith("run: chmod 600 x") for line in shown)


def test_advice_in_words_is_folded_and_is_no_command() -> None:
    shown = lines(FOUND, 70)
    first = next(index for index, line in enumerate(shown) if "heat sink" in line)
    assert "run:" not in shown[first]
    assert "".join(shown[first:]).count("heat sink") == 3


def test_faults_come_first_and_each_names_its_fix() -> None:
    shown = lines(FOUND, 100)
    states = [line.split()[0] for line in shown if line.split()[:1] and line.split()[0] in (
        "fault", "warning", "unknown", "ok"
    )]  # fmt: skip
    assert states == ["fault", "warning", "warning", "warning", "unknown"]
    fault = next(line for line in shown if line.startswith("fault"))
    assert fault.split()[-1] == "1"
    assert "1  run: apt-get install" in shown


def test_what_is_fine_is_counted_and_shown_on_demand() -> None:
    short, long = lines(FOUND, 100), lines(FOUND, 100, everything=True)
    assert "3.11.7" not in " ".join(short)
    assert short[-1] == "1 fault, 3 warnings, 2 not asked, 2 fine (--all shows them)"
    assert "3.11.7" in " ".join(long)
    assert long[-1] == "1 fault, 3 warnings, 2 not asked, 2 fine"


def test_a_machine_that_is_well_gets_two_lines() -> None:
    assert lines([HERE.ok("Python", "Python 3.11.7")], 100, None) == [
        "This machine", "no faults, no warnings, 1 fine (--all shows them)",
    ]  # fmt: skip


def test_what_could_not_be_asked_for_one_reason_is_one_row() -> None:
    (row,) = [line for line in lines(FOUND, 160) if line.startswith("unknown")]
    assert f"{LOST}: counters, load" in row
    others = [*FOUND, BOARD.unknown("date", "it does not tell its date")]
    assert sum(line.startswith("unknown") for line in lines(others, 160)) == 2


def test_what_is_fine_for_one_reason_has_a_row_each() -> None:
    found = [HERE.ok(f"extra {name}", "all of it is there") for name in ("convert", "train")]
    shown = lines(found, 100, everything=True)
    assert [line.split()[3] for line in shown if line.startswith("ok")] == ["convert", "train"]


def test_one_command_that_mends_two_things_is_told_once() -> None:
    found = [
        HERE.fault("a", MissingToolError, "first", run="apt-get install x"),
        HERE.fault("b", BoardError, "second", run="apt-get install x"),
    ]
    shown = lines(found, 100)
    assert sum("apt-get" in line for line in shown) == 1
    assert [line.split()[-1] for line in shown if line.startswith("fault")] == ["1", "1"]


def test_text_of_others_is_no_markup() -> None:
    found = [BOARD.warning("x", "[bold]not[/bold] markup", run="echo '[red]'")]
    text = "\n".join(lines(found, 100))
    assert "[bold]not[/bold] markup" in text
    assert "echo '[red]'" in text


def test_on_a_terminal_states_have_colours() -> None:
    console = rich.console.Console(width=100, force_terminal=True, color_system="standard")
    with console.capture() as capture:
        console.print(doctor_table(Diagnosis.of(FOUND, None), 100))
    assert "\x1b[31mfault" in capture.get()
    assert "\x1b[33mwarning" in capture.get()
