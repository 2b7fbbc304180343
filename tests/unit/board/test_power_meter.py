"""A program that prints what a meter reads: real ones, good and bad."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

import pytest

from support.patience import PATIENCE, await_that
from support.powered import program
from support.processes import running
from toolchain.board import power_meter
from toolchain.board.power_meter import Meter, parse_line
from toolchain.errors import MeterError


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b"5.25\n", (None, 5.25)),
        (b"  5\r\n", (None, 5.0)),
        (b"12.5 5.25\n", (12.5, 5.25)),
        (b"-3.5\t.25\n", (-3.5, 0.25)),
        (b"1.7e9 1e-3\n", (1.7e9, 0.001)),
        (b"0\n", (None, 0.0)),
    ],
)
def test_a_line_has_watts_and_may_have_seconds_before_them(
    line: bytes, found: tuple[float | None, float]
) -> None:
    assert parse_line(line) == found


@pytest.mark.parametrize(
    "line",
    [
        b"\n", b"5.25 W\n", b"5,25\n", b"nan\n", b"inf\n", b"-1\n", b"0x10\n", b"1_000\n",
        b"1e99\n", b"1 2 3\n", b"\xff\xfe\n", "٣".encode(), b"9" * 5000, b"power: 5\n",
        b"2000000\n",
    ],
)  # fmt: skip
def test_what_is_no_number_or_no_power_is_no_reading(line: bytes) -> None:
    assert parse_line(line) is None


def meter(tmp_path: Path, script: str) -> Meter:
    return Meter([str(program(tmp_path / "meter", script)), "its argument"])


def require_gone(tmp_path: Path) -> None:
    """Neither the program nor what it started runs."""
    assert not running(str(tmp_path / "meter"))


def test_readings_have_the_time_of_their_arrival(tmp_path: Path) -> None:
    begin = time.monotonic()
    with meter(tmp_path, 'while :; do echo "5.25"; sleep 0.05; done') as one:
        one.require_first()
        assert one.wait_for(5, PATIENCE)
        found = one.readings
        assert one.fault is None
    assert {reading.watts for reading in found} == {5.25}
    times = [reading.begin for reading in found]
    assert begin < times[0] < times[4] < time.monotonic()
    assert times == sorted(times) == [reading.end for reading in found]
    require_gone(tmp_path)


def test_seconds_set_readings_apart_that_arrive_together(tmp_path: Path) -> None:
    with meter(tmp_path, "printf '100.0 1\\n100.5 2\\n101.5 3\\n'; exec sleep 600") as one:
        assert one.wait_for(3, PATIENCE)
        arrived = time.monotonic()
        found = one.readings
    times = [reading.begin for reading in found]
    assert [after - times[0] for after in times[1:]] == pytest.approx([0.5, 1.5])
    assert times[2] <= arrived, "the last one was taken when it came, at the latest"
    assert [reading.watts for reading in found] == [1.0, 2.0, 3.0]


def test_a_reading_that_comes_late_moves_no_other(tmp_path: Path) -> None:
    """It was taken a tenth of a second after the first, and half a second passed."""
    with meter(tmp_path, "echo 100.0 1; sleep 0.5; echo 100.1 2; exec sleep 600") as one:
        one.require_first()
        (first,) = one.readings
        assert one.wait_for(2, PATIENCE)
        same, late = one.readings
    assert same == first
    assert late.begin - first.begin == pytest.approx(0.1)


def test_seconds_that_go_back_are_no_reading(tmp_path: Path) -> None:
    with meter(tmp_path, "printf '100 1\\n99 2\\n101 3\\n'; exec sleep 600") as one:
        assert one.wait_for(2, PATIENCE)
        assert [reading.watts for reading in one.readings] == [1.0, 3.0]
        assert one.unreadable == 1


def test_rubbish_is_counted_and_told_where_nothing_else_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "echo Volts Amps; head -c 10000 /dev/zero; echo; echo; echo 4; echo x"
    with meter(tmp_path, f"{script}; exec sleep 600") as one:
        one.require_first()
        await_that("all has come", lambda: one.unreadable == 3)
        assert [reading.watts for reading in one.readings] == [4.0]
    monkeypatch.setattr(power_meter, "FIRST_S", 0.5)
    with meter(tmp_path, "echo Volts Amps; exec sleep 600") as one:
        await_that("it has come", lambda: one.unreadable == 1)
        said = r"no reading for 0\.5 s; a line .* 'Volts Amps'"
        with pytest.raises(MeterError, match=said) as caught:
            one.require_first()
    assert "<seconds> <watts>" in str(caught.value.hint)
    require_gone(tmp_path)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo no such device >&2; exit 3", "ended with exit code 3: no such device"),
        ("kill -KILL $$", "was ended by signal 9"),
        ("yes error | head -n 20000 >&2; exit 1", "ended with exit code 1: error"),
        (":", "ended with exit code 0"),
    ],
)
def test_a_meter_that_ends_is_told_with_its_last_words(
    tmp_path: Path, script: str, said: str
) -> None:
    with meter(tmp_path, script) as one, pytest.raises(MeterError, match=said):
        one.require_first()
    with meter(tmp_path, f"echo 5; {script}") as one:
        one.require_first()
        await_that("its end is known", lambda: one.fault)
        assert one.fault is not None
        assert said in one.fault


def test_a_meter_that_closes_its_output_reads_no_more(tmp_path: Path) -> None:
    with meter(tmp_path, "echo 5; exec >&-; exec sleep 600") as one:
        await_that("that is known", lambda: one.fault)
        assert one.fault == "has closed its output"
    require_gone(tmp_path)


@pytest.mark.parametrize("script", ["exec yes 5", "exec cat /dev/zero", "exec yes"])
def test_a_flood_is_no_meter(tmp_path: Path, script: str) -> None:
    with meter(tmp_path, script) as one:
        await_that("it is given up", lambda: one.fault)
        assert one.fault == "prints more than 10,000 lines a second"
        assert len(one.readings) < 200_000
    require_gone(tmp_path)


@pytest.mark.parametrize(
    "script",
    [
        "trap '' TERM; echo 5; while :; do sleep 0.1; done",
        "echo 5; sleep {0} & wait",
        # What it has started does not care, and it is gone itself.
        "sh -c 'trap \"\" TERM; while :; do sleep 0.1; : {0}; done' & echo 5; wait",
        "kill -STOP $$",
    ],
)
def test_a_meter_is_ended_with_all_that_it_has_started(
    tmp_path: Path, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(power_meter, "_GRACE_S", 0.3)
    number = f"6{secrets.randbelow(10**9):09}"
    with meter(tmp_path, script.format(number)) as one:
        if "STOP" not in script:
            one.require_first()
        if "{0}" in script:
            await_that("it runs", lambda: running(number))
    require_gone(tmp_path)
    await_that("its children are gone", lambda: not running(number))
    one.close()


def test_an_error_ends_it_as_well(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), meter(tmp_path, "echo 5; exec sleep 600"):
        raise KeyboardInterrupt
    require_gone(tmp_path)


@pytest.mark.parametrize("argv", [["no-such-meter"], [os.devnull], ["no\0such"]])
def test_a_program_that_is_none_is_told(argv: list[str]) -> None:
    with pytest.raises(MeterError, match="cannot be started"):
        Meter(argv)


def test_one_that_is_slow_to_begin_is_waited_for(tmp_path: Path) -> None:
    with meter(tmp_path, "sleep 1; echo 5; exec sleep 600") as one:
        assert not one.readings
        one.require_first()
        assert [reading.watts for reading in one.readings] == [5.0]


def test_one_that_says_nothing_is_not_waited_for(tmp_path: Path) -> None:
    with meter(tmp_path, "exec sleep 600") as one:
        assert not one.wait_for(1, 0.1)
        assert one.fault is None
