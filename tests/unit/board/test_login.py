"""Which keys are tried: those that OpenSSH would, also when the agent alone can sign."""

from __future__ import annotations

import shlex
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from support.openssh import (
    Sshd,
    add_to_agent,
    agent,
    certify,
    client_logs_in,
    make_key,
    public_text,
    serving,
    shell,
)  # fmt: skip
from support.patience import growing_limits
from toolchain.board.ssh import SshConnection
from toolchain.board.target import resolve
from toolchain.errors import ConnectionFailed
from toolchain.hardware.board_file import Board, Ssh

PASSPHRASE = "open sesame"  # noqa: S105 - of keys that live as long as the tests


class Place:
    """A server that knows some keys, a configuration that leads there, and an agent's socket."""

    def __init__(self, folder: Path, server: Sshd) -> None:
        self.folder, self.server = folder, server
        self.config, self.socket = folder / "config", folder / "agent"
        (folder / "known_hosts").write_text(server.known_line)

    def configure(self, *lines: str) -> None:
        common = [
            "HostName 127.0.0.1",
            f"Port {self.server.port}",
            f"User {self.server.user}",
            f"UserKnownHostsFile {self.folder / 'known_hosts'}",
        ]
        self.config.write_text("\n  ".join(["Host pi", *lines, *common]) + "\n")

    def connect(self, identity: Path | None = None) -> SshConnection:
        board = Board(
            name="pi", title="Pi", cpu="Cortex-A72", isa="aarch64", march="armv8-a", ssh=Ssh()
        )
        return SshConnection("pi", resolve(board, "pi", identity, config=self.config))

    def logs_in(self, identity: Path | None = None) -> bool:
        with self.connect(identity) as connection:
            return connection.run(["echo", "in"]).text == "in\n"

    def refusal(self, identity: Path | None = None) -> ConnectionFailed:
        with pytest.raises(ConnectionFailed) as caught:
            self.connect(identity)
        return caught.value


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``locked`` and ``plain``, which the server knows, and a stranger."""
    folder = tmp_path_factory.mktemp("keys")
    make_key(folder / "locked", passphrase=PASSPHRASE)
    make_key(folder / "plain")
    make_key(folder / "rsa", kind="rsa")
    make_key(folder / "ecdsa", kind="ecdsa")
    make_key(folder / "authority")
    make_key(folder / "stranger")
    return folder


@pytest.fixture(scope="module")
def server(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    names = ("locked", "plain", "rsa", "ecdsa")
    lines = [public_text(keys / name) for name in names]
    lines.append(f'cert-authority,principals="pi" {public_text(keys / "authority")}')
    folder = tmp_path_factory.mktemp("sshd")
    with serving(
        folder, authorized="\n".join(lines) + "\n", options={"MaxAuthTries": 3}
    ) as running:
        yield running


@pytest.fixture
def place(server: Sshd, tmp_path: Path) -> Place:
    return Place(tmp_path, server)


@pytest.fixture
def held(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The user's agent, without a key."""
    with agent(place.socket):
        monkeypatch.setenv("SSH_AUTH_SOCK", str(place.socket))
        yield place.socket


# --- keys that the agent holds -------------------------------------------------------------------


def test_a_locked_key_of_the_agent_is_used_with_identities_only(
    place: Place, held: Path, keys: Path
) -> None:
    add_to_agent(held, keys / "locked", PASSPHRASE)
    place.configure(f"IdentityFile {keys / 'locked'}", "IdentitiesOnly yes")
    assert client_logs_in(place.config, "pi")
    assert place.logs_in()


def test_a_locked_key_of_the_agent_is_used_if_the_command_line_names_it(
    place: Place, held: Path, keys: Path
) -> None:
    add_to_agent(held, keys / "locked", PASSPHRASE)
    place.configure()
    assert place.logs_in(keys / "locked")
    assert place.logs_in(keys / "locked.pub")


def test_a_locked_key_is_matched_without_its_public_file(
    place: Place, held: Path, keys: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "alone"
    alone.write_bytes((keys / "locked").read_bytes())
    alone.chmod(0o600)
    add_to_agent(held, alone, PASSPHRASE)
    place.configure(f"IdentityFile {alone}", "IdentitiesOnly yes")
    assert client_logs_in(place.config, "pi")
    assert place.logs_in()


def test_a_public_key_names_the_one_of_the_agent(place: Place, held: Path, keys: Path) -> None:
    """The private key is on a token, or on another machine."""
    for name in ("stranger", "plain"):
        add_to_agent(held, keys / name)
    public = place.folder / "only.pub"
    public.write_text((keys / "plain.pub").read_text())
    place.configure(f"IdentityFile {public}", "IdentitiesOnly yes")
    assert client_logs_in(place.config, "pi")
    assert place.logs_in()


def test_a_public_file_alone_stands_for_the_key_of_the_agent(
    place: Place, held: Path, keys: Path
) -> None:
    add_to_agent(held, keys / "plain")
    gone = place.folder / "gone"
    gone.with_suffix(".pub").write_text((keys / "plain.pub").read_text())
    place.configure(f"IdentityFile {gone}", "IdentitiesOnly yes")
    assert client_logs_in(place.config, "pi")
    assert place.logs_in()
    assert place.logs_in(gone)


def test_identities_only_offers_no_other_key_of_the_agent(
    place: Place, held: Path, keys: Path
) -> None:
    add_to_agent(held, keys / "plain")
    place.configure(f"IdentityFile {keys / 'stranger'}", "IdentitiesOnly yes")
    assert not client_logs_in(place.config, "pi")
    assert str(keys / "stranger") in place.refusal().what


def test_identities_only_alone_means_the_usual_keys(
    place: Place, keys: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usual = tmp_path / "home" / ".ssh" / "id_ed25519"
    usual.parent.mkdir(parents=True, mode=0o700)
    usual.write_bytes((keys / "plain").read_bytes())
    usual.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    place.configure("IdentitiesOnly yes")
    assert place.logs_in()


def test_a_key_that_is_named_goes_before_the_others_of_the_agent(
    place: Place, held: Path, keys: Path
) -> None:
    """The server lets three be tried."""
    for number in range(4):
        add_to_agent(held, make_key(place.folder / f"other{number}"))
    add_to_agent(held, keys / "locked", PASSPHRASE)
    place.configure(f"IdentityFile {keys / 'locked'}")
    assert client_logs_in(place.config, "pi")
    assert place.logs_in()


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "plain"])
def test_keys_of_every_kind_work_from_the_agent_and_from_a_file(
    place: Place, held: Path, keys: Path, kind: str
) -> None:
    place.configure(f"IdentityFile {keys / kind}")
    assert place.logs_in()
    add_to_agent(held, keys / kind)
    place.configure()
    assert place.logs_in()


@pytest.mark.parametrize("form", ["PEM", "PKCS8"])
def test_keys_in_older_formats_work(place: Place, form: str, keys: Path) -> None:
    older = place.folder / "older"
    older.write_bytes((keys / "rsa").read_bytes())
    older.chmod(0o600)
    shell(f"ssh-keygen -q -p -N '' -m {form} -f {older}")
    place.configure(f"IdentityFile {older}")
    assert place.logs_in()


# --- which agent ---------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["{}", '"{}"', "$PI_AGENT", "${{PI_AGENT}}", "SSH_AUTH_SOCK"])
def test_identity_agent_names_the_agent(
    place: Place, keys: Path, monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    usual = place.socket if spelling == "SSH_AUTH_SOCK" else place.folder / "nobody"
    monkeypatch.setenv("SSH_AUTH_SOCK", str(usual))
    monkeypatch.setenv("PI_AGENT", str(place.socket))
    place.configure(f"IdentityAgent {spelling.format(place.socket)}")
    with agent(place.socket):
        add_to_agent(place.socket, keys / "locked", PASSPHRASE)
        assert client_logs_in(place.config, "pi")
        assert place.logs_in()


def test_identity_agent_none_turns_the_agent_off(place: Place, held: Path, keys: Path) -> None:
    add_to_agent(held, keys / "locked", PASSPHRASE)
    place.configure("IdentityAgent none", f"IdentityFile {keys / 'locked'}")
    assert not client_logs_in(place.config, "pi")
    assert "IdentityAgent none" in place.refusal().what


# --- certificates --------------------------------------------------------------------------------


def test_a_certificate_beside_a_key_is_shown(place: Place, keys: Path) -> None:
    mine = make_key(place.folder / "mine")
    certify(keys / "authority", mine, "-n", "pi")
    place.configure(f"IdentityFile {mine}")
    assert client_logs_in(place.config, "pi")
    assert place.logs_in()


def test_a_certificate_elsewhere_is_shown(place: Place, keys: Path, held: Path) -> None:
    mine = make_key(place.folder / "mine", passphrase=PASSPHRASE)
    elsewhere = place.folder / "elsewhere-cert.pub"
    certify(keys / "authority", mine, "-n", "pi").rename(elsewhere)
    add_to_agent(held, mine, PASSPHRASE)
    place.configure(f"IdentityFile {mine}", f"CertificateFile {elsewhere}")
    assert client_logs_in(place.config, "pi")
    assert place.logs_in()


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_a_certificate_that_the_agent_holds_is_shown(
    place: Place, keys: Path, held: Path, kind: str
) -> None:
    mine = make_key(place.folder / "mine", kind=kind)
    certify(keys / "authority", mine, "-n", "pi")
    add_to_agent(held, mine)
    place.configure()
    assert client_logs_in(place.config, "pi")
    assert place.logs_in()


# --- what is said when it does not work ----------------------------------------------------------


def hinted(error: ConnectionFailed) -> str:
    hint = error.hint or ""
    assert ": " in hint
    return hint.split(": ", 1)[1]


def test_a_locked_key_is_told_with_the_command_that_unlocks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = make_key(tmp_path / "my key", passphrase=PASSPHRASE)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "sock"))
    with (
        agent(tmp_path / "sock"),
        serving(tmp_path / "sshd2", authorized=public_text(mine) + "\n") as server,
    ):
        own = Place(tmp_path / "sshd2", server)
        own.configure(f'IdentityFile "{mine}"')
        error = own.refusal()
        assert f"{mine} is protected by a passphrase, and the agent does not hold it" in error.what
        assert hinted(error) == f"ssh-add {shlex.quote(str(mine))}"
        shell(hinted(error), PASSPHRASE)
        assert own.logs_in()


def test_a_locked_key_without_an_agent_is_told_with_the_commands_that_help(
    place: Place, keys: Path
) -> None:
    place.configure(f"IdentityFile {keys / 'locked'}")
    error = place.refusal()
    assert "no agent runs" in error.what
    command = hinted(error).replace("ssh-agent", f"ssh-agent -a {place.folder / 'new'}")
    shell(f"{command} && ssh-add -l && ssh-agent -k", PASSPHRASE)


def test_a_locked_key_is_added_to_the_agent_that_the_configuration_names(
    place: Place, keys: Path
) -> None:
    place.configure(f"IdentityFile {keys / 'locked'}", f"IdentityAgent {place.socket}")
    assert f"no agent answers at {place.socket}" in place.refusal().what
    with agent(place.socket):
        error = place.refusal()
        assert hinted(error) == f"SSH_AUTH_SOCK={place.socket} ssh-add {keys / 'locked'}"
        shell(hinted(error), PASSPHRASE)
        assert place.logs_in()


def test_a_board_is_reached_from_the_address_that_the_configuration_names(
    tmp_path: Path, keys: Path
) -> None:
    line = f'from="127.0.0.3" {public_text(keys / "plain")}\n'
    with serving(tmp_path / "sshd2", authorized=line) as server:
        own = Place(tmp_path / "sshd2", server)
        own.configure(f"IdentityFile {keys / 'plain'}", "BindAddress 127.0.0.3")
        assert client_logs_in(own.config, "pi")
        assert own.logs_in()
        own.configure(f"IdentityFile {keys / 'plain'}")
        own.refusal()
        own.configure(f"IdentityFile {keys / 'plain'}", "BindAddress 203.0.113.7")
        assert "203.0.113.7, the BindAddress" in own.refusal().what


def test_too_many_keys_are_told_in_the_servers_words(place: Place, held: Path, keys: Path) -> None:
    for number in range(5):
        add_to_agent(held, make_key(place.folder / f"other{number}"))
    place.configure(f"IdentityFile {keys / 'plain'}")
    assert not client_logs_in(place.config, "pi")
    error = place.refusal()
    assert "Too many authentication failures" in error.what
    assert "other0" in error.what
    assert "--identity" in (error.hint or "")
    assert place.logs_in(keys / "plain"), "as the hint says"


def test_an_identity_file_that_is_not_there_is_told_when_nothing_else_works(
    place: Place, keys: Path
) -> None:
    place.configure(f"IdentityFile {keys / 'gone'}", f"IdentityFile {keys / 'stranger'}")
    error = place.refusal()
    assert f"IdentityFile {keys / 'gone'} does not exist" in error.what
    assert f"keys tried: {keys / 'stranger'}" in error.what
    assert f"ssh-copy-id -p {place.server.port} {place.server.user}@pi" in (error.hint or "")


def test_a_server_that_takes_no_keys_is_told_apart(place: Place, keys: Path) -> None:
    options = {"PubkeyAuthentication": "no", "PasswordAuthentication": "yes"}
    with serving(place.folder / "sshd2", authorized="\n", options=options) as server:
        own = Place(place.folder / "sshd2", server)
        own.configure(f"IdentityFile {keys / 'plain'}")
        error = own.refusal()
    assert "takes no keys" in error.what
    assert "password" in error.what
    assert "PubkeyAuthentication" in (error.hint or "")


def test_an_agent_that_does_not_answer_does_not_hold_up_the_login(
    place: Place, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent"))
        silent.listen()
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "silent"))
        place.configure(f"IdentityFile {keys / 'plain'}")
        board = Board(
            name="pi", title="Pi", cpu="Cortex-A72", isa="aarch64", march="armv8-a", ssh=Ssh()
        )
        target = resolve(board, "pi", None, config=place.config)
        said: list[str] = []
        for limit in growing_limits(lambda: said):  # it logs in when the agent has had its time
            with suppress(ConnectionFailed), SshConnection("pi", target, timeout=limit) as pi:
                said.append(pi.run(["echo", "in"]).text)
        assert said == ["in\n"]


@pytest.mark.parametrize("text", ["hello\n", "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNz\n"])
def test_a_file_that_is_no_key_keeps_no_other_from_being_tried(
    place: Place, keys: Path, tmp_path: Path, text: str
) -> None:
    (tmp_path / "text").write_text(text)
    (tmp_path / "text").chmod(0o600)
    place.configure(f"IdentityFile {tmp_path / 'text'}", f"IdentityFile {keys / 'plain'}")
    assert client_logs_in(place.config, "pi")
    assert place.logs_in()
    place.configure(f"IdentityFile {tmp_path / 'text'}", f"IdentityFile {keys / 'stranger'}")
    assert f"{tmp_path / 'text'} is no SSH key" in place.refusal().what


def test_a_file_that_is_no_key_does_not_keep_the_agent_from_being_asked(
    place: Place, held: Path, keys: Path
) -> None:
    add_to_agent(held, keys / "plain")
    usual = Path("~/.ssh/id_rsa").expanduser()
    usual.parent.mkdir(parents=True, exist_ok=True)
    usual.write_text("PuTTY-User-Key-File-3: ssh-rsa\n")
    usual.chmod(0o600)
    place.configure()
    assert client_logs_in(place.config, "pi", "-i", str(usual))
    assert place.logs_in()


def test_the_command_that_unlocks_a_key_of_an_older_format_is_enough(
    tmp_path: Path, held: Path
) -> None:
    """Such a file does not tell its public key, by which the agent's is found."""
    mine = make_key(tmp_path / "old key", kind="rsa")
    with serving(tmp_path / "sshd2", authorized=public_text(mine) + "\n") as server:
        shell(f"ssh-keygen -q -p -m PEM -P '' -N '{PASSPHRASE}' -f {shlex.quote(str(mine))}")
        Path(f"{mine}.pub").unlink()
        own = Place(tmp_path / "sshd2", server)
        own.configure(f'IdentityFile "{mine}"', "IdentitiesOnly yes")
        shell(hinted(own.refusal()), PASSPHRASE, SSH_AUTH_SOCK=str(held))
        assert own.logs_in()


def test_a_file_that_is_no_key_is_named(place: Place, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello\n")
    place.configure()
    assert f"{tmp_path / 'text'} is no SSH key" in place.refusal(tmp_path / "text").what
