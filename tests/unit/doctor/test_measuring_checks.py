"""What keeps times from being steady, on a board that is played."""

from __future__ import annotations

import shlex
import subprocess
import time

import pytest

from support.played_board import PlayedBoard
from toolchain.doctor.finding import Finding
from toolchain.doctor.measuring_checks import CHECKS
from toolchain.doctor.patient import Patient


def found(patient: Patient, name: str) -> Finding:
    (one,) = CHECKS[(name,)](patient)
    return one


def test_a_board_that_is_well_is_steady(patient: Patient) -> None:
    states = {one.check: one.state for check in CHECKS.values() for one in check(patient)}
    assert states == {name: "ok" for names in CHECKS for name in names}


# --- clock -------------------------------------------------------------------------------------


def test_a_date_that_was_never_set_is_told_with_the_line_that_sets_it(
    patient: Patient, played: PlayedBoard
) -> None:
    played.program("date", "echo 86400")
    one = found(patient, "date")
    assert one.state == "warning"
    assert "its date is 1970-01-02 00:00 UTC" in one.what
    assert "days behind this machine's" in one.what
    assert one.fix == "ssh -t pi@raspberrypi sudo date -s @$(date +%s)"


def test_a_date_in_the_future_is_told(patient: Patient, played: PlayedBoard) -> None:
    played.program("date", f"echo {int(time.time()) + 7300}")
    assert "2 hours ahead of" in found(patient, "date").what


@pytest.mark.parametrize("said", ["", "today", "-1", "9" * 30, "1 2"])
def test_a_date_that_is_none_is_not_known(patient: Patient, played: PlayedBoard, said: str) -> None:
    played.program("date", f"echo '{said}'")
    assert found(patient, "date").state == "unknown"


def test_the_date_of_this_machine_and_of_an_emulated_board_is_not_compared(
    patient: Patient, played: PlayedBoard
) -> None:
    played.program("date", "echo 0")
    patient.emulated = True
    assert list(CHECKS[("date",)](patient)) == []


def test_a_slow_source_of_the_clock_is_told(patient: Patient, played: PlayedBoard) -> None:
    played.clock_source("hpet", "tsc", "acpi_pm")
    one = found(patient, "clock source")
    assert one.state == "warning"
    assert "read from hpet" in one.what
    assert one.fix == (
        "ssh -t pi@raspberrypi 'echo tsc | sudo tee "
        "/sys/devices/system/clocksource/clocksource0/current_clocksource'"
    )


def test_where_no_better_source_is_there_no_line_is_told(
    patient: Patient, played: PlayedBoard
) -> None:
    played.clock_source("acpi_pm")
    one = found(patient, "clock source")
    assert (one.state, one.runs) == ("warning", False)


@pytest.mark.parametrize("name", ["arch_sys_counter", "tsc", "kvm-clock"])
def test_fast_sources_are_fine(patient: Patient, played: PlayedBoard, name: str) -> None:
    played.clock_source(name)
    assert found(patient, "clock source").state == "ok"


@pytest.mark.parametrize("content", [b"", b"\0\xff\n", b"a b c\n"])
def test_a_garbled_source_is_not_known(
    patient: Patient, played: PlayedBoard, content: bytes
) -> None:
    played.file("sys/devices/system/clocksource/clocksource0/current_clocksource", content)
    assert found(patient, "clock source").state in ("unknown", "warning")


# --- frequency and heat --------------------------------------------------------------------------


def test_one_core_of_another_governor_is_told_with_the_line_that_sets_all(
    patient: Patient, played: PlayedBoard
) -> None:
    played.governors("performance", "ondemand", "performance", "performance")
    one = found(patient, "governor")
    assert one.state == "warning"
    assert "'ondemand'" in one.what
    assert one.fix == (
        "ssh -t pi@raspberrypi 'echo performance | sudo tee "
        "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor'"
    )


def test_roots_lines_need_no_sudo_and_no_terminal(patient: Patient, played: PlayedBoard) -> None:
    played.governors("ondemand")
    played.program("id", "echo 0")
    fix = found(patient, "governor").fix or ""
    assert fix.startswith("ssh pi@raspberrypi 'echo performance | tee /sys/")


def test_lines_for_this_machine_go_through_no_ssh(patient: Patient, played: PlayedBoard) -> None:
    played.governors("ondemand")
    patient.login = ()
    assert (found(patient, "governor").fix or "").startswith("echo performance | sudo tee /sys/")


def test_the_line_that_sets_governors_runs_as_it_stands(
    patient: Patient, played: PlayedBoard
) -> None:
    """Behind ssh, as the user's shell gives it to the board's."""
    played.governors("ondemand", "powersave")
    words = shlex.split(found(patient, "governor").fix or "")
    assert words[:3] == ["ssh", "-t", "pi@raspberrypi"]
    line = words[3].replace("sudo ", "").replace("/sys/", f"{played.root}/sys/")
    subprocess.run(["/bin/sh", "-c", line], check=True, capture_output=True)
    assert found(patient, "governor").state == "ok"


@pytest.mark.parametrize(
    ("content", "state"),
    [("84500\n", "warning"), ("48000\n", "ok"), ("hot\n", "unknown"), ("9" * 18, "unknown"),
     ("", "unknown"), ("-40001\n", "unknown")],
)  # fmt: skip
def test_heat_is_told(patient: Patient, played: PlayedBoard, content: str, state: str) -> None:
    played.file("sys/class/thermal/thermal_zone0/temp", content)
    one = found(patient, "temperature")
    assert one.state == state
    if state == "warning":
        assert "84 °C" in one.what or "85 °C" in one.what
        assert "heat sink" in (one.fix or "")


def test_what_the_firmware_says_of_power_is_told_with_what_helps(
    patient: Patient, played: PlayedBoard
) -> None:
    played.program("vcgencmd", "echo throttled=0x50005")
    one = found(patient, "power and heat")
    assert one.what == "it is held back now: under-voltage, throttled"
    assert "power supply" in (one.fix or "")
    assert "heat sink" in (one.fix or "")


def test_what_has_passed_since_its_boot_is_told_as_that(
    patient: Patient, played: PlayedBoard
) -> None:
    played.program("vcgencmd", "echo throttled=0x10000")
    one = found(patient, "power and heat")
    assert one.what == "since its boot it was held back: under-voltage"
    assert "heat sink" not in (one.fix or "")


@pytest.mark.parametrize("script", ["exit 255", "echo garbled", "echo throttled=0x; exit 0"])
def test_firmware_that_does_not_tell_is_not_known(
    patient: Patient, played: PlayedBoard, script: str
) -> None:
    played.program("vcgencmd", script)
    one = found(patient, "power and heat")
    assert one.state == "unknown"
    assert "usermod -aG video" in (one.fix or "")


def test_other_boards_have_no_such_firmware(patient: Patient, played: PlayedBoard) -> None:
    played.file("proc/device-tree/model", "Some Board\0")
    played.program("vcgencmd", "exit 1")
    assert list(CHECKS[("power and heat",)](patient)) == []


# --- counters and load ---------------------------------------------------------------------------


def test_counters_that_the_user_may_not_use_are_told_with_the_line_that_lets_him(
    patient: Patient, played: PlayedBoard
) -> None:
    played.file("proc/sys/kernel/perf_event_paranoid", "3\n")
    one = found(patient, "counters")
    assert one.state == "warning"
    assert one.fix == "ssh -t pi@raspberrypi 'sudo sysctl kernel.perf_event_paranoid=2'"


def test_root_may_count_whatever_the_level_is(patient: Patient, played: PlayedBoard) -> None:
    played.file("proc/sys/kernel/perf_event_paranoid", "4\n")
    played.program("id", "echo 0")
    assert found(patient, "counters").state == "ok"


@pytest.mark.parametrize("text", ["", "much\n", "9" * 5000, "2 2"])
def test_a_level_that_is_none_is_not_known(
    patient: Patient, played: PlayedBoard, text: str
) -> None:
    played.file("proc/sys/kernel/perf_event_paranoid", text)
    assert found(patient, "counters").state == "unknown"


@pytest.mark.parametrize(
    ("name", "there"),
    [("cpu", True), ("cpu_atom", True), ("armv8_pmuv3_0", True), ("armv7_cortex_a7", True),
     ("software", False), ("arm_dsu_0", False), ("uncore_imc", False), ("msr", False)],
)  # fmt: skip
def test_counters_of_cores_are_told_from_others(
    patient: Patient, played: PlayedBoard, name: str, *, there: bool
) -> None:
    folder = played.root / "sys/bus/event_source/devices"
    (folder / "armv8_cortex_a72").rename(folder / name)
    one = found(patient, "counters")
    assert (one.state == "ok") == there
    assert there or "no instruction counter" in one.what


def test_other_programs_are_told_by_how_many_cores_they_keep(
    patient: Patient, played: PlayedBoard
) -> None:
    played.stat(busy=300, idle=100)
    one = found(patient, "load")
    assert one.state == "warning"
    assert "keep 3.0 of 4 cores busy" in one.what
    assert one.fix == "ssh pi@raspberrypi 'top -b -n 1 | head -n 15'"


def test_an_idle_board_is_fine(patient: Patient, played: PlayedBoard) -> None:
    played.stat(busy=1, idle=100)
    assert found(patient, "load").state == "ok"


@pytest.mark.parametrize("content", ["", "cpu x y\n", "cpu " + "9" * 5000])
def test_a_load_that_is_none_is_not_known(
    patient: Patient, played: PlayedBoard, content: str
) -> None:
    played.file("proc/stat", content)
    played.program("sleep", "true")
    assert found(patient, "load").state == "unknown"
