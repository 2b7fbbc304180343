"""Several real emulated boards at once, another server, a slow link, and the end of a session."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.patience import PATIENCE, await_that
from support.places import REPOSITORY
from toolchain.board import emulator, lab
from toolchain.board.connect import connect
from toolchain.board.emulator_state import State, keepers, running
from toolchain.board.session import this_program
from toolchain.build.bundle import bundle_path
from toolchain.errors import BoardConfigError
from toolchain.hardware import emulated
from toolchain.hardware.board_file import boards_named, load_board
from toolchain.profile.facts import read_facts
from toolchain.progress import Silent


@pytest.fixture
def name() -> Iterator[Callable[[str], str]]:
    """Names of boards that nobody else has; those boards are stopped at the end."""
    given: list[str] = []

    def make(word: str) -> str:
        given.append(f"pytest-{os.getpid()}-{word}")
        return given[-1]

    yield make
    for path in emulated.folders():
        if path.name.startswith(tuple(given)):
            emulator.stop_named(path.name, Silent())


def test_two_boards_that_play_a_raspberry_pi_5_boot_at_once(name: Callable[[str], str]) -> None:
    boards = lab.wanted(load_board("qemu"), count=2, like=load_board("rpi5"), name=name("five"))
    states = emulator.start_all(boards, Silent(), owner=this_program())
    assert len({state.port for state in states}) == 2
    names = [state.board for state in states]
    assert set(names) <= {board.name for board in boards_named(["emulated"])}
    one, two = (load_board(each) for each in names)
    assert bundle_path(one) == bundle_path(load_board("rpi5"))
    with connect(one) as first, connect(two) as second:
        assert read_facts(first).cores == {"Cortex-A76": 1}
        first.run(["touch", "only-here"])
        assert not second.exists("only-here")
    assert emulator.start_all(boards, Silent(), owner=this_program()) == states
    os.kill(states[0].pid, 9)
    await_that("it has ended", lambda: not states[0].alive)
    found = {each.name: each.phase for each in lab.all_found(names)}
    assert found == {names[0]: None, names[1]: "runs"}
    assert lab.stop_named(names, Silent()) == names[1:]
    with pytest.raises(BoardConfigError, match="there is no board called"):
        load_board(names[0])


def test_openssh_over_a_slow_link_until_a_process_ends(
    name: Callable[[str], str], tmp_path: Path
) -> None:
    called = name("far")
    with subprocess.Popen(["sleep", "3600"]) as someone:  # noqa: S607 (of PATH)
        line = [
            *(sys.executable, "deploy.py", "emulator", "start", "--json", "--name", called),
            *("--cpu", "a53", "--server", "openssh", "--link", "2ms,1%"),
            *("--ends-with", str(someone.pid)),
        ]
        done = subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        state = running(called)
        assert isinstance(state, State)
        assert (told["port"], told["phase"], state.phase()) == (state.port, "runs", "runs")
        assert state.qemu_port not in (None, state.port)
        content = bytes(range(256)) * 2000
        with connect(load_board(called)) as connection:
            facts = read_facts(connection)
            assert facts.cores == {"Cortex-A53": 1}
            assert "sshd" in connection.run(["ps"]).text
            (tmp_path / "file").write_bytes(content)
            connection.put(tmp_path / "file", "a file")
            assert connection.sha256("a file") == hashlib.sha256(content).hexdigest()
            connection.get("a file", tmp_path / "back", most=len(content))
            assert (tmp_path / "back").read_bytes() == content
        someone.kill()
        await_that("the board has ended", lambda: running(called) is None, PATIENCE)
    await_that("it is forgotten", lambda: called not in emulated.tables())
    await_that("its link has, too", lambda: not keepers(state.log))
