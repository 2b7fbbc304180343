from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from toolchain.board.target import HostSpec, login_words, parse_host, resolve, usual
from toolchain.errors import ConnectionFailed
from toolchain.hardware.board_file import Board, Ssh


def board(**ssh: object) -> Board:
    return Board(
        name="pi", title="Pi", cpu="Cortex-A72", isa="aarch64", march="armv8-a",
        ssh=Ssh.model_validate(ssh),
    )  # fmt: skip


def config(tmp_path: Path, text: str = "") -> Path:
    path = tmp_path / "config"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("raspberrypi", HostSpec("raspberrypi")),
        ("pi@raspberrypi", HostSpec("raspberrypi", "pi")),
        ("pi@10.0.0.7:2222", HostSpec("10.0.0.7", "pi", 2222)),
        ("raspberrypi.local:22", HostSpec("raspberrypi.local", None, 22)),
        ("pi@[fe80::1]:2222", HostSpec("fe80::1", "pi", 2222)),
        ("[fe80::1%eth0]", HostSpec("fe80::1%eth0")),
        ("first.last@my-pi", HostSpec("my-pi", "first.last")),
        ("pi@fe80::1%eth0", HostSpec("fe80::1%eth0", "pi")),
        ("::1", HostSpec("::1")),
        ("pi@lab@gate", HostSpec("gate", "pi@lab")),
        ("LAB\\pi@board+1", HostSpec("board+1", "LAB\\pi")),
        ("ssh://raspberrypi", HostSpec("raspberrypi")),
        ("ssh://pi@10.0.0.7:2222", HostSpec("10.0.0.7", "pi", 2222)),
        ("ssh://pi@10.0.0.7:2222/", HostSpec("10.0.0.7", "pi", 2222)),
        ("SSH://first%40last@[fe80::1]:22", HostSpec("fe80::1", "first@last", 22)),
    ],
)
def test_takes_hosts_apart(text: str, expected: HostSpec) -> None:
    assert parse_host(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "pi@", "@host", "pi@host:", "pi@host:0", "pi@host:65536", "pi@host:ssh", "a b",
     "-oProxyCommand=id", "pi@-host", "pi@host;id", "pi@ho$(id)st", "pi@host/x", "-l@host", "ssh://",
     "ssh://pi@host/folder", "ssh://-oProxyCommand=id", "ssh://%2doProxy@host", "pi@[host]:22",
     "pi@fe80::x", "pi@[fe80::1]x", "host\n", "http://host"],
)  # fmt: skip
def test_refuses_what_is_no_host(text: str) -> None:
    with pytest.raises(ConnectionFailed, match="no address of a board") as caught:
        parse_host(text)
    assert caught.value.hint is not None
    assert "user@address" in caught.value.hint


def test_the_command_line_goes_before_the_board_file(tmp_path: Path) -> None:
    target = resolve(
        board(host="old", user="pi", port=2200), "me@new:22", None, config=config(tmp_path)
    )
    assert (target.hostname, target.user, target.port) == ("new", "me", 22)


def test_the_board_file_goes_before_the_ssh_configuration(tmp_path: Path) -> None:
    text = "Host mypi\n HostName 10.0.0.7\n User other\n Port 99\n"
    target = resolve(board(host="mypi", user="pi"), None, None, config=config(tmp_path, text))
    assert (target.hostname, target.user, target.port) == ("10.0.0.7", "pi", 99)


def test_no_host_at_all_says_where_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(ConnectionFailed, match="no host is known") as caught:
        resolve(board(), None, None, config=config(tmp_path))
    assert "--host" in (caught.value.hint or "")


def test_identity_files_of_the_configuration_are_used_if_they_exist(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.touch()
    text = f"Host *\n IdentityFile {key}\n IdentityFile {tmp_path}/absent\n IdentitiesOnly yes\n"
    target = resolve(board(), "pi@x", None, config=config(tmp_path, text))
    assert target.identities == (key,)
    assert target.only_identities


def test_identity_of_the_command_line_is_the_only_key(tmp_path: Path) -> None:
    text = f"Host *\n IdentityFile {tmp_path}\n"
    target = resolve(board(), "pi@x", tmp_path / "mine", config=config(tmp_path, text))
    assert target.identities == (tmp_path / "mine",)
    assert target.only_identities


def test_proxy_jumps_are_chained_nearest_last(tmp_path: Path) -> None:
    text = "Host board\n ProxyJump a@first:1,b@second:2\n"
    target = resolve(board(), "pi@board", None, config=config(tmp_path, text))
    assert target.jump is not None
    assert (target.jump.user, target.jump.hostname, target.jump.port) == ("b", "second", 2)
    assert target.jump.jump is not None
    assert target.jump.jump.hostname == "first"


def test_proxy_jumps_in_a_circle_are_refused(tmp_path: Path) -> None:
    text = "Host a\n ProxyJump b\nHost b\n ProxyJump a\n"
    with pytest.raises(ConnectionFailed, match="circle"):
        resolve(board(), "pi@a", None, config=config(tmp_path, text))


def test_proxy_commands_are_expanded(tmp_path: Path) -> None:
    text = "Host board\n ProxyCommand nc %h %p\n Port 77\n"
    target = resolve(board(), "pi@board", None, config=config(tmp_path, text))
    assert target.proxy_command == "nc board 77"


BOTH = ("keyboard-interactive", "password")


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([], {"timeout": None, "silence": None, "tries": 3, "answers": BOTH, "offers_keys": True}),
        (["ConnectTimeout 7"], {"timeout": 7}),
        (["ConnectTimeout 1m30s"], {"timeout": 90}),
        (["ConnectTimeout none"], {"timeout": None}),
        (["ServerAliveInterval 5"], {"silence": 15}),
        (["ServerAliveInterval 5", "ServerAliveCountMax 2"], {"silence": 10}),
        (["ServerAliveInterval 0", "ServerAliveCountMax 2"], {"silence": None}),
        (["BatchMode yes"], {"answers": (), "tries": 0}),
        (["NumberOfPasswordPrompts 1"], {"tries": 1}),
        (["PasswordAuthentication no"], {"answers": BOTH[:1]}),
        (["KbdInteractiveAuthentication no"], {"answers": BOTH[1:]}),
        (["PubkeyAuthentication no"], {"offers_keys": False}),
        (["HashKnownHosts yes"], {"hashes_names": True}),
        (["AddressFamily inet6"], {"family": "inet6"}),
        (["HostKeyAlias lab-pi"], {"host_key_alias": "lab-pi"}),
    ],
    ids=lambda value: "; ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.parametrize("reader", ["asked", "read"])
def test_what_the_configuration_says_of_a_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str,
    lines: list[str], found: dict[str, object],
) -> None:  # fmt: skip
    if reader == "read":  # OpenSSH is not there
        monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    text = "\n ".join(["Host board", *lines, "HostName 127.0.0.1"]) + "\n"
    target = resolve(board(), "pi@board", None, config=config(tmp_path, text))
    assert {key: getattr(target, key) for key in found} == found


@pytest.mark.parametrize(
    ("host", "name"), [("pi@x", "x"), ("pi@x:22", "x"), ("pi@x:2222", "[x]:2222")]
)
def test_known_hosts_name(tmp_path: Path, host: str, name: str) -> None:
    assert resolve(board(), host, None, config=config(tmp_path)).known_name == name


@pytest.mark.parametrize(
    ("host", "identity", "line"),
    [
        ("raspberrypi", None, "ssh raspberrypi"),
        ("me@raspberrypi:2222", None, "ssh -p 2222 me@raspberrypi"),
        ("pi@[fe80::1%eth0]:22", None, "ssh -p 22 pi@fe80::1%eth0"),
        ("pi", Path("/k e y"), "ssh -i '/k e y' -o IdentitiesOnly=yes pi"),
        ("pi", Path("/100%"), "ssh -o IdentityFile=/100%% -o IdentitiesOnly=yes pi"),
        (None, None, "ssh -p 77 you@lab"),
    ],
)
def test_the_words_that_log_in_by_hand_are_what_was_said(
    host: str | None, identity: Path | None, line: str
) -> None:
    of_file = board() if host else board(host="lab", user="you", port=77)
    assert shlex.join(login_words(of_file, host, identity)) == line


def test_what_is_usual_is_what_the_configuration_says_of_every_host(tmp_path: Path) -> None:
    found = usual(config=config(tmp_path, f"Host *\n  UserKnownHostsFile {tmp_path}/known\n"))
    assert found.known_hosts[0] == tmp_path / "known"
    with pytest.raises(ConnectionFailed):
        usual(config=config(tmp_path, f"Include {tmp_path}/config\n"))
