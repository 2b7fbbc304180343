"""A board that goes silent is given up in time, in every phase; one that is only quiet is not."""

from __future__ import annotations

import dataclasses
import os
import shlex
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.openssh import Sshd, make_key, public_text, serving
from support.patience import PATIENCE, once
from support.relay import Fault, Relay
from toolchain.board import ssh
from toolchain.board.ssh import SshConnection
from toolchain.board.target import SshTarget
from toolchain.errors import ConnectionFailed

LIMIT = 8.0
"""Seconds of silence; the tests wait for far longer before they fail. On a machine whose cores are
all taken, a server that is well answers after some seconds."""
LOST = f"the connection was lost: no answer for {LIMIT:g} s"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("key") / "user")


@pytest.fixture
def server(key: Path, tmp_path: Path) -> Iterator[Sshd]:
    home = tmp_path / "board"
    home.mkdir()
    login = f'cd {home} && exec sh -c "$SSH_ORIGINAL_COMMAND"'
    with serving(tmp_path / "sshd", authorized=public_text(key) + "\n", login=login) as running:
        yield running


@pytest.fixture
def relay(server: Sshd) -> Iterator[Relay]:
    with Relay(server.port) as running:
        yield running


@pytest.fixture
def direct(server: Sshd, relay: Relay, key: Path, tmp_path: Path) -> SshTarget:
    """The board behind the relay."""
    known = tmp_path / "known_hosts"
    text = server.known_line
    known.write_text(text + text.replace(f":{server.port}", f":{relay.port}"))
    return SshTarget("127.0.0.1", server.user, relay.port, (key,), (known,), only_identities=True)


@pytest.fixture(params=["directly", "by a jump", "by a program"])
def target(
    request: pytest.FixtureRequest, direct: SshTarget, server: Sshd, relay: Relay, tmp_path: Path
) -> SshTarget:
    """The board behind the relay, reached in one of three ways."""
    if request.param == "directly":
        return direct
    inner = dataclasses.replace(direct, port=server.port)
    if request.param == "by a jump":
        return dataclasses.replace(inner, jump=direct)
    script = (
        "import os,socket,sys,threading\n"
        "s=socket.create_connection(('127.0.0.1',int(sys.argv[1])))\n"
        "def up():\n"
        "  for d in iter(lambda:os.read(0,9999),b''): s.sendall(d)\n"
        "threading.Thread(target=up,daemon=True).start()\n"
        "for d in iter(lambda:s.recv(9999),b''): os.write(1,d)\n"
    )
    (tmp_path / "carry.py").write_text(script)
    command = f"python3 {shlex.quote(str(tmp_path / 'carry.py'))} {relay.port}"
    return dataclasses.replace(inner, proxy_command=command)


def given_up(job: Callable[[], object]) -> ConnectionFailed:
    """The error of a job that must end by itself."""
    caught: list[BaseException] = []

    def work() -> None:
        try:
            job()
        except BaseException as error:
            caught.append(error)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(PATIENCE)
    assert not worker.is_alive(), "it still waits"
    assert caught, "it came back as if nothing had happened"
    assert isinstance(caught[0], ConnectionFailed), caught[0]
    return caught[0]


def runs(connection: SshConnection, begun: Path) -> object:
    """Run a program that tells when it has begun, and does not end."""
    return connection.run(["sh", "-c", 'touch "$1"; exec sleep 600', "sh", str(begun)])


@pytest.mark.parametrize("fault", ["swallow", "stall"])
def test_a_link_that_dies_while_a_program_runs(
    target: SshTarget, relay: Relay, fault: Fault, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    with SshConnection("pi", target, silence=LIMIT) as connection:
        once(begun.exists, lambda: setattr(relay, "fault", fault))
        error = given_up(lambda: runs(connection, begun))
    assert LOST in error.what


@pytest.mark.parametrize("fault", ["swallow", "stall"])
def test_a_link_that_dies_while_a_file_is_sent(
    target: SshTarget, relay: Relay, fault: Fault, tmp_path: Path
) -> None:
    big = tmp_path / "big"
    big.write_bytes(os.urandom(8_000_000))
    with SshConnection("pi", target, silence=LIMIT) as connection:
        relay.after = (relay.carried + 1_000_000, fault)
        error = given_up(lambda: connection.put(big, "big"))
    assert LOST in error.what


def test_a_link_that_dies_while_a_file_is_fetched(
    target: SshTarget, relay: Relay, tmp_path: Path
) -> None:
    def begun() -> bool:
        return any(path.stat().st_size for path in tmp_path.glob("*zeros*"))

    with SshConnection("pi", target, silence=LIMIT) as connection:
        once(begun, lambda: setattr(relay, "fault", "swallow"))
        error = given_up(lambda: connection.get("/dev/zero", tmp_path / "zeros", most=1 << 40))
    assert LOST in error.what
    assert not list(tmp_path.glob("*zeros*"))


def test_a_link_that_died_between_two_programs(target: SshTarget, relay: Relay) -> None:
    with SshConnection("pi", target, silence=LIMIT) as connection:
        connection.run(["true"])
        relay.fault = "swallow"
        given_up(lambda: connection.run(["true"]))


def test_a_server_that_is_stopped(target: SshTarget, server: Sshd, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    with SshConnection("pi", target, silence=LIMIT) as connection:
        connection.run(["true"])
        once(begun.exists, lambda: server.signal(signal.SIGSTOP))
        error = given_up(lambda: runs(connection, begun))
    assert LOST in error.what


def test_the_configuration_may_give_it_up_sooner(
    target: SshTarget, relay: Relay, tmp_path: Path
) -> None:
    """``ServerAliveInterval``, of the board or of a host on the way."""
    begun = tmp_path / "begun"
    jump = target.jump and dataclasses.replace(target.jump, silence=LIMIT)
    target = dataclasses.replace(target, silence=None if jump else LIMIT, jump=jump)
    with SshConnection("pi", target) as connection:
        once(begun.exists, lambda: setattr(relay, "fault", "swallow"))
        error = given_up(lambda: runs(connection, begun))
    assert "the connection was lost" in error.what
    assert jump or LOST in error.what


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.8])
@pytest.mark.parametrize("fault", ["swallow", "stall"])
def test_a_link_that_dies_during_the_login(
    direct: SshTarget, relay: Relay, share: float, fault: Fault
) -> None:
    """After the connection, the greeting, the exchange of keys, and in the login."""
    SshConnection("pi", direct).close()
    relay.after = (relay.carried + int(share * relay.carried), fault)
    given_up(lambda: SshConnection("pi", direct, timeout=1, silence=LIMIT).close())


def test_what_is_only_quiet_for_longer_is_left_alone(target: SshTarget) -> None:
    """A program that says nothing, and a connection that no program runs over."""
    with (
        SshConnection("pi", target, silence=LIMIT) as busy,
        SshConnection("pi", target, silence=LIMIT) as idle,
    ):
        assert busy.run(["sh", "-c", f"sleep {1.5 * LIMIT:g}; echo done"]).text == "done\n"
        for connection in (busy, idle):
            assert connection.run(["echo", "still there"]).text == "still there\n"


@pytest.mark.parametrize("said", ["by the caller", "by the configuration"])
def test_an_address_that_swallows_connections(
    direct: SshTarget, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full backlog: the kernel answers no further connection."""
    monkeypatch.setattr(ssh, "CONNECT_TIMEOUT_S", 10 * PATIENCE)
    mine, configured = (1, None) if said == "by the caller" else (None, 1.0)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        there = dataclasses.replace(direct, port=port, timeout=configured)
        error = given_up(lambda: SshConnection("pi", there, timeout=mine))
        for one in waiting:
            one.close()
    assert f"port {port} does not answer" in error.what
