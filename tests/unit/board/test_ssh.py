from __future__ import annotations

import dataclasses
import errno
import io
import os
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import paramiko
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from paramiko.common import AUTH_FAILED, AUTH_SUCCESSFUL, MSG_KEXINIT, OPEN_SUCCEEDED

from support.patience import PATIENCE, await_that, growing_limits, once, written
from support.ssh_server import SshServer
from support.unreadable import unreadable_after
from toolchain.board import keys
from toolchain.board.connection import _DISCARD
from toolchain.board.ssh import SshConnection
from toolchain.board.target import SshTarget
from toolchain.errors import (
    BoardError,
    ConnectionFailed,
    HostKeyError,
    ModelError,
    OutputError,
)
from toolchain.storage.cache import sha256_file

from .conftest import Cuttable, Reachable, write_key


@pytest.fixture(scope="module")
def connection(reachable: Reachable) -> Iterator[SshConnection]:
    with SshConnection("test", reachable.target) as opened:
        yield opened


# --- what is refused ---------------------------------------------------------------------------


def test_an_unknown_host_key_is_refused_with_fingerprint_and_the_line_that_accepts_it(
    reachable: Reachable, tmp_path: Path
) -> None:
    record = tmp_path / "empty"
    target = dataclasses.replace(reachable.target, known_hosts=(record,))
    with pytest.raises(HostKeyError) as caught:
        SshConnection("rpi4", target)
    assert keys.fingerprint(reachable.host_key.asbytes()) in caught.value.what
    hint = caught.value.hint or ""
    assert f"ssh-keyscan -t ed25519 -p {target.port} 127.0.0.1 >> {record}" in hint
    assert not record.exists(), "nothing is recorded unasked"


def test_a_changed_host_key_is_refused_with_both_fingerprints(
    reachable: Reachable, tmp_path: Path
) -> None:
    other = write_key(tmp_path / "other")
    record = tmp_path / "known_hosts"
    name = reachable.target.known_name
    record.write_text(f"{name} ssh-ed25519 {other.get_base64()}\n")
    with pytest.raises(HostKeyError, match="not the one on record") as caught:
        SshConnection("rpi4", dataclasses.replace(reachable.target, known_hosts=(record,)))
    assert keys.fingerprint(other.asbytes()) in caught.value.what
    assert keys.fingerprint(reachable.host_key.asbytes()) in caught.value.what
    assert f"ssh-keygen -R '{name}'" in (caught.value.hint or "")


def test_hashed_records_of_host_keys_are_understood(reachable: Reachable, tmp_path: Path) -> None:
    record = tmp_path / "known_hosts"
    name = paramiko.HostKeys.hash_host(reachable.target.known_name)
    record.write_text(f"{name} ssh-ed25519 {reachable.host_key.get_base64()}\n")
    target = dataclasses.replace(reachable.target, known_hosts=(record,))
    with SshConnection("rpi4", target) as connection:
        assert connection.run(["echo", "in"]).text == "in\n"


def test_a_broken_record_of_host_keys_is_named(reachable: Reachable, tmp_path: Path) -> None:
    record = tmp_path / "known_hosts"
    record.write_text(f"{reachable.target.known_name} ssh-ed25519 AAAA!broken\n")
    with pytest.raises(HostKeyError, match="known_hosts"):
        SshConnection("rpi4", dataclasses.replace(reachable.target, known_hosts=(record,)))


def test_a_wrong_user_key_says_who_was_refused_and_how_to_record_a_key(
    reachable: Reachable, tmp_path: Path
) -> None:
    write_key(tmp_path / "wrong")
    target = dataclasses.replace(reachable.target, identities=(tmp_path / "wrong",))
    with pytest.raises(ConnectionFailed, match=f"refuses user '{target.user}'") as caught:
        SshConnection("rpi4", target)
    assert str(tmp_path / "wrong") in caught.value.what
    assert "ssh-copy-id" in (caught.value.hint or "")


def test_a_key_file_that_is_not_there_is_named(reachable: Reachable, tmp_path: Path) -> None:
    target = dataclasses.replace(reachable.target, identities=(tmp_path / "absent",))
    with pytest.raises(ConnectionFailed, match="no key file"):
        SshConnection("rpi4", target)


def test_a_file_that_is_no_key_is_refused(reachable: Reachable, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello\n")
    target = dataclasses.replace(reachable.target, identities=(tmp_path / "text",))
    with pytest.raises(ConnectionFailed):
        SshConnection("rpi4", target)


def test_a_closed_port_says_that_it_refuses(reachable: Reachable) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(ConnectionFailed, match=f"port {port} refuses the connection") as caught:
        SshConnection("rpi4", dataclasses.replace(reachable.target, port=port))
    assert "SSH server" in (caught.value.hint or "")


def test_a_host_that_does_not_answer_is_given_up(reachable: Reachable) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never says a word
        target = dataclasses.replace(reachable.target, port=silent.getsockname()[1])
        with pytest.raises(ConnectionFailed, match="does not answer as an SSH server"):
            SshConnection("rpi4", target, timeout=0.5)


def test_a_server_of_another_kind_is_told_apart(reachable: Reachable) -> None:
    with socket.create_server(("127.0.0.1", 0)) as web:

        def answer() -> None:
            link, _ = web.accept()
            link.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 200)
            link.close()

        threading.Thread(target=answer, daemon=True).start()
        target = dataclasses.replace(reachable.target, port=web.getsockname()[1])
        with pytest.raises(ConnectionFailed, match="does not answer as an SSH server"):
            SshConnection("rpi4", target, timeout=2)


class _BusyServer(paramiko.ServerInterface):
    """Exchanges keys, and takes its time with the login; a real sshd does so on a busy board."""

    def __init__(self, asked: threading.Event, done: threading.Event) -> None:
        self._asked, self._done = asked, done

    def get_allowed_auths(self, username: str) -> str:  # noqa: ARG002
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:  # noqa: ARG002
        self._asked.set()
        self._done.wait(PATIENCE)
        return AUTH_FAILED


def test_a_login_that_is_not_answered_in_time_is_not_called_refused(
    reachable: Reachable, tmp_path: Path
) -> None:
    host_key = write_key(tmp_path / "host")
    asked, done = threading.Event(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as busy:

        def serve() -> None:
            with suppress(OSError):  # the server is closed
                while True:
                    link, _ = busy.accept()
                    transport = paramiko.Transport(link)
                    transport.add_server_key(host_key)
                    transport.start_server(None, _BusyServer(asked, done))

        port = busy.getsockname()[1]
        record = tmp_path / "known_hosts"
        record.write_text(f"[127.0.0.1]:{port} ssh-ed25519 {host_key.get_base64()}\n")
        threading.Thread(target=serve, daemon=True).start()
        target = dataclasses.replace(reachable.target, port=port, known_hosts=(record,))
        try:
            for limit in growing_limits(asked.is_set):
                with pytest.raises(ConnectionFailed) as caught:
                    SshConnection("rpi4", target, timeout=limit)
            assert "does not answer the login in time" in caught.value.what
        finally:
            done.set()


def test_an_unknown_name_is_named(reachable: Reachable) -> None:
    with pytest.raises(ConnectionFailed, match=r"name 'no-such-board\.invalid' is not known"):
        SshConnection(
            "rpi4", dataclasses.replace(reachable.target, hostname="no-such-board.invalid")
        )


@pytest.fixture
def elsewhere(tmp_path: Path) -> SshTarget:
    """A board that no test reaches."""
    return SshTarget("pi.lab", "pi", known_hosts=(tmp_path / "known_hosts",))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EHOSTUNREACH, "No route to host"), "cannot be reached (No route to host)"),
        (TimeoutError("timed out"), "does not answer"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), "refuses the connection"),
    ],
)
def test_a_network_that_leads_nowhere_is_told_in_words(
    elsewhere: SshTarget, monkeypatch: pytest.MonkeyPatch, error: OSError, reason: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("toolchain.board.ssh._connected", fail)
    with pytest.raises(ConnectionFailed) as caught:
        SshConnection("rpi4", elsewhere)
    assert caught.value.what == f"rpi4 (pi@pi.lab): pi.lab port 22 {reason}"
    assert "check that the board is on" in (caught.value.hint or "")


def test_a_server_of_names_that_never_answers_is_told(
    elsewhere: SshTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    def ask(*_: object) -> None:
        over.wait(PATIENCE)
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", ask)
    try:
        with pytest.raises(ConnectionFailed, match=r"told where 'pi\.lab' is") as caught:
            SshConnection("rpi4", elsewhere, timeout=0.1)
    finally:
        over.set()
    assert "address as numbers" in (caught.value.hint or "")


class _Shut(paramiko.ServerInterface):
    """Lets everybody in, and runs nothing."""

    def check_auth_none(self, username: str) -> int:  # noqa: ARG002
        return AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:  # noqa: ARG002
        return OPEN_SUCCEEDED


def test_a_server_that_starts_no_program_is_told_with_the_line_that_shows_it(
    tmp_path: Path,
) -> None:
    host_key = write_key(tmp_path / "host")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            transport = paramiko.Transport(server.accept()[0])
            transport.add_server_key(host_key)
            transport.start_server(None, _Shut())

        threading.Thread(target=serve, daemon=True).start()
        port = server.getsockname()[1]
        record = tmp_path / "known_hosts"
        record.write_text(f"[127.0.0.1]:{port} ssh-ed25519 {host_key.get_base64()}\n")
        target = SshTarget("127.0.0.1", "pi", port, known_hosts=(record,), alias="my-pi")
        with (
            SshConnection("rpi4", target) as own,
            pytest.raises(BoardError, match="the SSH server there starts no program") as caught,
        ):
            own.run(["true"])
    assert (caught.value.hint or "").endswith("ssh pi@my-pi uname -m")


def test_a_program_is_started_though_the_server_closes_its_channel_first(
    tmp_path: Path,
) -> None:
    """As dropbear does where a program of another channel ends at that moment."""
    host_key, user_key = write_key(tmp_path / "host"), write_key(tmp_path / "user")
    record = tmp_path / "known_hosts"
    with SshServer(host_key, "pi", user_key, tmp_path) as server:
        record.write_text(f"[127.0.0.1]:{server.port} ssh-ed25519 {host_key.get_base64()}\n")
        target = SshTarget("127.0.0.1", "pi", server.port, (tmp_path / "user",), (record,))
        with SshConnection("rpi4", target) as own:
            for times in (1, 2, 3):
                server.refuse(times)
                assert own.run(["echo", "here"]).text == "here\n"
            server.refuse(100)
            with pytest.raises(BoardError, match="the SSH server there starts no program"):
                own.run(["true"])


def test_a_server_without_an_exchange_of_keys_in_common_is_told(tmp_path: Path) -> None:
    offer = paramiko.Message()
    offer.add_byte(bytes([MSG_KEXINIT]))
    offer.add_bytes(bytes(16))  # the cookie
    for names in (["its-own@pi.lab"], ["ssh-ed25519"], *[["none"]] * 8):
        offer.add_list(names)
    offer.add_boolean(False)
    offer.add_int(0)
    padding = 16 - (5 + len(offer.asbytes())) % 8
    packet = struct.pack(">IB", 1 + len(offer.asbytes()) + padding, padding)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with server.accept()[0] as link:
                link.sendall(b"SSH-2.0-ancient\r\n" + packet + offer.asbytes() + bytes(padding))
                while link.recv(4096):  # until the other side gives up
                    pass

        threading.Thread(target=serve, daemon=True).start()
        port = server.getsockname()[1]
        target = SshTarget("127.0.0.1", "pi", port, known_hosts=(tmp_path / "none",))
        with pytest.raises(ConnectionFailed, match="no way to exchange keys in common") as caught:
            SshConnection("rpi4", target)
    assert caught.value.hint == "update the SSH server on the board"


# --- running -----------------------------------------------------------------------------------

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(arguments=st.lists(texts, max_size=5))
def test_arguments_arrive_as_they_are(connection: SshConnection, arguments: list[str]) -> None:
    shown = connection.run(["printf", r"%s\0", "begin", *arguments]).stdout
    assert shown.split(b"\0")[1:-1] == [argument.encode() for argument in arguments]


@pytest.mark.parametrize(
    "evil", ["$(touch pwned)", "`touch pwned`", "'; touch pwned; '", "-n\ntouch pwned", "a\\'; id"]
)
def test_nothing_reaches_a_shell(
    connection: SshConnection, reachable: Reachable, evil: str
) -> None:
    assert connection.run(["printf", "%s", evil]).text == evil
    assert not (reachable.home / "pwned").exists()


def test_exit_codes_and_both_streams_come_back(connection: SshConnection) -> None:
    result = connection.run(["sh", "-c", "echo out; echo err >&2; exit 7"], check=False)
    assert (result.exit_code, result.text, result.stderr) == (7, "out\n", "err\n")


def test_death_by_a_signal_is_an_exit_code(connection: SshConnection) -> None:
    result = connection.run(["sh", "-c", "kill -SEGV $$"], check=False)
    assert result.exit_code == 128 + signal.SIGSEGV


def test_a_failure_names_board_command_code_and_last_words(connection: SshConnection) -> None:
    with pytest.raises(BoardError, match=r"test \(.*@.*exit code 3: last words") as caught:
        connection.run(["sh", "-c", "echo first >&2; echo last words >&2; exit 3"])
    assert "sh -c" in caught.value.what


def test_a_program_that_is_not_there_fails_with_127(connection: SshConnection) -> None:
    assert connection.run(["no-such-program"], check=False).exit_code == 127


def test_much_output_on_both_streams_does_not_block(connection: SshConnection) -> None:
    script = "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2"
    result = connection.run(["sh", "-c", script])
    assert (len(result.stdout), len(result.stderr)) == (3_000_000, 3_000_000)


@pytest.mark.parametrize("then", ["exec sleep 60", "kill -STOP $$; sleep 60"])
def test_a_program_that_takes_too_long_is_ended_on_the_board(
    connection: SshConnection, tmp_path: Path, then: str
) -> None:
    """Also one that was stopped."""
    mark = tmp_path / "pid"
    script = f'echo $$ > "$1"; {then}'
    for limit in growing_limits(lambda: written(mark)):
        with pytest.raises(BoardError, match=f"did not end in {limit:g} s"):
            connection.run(["sh", "-c", script, "sh", str(mark)], timeout=limit)
    require_ended(int(mark.read_text()))


def require_ended(pid: int) -> None:
    def ended() -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return False

    await_that("the program on the board ends", ended)


def test_a_lost_connection_is_told(cuttable: Cuttable) -> None:
    begun = cuttable.home / "begun"
    with SshConnection("test", cuttable.target) as own:
        once(begun.exists, cuttable.drop)
        with pytest.raises(ConnectionFailed, match="connection was lost") as caught:
            own.run(["sh", "-c", "touch begun; exec sleep 30"])
        assert "check that the board still runs" in (caught.value.hint or "")
        with pytest.raises(ConnectionFailed, match="connection was lost"):
            own.run(["true"])


# --- files -------------------------------------------------------------------------------------


@pytest.fixture
def again(reachable: Reachable) -> Iterator[SshConnection]:
    with SshConnection("test", reachable.target) as opened:
        yield opened


def test_a_file_that_cannot_be_read_on_is_told_and_its_program_ended(
    again: SshConnection, tmp_path: Path
) -> None:
    """The board is not waited for, and not blamed; the link stays."""
    program = ["sh", "-c", 'echo $$ > pid; exec cat > "$1"', "sh", "part"]
    with (
        unreadable_after(tmp_path / "m.tflite", 1_000_000) as source,
        pytest.raises(ModelError, match=r"m\.tflite: cannot be read: Input/output error"),
    ):
        again.execute(program, stdin=source, stall=PATIENCE)
    gone = 'while kill -0 "$(cat pid)"; do sleep 0.1; done'
    again.run(["sh", "-c", gone], timeout=PATIENCE)


@pytest.mark.parametrize("size", [0, 1, 1_000_003])
def test_a_file_goes_there_and_back(again: SshConnection, tmp_path: Path, size: int) -> None:
    local = tmp_path / "local file"
    local.write_bytes(os.urandom(size))
    moved: list[int] = []
    again.put(local, "remote $file", mode=0o755, advance=moved.append)
    assert sum(moved) == size
    assert again.sha256("remote $file") == sha256_file(local)
    assert again.run(["stat", "-c", "%a", "remote $file"]).text == "755\n"
    again.get("remote $file", tmp_path / "back", most=size)
    assert (tmp_path / "back").read_bytes() == local.read_bytes()


def test_a_file_that_arrives_damaged_never_gets_its_name(
    again: SshConnection, reachable: Reachable, tmp_path: Path
) -> None:
    local = tmp_path / "local"
    local.write_bytes(b"data")
    with pytest.raises(BoardError, match="SHA-256 is"):
        again.put(local, "damaged", sha256="0" * 64)
    assert not [path for path in reachable.home.iterdir() if path.name in ("damaged", ".part")]
    assert not list(reachable.home.glob(".*.part"))


def test_a_folder_that_is_not_there_is_named(again: SshConnection, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 5_000_000)
    with pytest.raises(BoardError, match="absent/f: cannot be written"):
        again.put(tmp_path / "f", "absent/f")


def test_a_file_that_cannot_be_read_leaves_none_here(again: SshConnection, tmp_path: Path) -> None:
    with pytest.raises(BoardError, match="absent"):
        again.get("absent", tmp_path / "here", most=1)
    assert not list(tmp_path.glob("*here*"))


def test_output_that_cannot_be_kept_here_is_told(again: SshConnection) -> None:
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OutputError):
        again.execute(["head", "-c", "100000", "/dev/zero"], stdout=full)


@pytest.mark.parametrize("redirect", ["", " >&2"])
def test_a_program_that_never_stops_talking_is_stopped(
    again: SshConnection, redirect: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "pid"
    script = f'echo $$ > "$1"; exec cat /dev/zero{redirect}'
    for module in ("connection", "exchange"):
        monkeypatch.setattr(f"toolchain.board.{module}.MOST", 1 << 20)
    with pytest.raises(BoardError, match="more came from there than there should be"):
        again.run(["sh", "-c", script, "sh", str(mark)])
    require_ended(int(mark.read_text()))


def test_a_shell_that_stands_still_is_ended_with_its_program_and_so_is_the_login(
    again: SshConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody reads any more what the login says of that."""
    mark = tmp_path / "pids"
    login = "$(cut -d ' ' -f 4 /proc/$PPID/stat)"
    # A shell that is stopped before it has a guard beside the program never gets one.
    guarded = "until set -- $(cat /proc/$PPID/task/$PPID/children); [ $# -gt 1 ]; do :; done"
    pids = f'mark=$1; echo "$$ $PPID {login}" >"$mark"'
    script = f"{pids}; {guarded}; kill -STOP $PPID; exec cat /dev/zero >&2"
    for module in ("connection", "exchange"):
        monkeypatch.setattr(f"toolchain.board.{module}.MOST", 1 << 20)
    with pytest.raises(BoardError, match="more came from there than there should be"):
        again.run(["sh", "-c", script, "sh", str(mark)])
    for pid in mark.read_text().split():
        require_ended(int(pid))


def test_a_file_that_is_larger_than_it_should_be_is_not_kept(
    again: SshConnection, tmp_path: Path
) -> None:
    with pytest.raises(BoardError, match="more came from there than there should be"):
        again.get("/dev/zero", tmp_path / "back", most=1 << 20)
    assert list(tmp_path.iterdir()) == []


def test_what_is_removed_stays_away_though_a_program_opens_it_later(
    again: SshConnection, tmp_path: Path
) -> None:
    """A program that was stopped may not have begun yet: it makes its file after the removal."""
    late = tmp_path / ".00000000000a.part"
    script = 'sleep 1; echo late >"$1"'
    process = subprocess.Popen(["/bin/sh", "-c", script, "sh", str(late)])
    again.run(["sh", "-c", _DISCARD, "sh", str(tmp_path), "00000000000a"])
    assert process.wait() == 0
    assert not late.exists()


def test_what_a_program_makes_just_before_it_ends_is_removed_as_well(
    again: SshConnection, tmp_path: Path
) -> None:
    """It is there when the file is removed, and gone when it is looked for."""
    late = tmp_path / ".00000000000a.part"
    looks = tmp_path / "bin" / "grep"
    looks.parent.mkdir()
    looks.write_text(f'#!/bin/sh\necho late >"{late}"\nexit 1\n')
    looks.chmod(0o755)
    path = f"PATH={looks.parent}{os.pathsep}{os.environ['PATH']}"
    again.run(["env", path, "sh", "-c", _DISCARD, "sh", str(tmp_path), "00000000000a"])
    assert not late.exists()


def test_an_interrupted_push_leaves_nothing(reachable: Reachable, tmp_path: Path) -> None:
    """Ctrl-C in another process, in the middle of a copy."""
    script = tmp_path / "push.py"
    script.write_text(
        textwrap.dedent(f"""
        import sys, time
        from pathlib import Path
        from toolchain.board.ssh import SshConnection
        from toolchain.board.target import SshTarget
        target = SshTarget("127.0.0.1", {reachable.target.user!r}, {reachable.target.port},
                           (Path({str(reachable.target.identities[0])!r}),),
                           (Path({str(reachable.target.known_hosts[0])!r}),), True)
        big = Path({str(tmp_path / "big")!r})
        big.write_bytes(bytes(40_000_000))
        def slow(count):
            print("moving", flush=True)
            time.sleep(600)  # until it is interrupted
        with SshConnection("test", target) as connection:
            connection.put(big, "interrupted", advance=slow)
        """)
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=environment,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"moving\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) != 0
    assert not (reachable.home / "interrupted").exists()
    assert not list(reachable.home.glob(".*.part"))


def test_input_streams_to_a_program(again: SshConnection) -> None:
    data = os.urandom(300_000)
    assert again.run(["cat"], stdin=data).stdout == data


def test_a_program_that_stops_reading_ends_with_its_own_code(again: SshConnection) -> None:
    source = io.BytesIO(bytes(20_000_000))
    code, _ = again.execute(["sh", "-c", "head -c 10 >/dev/null; exit 9"], stdin=source)
    assert code == 9
