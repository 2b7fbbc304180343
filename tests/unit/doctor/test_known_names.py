"""What things are called here, read from files and variables that may hold anything."""

from __future__ import annotations

import getpass
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.malformed import damaged
from support.openssh import make_key, public_text
from support.places import REPOSITORY
from toolchain.board.target import SshTarget
from toolchain.doctor import known_names as known
from toolchain.doctor.known_names import KnownNames, known_names
from toolchain.hardware.board_file import load_board

PASSWD = b"""root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
algernon:x:1000:1000:Algernon Moncrieff,,,:/home/algy:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
broken:x:many:1
"""


@pytest.fixture
def files(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files that stand for those of ``/etc``."""
    for name in ("_PASSWD", "_HOSTS", "_HOSTNAME"):
        monkeypatch.setattr(known, name, place / name)
    return place


def test_people_are_known_and_accounts_of_the_system_are_none(files: Path) -> None:
    (files / "_PASSWD").write_bytes(PASSWD)
    names = known_names(environment={"LOGNAME": "bunbury", "HOME": "/home/merriman"})
    assert {"algernon", "Algernon Moncrieff", "bunbury", "merriman"} <= set(names.users)
    assert not {"root", "daemon", "nobody", "broken"} & set(names.users)
    own = getpass.getuser()
    assert own in (*names.users, "root")


def test_this_machine_and_its_neighbours_are_known(files: Path) -> None:
    (files / "_HOSTS").write_text(
        "127.0.0.1 localhost\n::1 ip6-localhost ip6-loopback\n10.0.0.7 nas.lan nas # the disk\n\n"
    )
    (files / "_HOSTNAME").write_text("desk.example.org\n")
    names = known_names(environment={})
    assert {"nas.lan", "nas", "desk.example.org", "desk"} <= set(names.hosts)
    assert not {"localhost", "ip6-localhost", "the", "disk"} & set(names.hosts)
    host = socket.gethostname()
    assert host in (*names.hosts, "localhost", "host")


def test_hosts_of_the_ssh_files_are_known(files: Path) -> None:
    folder = files / "user/.ssh"
    folder.mkdir()
    (folder / "config").write_text(
        "Host lab *.lan !x other\n  HostName lab-17.uni\n  ProxyJump me@gate:22,second\n"
        "  User zacharias\n"
    )
    key = public_text(make_key(files / "key"))
    (folder / "known_hosts").write_text(f"[pi.lan]:2222,10.0.0.9 {key}\n|1|aa|bb {key}\nbad\n")
    names = known_names(environment={})
    expected = {"lab", "other", "lab-17.uni", "gate", "second", "pi.lan", "10.0.0.9"}
    assert expected <= set(names.hosts)
    assert {"me", "zacharias"} <= set(names.users)
    assert not any("*" in name or "|" in name for name in names.hosts)


def test_a_boards_host_and_user_are_known_with_those_on_the_way(files: Path) -> None:
    path = files / "mine.toml"
    path.write_text((REPOSITORY / "boards/rpi4.toml").read_text() + '[ssh]\nhost = "a@pi-9:22"\n')
    jump = SshTarget("gate.example", "guard", alias="gate")
    target = SshTarget("pi-9.example", "ada", alias="pi-9", jump=jump, host_key_alias="pi-key")
    names = known_names(load_board(str(path)), "eve@[fe80::1]:22", target, environment={})
    assert {"pi-9", "pi-9.example", "pi-key", "gate.example", "gate", "fe80::1", "mine"} <= {
        *names.hosts
    }
    assert {"ada", "guard", "eve"} <= set(names.users)
    assert str(path) in names.paths


def test_secrets_are_told_by_the_names_of_variables() -> None:
    names = known_names(
        environment={
            "GITHUB_TOKEN": "abcd1234", "db.password": "x y z w", "MY-API-KEY": "k1k2k3",
            "KEYBOARD": "german", "SSH_AUTH_SOCK": "/run/agent", "SECRET": "yes", "TOKEN": "abc",
            "MONKEY": "banana", "PATH": "/usr/bin",
        }
    )  # fmt: skip
    assert set(names.secrets) == {"abcd1234", "x y z w", "k1k2k3"}


def test_longer_names_come_first_and_words_of_our_own_are_none() -> None:
    names = KnownNames.of(users=["al", "algernon", "board", "", "x", "rpi4"], hosts=["HOST", "nas"])
    assert names.users == ("algernon", "al")
    assert names.hosts == ("nas",)


def test_a_folder_that_has_gone_keeps_nothing_from_being_known(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = files / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert known_names(environment={"HOME": "/home/bunbury"}).paths


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    passwd=damaged([PASSWD]),
    hosts=damaged([b"10.0.0.7 nas.lan nas # x\n127.0.0.1 localhost\n"]),
    config=damaged([b"Host a b\n  HostName=c\nProxyJump d@e,f\n"]),
)
def test_files_that_hold_anything_are_borne(
    files: Path, passwd: bytes, hosts: bytes, config: bytes
) -> None:
    (files / "_PASSWD").write_bytes(passwd)
    (files / "_HOSTS").write_bytes(hosts)
    (files / "_HOSTNAME").write_bytes(hosts)
    folder = files / "user/.ssh"
    folder.mkdir(exist_ok=True)
    (folder / "config").write_bytes(config)
    (folder / "known_hosts").write_bytes(config)
    names = known_names(environment={})
    assert all(len(name) > 1 for name in (*names.users, *names.hosts))


@given(name=st.text(max_size=20), value=st.text(max_size=20))
def test_variables_that_hold_anything_are_borne(name: str, value: str) -> None:
    known_names(environment={name: value, "HOME": value, "USER": value})
