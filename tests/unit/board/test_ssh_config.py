"""What the SSH configuration says, asked of OpenSSH and, where it is not installed, read by us."""

from __future__ import annotations

import getpass
import pwd
from pathlib import Path

import pytest

from toolchain.board import ssh_config
from toolchain.board.ssh_config import Settings
from toolchain.errors import ConnectionFailed
from toolchain.hints import apt_line


@pytest.fixture(params=["asked", "read"], autouse=True)
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Both ways: OpenSSH is there, and is not."""
    if request.param == "read":
        monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    return str(request.param)


@pytest.fixture(params=["account", "other"])
def home(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """HOME, which is the one of the user's account or another."""
    home = tmp_path / "home"
    if request.param == "account":
        account = pwd.getpwuid(pwd.getpwnam(getpass.getuser()).pw_uid)
        monkeypatch.setenv("HOME", account.pw_dir)
        return Path(account.pw_dir)
    monkeypatch.setenv("HOME", str(home))
    return home


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def lookup(
    path: Path, host: str = "pi", user: str | None = None, port: int | None = None
) -> Settings:
    return ssh_config.lookup(host, user, port, path)


def test_a_host_that_is_not_named_has_defaults(home: Path, tmp_path: Path) -> None:
    found = lookup(written(tmp_path / "config", ""))
    assert (found.hostname, found.user, found.port) == ("pi", getpass.getuser(), 22)
    assert home / ".ssh" / "id_ed25519" in found.paths("identityfile")
    assert found.paths("userknownhostsfile")[0] == home / ".ssh" / "known_hosts"
    assert found.paths("globalknownhostsfile")[0] == Path("/etc/ssh/ssh_known_hosts")


def test_a_folder_for_scratch_may_have_blanks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, scratch = tmp_path / "home", tmp_path / "a  b"
    scratch.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    written(home / ".ssh/config", "Include more\n")
    written(home / ".ssh/more", "Host pi\n  User me\n")
    assert ssh_config.lookup("pi", None, None, None).user == "me"


def test_files_are_included(home: Path, tmp_path: Path) -> None:  # noqa: ARG001
    written(tmp_path / "conf.d" / "1.conf", "Host pi\n  HostName 10.0.0.7\n")
    written(tmp_path / "conf.d" / "2.conf", f"Include {tmp_path}/deeper\nHost pi\n  User pi\n")
    written(tmp_path / "deeper", "Host pi\n  Port 2222\n")
    config = written(tmp_path / "config", f"Include {tmp_path}/conf.d/*.conf {tmp_path}/no/*\n")
    found = lookup(config)
    assert (found.hostname, found.user, found.port) == ("10.0.0.7", "pi", 2222)


def test_a_file_may_be_included_in_the_middle_of_a_section(tmp_path: Path) -> None:
    written(tmp_path / "more", "User pi\n")
    config = written(
        tmp_path / "config", f"Host pi\n Include {tmp_path}/more\n Port 77\nHost other\n Port 78\n"
    )
    assert (lookup(config).user, lookup(config).port) == ("pi", 77)
    assert (lookup(config, "other").user, lookup(config, "other").port) == (getpass.getuser(), 78)


def test_relative_includes_are_of_the_homes_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    written(tmp_path / ".ssh" / "config", "Include conf.d/* ~/.ssh/more\n")
    written(tmp_path / ".ssh" / "conf.d" / "pi", "Host pi\n  HostName 10.0.0.7\n")
    written(tmp_path / ".ssh" / "more", "Host pi\n  UserKnownHostsFile ~/.ssh/pi_hosts\n")
    found = ssh_config.lookup("pi", None, None, None)
    assert found.hostname == "10.0.0.7"
    assert found.paths("userknownhostsfile") == (tmp_path / ".ssh" / "pi_hosts",)


def test_includes_in_a_circle_are_refused(tmp_path: Path) -> None:
    config = tmp_path / "config"
    written(config, f"Include {config}\n")
    with pytest.raises(ConnectionFailed, match="config"):
        lookup(config)


def test_comments_behind_values_are_none_of_them(tmp_path: Path) -> None:
    config = written(
        tmp_path / "config",
        "Host pi other # the boards\n  HostName 10.0.0.7 # the lab's\n  Port=2222   # odd\n",
    )
    found = lookup(config)
    assert (found.hostname, found.port) == ("10.0.0.7", 2222)


@pytest.mark.parametrize("separator", ["\u2028", "\x85", "\x0b", "\x0c", "\r"])
def test_a_line_ends_at_a_newline_alone(tmp_path: Path, separator: str) -> None:
    config = written(
        tmp_path / "config",
        f"Host pi\n # a board{separator}Port 99\n ProxyCommand nc a{separator}User eve\n Port 77\n",
    )
    found = lookup(config, user="pi")
    assert (found.user, found.port) == ("pi", 77)
    assert found.values["proxycommand"] == (f"nc a{separator}User eve",)


def test_quoted_paths_keep_their_blanks(home: Path, tmp_path: Path) -> None:  # noqa: ARG001
    known = written(tmp_path / "my hosts", "")
    second = written(tmp_path / "more", "")
    config = written(
        tmp_path / "config",
        f'IdentityFile "{tmp_path}/my key"\nIdentityFile {tmp_path}/key\n'
        f'UserKnownHostsFile "{known}" {second}\n',
    )
    found = lookup(config)
    assert found.paths("identityfile") == (tmp_path / "my key", tmp_path / "key")
    assert found.paths("userknownhostsfile") == (known, second)


def test_tokens_are_replaced(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB", "east")
    config = written(
        tmp_path / "config",
        "Host pi\n HostName %h.lab\n IdentityFile ~/keys/%r@%n-%h\n IdentityFile %d/${LAB}_%u\n"
        " ProxyCommand nc --port %p %h # %r\n",
    )
    found = lookup(config, user="me", port=77)
    assert found.hostname == "pi.lab"
    assert found.paths("identityfile") == (
        home / "keys" / "me@pi-pi.lab",
        home / f"east_{getpass.getuser()}",
    )
    assert found.expanded(found.one("proxycommand") or "") == "nc --port 77 pi.lab # me"


def test_matches_see_what_the_command_line_says(tmp_path: Path) -> None:
    config = written(
        tmp_path / "config",
        "Match user me\n  Port 2222\nMatch host pi !user you\n  HostKeyAlias lab-pi\n",
    )
    assert lookup(config, user="me").port == 2222
    assert lookup(config, user="you").port == 22
    assert lookup(config).one("hostkeyalias") == "lab-pi"
    assert lookup(config, user="you").one("hostkeyalias") is None


def test_programs_of_the_configuration_are_asked(tmp_path: Path, reader: str) -> None:
    config = written(tmp_path / "config", 'Match exec "test %h = pi"\n  Port 2222\n')
    if reader == "read":
        with pytest.raises(ConnectionFailed, match="needs OpenSSH's own client") as caught:
            lookup(config)
        assert caught.value.hint == apt_line("openssh-client")
    else:
        assert (lookup(config).port, lookup(config, "other").port) == (2222, 22)


def test_names_are_made_canonical(tmp_path: Path) -> None:
    config = written(
        tmp_path / "config",
        "CanonicalizeHostname yes\nCanonicalDomains invalid\nMatch canonical\n"
        "CanonicalizeMaxDots 0\nMatch all\nUser pi\n",
    )
    found = lookup(config, "localhost")
    assert (found.hostname, found.user) == ("localhost", "pi"), "no such name: it stays"


def test_what_the_command_line_says_goes_first(tmp_path: Path) -> None:
    config = written(tmp_path / "config", "User other\nPort 99\n")
    found = lookup(config, user="pi", port=22)
    assert (found.user, found.port) == ("pi", 22)


def test_none_is_no_value(tmp_path: Path) -> None:
    config = written(tmp_path / "config", "ProxyJump none\nUserKnownHostsFile none\n")
    assert lookup(config).one("proxyjump") is None
    assert lookup(config).paths("userknownhostsfile") == ()


def test_bytes_that_are_no_text_are_no_fault(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_bytes(b"Host pi # \xff\xfe\n  HostName 10.0.0.7\n")
    assert lookup(config).hostname == "10.0.0.7"


def test_another_ssh_that_cannot_be_asked_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropbear's client, on small systems."""
    program = tmp_path / "bin" / "ssh"
    written(program, "#!/bin/sh\necho 'WARNING: Ignoring unknown option -G' >&2; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    config = written(tmp_path / "config", "Host pi\n HostName 10.0.0.7\n")
    assert lookup(config).hostname == "10.0.0.7"


def test_a_fault_is_told_in_openssh_s_words(tmp_path: Path, reader: str) -> None:
    if reader == "read":
        pytest.skip("paramiko passes over words that it does not know")
    config = written(tmp_path / "config", "Host pi\n  Hostnane 10.0.0.7\n")
    with pytest.raises(ConnectionFailed, match=r"line 2: Bad configuration option: hostnane"):
        lookup(config)


def test_a_fault_is_told_with_the_file_and_line_where_it_stands(
    reader: str,
    home: Path,  # noqa: ARG001 (HOME is set)
    tmp_path: Path,
) -> None:
    if reader == "read":
        pytest.skip("paramiko passes over words that it does not know")
    inner = written(tmp_path / "inner", "# my hosts\n\nHost pi\n  Bogus yes\n")
    path = written(tmp_path / "config", f"Include {inner}\n")
    with pytest.raises(ConnectionFailed, match=rf"{inner}(:| line | )"):
        lookup(path)
    with pytest.raises(ConnectionFailed, match="line 4: Bad configuration option: bogus"):
        lookup(path)
