"""Many emulated boards: which are meant, which are there, which are left. QEMU is played."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.patience import PATIENCE, await_that
from support.places import REPOSITORY
from support.played_qemus import played_qemu, record
from toolchain.board import emulator, emulator_memory, lab
from toolchain.board.emulator_state import State, folder, log_file
from toolchain.board.session import Owner, owner, this_program
from toolchain.build.bundle import bundle_path
from toolchain.errors import BoardConfigError, EmulatorError
from toolchain.hardware import emulated, inventory
from toolchain.hardware.board_file import Board, Emulator, load_board
from toolchain.progress import Silent
from toolchain.storage import cache
from toolchain.storage.cache import locked

Player = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture(autouse=True)
def _own_inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(inventory.ENVIRONMENT, str(tmp_path / "boards.toml"))


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Player]:
    """Makes a board by a name, whose QEMU is played."""
    with ExitStack() as stack:

        def make(name: str, **changes: Any) -> subprocess.Popen[bytes]:
            process = stack.enter_context(played_qemu(tmp_path, name))
            record(load_board("qemu").named(name), process.pid, **changes)
            return process

        yield make


def ended() -> Owner:
    """One that has ended."""
    process = subprocess.Popen(["sleep", "600"])  # noqa: S607 (of PATH)
    name = Path(f"/proc/{process.pid}/comm")
    await_that("it has begun", lambda: name.read_text() == "sleep\n")
    found = owner(process.pid, "session")
    process.kill()
    process.wait()
    assert found is not None
    return found


def qemu() -> Board:
    return load_board("qemu")


# --- which are meant ---------------------------------------------------------------------------


def test_without_options_the_board_itself_is_meant() -> None:
    assert lab.wanted(qemu()) == [qemu()]


def test_several_have_numbers_and_take_the_bundle_of_the_one_they_are_of() -> None:
    boards = lab.wanted(qemu(), count=3)
    assert [board.name for board in boards] == ["qemu-1", "qemu-2", "qemu-3"]
    assert {bundle_path(board) for board in boards} == {bundle_path(qemu())}
    assert [board.given for board in boards] == ["qemu-1", "qemu-2", "qemu-3"]


@pytest.mark.parametrize(
    ("like", "cpu"),
    [("rpi3", "cortex-a53"), ("rpi4", "cortex-a72"), ("rpi5", "cortex-a76")],
)
def test_a_board_that_is_like_another_has_its_core_its_clock_and_its_bundle(
    like: str, cpu: str
) -> None:
    other = load_board(like)
    (board,) = lab.wanted(qemu(), like=other)
    assert board.name == f"qemu-{like}"
    assert board.connection == "emulator"
    assert board.emulator is not None
    assert board.emulator.cpu == cpu
    assert (board.cpu, board.caches, board.clock_mhz, board.tile) == (
        other.cpu,
        other.caches,
        other.clock_mhz,
        other.tile,
    )
    assert bundle_path(board) == bundle_path(other)
    assert board.threads == 1


def test_a_board_that_is_like_one_of_the_inventory_is_not_reached_as_that_is(
    tmp_path: Path,
) -> None:
    (tmp_path / "boards.toml").write_text(
        '[attic]\nlike = "rpi5"\nssh = { host = "pi@attic", user = "pi" }\n'
    )
    (board,) = lab.wanted(qemu(), like=load_board("attic"))
    assert board.name == "qemu-attic"
    assert board.ssh.host is None
    assert bundle_path(board) == bundle_path(load_board("rpi5"))


@pytest.mark.parametrize("word", ["a53", "cortex-a53", "Cortex-A53", "CORTEX-A53"])
def test_a_core_is_known_by_all_its_names(word: str) -> None:
    (board,) = lab.wanted(qemu(), core=word)
    assert (board.name, board.cpu) == ("qemu-a53", "Cortex-A53")
    assert board.emulator is not None
    assert board.emulator.cpu == "cortex-a53"
    assert board.tile is None, "that of the other core says nothing of this one"


def test_a_core_that_only_qemu_knows_is_taken_at_its_word() -> None:
    (board,) = lab.wanted(qemu(), core="neoverse-v1")
    assert board.emulator is not None
    assert (board.emulator.cpu, board.cpu) == ("neoverse-v1", "neoverse-v1")


def test_the_core_that_it_has_anyway_changes_nothing_but_the_name() -> None:
    (board,) = lab.wanted(qemu(), core="a72")
    assert board.named("qemu").model_dump() == qemu().model_dump()


def test_a_core_that_would_be_more_options_is_refused() -> None:
    with pytest.raises(BoardConfigError, match="no name of a core"):
        lab.wanted(qemu(), core="a53,pmu=off")


def test_names_can_be_chosen() -> None:
    names = [board.name for board in lab.wanted(qemu(), count=2, name="ci")]
    assert names == ["ci-1", "ci-2"]
    assert [board.name for board in lab.wanted(qemu(), name="ci")] == ["ci"]


@pytest.mark.parametrize("name", ["rpi4", "emulated", "all", "a b", "../x", "-x", "mine"])
def test_names_that_are_taken_or_are_none_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "boards.toml").write_text('[mine]\nlike = "rpi4"\n')
    with pytest.raises(BoardConfigError) as caught:
        lab.wanted(qemu(), name=name)
    assert caught.value.hint


def test_a_board_of_another_instruction_set_cannot_be_played() -> None:
    with pytest.raises(BoardConfigError, match="another instruction set") as caught:
        lab.wanted(qemu(), like=load_board("rpi3-armv7"))
    assert caught.value.hint == "deploy emulator start --like rpi4"


def test_boards_are_made_of_an_emulated_one_only() -> None:
    with pytest.raises(BoardConfigError, match=r"no \[emulator\] table"):
        lab.wanted(load_board("rpi4"), count=2)


# --- memory ------------------------------------------------------------------------------------


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Says how many MiB of memory are free."""

    def say(mib: int) -> None:
        monkeypatch.setattr(emulator_memory, "free_memory", lambda: mib << 20)
        monkeypatch.setattr(emulator_memory, "_GROUP", Path("/nowhere"))

    return say


def settings(mib: int) -> Emulator:
    return Emulator(cpu="cortex-a72", memory_mib=mib)


def test_boards_that_fit_are_let_through(free: Callable[[int], None]) -> None:
    free(2 * emulator_memory.needed_mib(settings(512)))
    emulator_memory.check_memory([settings(512)] * 2, [])


def test_boards_that_do_not_fit_are_told_with_how_many_do(free: Callable[[int], None]) -> None:
    each = emulator_memory.needed_mib(settings(512))
    free(5 * each + 1)
    with pytest.raises(EmulatorError, match=r"8 emulated boards take [\d,]+ MiB") as caught:
        emulator_memory.check_memory([settings(512)] * 8, [])
    assert (caught.value.hint or "").startswith("5 of them fit (--count 5)")


def test_a_single_board_that_does_not_fit_is_told(free: Callable[[int], None]) -> None:
    free(100)
    with pytest.raises(EmulatorError, match="an emulated board takes") as caught:
        emulator_memory.check_memory([settings(512)], [])
    assert "--memory" in (caught.value.hint or "")


def test_what_running_boards_may_yet_take_is_not_free(
    free: Callable[[int], None], play: Player
) -> None:
    play("lab-1", settings=settings(1024))
    running = emulator.all_running()
    free(2 * emulator_memory.needed_mib(settings(1024)) - 100)
    with pytest.raises(EmulatorError, match="beside the 1 that run") as caught:
        emulator_memory.check_memory([settings(1024)], running)
    assert (caught.value.hint or "").endswith("run: deploy emulator stop")


def test_the_limit_of_a_container_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: Callable[[int], None]
) -> None:
    free(100_000)
    monkeypatch.setattr(emulator_memory, "_GROUP", tmp_path)
    (tmp_path / "memory.max").write_text(f"{1000 << 20}\n")
    (tmp_path / "memory.current").write_text(f"{600 << 20}\n")
    (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {100 << 20}\n")
    with pytest.raises(EmulatorError, match="500 MiB are free"):
        emulator_memory.check_memory([settings(512)], [])
    (tmp_path / "memory.max").write_text("max\n")
    emulator_memory.check_memory([settings(512)], [])


# --- which are there ---------------------------------------------------------------------------


def test_all_that_were_started_are_told_with_what_they_do(play: Player) -> None:
    play("lab-1", ready=False)
    process = play("lab-2")
    emulated.record("lab-2", {"cpu": "Cortex-A76"}, "rpi5")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    folder("an-old-one").mkdir()
    found = lab.all_found()
    assert [(one.name, one.core, one.phase) for one in found] == [
        ("lab-1", "cortex-a72", "boots"),
        ("lab-2", "Cortex-A76", None),
    ]
    assert [one.document["running"] for one in found] == [False, False]


def test_all_are_stopped_but_those_that_a_program_has(play: Player) -> None:
    theirs = play("theirs", owner=this_program())
    ours = [play("lab-1", owner=owner(os.getpid(), "session")), play("lab-2")]
    names, left = lab.stop_all(Silent())
    assert names == ["lab-1", "lab-2"]
    assert [state.board for state in left] == ["theirs"]
    assert [process.wait(PATIENCE) for process in ours] == [-signal.SIGTERM] * 2
    assert theirs.poll() is None
    assert lab.stop_all(Silent(), programs=True) == (["theirs"], [])
    assert theirs.wait(PATIENCE) == -signal.SIGTERM


def test_a_board_whose_program_has_ended_is_nobodys(play: Player) -> None:
    process = play("lab-1", owner=Owner(**{**vars(ended()), "kind": "program"}))
    assert lab.stop_all(Silent()) == (["lab-1"], [])
    assert process.wait(PATIENCE) == -signal.SIGTERM


def test_a_board_that_was_stopped_is_known_no_longer_but_for_what_it_wrote(play: Player) -> None:
    play("lab-1")
    emulated.record("lab-1", {"cpu": "Cortex-A76"}, "rpi5")
    log_file("lab-1").write_text("its last words\n")
    assert lab.stop_named(["lab-1"], Silent()) == ["lab-1"]
    assert [path.name for path in folder("lab-1").iterdir()] == ["serial.log"]
    assert lab.all_found() == []


# --- which are left ----------------------------------------------------------------------------


def pruned() -> list[tuple[str, str]]:
    return [(left.name, left.what) for left in lab.prune()]


def test_boards_that_somebody_has_are_left_alone(play: Player) -> None:
    processes = [play("lab-1"), play("lab-2", owner=this_program())]
    assert pruned() == []
    assert [process.poll() for process in processes] == [None, None]


def test_a_board_whose_session_has_ended_is_ended(play: Player) -> None:
    whose = ended()
    process = play("lab-1", owner=whose)
    assert pruned() == [("lab-1", f"a board whose session {whose.pid} (sleep) has ended")]
    assert process.wait(PATIENCE) == -signal.SIGTERM
    assert not folder("lab-1").exists()
    assert pruned() == []


def test_a_board_whose_link_has_ended_is_ended(play: Player) -> None:
    linked = settings(512).model_copy(update={"link": "20ms"})
    process = play("lab-1", settings=linked, keeper=os.getpid())
    assert pruned() == [("lab-1", "a board whose slow link has ended")]
    assert process.wait(PATIENCE) == -signal.SIGTERM


def test_a_board_whose_start_was_killed_is_ended(play: Player) -> None:
    process = play("lab-1", ready=False)
    assert pruned() == [("lab-1", "a board whose start was killed")]
    assert process.wait(PATIENCE) == -signal.SIGTERM


def test_a_board_that_is_being_started_is_left_alone(play: Player) -> None:
    process = play("lab-1", ready=False)
    script = (
        f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\n"
        "from toolchain.storage.cache import locked\n"
        "with locked('emulator-lab-1'): print(1, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"1\n"
        assert pruned() == []
        other.communicate()
    assert process.poll() is None


@pytest.mark.parametrize("content", [None, "{", '{"pid": 1}'])
def test_a_qemu_of_which_nothing_is_recorded_is_ended(play: Player, content: str | None) -> None:
    process = play("lab-1")
    path = folder("lab-1") / "state.json"
    path.unlink() if content is None else path.write_text(content)
    assert pruned() == [("lab-1", "a QEMU of which nothing is recorded")]
    assert process.wait(PATIENCE) == -signal.SIGTERM


def test_a_qemu_whose_folder_is_gone_is_ended(play: Player) -> None:
    process = play("lab, 1")
    shutil.rmtree(folder("lab, 1"))
    assert pruned() == [("lab, 1", "a QEMU of which nothing is recorded")]
    assert process.wait(PATIENCE) == -signal.SIGTERM


@pytest.mark.parametrize("path", ["../serial.log", "./serial.log", "/serial.log", "/x", "../x"])
def test_a_qemu_that_names_no_board_has_nothing_removed(
    play: Player, tmp_path: Path, path: str
) -> None:
    """Anybody can write such a line; the folders above those of the boards are none of a board."""
    play("lab-1")
    (cache.cache_place() / "builds").mkdir()
    with played(tmp_path / "qemu-system-aarch64", f"file:{emulated.place()}/{path}") as process:
        assert pruned() == []
        assert process.poll() is None
    assert (cache.cache_place() / "builds").is_dir()
    assert folder("lab-1").is_dir()


def test_what_is_no_qemu_is_no_board(tmp_path: Path) -> None:
    shutil.copy("/bin/sh", tmp_path / "another")
    with played(tmp_path / "another", f"file:{log_file('lab-1')}") as process:
        assert pruned() == []
        assert process.poll() is None


def test_a_qemu_of_another_user_is_left_alone(
    play: Player, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root sees the command lines of everybody."""
    process = play("lab-1")
    shutil.rmtree(folder("lab-1"))
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert pruned() == []
    assert process.poll() is None


@contextmanager
def played(program: Path, line: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process with a serial line as it is spelled."""
    command = [str(program), "-c", "echo; read -r line", "-serial", line]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        yield process
        process.kill()


def test_the_folder_of_a_board_that_has_ended_is_removed(play: Player) -> None:
    process = play("lab-1")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert pruned() == [("lab-1", "the folder of a board that ended")]
    assert not folder("lab-1").exists()


def test_boards_of_another_cache_are_left_alone(
    play: Player, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = play("lab-1", ready=False)
    monkeypatch.setenv("TILESKIP_CACHE", str(tmp_path / "another"))
    assert pruned() == []
    assert process.poll() is None


def test_the_state_tells_what_a_qemu_takes(play: Player) -> None:
    process = play("lab-1")
    await_that("it has begun", lambda: Path(f"/proc/{process.pid}/status").exists())
    (found,) = lab.all_found()
    assert isinstance(found.state, State)
    assert 0 < found.state.memory_kib < 100_000
    assert log_file("lab-1") == found.state.log
    with locked("emulator-lab-1"):
        assert found.document["memory_kib"] == found.state.memory_kib
