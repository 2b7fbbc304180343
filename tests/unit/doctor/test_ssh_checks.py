"""What reaches boards: the configuration, host keys on record, keys and the agent."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from support.openssh import add_to_agent, agent, make_key, public_text
from toolchain.board import target as targets
from toolchain.board.target import SshTarget
from toolchain.doctor.finding import Finding
from toolchain.doctor.ssh_checks import ssh_checks
from toolchain.errors import ConnectionFailed
from toolchain.hints import apt_line

PASSPHRASE = "open sesame"  # noqa: S105 - of keys that live as long as the tests


@pytest.fixture
def ssh(place: Path) -> Path:
    """The folder of the user's SSH files."""
    folder = place / "user/.ssh"
    folder.mkdir(mode=0o700)
    return folder


def found(name: str, *, matters: bool = True) -> list[Finding]:
    target: SshTarget | ConnectionFailed
    try:
        target = targets.usual()
    except ConnectionFailed as error:
        target = error
    return list(ssh_checks(target, matters=matters)[name]())


def one(name: str, *, matters: bool = True) -> Finding:
    (finding,) = found(name, matters=matters)
    return finding


def mend(finding: Finding) -> None:
    """Run the line, as a user would."""
    assert finding.runs
    subprocess.run(["/bin/sh", "-c", finding.fix or ""], check=True, capture_output=True)


def test_who_has_no_ssh_at_all_has_no_fault(place: Path) -> None:
    shutil.rmtree(place / "user")
    for name in ("permissions", "configuration", "known_hosts", "keys", "agent"):
        assert one(name).state == "ok", name
    assert not (place / "user").exists()


def test_without_the_client_the_line_that_installs_it_is_told(
    monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    monkeypatch.setenv("PATH", str(place / "nothing"))
    assert one("client").fix == apt_line("openssh-client")


@pytest.mark.parametrize(("matters", "state", "code"), [(True, "fault", 6), (False, "warning", 0)])
def test_a_fault_of_the_configuration_is_told_in_openssh_words(
    ssh: Path, state: str, code: int, *, matters: bool
) -> None:
    (ssh / "config").write_text("Host pi\n  HostNam 10.0.0.1\n")
    told = one("configuration", matters=matters)
    assert (told.state, told.exit_code) == (state, code)
    assert "hostnam" in told.what.lower()


def test_a_configuration_that_cannot_be_read_leaves_the_other_checks(ssh: Path) -> None:
    (ssh / "config").write_text("nonsense here\n")
    names = ssh_checks(ConnectionFailed("no"), matters=True)
    assert {"client", "permissions", "configuration"} == set(names)


def test_a_key_that_the_configuration_names_and_that_is_not_there_is_told(
    ssh: Path, place: Path
) -> None:
    (ssh / "config").write_text(f"IdentityFile {place}/gone\n")
    told = one("configuration")
    assert told.state == "warning"
    assert f"{place}/gone" in told.what


@pytest.mark.parametrize("name", ["", "config"])
def test_what_others_may_write_to_is_told_with_the_line_that_closes_it(
    ssh: Path, name: str
) -> None:
    (ssh / "config").write_text("")
    (ssh / name).chmod(0o777)
    told = one("permissions")
    assert told.state == "warning"
    mend(told)
    assert one("permissions").state == "ok"


# --- host keys ---------------------------------------------------------------------------------


def test_damaged_lines_are_told_and_the_line_takes_just_them_out(ssh: Path, place: Path) -> None:
    good = f"pi {public_text(make_key(place / 'host'))}"
    known = ssh / "known_hosts"
    known.write_text(f"damaged\n{good}\n# comment\npi ssh-ed25519 AAAA\n")
    told = one("known_hosts")
    assert told.state == "warning"
    assert "lines 1, 4 say nothing" in told.what
    mend(told)
    assert known.read_text() == f"{good}\n# comment\n"
    assert (ssh / "known_hosts.bak").read_text().startswith("damaged\n")
    assert one("known_hosts").what == "1 host key is on record"


def test_many_damaged_lines_are_told_as_some(ssh: Path) -> None:
    (ssh / "known_hosts").write_text("damaged\n" * 500)
    assert "lines 1, 2, 3, ... say" in one("known_hosts").what


@pytest.mark.parametrize(("matters", "state", "code"), [(True, "fault", 7), (False, "warning", 0)])
def test_a_record_that_cannot_be_read_is_told(
    ssh: Path, state: str, code: int, *, matters: bool
) -> None:
    with (ssh / "known_hosts").open("wb") as file:
        file.truncate(65 << 20)  # more than is read
    told = one("known_hosts", matters=matters)
    assert (told.state, told.exit_code) == (state, code)
    assert "is larger than 64 MiB" in told.what


def test_a_record_that_others_may_write_to_is_told(ssh: Path) -> None:
    (ssh / "known_hosts").write_text("")
    (ssh / "known_hosts").chmod(0o666)
    told = one("known_hosts")
    assert "who could record a host key of theirs" in told.what
    mend(told)
    assert one("known_hosts").state == "ok"


# --- keys and the agent --------------------------------------------------------------------------


def test_a_key_that_others_may_read_is_told_with_the_line_that_closes_it(ssh: Path) -> None:
    key = make_key(ssh / "id_ed25519")
    key.chmod(0o644)
    told = one("keys")
    assert (told.state, told.fix) == ("warning", f"chmod 600 {shlex.quote(str(key))}")
    mend(told)
    assert one("keys").state == "ok"


@pytest.mark.parametrize("content", [b"", b"\0\xff", b"-----BEGIN OPENSSH PRIVATE KEY-----\n"])
def test_a_file_that_is_no_key_is_told(ssh: Path, content: bytes) -> None:
    (ssh / "id_ed25519").write_bytes(content)
    (ssh / "id_ed25519").chmod(0o600)
    states = {item.state for item in found("keys")}
    assert states <= {"ok", "warning"}
    if content:
        told = one("keys")
        assert told.what.endswith("id_ed25519 is no SSH key")


def test_a_locked_key_that_no_agent_holds_is_told_with_the_line_that_loads_it(ssh: Path) -> None:
    key = make_key(ssh / "id_ed25519", passphrase=PASSPHRASE)
    told = one("agent")
    assert told.state == "warning"
    assert told.fix == f'eval "$(ssh-agent)" && ssh-add {shlex.quote(str(key))}'


def test_a_locked_key_of_the_agent_is_fine(
    ssh: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = make_key(ssh / "id_ed25519", passphrase=PASSPHRASE)
    with agent(place / "agent"):
        monkeypatch.setenv("SSH_AUTH_SOCK", str(place / "agent"))
        assert one("agent").fix == f"ssh-add {shlex.quote(str(key))}"
        add_to_agent(place / "agent", key, PASSPHRASE)
        assert one("agent").state == "ok"


def test_an_agent_that_has_gone_is_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", str(place / "gone"))
    told = one("agent")
    assert told.state == "warning"
    assert str(place / "gone") in told.what


def test_more_keys_than_a_server_lets_be_tried_are_told(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with agent(place / "agent"):
        monkeypatch.setenv("SSH_AUTH_SOCK", str(place / "agent"))
        for number in range(6):
            add_to_agent(place / "agent", make_key(place / f"key{number}"))
        told = one("agent")
    assert "holds 6 keys" in told.what
    assert "--identity" in (told.fix or "")
