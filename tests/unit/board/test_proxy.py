"""Boards behind a ProxyCommand or other hosts, and what is said when the way there is barred."""

from __future__ import annotations

import dataclasses
import os
import shlex
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.openssh import Sshd, client_logs_in, make_key, public_text, serving
from support.patience import PATIENCE, growing_limits
from support.relay import Relay
from toolchain.board.ssh import SshConnection
from toolchain.board.target import SshTarget, resolve
from toolchain.errors import ConnectionFailed
from toolchain.hardware.board_file import Board, Ssh

BOARD = Board(name="pi", title="Pi", cpu="Cortex-A72", isa="aarch64", march="armv8-a", ssh=Ssh())


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("key") / "user")


@pytest.fixture(scope="module")
def servers(key: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Sshd]]:
    """A board, two hosts to jump through, and one that lets nobody through."""
    folder = tmp_path_factory.mktemp("servers")
    authorized = public_text(key) + "\n"
    closed = {"AllowTcpForwarding": "no"}
    with (
        serving(folder / "board", authorized=authorized) as board,
        serving(folder / "gate", authorized=authorized) as gate,
        serving(folder / "second", authorized=authorized) as second,
        serving(folder / "closed", authorized=authorized, options=closed) as barred,
    ):
        yield [board, gate, second, barred]


@pytest.fixture
def config(servers: list[Sshd], key: Path, tmp_path: Path) -> Path:
    """A configuration that knows them all, and reaches the board directly."""
    known = tmp_path / "known_hosts"
    known.write_text("".join(server.known_line for server in servers))
    lines = []
    for name, server in zip(("pi", "gate", "second", "closed"), servers, strict=True):
        lines += [f"Host {name}", f"  Port {server.port}"]
    lines += ["Host *", "  HostName 127.0.0.1", f"  User {servers[0].user}",
              f"  IdentityFile {key}", f"  UserKnownHostsFile {known}"]  # fmt: skip
    path = tmp_path / "config"
    path.write_text("\n".join(lines) + "\n")
    return path


def by(config: Path, *lines: str) -> SshTarget:
    """The board, with more in its section."""
    config.write_text("\n  ".join(["Host pi", *lines]) + "\n" + config.read_text())
    return resolve(BOARD, "pi", None, config=config)


def logs_in(target: SshTarget) -> bool:
    with SshConnection("pi", target) as connection:
        return connection.run(["echo", "in"]).text == "in\n"


def refusal(target: SshTarget) -> ConnectionFailed:
    with pytest.raises(ConnectionFailed) as caught:
        SshConnection("pi", target, timeout=PATIENCE)
    return caught.value


@pytest.fixture
def carry(tmp_path: Path) -> str:
    """A command that connects its standard input and output to a port of loopback."""
    script = tmp_path / "carry it.py"
    script.write_text(
        textwrap.dedent("""\
        import os, socket, sys, threading
        link = socket.create_connection((sys.argv[1], int(sys.argv[2])))
        def up():
            for piece in iter(lambda: os.read(0, 9999), b""):
                link.sendall(piece)
        threading.Thread(target=up, daemon=True).start()
        for piece in iter(lambda: link.recv(9999), b""):
            os.write(1, piece)
        """)
    )
    return f"{shlex.quote(sys.executable)} {shlex.quote(str(script))}"


# --- ProxyCommand --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    ["{carry} %h %p", "sh -c '{quoted} %h %p 2>/dev/null'", "env A=1 {carry} $(echo %h) \"%p\"",
     "{carry} %h $((%p)) | cat", "{carry} %h %p # as it is", "ssh -F {config} -W %h:%p gate"],
)  # fmt: skip
def test_a_proxy_command_is_run_by_the_shell(config: Path, carry: str, form: str) -> None:
    quoted = carry.replace("'", '"')
    target = by(config, f"ProxyCommand {form.format(carry=carry, quoted=quoted, config=config)}")
    assert client_logs_in(config, "pi")
    assert logs_in(target)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("sh -c 'echo no route to the lab >&2; exit 3'", "exit code 3: no route to the lab"),
        ("no-such-program %h %p", "no-such-program"),
        ("false", "exit code 1"),
        ("sh -c 'echo asking for a code >&2; sleep 600'", "asking for a code"),
        # As OpenSSH runs it, behind exec: here the line alone would work.
        ("WHERE=here true", "exit code 127"),
        ("sleep 600", "nothing answers as an SSH server"),
    ],
)
def test_a_proxy_command_that_fails_is_told_in_its_words(
    config: Path, command: str, words: str
) -> None:
    target = by(config, f"ProxyCommand {command}")
    for limit in growing_limits(lambda: words in caught.value.what):
        with pytest.raises(ConnectionFailed) as caught:
            SshConnection("pi", target, timeout=limit)
    assert "ProxyCommand" in caught.value.what
    asked = shlex.split((caught.value.hint or "").split("by itself: ")[1])
    if "sleep" not in command:
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        assert f"exit code {done.returncode}" in caught.value.what
        assert done.stderr.strip().split(": ")[-1] in caught.value.what


def test_a_proxy_command_that_ends_later_is_told_in_its_words(
    config: Path, servers: list[Sshd], carry: str
) -> None:
    with Relay(servers[0].port) as relay:
        command = f"sh -c '{carry.replace(chr(39), chr(34))} 127.0.0.1 {relay.port}; echo cut >&2'"
        target = by(config, f"ProxyCommand {command}")
        with SshConnection("pi", target) as connection:
            connection.run(["true"])
            relay.fault = "cut"
            with pytest.raises(ConnectionFailed, match=r"connection was lost.*: cut"):
                connection.run(["sleep", "60"])


def test_an_interrupt_of_the_terminal_does_not_cut_a_proxy(
    config: Path, carry: str, tmp_path: Path
) -> None:
    """Ctrl-C goes to all programs of the terminal; what was begun must still be cleaned up."""
    by(config, f"ProxyCommand {carry} %h %p")
    script = tmp_path / "push.py"
    script.write_text(
        textwrap.dedent(f"""\
        import time
        from pathlib import Path
        from test_proxy import BOARD, resolve
        from toolchain.board.ssh import SshConnection
        big = Path({str(tmp_path / "big")!r})
        big.write_bytes(bytes(40_000_000))
        def slow(count):
            print("moving", flush=True)
            time.sleep(600)  # until it is interrupted
        with SshConnection("pi", resolve(BOARD, "pi", None, config=Path({str(config)!r}))) as pi:
            pi.put(big, {str(tmp_path / "there")!r}, advance=slow)
        """)
    )
    paths = [str(Path(__file__).parent), *sys.path]
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"moving\n"
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(PATIENCE) != 0
    assert not list(tmp_path.glob(".*.part"))
    assert not (tmp_path / "there").exists()


# --- ProxyJump -----------------------------------------------------------------------------------


@pytest.mark.parametrize("hops", ["gate", "gate,second", "second,gate,second"])
def test_a_board_behind_others_is_reached(config: Path, hops: str) -> None:
    target = by(config, f"ProxyJump {hops}")
    found, jump = 0, target.jump
    while jump:
        found, jump = found + 1, jump.jump
    assert found == len(hops.split(","))
    assert client_logs_in(config, "pi")
    assert logs_in(target)


def test_a_jump_by_address_is_reached(config: Path, servers: list[Sshd]) -> None:
    gate = servers[1]
    assert logs_in(by(config, f"ProxyJump ssh://{gate.user}@127.0.0.1:{gate.port}"))


def test_a_closed_board_behind_a_jump_is_told_in_the_jumps_words(config: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    target = dataclasses.replace(by(config, "ProxyJump gate"), port=port)
    error = refusal(target)
    assert f"cannot go on from there to 127.0.0.1 port {port}: Connection refused" in error.what
    assert str(target.jump) in error.what


def test_an_unknown_board_behind_a_jump_is_told_in_the_jumps_words(config: Path) -> None:
    target = dataclasses.replace(by(config, "ProxyJump gate"), hostname="no-such-board.invalid")
    assert "cannot go on from there to no-such-board.invalid" in refusal(target).what


def test_a_jump_that_lets_nobody_through_is_told(config: Path) -> None:
    error = refusal(by(config, "ProxyJump closed"))
    assert "prohibited" in error.what
    assert "AllowTcpForwarding" in (error.hint or "")


def test_a_silent_board_behind_a_jump_is_told_apart(config: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = dataclasses.replace(by(config, "ProxyJump gate"), port=silent.getsockname()[1])
        told = "does not answer as an SSH server"
        for limit in growing_limits(lambda: told in caught.value.what):
            with pytest.raises(ConnectionFailed) as caught:
                SshConnection("pi", target, timeout=limit)


# --- before the greeting -------------------------------------------------------------------------


def test_what_a_server_says_instead_of_a_greeting_is_told(config: Path) -> None:
    """As sshd does that has too many logins at once."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        target = dataclasses.replace(
            resolve(BOARD, "pi", None, config=config), port=busy.getsockname()[1]
        )

        def answer() -> None:
            link, _ = busy.accept()
            link.sendall(b"Exceeded MaxStartups\r\n")
            link.close()

        threading.Thread(target=answer, daemon=True).start()
        assert "Exceeded MaxStartups" in refusal(target).what
