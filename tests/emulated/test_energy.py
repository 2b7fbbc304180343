"""Energy on a board with a real kernel and shell, reached over SSH; its firmware is a stand-in.

It tells 2 watts, and 5 while the runner is at work.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.bundles import write_masked_model
from support.patience import growing_limits
from support.powered import IDLE_W, WORKING, WORKING_W, pmic_text
from toolchain.board.connect import connect
from toolchain.board.connection import Connection
from toolchain.board.invoke import BoardRunner, Settings
from toolchain.build.bundle import Bundle
from toolchain.hardware.board_file import Board
from toolchain.profile import power_sources
from toolchain.profile.document import Measurement
from toolchain.profile.measure import Session
from toolchain.profile.power_sources import Pmic
from toolchain.progress import Silent

_VCGENCMD = """\
#!/bin/sh
[ "$1" = pmic_read_adc ] || exit 1
for file in /proc/[0-9]*/comm; do
  read -r name <"$file" || continue
  case $name in tileskip-run) exec cat /tmp/working ;; esac
done 2>/dev/null
cat /tmp/idle
"""


@pytest.fixture
def pi(board: Board) -> Iterator[Connection]:
    """A board that tells its power."""
    with connect(board) as connection:
        for path, text in (
            ("/bin/vcgencmd", _VCGENCMD),
            ("/tmp/working", pmic_text(WORKING)),
            ("/tmp/idle", pmic_text()),
        ):
            connection.run(["sh", "-c", 'cat >"$1"', "sh", path], stdin=text.encode())
        connection.run(["chmod", "755", "/bin/vcgencmd"])
        yield connection
        connection.run(["rm", "-f", "/bin/vcgencmd"])


def test_the_energy_of_a_model_is_that_of_the_power_while_it_runs(
    pi: Connection, board: Board, qemu_bundle: Bundle, tmp_path: Path
) -> None:
    model = write_masked_model(tmp_path / "m.tflite", sparsity=0, size=8)
    real = board.model_copy(update={"connection": "ssh"})  # it is not to be known as emulated
    found: list[Measurement] = []

    def enough() -> bool:
        return found[-1].energy is not None and found[-1].energy.idle_w is not None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("toolchain.profile.facts._DUMMY_MODEL", "none")
        for limit in growing_limits(enough):
            patch.setattr(power_sources, "RUN_S", 4 + limit)
            patch.setattr(power_sources, "IDLE_S", 2 + limit)
            runner = BoardRunner(pi, real, qemu_bundle, Silent())
            session = Session(pi, real, runner, Silent(), Settings(runs=2), power=Pmic())
            session.measure([model])
            assert session.failures.stopped is None
            profile = session.profile()
            assert profile is not None
            found += profile.measurements
    energy = found[-1].energy
    assert energy is not None
    assert energy.power_w == pytest.approx(WORKING_W)
    assert energy.idle_w == pytest.approx(IDLE_W)
    assert energy.energy_j == pytest.approx(WORKING_W * energy.median_us / 1e6)
    left = pi.run(["sh", "-c", "grep -l [p]mic_read_adc /proc/[0-9]*/cmdline"], check=False)
    assert left.text == "", "a reader is left on the board"
