"""The power that a Raspberry Pi 5 tells: its lines, and the loop that reads them on the board."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from support.patience import PATIENCE, await_that, written
from support.powered import IDLE_W, RAILS, WORKING, WORKING_W, pmic_text, program, saying
from support.powered import while_alive as choose
from support.processes import running
from toolchain.board import pmic
from toolchain.board.connection import Result
from toolchain.board.local import LocalConnection
from toolchain.board.pmic import Sampler, look, parse_pmic

SHELLS = ("dash", "bash", "busybox")
NAMES = frozenset(RAILS)


def test_the_power_of_a_rail_is_its_volts_times_its_amperes() -> None:
    found = parse_pmic(pmic_text())
    assert found is not None
    assert found == pytest.approx({"3V7_WL_SW": 1.85, "DDR_VDDQ": 0.0, "VDD_CORE": 0.15})
    assert sum(found.values()) == pytest.approx(IDLE_W)
    assert pytest.approx(2.0) == IDLE_W


def test_inputs_that_have_no_current_are_no_rails() -> None:
    assert parse_pmic(pmic_text({})) is None
    found = parse_pmic(pmic_text() + "a line of another kind\n")
    assert found is not None
    assert not {"EXT5V", "BATT"} & found.keys()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("VDD_CORE_V volt(5)=0.75000000V", ""),
        ("VDD_CORE_V volt(5)=0.75000000V", "VDD_CORE_V volt(5)=nanV"),
        ("VDD_CORE_A current(2)=0.20000000A", "VDD_CORE_A current(2)=infA"),
        ("VDD_CORE_A current(2)=0.20000000A", "VDD_CORE_A current(2)=0.2\ufffd00A"),
        ("VDD_CORE_A current(2)=0.20000000A", "VDD_CORE_A current(2)="),
        ("VDD_CORE_A current(2)=0.20000000A", "VDD_CORE_A current(2)=0.20000000V"),
        ("VDD_CORE_A current(2)", "VDD_CORE_A volt(2)"),
        ("VDD_CORE_A current(2)=0.2", f"VDD_CORE_A current(2)={'9' * 5000}.2"),
        ("VDD_CORE_V volt(5)=0.7", "VDD_CORE_V volt(5)=0.75000000V\nVDD_CORE_V volt(5)=0.7"),
    ],
)
def test_what_is_missing_or_garbled_is_no_smaller_power_but_none(old: str, new: str) -> None:
    text = pmic_text()
    assert old in text
    assert parse_pmic(text.replace(old, new)) is None


@pytest.mark.parametrize("text", ["", 'error=2 error_msg="Command not registered"', "\0\n\n"])
def test_no_answer_is_no_power(text: str) -> None:
    assert parse_pmic(text) is None


@pytest.fixture
def bin_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that come before all others."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


@pytest.fixture
def here(tmp_path: Path) -> LocalConnection:
    return LocalConnection("here", tmp_path / "board")


def test_a_board_that_tells_its_power_tells_of_which_rails(
    here: LocalConnection, bin_: Path
) -> None:
    program(bin_ / "vcgencmd", f'[ "$*" = pmic_read_adc ] && {saying(pmic_text())}')
    assert look(here) == NAMES


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'error=2 error_msg=\"Command not registered\"'", "Command not registered"),
        ("echo no access to /dev/vcio >&2; exit 255", "tells no power: no access to /dev/vcio"),
        (":", "tells no power"),
        (saying(pmic_text().replace("volt(5)=0.75", "volt(5)=x")), "tells no power"),
    ],
)
def test_a_board_that_tells_none_has_a_reason(
    here: LocalConnection, bin_: Path, script: str, reason: str
) -> None:
    program(bin_ / "vcgencmd", script)
    found = look(here)
    assert isinstance(found, str)
    assert reason in found


def test_a_board_without_the_program_is_no_raspberry_pi(
    here: LocalConnection, bin_: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(bin_))
    assert "it has no vcgencmd" in look(here)


def test_firmware_that_hangs_is_not_waited_for(
    here: LocalConnection, bin_: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pmic, "_LOOK_S", 0.5)
    program(bin_ / "vcgencmd", "exec sleep 600")
    assert "does not answer in 0.5 s" in look(here)


def stamped(sampler: Sampler, *lines: str) -> str:
    """Standard error: a line beginning with ``@`` has the sampler's mark instead."""
    return "\n".join(line.replace("@", sampler.wrapped([])[4] + " ") for line in lines) + "\n"


def test_readings_are_told_from_what_the_program_says() -> None:
    sampler = Sampler(NAMES, 1.0)
    said = sampler.take(
        stamped(
            sampler,
            *("@idle 10.00", "@read 10.01", pmic_text(), "@done 10.02", "@run 11.00"),
            *("@read 11.10", pmic_text(WORKING), "tileskip-run: error: no memory", "@done 11.20"),
            *("@read 11.40", pmic_text()[:100] + "@end 11.50"),
        )
    )
    assert said == "tileskip-run: error: no memory"
    found = sampler.sampled
    assert (found.idle, found.run, found.end, found.unreadable) == (10.0, 11.0, 11.5, 0)
    assert [(one.begin, one.end) for one in found.readings] == [(10.01, 10.02), (11.1, 11.2)]
    assert [one.watts for one in found.readings] == pytest.approx([IDLE_W, WORKING_W])


@pytest.mark.parametrize(
    "answer",
    [
        "error=1 error_msg=busy",
        pmic_text().replace("0.75000000V", "nanV"),
        pmic_text({name: RAILS[name] for name in list(RAILS)[1:]}),
        pmic_text(RAILS | {"HDMI": (5.0, 0.1)}),
        "",
    ],
)
def test_a_reading_without_all_rails_of_the_first_look_is_none(answer: str) -> None:
    sampler = Sampler(NAMES, 1.0)
    assert sampler.take(stamped(sampler, "@read 1.00", answer, "@done 1.01")) == ""
    assert (sampler.sampled.readings, sampler.sampled.unreadable) == ([], 1)


def sampled(here: LocalConnection, script: str, idle_s: float) -> tuple[Sampler, Result]:
    sampler = Sampler(NAMES, idle_s)
    return sampler, here.run(sampler.wrapped(["sh", "-c", script]), check=False)


@pytest.mark.parametrize("shell", SHELLS)
def test_power_is_read_before_a_program_and_beside_it(
    here: LocalConnection, bin_: Path, tmp_path: Path, shell: str
) -> None:
    link(bin_, shell)
    pid = tmp_path / "pid"
    work, rest = saying(pmic_text(WORKING)), saying(pmic_text())
    count = tmp_path / "count"
    # It goes on until it has been seen at work five times.
    program(bin_ / "vcgencmd", choose(pid, f"{work}; echo >>{count}", rest))
    script = (
        f'echo $$ >{pid}; while [ "$(wc -l <{count})" -lt 5 ]; do sleep 0.05; done; '
        "echo out; echo err >&2; exit 7"
    )
    count.touch()
    sampler, result = sampled(here, script, 1.0)
    assert (result.exit_code, result.text) == (7, "out\n")
    assert sampler.take(result.stderr) == "err"
    found = sampler.sampled
    assert found.idle is not None
    assert found.run is not None
    assert found.end is not None
    assert found.idle + 1.0 <= found.run + 0.011
    before = [one.watts for one in found.readings if one.end <= found.run]
    beside = [one.watts for one in found.readings if one.begin > found.run + 0.5]
    assert before == pytest.approx([IDLE_W] * len(before))
    assert set(map(round, beside)) <= {2, 5}
    assert sum(one.watts > 4 for one in found.readings) >= 4
    assert not running(str(bin_ / "vcgencmd"))


def link(folder: Path, shell: str) -> None:
    """``sh`` is a certain shell."""
    found = shutil.which(shell)
    if not found:
        pytest.skip(f"{shell} is not installed")
    (folder / "sh").symlink_to(found)


def test_a_program_that_is_killed_is_told_by_its_signal(here: LocalConnection, bin_: Path) -> None:
    program(bin_ / "vcgencmd", saying(pmic_text()))
    assert sampled(here, "kill -SEGV $$", 0.1)[1].exit_code == 128 + signal.SIGSEGV


@pytest.mark.parametrize("shell", SHELLS)
def test_firmware_that_hangs_beside_a_program_holds_up_nothing(
    here: LocalConnection, bin_: Path, shell: str
) -> None:
    link(bin_, shell)
    seconds = f"6{secrets.randbelow(10**9):09}"
    program(bin_ / "vcgencmd", f"trap '' TERM; exec sleep {seconds}")
    sampler, result = sampled(here, "echo out", 0.3)
    assert result.text == "out\n"
    sampler.take(result.stderr)
    assert sampler.sampled.readings == []
    await_that("it has ended", lambda: not running(seconds))


@pytest.fixture
def _hangs_up() -> Iterator[None]:
    """Children end by SIGHUP, also where these tests were started by nohup, which ignores it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("_hangs_up")
@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
@pytest.mark.parametrize("phase", ["idle", "run"])
def test_whatever_ends_it_no_reader_goes_on(
    here: LocalConnection, bin_: Path, tmp_path: Path, shell: str, number: int, phase: str
) -> None:
    link(bin_, shell)
    begun, work = tmp_path / "begun", f"6{secrets.randbelow(10**5):05}"
    program(bin_ / "vcgencmd", f"echo >>{begun}")
    idle = float(work) if phase == "idle" else 0.1
    sampler = Sampler(NAMES, idle)
    argv = sampler.wrapped(["sh", "-c", f"echo $$ >{tmp_path / 'pid'}; exec sleep {work}"])
    codes: list[int] = []
    thread = threading.Thread(
        target=lambda: codes.append(here.run(argv, check=False, timeout=600.0).exit_code)
    )
    thread.start()
    try:
        await_that("it reads", lambda: written(begun))
        if phase == "run":
            await_that("it runs", lambda: written(tmp_path / "pid"))
        script = next(pid for pid in sorted(running(argv[4])) if is_outermost(pid))
        os.kill(script, number)
        thread.join(PATIENCE)
        assert codes == [128 + number if number == signal.SIGKILL else 143]
        await_that("no reader is left", lambda: not running(argv[4]))
        if number != signal.SIGKILL:
            await_that("what it waited for has ended", lambda: not running(f"sleep\0{work}"))
    finally:  # of a shell that was not asked, and of a test that failed
        for pid in [*running(argv[4]), *running(f"sleep\0{work}")]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        thread.join()


def is_outermost(pid: int) -> bool:
    """Whether a shell was started by this process."""
    text = Path(f"/proc/{pid}/stat").read_text()
    return int(text.rpartition(")")[2].split()[1]) == os.getpid()
