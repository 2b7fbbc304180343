"""A board is reached over real SSH, or fails to be in one of the steps; nothing is changed."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.bundles import write_bundle
from support.openssh import Sshd, make_key, public_text, serving
from support.patience import growing_limits, once, written
from support.played_board import PlayedBoard
from support.relay import Relay
from toolchain.board import ssh
from toolchain.board.emulator_state import State
from toolchain.doctor import patient as patients
from toolchain.doctor.examination import Examination
from toolchain.doctor.finding import Finding
from toolchain.doctor.reach import STEPS
from toolchain.hardware.board_file import load_board
from toolchain.progress import Silent
from toolchain.storage import cache

RUN = 'exec sh -c "$SSH_ORIGINAL_COMMAND"'


@pytest.fixture(autouse=True)
def this_machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What looks at this machine has tests of its own, and asks compilers and apt."""
    if "whole" not in request.fixturenames:
        monkeypatch.setattr("toolchain.doctor.examination.host_checks", lambda *_, **__: {})


@pytest.fixture
def whole() -> None:
    """This machine is looked at, too."""


class Pi:
    """A server that the user's SSH configuration calls ``pi``."""

    def __init__(self, place: Path, server: Sshd, key: Path) -> None:
        self.server, self.home = server, place / "board"
        self.folder = place / "user/.ssh"
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.known = self.folder / "known_hosts"
        self.known.write_text(server.known_line)
        self.lead(server.port, key)

    def lead(self, port: int, key: Path) -> None:
        """Let the configuration lead to a port, with a key."""
        (self.folder / "config").write_text(
            f"Host pi\n  HostName 127.0.0.1\n  Port {port}\n  User {self.server.user}\n"
            f"  IdentityFile {key}\n  IdentitiesOnly yes\n"
        )


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("keys") / "user")


@contextmanager
def pi(place: Path, key: Path, login: str = RUN) -> Iterator[Pi]:
    home = place / "board"
    home.mkdir(exist_ok=True)
    text = f"cd {shlex.quote(str(home))} && {login}"
    with serving(place / "sshd", authorized=public_text(key) + "\n", login=text) as server:
        yield Pi(place, server, key)


def examined(host: str | None = "pi", board: str = "rpi4", key: Path | None = None) -> Examination:
    examination = Examination(load_board(board), host, key)
    examination.run(Silent())
    return examination


def of_board(examination: Examination) -> dict[str, Finding]:
    return {one.check: one for one in examination.findings if one.area == "board"}


def check_ends_at(examination: Examination, step: str, code: int) -> Finding:
    """Steps before one are fine, it is a fault, and all that comes after was not asked."""
    found = of_board(examination)
    names: list[str] = list(STEPS)
    for before in names[: names.index(step)]:
        assert found[before].state == "ok", before
    assert (found[step].state, found[step].exit_code) == ("fault", code)
    others = [one for name, one in found.items() if name not in names[: names.index(step) + 1]]
    assert {one.state for one in others} == {"unknown"}
    assert {"login", "machine", "governor", "load"} <= {*found, "login" if step == "login" else ""}
    return found[step]


# --- steps -------------------------------------------------------------------------------------


def test_a_board_that_answers_is_looked_at_whole(place: Path, key: Path) -> None:
    with pi(place, key):
        examination = examined()
    found = of_board(examination)
    assert {found[step].state for step in STEPS} == {"ok"}
    assert "connection" not in found
    assert found["machine"].state == "fault", "this machine is no Raspberry Pi"
    assert {"disk", "memory", "date", "clock source", "counters", "load"} <= set(found)
    assert examination.facts is not None
    assert examination.facts.kernel == f"Linux {os.uname().release}"
    assert (examination.diagnosis.board or "").startswith("rpi4 (")


def test_a_name_that_is_not_known_ends_it_there(place: Path) -> None:
    del place
    one = check_ends_at(examined("nowhere.invalid"), "name", 6)
    assert one.what == "the name 'nowhere.invalid' is not known"


def test_a_port_where_nobody_listens_ends_it_there(place: Path) -> None:
    del place
    assert "refuses the connection" in check_ends_at(examined("me@127.0.0.1:1"), "port", 6).what


def test_a_server_that_speaks_no_ssh_ends_it_there(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del place
    monkeypatch.setattr(ssh, "CONNECT_TIMEOUT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = check_ends_at(examined(f"me@127.0.0.1:{listener.getsockname()[1]}"), "server", 6)
    assert "does not answer as an SSH server" in one.what


def test_an_unknown_host_key_ends_it_there_and_is_not_recorded(place: Path, key: Path) -> None:
    with pi(place, key) as board:
        board.known.write_text("")
        one = check_ends_at(examined(), "host key", 7)
        assert board.known.read_text() == ""
        assert "is not on record" in one.what
        assert "run: deploy boards trust pi --fingerprint SHA256:" in (one.fix or "")
        assert not one.runs, "a fingerprint is to be compared first"


def test_a_host_key_that_changed_ends_it_there(place: Path, key: Path) -> None:
    other = public_text(make_key(place / "other"))
    with pi(place, key) as board:
        board.known.write_text(f"[127.0.0.1]:{board.server.port} {other}\n")
        one = check_ends_at(examined(), "host key", 7)
    assert "is not the one on record" in one.what


def test_a_user_who_is_refused_ends_it_there(place: Path, key: Path) -> None:
    stranger = make_key(place / "stranger")
    with pi(place, key) as board:
        board.lead(board.server.port, stranger)
        one = check_ends_at(examined(), "login", 6)
    assert "ssh-copy-id" in (one.fix or "")


def test_a_key_file_that_is_not_there_ends_it_at_once(place: Path, key: Path) -> None:
    with pi(place, key):
        one = check_ends_at(examined(key=place / "gone"), "key file", 6)
    assert str(place / "gone") in one.what


def test_a_fault_of_the_configuration_keeps_the_board_from_being_asked(place: Path) -> None:
    folder = place / "user/.ssh"
    folder.mkdir(mode=0o700)
    (folder / "config").write_text("Host pi\n  Nonsense yes\n")
    examination = examined()
    states = {one.state for one in of_board(examination).values()}
    assert states == {"unknown"}
    faults = [one.area for one in examination.findings if one.state == "fault"]
    assert "ssh" in faults


def test_a_real_board_without_a_host_is_not_asked_and_that_is_no_fault(place: Path) -> None:
    write_bundle(place / "work/build/rpi4", b"runner", isa="aarch64")
    examination = examined(None)
    (one,) = of_board(examination).values()
    assert one.state == "unknown"
    assert "--host" in (one.fix or "")


@pytest.mark.parametrize("shell", ["tcsh", "fish"])
def test_boards_of_every_login_shell_are_asked(place: Path, key: Path, shell: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    with pi(place, key, f'echo Welcome; exec {shell} -c "$SSH_ORIGINAL_COMMAND"'):
        found = of_board(examined())
    assert found["login"].state == "ok"
    assert found["disk"].state != "unknown"
    assert found["clock source"].state != "unknown"


def test_a_login_that_runs_nothing_leaves_what_could_not_be_asked(place: Path, key: Path) -> None:
    with pi(place, key, "echo Sorry, no. >&2; exit 3"):
        found = of_board(examined())
    assert found["login"].state == "ok"
    assert found["machine"].state == "unknown"
    assert "Sorry, no." in found["machine"].what


# --- boards that fail meanwhile ------------------------------------------------------------------


def test_a_board_that_goes_away_in_the_middle_leaves_what_was_found(place: Path, key: Path) -> None:
    """It is cut as it looks for its folder: what came before is there, the rest was not asked."""
    begun = place / "board/begun"
    script = f'case "$SSH_ORIGINAL_COMMAND" in *df*Pk*) echo >{begun}; sleep 600 ;; esac; {RUN}'
    with pi(place, key, script) as board:
        once(lambda: written(begun), board.server.drop)
        found = of_board(examined())
    assert found["hashing"].state == "ok"
    assert (found["connection"].state, found["connection"].exit_code) == ("fault", 6)
    for name in ("folder", "memory", "governor", "load"):
        assert (found[name].state, found[name].what) == (
            "unknown", "was not asked: the connection was lost",
        )  # fmt: skip


def test_a_link_that_is_cut_by_a_relay_is_borne(place: Path, key: Path) -> None:
    with pi(place, key) as board, Relay(board.server.port) as relay:
        known = board.server.known_line.replace(f":{board.server.port}", f":{relay.port}")
        board.known.write_text(known)
        board.lead(relay.port, key)
        relay.after = (12_000, "cut")
        found = of_board(examined())
    lost = [name for name, one in found.items() if "connection was lost" in one.what]
    assert lost
    assert found["load"].state == "unknown"


def test_a_program_that_hangs_is_given_up_and_the_others_are_asked(
    place: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, found = place / "bin", dict[str, Finding]()
    folder.mkdir()
    (folder / "df").write_text("#!/bin/sh\nexec sleep 600\n")
    (folder / "df").chmod(0o755)

    def others_were_asked() -> bool:
        names = ("machine", "memory", "governor", "clock source", "counters")
        return all(found[name].state != "unknown" for name in names)

    with pi(place, key, f"PATH={shlex.quote(str(folder))}:$PATH; {RUN}"):
        for limit in growing_limits(others_were_asked):
            monkeypatch.setattr(patients.Hurried.__init__, "__defaults__", (limit,))
            found = of_board(examined())
            assert found["disk"].state == found["folder"].state == "unknown"
            assert f"did not end in {limit:g} s" in found["disk"].what


def test_a_board_on_which_nothing_ends_is_given_up_after_two_checks(
    place: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = place / "board/begun"
    monkeypatch.setattr(patients.Hurried.__init__, "__defaults__", (1.0,))
    with pi(place, key, f"echo >>{begun}; exec sleep 600"):
        found = of_board(examined())
        asked = len(begun.read_text().splitlines()) if begun.exists() else 0
    assert found["login"].state == "ok"
    assert "did not end in 1 s" in found["machine"].what
    assert found["folder"].what == "was not asked: programs there do not come to an end"
    assert {one.state for name, one in found.items() if name not in STEPS} == {"unknown"}
    assert asked <= 2


def test_firmware_that_hangs_is_a_fact_that_is_not_told(played: PlayedBoard) -> None:
    played.program("vcgencmd", "exec /bin/sleep 600")
    with played:
        one = patients.Patient(
            patients.Hurried(played, 1.0), load_board("rpi4"), None, ("ssh", "pi"), emulated=False
        )
        assert one.facts().vitals.throttled is None
        assert one.facts().memory_available_kib == 3_500_000


# --- this machine, and the emulated board ---------------------------------------------------------


def test_this_machine_as_a_board_is_asked_and_left_as_it_is(place: Path) -> None:
    before = everything(place)
    found = of_board(examined(None, "host"))
    assert found["machine"].state == "ok"
    assert not {*STEPS, "date", "connection"} & set(found)
    assert everything(place) == before


def test_a_line_for_this_machine_runs_from_wherever_the_user_is(place: Path) -> None:
    folder = place / "cache/local-board/tileskip"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    one = of_board(examined(None, "host"))["folder"]
    assert one.state == "fault"
    subprocess.run(["/bin/sh", "-c", one.fix or ""], cwd=place, check=True)
    assert of_board(examined(None, "host"))["folder"].state == "ok"


def test_an_emulated_board_that_does_not_run_is_told_with_the_line_that_starts_it(
    place: Path,
) -> None:
    before = everything(place)
    found = of_board(examined(None, "qemu"))
    one = found["emulated board"]
    assert (one.state, one.exit_code) == ("fault", 12)
    assert one.fix == "deploy emulator start --board qemu"
    assert {each.state for name, each in found.items() if name != "emulated board"} == {"unknown"}
    assert everything(place) == before


@pytest.mark.parametrize("text", ["", "{", '{"board": 1}', "\0"])
def test_a_garbled_record_of_the_emulated_board_is_none(place: Path, text: str) -> None:
    path = place / "cache/emulator/qemu/state.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert of_board(examined(None, "qemu"))["emulated board"].exit_code == 12


def test_an_emulated_board_that_is_stopped_is_told_with_the_line_that_lets_it_go_on(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = load_board("qemu")
    assert board.emulator is not None
    state = State(
        board="qemu", settings=board.emulator, pid=4711, port=1, user_key=place / "key",
        known_hosts=place / "known", log=place / "log", ready=True,
    )  # fmt: skip
    monkeypatch.setattr("toolchain.board.emulator.status", lambda _board: state)
    for phase, fix in (
        ("is stopped", "kill -CONT 4711"),
        ("boots", "deploy emulator start --board qemu"),
        ("does not answer", "deploy emulator stop --board qemu && deploy emulator start"),
    ):
        monkeypatch.setattr(State, "phase", lambda _self, it=phase: it)
        one = of_board(examined(None, "qemu"))["emulated board"]
        assert (one.fix or "").startswith(fix)


@pytest.mark.usefixtures("whole")
def test_nothing_is_changed_on_either_side(place: Path, key: Path) -> None:
    """Neither files nor their times, not even of what was read."""
    with pi(place, key):
        store = place / "board/tileskip/bundles" / ("a" * 16)
        store.mkdir(parents=True)
        (store / "tileskip-run").write_bytes(b"old")
        write_bundle(place / "work/build/rpi4", b"runner", isa="aarch64")
        (place / "cache/local-board").mkdir(parents=True)
        (place / "cache/logs").mkdir()
        before = everything(place)
        examined()
        examined(None, "host")
        assert everything(place) == before


def everything(place: Path) -> dict[str, tuple[int, int, int]]:
    """Every file and folder but for the server's own, with its time, size and mode."""
    found = {}
    for path in sorted(place.rglob("*")):
        if "sshd" not in path.parts:
            facts = path.lstat()
            found[str(path)] = (facts.st_mtime_ns, facts.st_size, facts.st_mode)
    return found


@pytest.mark.usefixtures("whole")
def test_what_was_found_is_there_when_it_is_interrupted(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del place

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("toolchain.doctor.examination.reached", interrupted)
    examination = Examination(load_board("qemu"))
    with pytest.raises(KeyboardInterrupt):
        examination.run(Silent())
    assert any(one.check == "Python" for one in examination.findings)


@pytest.mark.usefixtures("whole")
def test_a_check_that_cannot_read_something_keeps_no_other_from_being_made(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del place

    def broken() -> None:
        raise PermissionError(13, "Permission denied", "/some/file")

    monkeypatch.setattr("toolchain.doctor.host_checks.free_memory", broken)
    examination = Examination(None)
    examination.run(Silent())
    found = {one.check: one for one in examination.findings}
    assert found["memory"].state == "unknown"
    assert "/some/file: Permission denied" in found["memory"].what
    assert found["client"].state in ("ok", "warning")


def test_the_cache_that_others_use_is_neither_held_nor_locked(place: Path) -> None:
    folder = cache.cache_dir() / "local-board"
    folder.mkdir()
    before = folder.stat().st_mtime_ns
    examined(None, "host")
    assert folder.stat().st_mtime_ns == before
    assert not (place / "cache/locks").exists()
