"""Boards at addresses of every kind, as OpenSSH's own client reaches them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.openssh import Sshd, client_logs_in, make_key, public_text, serving
from toolchain.board.ssh import SshConnection
from toolchain.board.target import SshTarget, resolve
from toolchain.hardware.board_file import Board

BOARD = Board(name="pi", title="Pi", cpu="Cortex-A72", isa="aarch64", march="armv8-a")


def local_addresses() -> list[str]:
    """The IPv6 addresses of this machine: loopback, and one with a scope."""
    found = {}
    path = Path("/proc/net/if_inet6")
    for line in path.read_text().splitlines() if path.exists() else []:
        digits, *_, device = line.split()
        address = ipaddress.IPv6Address(int(digits, 16))
        if address.is_loopback:
            found["loopback"] = str(address)
        elif address.is_link_local:
            found["scope"] = f"{address}%{device}"
    return [found.get(kind, "") for kind in ("loopback", "scope")]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("key") / "user")


@pytest.fixture(scope="module", params=local_addresses(), ids=["loopback", "scope"])
def served(
    request: pytest.FixtureRequest, key: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Sshd]]:
    """An address, and the server that listens there."""
    if not request.param:
        pytest.skip("this machine has no such address")
    folder = tmp_path_factory.mktemp("sshd")
    authorized = public_text(key) + "\n"
    with serving(folder, authorized=authorized, also=[f"[{request.param}]"]) as running:
        yield request.param, running


def logs_in(target: SshTarget) -> bool:
    with SshConnection("pi", target) as connection:
        return connection.run(["echo", "in"]).text == "in\n"


@pytest.mark.parametrize(
    "form", ["{user}@[{address}]:{port}", "ssh://{user}@[{address}]:{port}", "pi", "six"]
)
def test_a_board_at_an_ipv6_address_is_reached(
    served: tuple[str, Sshd], key: Path, tmp_path: Path, form: str
) -> None:
    address, server = served
    known, config = tmp_path / "known_hosts", tmp_path / "config"
    known.write_text(server.known_line.replace("127.0.0.1", address))
    name = address.replace("%", "%%")
    config.write_text(
        f"Host pi six\n  HostName {name}\n  Port {server.port}\n  User {server.user}\n"
        "Match originalhost six\n  AddressFamily inet6\n"
        f"Host *\n  IdentityFile {key}\n  UserKnownHostsFile {known}\n"
        "  StrictHostKeyChecking yes\n"
    )
    given = form.format(user=server.user, address=address, port=server.port)
    assert logs_in(resolve(BOARD, given, None, config=config))
    theirs = ["-p", str(server.port), "-l", server.user]
    assert client_logs_in(config, address if "{" in form else form, *theirs)


def test_a_board_behind_a_jump_with_an_ipv6_address_is_reached(
    served: tuple[str, Sshd], key: Path, tmp_path: Path
) -> None:
    address, server = served
    known, config = tmp_path / "known_hosts", tmp_path / "config"
    known.write_text(server.known_line + server.known_line.replace("127.0.0.1", address))
    config.write_text(
        f"Host pi\n  HostName 127.0.0.1\n  ProxyJump {server.user}@[{address}]:{server.port}\n"
        f"Host *\n  Port {server.port}\n  User {server.user}\n  IdentityFile {key}\n"
        f"  UserKnownHostsFile {known}\n"
    )
    assert logs_in(resolve(BOARD, "pi", None, config=config))
