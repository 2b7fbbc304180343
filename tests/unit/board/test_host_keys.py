"""Which host keys are accepted: those that OpenSSH accepts with the same files, and no other."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paramiko
import pytest

from support.openssh import (
    Sshd,
    certify,
    client_logs_in,
    make_key,
    public_text,
    serving,
    shell,
)  # fmt: skip
from toolchain.board import host_keys
from toolchain.board.ssh import SshConnection
from toolchain.board.target import resolve
from toolchain.errors import HostKeyError
from toolchain.hardware.board_file import Board, Ssh

BOARD = Board(name="pi", title="Pi", cpu="Cortex-A72", isa="aarch64", march="armv8-a", ssh=Ssh())


class Place:
    """A server, a configuration that leads there, and the files of host keys that it names."""

    def __init__(self, folder: Path, server: Sshd, user_key: Path) -> None:
        self.folder, self.server, self._user_key = folder, server, user_key
        self.config, self.known = folder / "config", folder / "known_hosts"
        self.key = public_text(server.host_key)
        self.name = f"[127.0.0.1]:{server.port}"
        self.configure(f"UserKnownHostsFile {self.known}")

    def configure(self, *lines: str, host_name: str = "127.0.0.1") -> None:
        common = [
            f"HostName {host_name}",
            f"Port {self.server.port}",
            f"User {self.server.user}",
            f"IdentityFile {self._user_key}",
            "StrictHostKeyChecking yes",
            f"GlobalKnownHostsFile {self.folder / 'global'}",
        ]
        self.config.write_text("\n  ".join(["Host pi", *lines, *common]) + "\n")

    def connect(self) -> None:
        target = resolve(BOARD, "pi", None, config=self.config)
        with SshConnection("pi", target) as connection:
            assert connection.run(["echo", "in"]).text == "in\n"

    def refusal(self) -> HostKeyError:
        with pytest.raises(HostKeyError) as caught:
            self.connect()
        return caught.value

    def accepts(self) -> bool:
        """The verdict, after a look at OpenSSH's."""
        expected = client_logs_in(self.config, "pi")
        if expected:
            self.connect()
        else:
            self.refusal()
        return expected


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    for name in ("user", "other", "authority", "rogue"):
        make_key(folder / name)
    return folder


@pytest.fixture(scope="module")
def server(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A server with an Ed25519 key and an ECDSA key."""
    folder = tmp_path_factory.mktemp("sshd")
    second = make_key(folder / "second", kind="ecdsa")
    host_key = make_key(folder / "first")
    options = {"HostKey": f"{host_key}\nHostKey {second}"}
    with serving(
        folder, authorized=public_text(keys / "user") + "\n", host_key=host_key, options=options
    ) as running:
        yield running


@pytest.fixture
def place(server: Sshd, keys: Path, tmp_path: Path) -> Place:
    return Place(tmp_path, server, keys / "user")


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "accepted"),
    [
        ("[127.0.0.1]:{port}", True),
        ("[127.0.0.*]:{port}", True),
        ("[127.0.0.*]:*", True),
        ("*", True),
        ("127.0.0.1", True),
        ("127.0.0.*,!10.*", True),
        ("[127.0.0.1]:1", False),
        ("[127.0.0.1]:{port},![127.*", False),
        ("localhost", False),
        ("pi", False),
    ],
)
def test_names_and_patterns_are_openssh_s(place: Place, names: str, accepted: bool) -> None:
    place.known.write_text(f"{names.format(port=place.server.port)} {place.key}\n")
    assert place.accepts() is accepted


def test_an_entry_without_a_port_with_another_key_says_nothing_of_this_server(
    place: Place, keys: Path
) -> None:
    place.known.write_text(f"127.0.0.1 {public_text(keys / 'other')}\n")
    assert not place.accepts()
    assert "not on record" in place.refusal().what


def test_an_entry_without_a_port_does_not_excuse_a_changed_key(place: Place, keys: Path) -> None:
    other = public_text(keys / "other")
    place.known.write_text(f"{place.name} {other}\n127.0.0.1 {place.key}\n")
    assert not place.accepts()
    assert "not the one on record" in place.refusal().what


def test_an_entry_without_a_port_does_not_choose_the_kind_of_key(place: Place, keys: Path) -> None:
    second = public_text(place.server.host_key.with_name("second"))
    other = public_text(keys / "other")
    place.known.write_text(f"127.0.0.1 {other}\n{place.name} {second}\n")
    assert place.accepts()


def test_a_key_that_is_revoked_for_another_port_is_not_for_this_one(place: Place) -> None:
    place.known.write_text(f"{place.name} {place.key}\n@revoked 127.0.0.1 {place.key}\n")
    assert place.accepts()
    place.known.write_text(f"127.0.0.1 {place.key}\n@revoked 127.0.0.1 {place.key}\n")
    assert not place.accepts()


def test_an_alias_is_the_name(place: Place) -> None:
    place.configure(f"UserKnownHostsFile {place.known}", "HostKeyAlias Lab-Pi")
    place.known.write_text(f"lab-pi {place.key}\n")
    assert place.accepts()
    place.known.write_text(f"{place.name} {place.key}\n")
    assert not place.accepts()


@pytest.mark.parametrize("which", ["second", "global"])
def test_each_of_several_files_is_read(place: Place, which: str) -> None:
    place.known.write_text("other ssh-ed25519 AAAA\n")
    second = place.folder / "more hosts"
    second.touch()
    place.configure(f'UserKnownHostsFile {place.known} "{second}"')
    chosen = second if which == "second" else place.folder / "global"
    chosen.write_text(f"{place.name} {place.key}\n")
    assert place.accepts()


def test_a_key_of_the_kind_on_record_is_asked_for(place: Place) -> None:
    """The server has two: the one that is on record decides which it shows."""
    second = public_text(place.server.host_key.with_name("second"))
    place.known.write_text(f"{place.name} {second}\n")
    assert place.accepts()


def test_one_of_several_records_is_enough(place: Place, keys: Path) -> None:
    place.known.write_text(
        f"{place.name} {public_text(keys / 'other')}\n{place.name} {place.key}\n"
    )
    assert place.accepts()


# --- markers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "@cert-authority * {other}",
        "@revoked * {other}",
        "127.0.0.1 1024 35 1409376291",
        "pi ssh-ed25519 AAAA!broken",
        "@later * {other}",
        "gibberish",
        "pi ssh-dss AAAAB3NzaC1kc3MAAAAB",
    ],
)
def test_lines_that_are_for_others_or_for_nobody_block_no_board(
    place: Place, keys: Path, line: str
) -> None:
    text = line.format(other=public_text(keys / "other"))
    place.known.write_text(f"{text}\n{place.name} {place.key}\n")
    assert place.accepts()


@pytest.mark.parametrize("names", ["*", "127.0.0.1,[127.0.0.1]:*"])
def test_a_revoked_key_is_refused_though_it_is_on_record(place: Place, names: str) -> None:
    place.known.write_text(f"{place.name} {place.key}\n@revoked {names} {place.key}\n")
    assert not place.accepts()
    error = place.refusal()
    assert "is revoked" in error.what
    assert f"{place.known} line 2" in error.what


@pytest.mark.parametrize("form", ["list", "KRL"])
def test_a_key_of_the_list_of_revoked_ones_is_refused(place: Place, keys: Path, form: str) -> None:
    place.known.write_text(f"{place.name} {place.key}\n")
    revoked = place.folder / "revoked"
    place.configure(f"UserKnownHostsFile {place.known}", f"RevokedHostKeys {revoked}")
    for key, accepted in ((keys / "other", True), (place.server.host_key, False)):
        if form == "KRL":
            shell(f"ssh-keygen -q -k -f {revoked} {key}.pub")
        else:
            revoked.write_text(public_text(key) + "\n")
        assert place.accepts() is accepted
    revoked.unlink()
    assert not place.accepts()


# --- certificates --------------------------------------------------------------------------------


@contextmanager
def serving_certified(
    keys: Path, folder: Path, *arguments: str, kind: str = "ed25519"
) -> Iterator[Place]:
    """A server whose key an authority has signed; ``arguments`` are ``ssh-keygen``'s."""
    host_key = make_key(folder / "sshd" / "key", kind=kind)
    shown = certify(keys / "authority", host_key, "-h", *arguments)
    with serving(
        folder / "sshd",
        authorized=public_text(keys / "user") + "\n",
        host_key=host_key,
        options={"HostCertificate": shown},
    ) as running:
        yield Place(folder, running, keys / "user")


@pytest.fixture
def certified(request: pytest.FixtureRequest, keys: Path, tmp_path: Path) -> Iterator[Place]:
    """One whose certificate names it."""
    kind = getattr(request, "param", "ed25519")
    with serving_certified(keys, tmp_path, "-n", "127.0.0.1", kind=kind) as place:
        yield place


@pytest.mark.parametrize("certified", ["ed25519", "ecdsa", "rsa"], indirect=True)
def test_a_certificate_of_an_authority_on_record_is_accepted(certified: Place, keys: Path) -> None:
    certified.known.write_text(f"@cert-authority 127.0.0.* {public_text(keys / 'authority')}\n")
    assert certified.accepts()


@pytest.mark.parametrize(
    ("arguments", "record", "accepted"),
    [
        ([], "", True),  # without names: for every host
        (["-n", "elsewhere"], "", False),
        (["-n", "elsewhere"], "{name} {key}", True),
        (["-n", "127.0.0.1", "-V", "20200101:20200102"], "{name} {key}", True),
        (["-n", "127.0.0.1", "-V", "20200101:20200102"], "127.0.0.1 {key}", True),
        (["-n", "elsewhere"], "@revoked * {key}\n{name} {key}", False),
    ],
)
def test_the_key_of_a_certificate_that_does_not_hold_may_be_on_record(
    keys: Path, tmp_path: Path, arguments: list[str], record: str, accepted: bool
) -> None:
    with serving_certified(keys, tmp_path, *arguments) as place:
        own = record.format(name=place.name, key=place.key)
        place.known.write_text(f"@cert-authority * {public_text(keys / 'authority')}\n{own}\n")
        assert place.accepts() is accepted


def test_a_certificate_of_another_authority_is_not(certified: Place, keys: Path) -> None:
    certified.known.write_text(f"@cert-authority * {public_text(keys / 'rogue')}\n")
    assert not certified.accepts()
    assert "of another authority" in certified.refusal().what
    certified.known.write_text(f"@cert-authority *.lab {public_text(keys / 'authority')}\n")
    assert not certified.accepts()


def test_the_key_itself_may_be_on_record_instead(certified: Place, keys: Path) -> None:
    certified.known.write_text(
        f"@cert-authority * {public_text(keys / 'rogue')}\n{certified.name} {certified.key}\n"
    )
    assert certified.accepts()


def test_a_revoked_authority_vouches_for_nobody(certified: Place, keys: Path) -> None:
    authority = public_text(keys / "authority")
    certified.known.write_text(f"@cert-authority * {authority}\n@revoked * {authority}\n")
    assert not certified.accepts()


@pytest.mark.parametrize(
    ("form", "what", "fault"),
    [
        ("list", "{key}", "the host key"),
        ("list", "{authority}", "who signed the certificate of its host key"),
        ("list", "{certificate}", "the host key"),
        ("list", "{older}", "the host key"),
        ("list", "{rogue}", None),
        ("KRL", "{key}", "the host key"),
        ("KRL", "{authority}", "who signed the certificate of its host key"),
        ("KRL", "{certificate}", "the certificate of its host key"),
        ("KRL", "{rogue}", None),
        ("KRL of the authority", "serial: 7", "the certificate of its host key"),
        ("KRL of the authority", "serial: 8", None),
        ("KRL of the authority", "id: test", "the certificate of its host key"),
        ("KRL of the authority", "id: other", None),
    ],
)
@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_a_certificate_that_is_revoked_is_refused_with_what_of_it_is(
    keys: Path, tmp_path: Path, kind: str, form: str, what: str, fault: str | None
) -> None:
    """Like OpenSSH: the key, the certificate itself and its authority are looked for."""
    with serving_certified(keys, tmp_path, "-n", "127.0.0.1", "-z", "7", kind=kind) as place:
        authority = public_text(keys / "authority")
        place.known.write_text(f"@cert-authority * {authority}\n")
        told, revoked = tmp_path / "told", tmp_path / "revoked"
        place.configure(f"UserKnownHostsFile {place.known}", f"RevokedHostKeys {revoked}")
        (tmp_path / "older.pub").write_text(place.key + "\n")
        words = {
            "key": place.key,
            "authority": authority,
            "certificate": place.server.host_key.with_name("key-cert.pub").read_text().strip(),
            "older": certify(keys / "authority", tmp_path / "older", "-h").read_text().strip(),
            "rogue": public_text(keys / "rogue"),
        }
        told.write_text(what.format(**words) + "\n")
        if form == "list":
            revoked.write_bytes(told.read_bytes())
        else:
            signer = f"-s {keys / 'authority'}.pub" if form != "KRL" else ""
            shell(f"ssh-keygen -q -k -f {revoked} {signer} {told}")
        assert place.accepts() is (fault is None)
        if fault is not None:
            error = place.refusal()
            assert f": {fault}" in error.what
            assert f"is revoked: {revoked}" in error.what


@pytest.mark.parametrize(
    ("shown", "fault"),
    [
        ("elsewhere", "is for elsewhere, not for 127.0.0.1"),
        ("user", "is one of a user"),
        ("expired", "is not valid now"),
    ],
)
def test_a_certificate_that_does_not_hold_is_refused_with_why(
    keys: Path, tmp_path: Path, shown: str, fault: str
) -> None:
    """Without a server: sshd refuses to show some of these."""
    key = make_key(tmp_path / "key")
    arguments = {
        "elsewhere": ["-h", "-n", "elsewhere"],
        "user": ["-n", "127.0.0.1"],
        "expired": ["-h", "-n", "127.0.0.1", "-V", "20200101:20200102"],
    }
    certificate = certify(keys / "authority", key, *arguments[shown])
    private = paramiko.Ed25519Key.from_private_key_file(str(key))
    private.load_certificate(str(certificate))
    record = tmp_path / "known_hosts"
    record.write_text(f"@cert-authority * {public_text(keys / 'authority')}\n")
    config = tmp_path / "config"
    config.write_text(f"UserKnownHostsFile {record}\n")
    target = resolve(BOARD, "pi@127.0.0.1", None, config=config)
    with pytest.raises(HostKeyError, match=re.escape(fault)):
        host_keys.HostKeys("pi", target).check(host_keys.ShownKey.of(private))


# --- what to do ----------------------------------------------------------------------------------


def follow(error: HostKeyError) -> None:
    """Run the command that a hint ends with."""
    hint = error.hint or ""
    marker = "equal: " if "equal: " in hint else "run: "
    shell(hint.split(marker, 1)[1], HOME=os.environ["HOME"])


@pytest.mark.parametrize(
    "lines",
    [
        ["UserKnownHostsFile {known}"],
        ['UserKnownHostsFile "{folder}/new folder/my hosts"'],
        ["UserKnownHostsFile /dev/null"],
        ["UserKnownHostsFile none"],
        ["UserKnownHostsFile /dev/null {known}"],
        ["UserKnownHostsFile {known}", "HostKeyAlias lab-pi"],
        ["UserKnownHostsFile {known}", "ProxyCommand nc %h %p"],
    ],
    ids=["file", "new folder", "null", "none", "null and file", "alias", "proxy"],
)
def test_the_line_that_records_a_key_works(place: Place, lines: list[str]) -> None:
    place.configure(*(line.format(known=place.known, folder=place.folder) for line in lines))
    if any("ProxyCommand" in line for line in lines):
        relay = "import os,socket,sys,threading;s=socket.create_connection(sys.argv[1:]);"
        relay += "threading.Thread(target=lambda:[s.sendall(d) for d in iter(lambda:os.read(0,9999)"
        relay += (
            ",b'')],daemon=True).start();[os.write(1,d) for d in iter(lambda:s.recv(9999),b'')]"
        )
        text = place.config.read_text().replace("nc %h %p", f'python3 -c "{relay}" %h %p')
        place.config.write_text(text)
    error = place.refusal()
    assert "not on record" in error.what
    assert "/dev/null" not in (error.hint or "")
    follow(error)
    place.connect()


def test_the_line_that_records_a_key_behind_a_jump_works(
    place: Place, keys: Path, tmp_path: Path
) -> None:
    with serving(tmp_path / "gate", authorized=public_text(keys / "user") + "\n") as gate:
        place.configure(f"UserKnownHostsFile {place.known}", "ProxyJump gate")
        with place.config.open("a") as config:
            config.write(
                f"Host gate\n HostName 127.0.0.1\n Port {gate.port}\n User {gate.user}\n"
                f" IdentityFile {keys / 'user'}\n UserKnownHostsFile {place.known}\n"
            )
        place.known.write_text(gate.known_line)
        error = place.refusal()
        assert "ssh-keyscan" not in (error.hint or ""), "it does not go through the gate"
        follow(error)
        place.connect()


@pytest.mark.parametrize(
    "text",
    [
        "{name} {other}\n",
        "keep {other}\n{name},10.0.0.9 {other}\n",
        "[127.0.0.*]:* {other}\n{name} {other}\n",
        "keep 1024 35 1409376291\n{name} {other}\n",
        "{name} {other}\nkeep {other}\n{name} {ecdsa}\n",
    ],
    ids=["plain", "among others", "pattern", "a line that ssh-keygen cannot read", "two kinds"],
)
def test_the_line_that_removes_a_changed_key_works(place: Place, keys: Path, text: str) -> None:
    if not (keys / "ecdsa").exists():
        make_key(keys / "ecdsa", kind="ecdsa")
    place.known.write_text(
        text.format(
            name=place.name,
            other=public_text(keys / "other"),
            ecdsa=public_text(keys / "ecdsa"),
        )
    )
    assert not place.accepts()
    error = place.refusal()
    assert "not the one on record" in error.what
    follow(error)
    assert ("keep" in text) == ("keep" in place.known.read_text())
    unknown = place.refusal()
    assert "not on record" in unknown.what
    follow(unknown)
    place.connect()


def test_a_changed_key_in_two_files_is_removed_from_both(place: Place, keys: Path) -> None:
    line = f"{place.name} {public_text(keys / 'other')}\n"
    for path in (place.known, place.folder / "global"):
        path.write_text(line)
    follow(place.refusal())
    assert "not on record" in place.refusal().what


def test_a_record_that_cannot_be_used_is_named_when_its_host_is_refused(place: Place) -> None:
    place.known.write_text(f"# mine\n{place.name} ssh-ed25519 AAAA!broken\n")
    assert f"{place.known} line 2" in place.refusal().what
