"""A board that is troubled while it is measured: a real kernel and shell, with files made up.

Its firmware's ``vcgencmd`` is a script. It is called each time that the board's state is read, and
at one of those calls something happens.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.bundles import write_masked_model
from toolchain.board.connect import connect
from toolchain.board.connection import Connection
from toolchain.board.invoke import BoardRunner, Settings
from toolchain.build.bundle import Bundle
from toolchain.hardware.board_file import Board
from toolchain.profile.comparable import subjects_of
from toolchain.profile.compare import compare
from toolchain.profile.document import Profile
from toolchain.profile.facts import read_facts, read_vitals
from toolchain.profile.measure import Session
from toolchain.progress import Silent

RUNS = 12
_CPU = "/sys/devices/system/cpu/cpu0"
_CLOCK = "/sys/devices/system/clocksource/clocksource0"
_ZONE = "/sys/class/thermal"
_SET_UP = f"""
set -e
for place in {_CPU} {_CLOCK} {_ZONE}; do mount -t tmpfs none $place; done
mkdir -p {_CPU}/cpufreq {_ZONE}/thermal_zone0
echo "Raspberry Pi 4 Model B Rev 1.4" > /tmp/model
mount -o bind /tmp/model /sys/firmware/devicetree/base/model
cat > /bin/vcgencmd <<'END'
#!/bin/sh
count=$(($(cat /tmp/count) + 1)); echo $count > /tmp/count
if [ $count = 9 ]; then sh /tmp/trouble; fi
cat /tmp/throttled
END
chmod +x /bin/vcgencmd
"""
_SOUND = f"""
echo 0 > /tmp/count; echo throttled=0x0 > /tmp/throttled; echo > /tmp/trouble
mkdir -p {_CPU}/cpufreq {_ZONE}/thermal_zone0
echo performance > {_CPU}/cpufreq/scaling_governor
echo 1800000 > {_CPU}/cpufreq/scaling_cur_freq
echo 1800000 > {_CPU}/cpufreq/cpuinfo_max_freq
echo 50000 > {_ZONE}/thermal_zone0/temp
echo arch_sys_counter > {_CLOCK}/current_clocksource
"""


@pytest.fixture(scope="module")
def pi(board: Board) -> Iterator[Connection]:
    """A board that says that it is a Raspberry Pi."""
    with connect(board) as connection:
        connection.run(["sh", "-c", _SET_UP])
        yield connection
        undo = f"umount /sys/firmware/devicetree/base/model {_CPU} {_CLOCK} {_ZONE}"
        connection.run(["sh", "-c", f"{undo}; rm -f /bin/vcgencmd"])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_masked_model(tmp_path_factory.mktemp("model") / "m.tflite", sparsity=0, size=8)


def profiled(
    pi: Connection, board: Board, bundle: Bundle, model: Path, trouble: str = ":"
) -> Profile:
    pi.run(["sh", "-c", f'{_SOUND} printf "%s" "$1" > /tmp/trouble', "sh", trouble])
    real = board.model_copy(update={"connection": "ssh"})  # it is not to be known as emulated
    runner = BoardRunner(pi, real, bundle, Silent())
    session = Session(pi, real, runner, Silent(), Settings(runs=RUNS))
    session.measure([model])
    assert session.failures.stopped is None
    profile = session.profile()
    assert profile is not None
    return profile


def doubts_of(profile: Profile) -> str:
    """What is doubtful about the board, in one text; what is told of times is not meant."""
    (one,) = profile.measurements
    return "; ".join(doubt for doubt in one.doubts if "times " not in doubt)


@pytest.fixture(scope="module")
def calm(pi: Connection, board: Board, qemu_bundle: Bundle, model: Path) -> Profile:
    """Of the same model, without trouble."""
    return profiled(pi, board, qemu_bundle, model)


def test_a_sound_board_leaves_no_doubt(calm: Profile) -> None:
    profile = calm
    assert not profile.board.facts.emulated
    assert profile.board.facts.model == "Raspberry Pi 4 Model B Rev 1.4"
    (one,) = profile.measurements
    assert len(one.turns) == RUNS
    assert all(turn.after and turn.after.frequency_khz == 1_800_000 for turn in one.turns)
    assert doubts_of(profile) == ""


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("echo throttled=0x50005 > /tmp/throttled", "held back (under-voltage, throttled)"),
        # By the time that it is asked it is over.
        ("echo throttled=0x40000 > /tmp/throttled", "held back (throttled)"),
        (f"echo 84500 > {_ZONE}/thermal_zone0/temp", "84 °C"),
        (f"echo powersave > {_CPU}/cpufreq/scaling_governor", "'performance' to 'powersave'"),
        (f"echo 600000 > {_CPU}/cpufreq/scaling_cur_freq", "between 600 and 1,800 MHz"),
        (f"echo timer > {_CLOCK}/current_clocksource", "'arch_sys_counter' to 'timer'"),
        (f"rm {_CLOCK}/current_clocksource", "no longer told its clock source"),
        (f"rm -r {_CPU}/cpufreq", "no longer told its frequency governor, clock"),
        (f"echo warm > {_ZONE}/thermal_zone0/temp", "no longer told its temperature"),
        (f"head -c 3000000 /dev/zero > {_ZONE}/thermal_zone0/temp", "no longer told its temp"),
        ("echo 'error=1 error_msg=x' > /tmp/throttled", "no longer told its throttling"),
        ("rm /tmp/throttled", "no longer told its throttling"),
    ],
)
def test_what_troubles_a_board_in_the_middle_is_told_and_takes_the_verdict_away(
    pi: Connection,
    board: Board,
    qemu_bundle: Bundle,
    model: Path,
    calm: Profile,
    trouble: str,
    said: str,
) -> None:
    profile = profiled(pi, board, qemu_bundle, model, trouble)
    assert said in doubts_of(profile)
    (slower,) = subjects_of(profile)
    (time,) = (
        one for one in compare(subjects_of(calm), [slower]).changes if one.figure == "median"
    )
    assert not time.significant


@pytest.mark.parametrize(
    "broken",
    [
        f"rm -r {_CPU}/cpufreq {_ZONE}/thermal_zone0 {_CLOCK}/current_clocksource",
        f"for file in {_CPU}/cpufreq/* {_ZONE}/*/temp {_CLOCK}/*; do head -c 999 /dev/urandom"
        " > $file; done; cp /dev/null /tmp/throttled",
        f"for file in {_CPU}/cpufreq/* {_ZONE}/*/temp; do chmod 0 $file; : > $file; done",
    ],
)
def test_files_that_are_missing_or_garbled_from_the_start_are_survived(
    pi: Connection, board: Board, qemu_bundle: Bundle, model: Path, broken: str
) -> None:
    pi.run(["sh", "-c", f"{_SOUND} {broken}"])
    read_vitals(pi)
    facts = read_facts(pi)
    assert facts.machine == "aarch64"
    assert facts.vitals.temperature_c is None
    real = board.model_copy(update={"connection": "ssh"})
    session = Session(
        pi, real, BoardRunner(pi, real, qemu_bundle, Silent()), Silent(), Settings(runs=8)
    )
    session.measure([model])
    assert session.profile() is not None
