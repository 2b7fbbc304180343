"""``deploy doctor`` on the emulated board."""

from __future__ import annotations

from toolchain.board.connection import Connection
from toolchain.doctor.examination import Examination
from toolchain.hardware.board_file import Board
from toolchain.progress import Silent


def test_the_emulated_board_is_well_and_stays_as_it_is(
    board: Board, connection: Connection
) -> None:
    listing = ["sh", "-c", "ls -lanR --full-time /root /tmp"]
    before = connection.run(listing).stdout
    examination = Examination(board)
    examination.run(Silent())
    found = {one.check: one for one in examination.findings if one.area == "board"}
    assert {name: one.what for name, one in found.items() if one.state != "ok"} == {}
    assert {"login", "machine", "cores", "glibc", "hashing", "disk", "counters"} <= set(found)
    assert found["clock source"].what == "its clock is read from arch_sys_counter"
    assert not {"date", "temperature", "power and heat"} & set(found), "nothing of it is emulated"
    assert examination.facts is not None
    assert examination.facts.emulated
    assert examination.facts.cores == {"Cortex-A72": 1}
    assert connection.run(listing).stdout == before
