"""What users, hosts, folders and secrets are called here: all that a support archive must not say.

Everything is read from files of this machine and from its environment; no server of names is asked.
"""

from __future__ import annotations

import getpass
import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from toolchain.board import known_hosts
from toolchain.board.target import SshTarget
from toolchain.formats.input_file import read_limited
from toolchain.hardware.board_file import Board, board_names
from toolchain.storage.cache import cache_place

_PASSWD, _HOSTS, _HOSTNAME = map(Path, ("/etc/passwd", "/etc/hosts", "/etc/hostname"))
_LARGEST = 1 << 20
_FIRST_USER, _LAST_USER = 1000, 60000
"""Numbers of people's accounts on Debian; others are of the system."""
_SECRET = {
    "apikey", "auth", "cookie", "credential", "credentials", "key", "keys", "pass", "passphrase",
    "passwd", "password", "pat", "secret", "secrets", "token", "tokens",
}  # fmt: skip
"""Parts of the names of variables whose values are secrets."""
_HARMLESS = {"", "0", "1", "false", "no", "none", "off", "on", "true", "yes"}
_SHORTEST_SECRET = 4


@dataclass(frozen=True)
class KnownNames:
    """What is taken out by name; longer ones first, since a shorter one may be a part of them."""

    users: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    ours: frozenset[str] = frozenset()
    """Words of this program's own, which say nothing though somebody may be called so."""

    @classmethod
    def of(
        cls,
        *,
        users: Iterable[str] = (),
        hosts: Iterable[str] = (),
        paths: Iterable[str] = (),
        secrets: Iterable[str] = (),
    ) -> KnownNames:
        """Names without those of our own, longest first.

        Args:
            users: as they log in, or what they are called.
            hosts: names and addresses.
            paths: absolute ones.
            secrets: values.
        """
        ours = frozenset(
            {"board", "deploy", "host", "localhost", "root", "tileskip", *board_names()}
        )

        def ordered(names: Iterable[str], least: int = 2) -> tuple[str, ...]:
            wanted = {name for name in names if len(name) >= least and name.casefold() not in ours}
            return tuple(sorted(wanted, key=lambda name: (-len(name), name)))

        return cls(
            ordered(users), ordered(hosts), ordered(paths), ordered(secrets, _SHORTEST_SECRET), ours
        )


def known_names(
    board: Board | None = None,
    host: str | None = None,
    target: SshTarget | None = None,
    *,
    environment: Mapping[str, str] | None = None,
) -> KnownNames:
    """What this machine, its user and a board are called.

    Args:
        board: its file.
        host: ``--host``, if given.
        target: where the board is.
        environment: the variables; those of this process unless given.
    """
    variables = os.environ if environment is None else environment
    return KnownNames.of(
        users=[*_users(variables), *_of_board(board, host, target, users=True)],
        hosts=[*_hosts(), *_of_board(board, host, target, users=False)],
        paths=_paths(board, variables),
        secrets=_secrets(variables),
    )


def _users(variables: Mapping[str, str]) -> Iterator[str]:
    for name in ("USER", "LOGNAME", "SUDO_USER", "USERNAME"):
        yield variables.get(name, "")
    with suppress(OSError, KeyError):
        yield getpass.getuser()
    own = os.getuid()
    for line in _lines(_PASSWD):
        fields = line.split(":")
        if len(fields) < 6 or not re.fullmatch("[0-9]{1,10}", fields[2]):
            continue
        number = int(fields[2])
        if number == own or _FIRST_USER <= number < _LAST_USER:
            yield fields[0]
            full = fields[4].partition(",")[0].strip()
            if full and full != fields[0]:
                yield full
    yield from _of_ssh_files(users=True)
    # A home may have another name than its user.
    home = Path(variables.get("HOME", ""))
    if home.parent.name in ("home", "Users"):
        yield home.name


def _hosts() -> Iterator[str]:
    own = {socket.gethostname(), *_lines(_HOSTNAME)}
    for line in _lines(_HOSTS):
        address, *names = line.partition("#")[0].split() or [""]
        if address:
            own.update(name for name in names if not re.match(r"ip6-|localhost", name))
    for name in own:
        yield name.strip()
        yield name.strip().partition(".")[0]
    yield from _of_ssh_files(users=False)


def _of_ssh_files(*, users: bool) -> Iterator[str]:
    """Names in the user's own SSH configuration, and in his record of host keys."""
    folder = Path("~/.ssh").expanduser()
    for line in _lines(folder / "config"):
        keyword, *words = line.replace("=", " ").split() or [""]
        if keyword.lower() == "user" and users:
            yield from words
        if keyword.lower() in ("host", "hostname", "hostkeyalias", "proxyjump"):
            for part in (part for word in words for part in word.split(",")):
                if not re.search(r"[*?!%]", part):
                    yield _user_of(part) if users else _host_of(part)
    if users:
        return
    with suppress(OSError):
        for record in known_hosts.read([folder / "known_hosts"]).records:
            if record.is_plain and not record.names.startswith("|"):
                yield from map(_host_of, record.names.split(","))


def _host_of(text: str) -> str:
    """The host of ``user@host:port``, whose address may stand in brackets."""
    address = text.removeprefix("ssh://").rpartition("@")[2].rstrip("/")
    if bracketed := re.fullmatch(r"\[([^\]]*)\](?::\d+)?", address):
        return bracketed[1]
    return re.sub(r":\d+$", "", address) if address.count(":") == 1 else address


def _user_of(text: str) -> str:
    return text.removeprefix("ssh://").rpartition("@")[0]


def _of_board(
    board: Board | None, host: str | None, target: SshTarget | None, *, users: bool
) -> Iterator[str]:
    named = [host or "", (board.ssh.host if board else None) or ""]
    while target is not None:
        if users:
            yield target.user
        else:
            yield target.hostname
            yield target.alias or ""
            yield target.host_key_alias or ""
        target = target.jump
    yield from map(_user_of if users else _host_of, named)
    if board is not None:
        yield (board.ssh.user or "") if users else ("" if board.given == board.name else board.name)


def _paths(board: Board | None, variables: Mapping[str, str]) -> Iterator[str]:
    """Folders and files whose names may have blanks, so that they are not known by their looks."""
    places = [Path("~").expanduser(), cache_place(), Path(variables.get("HOME", "/"))]
    with suppress(FileNotFoundError):  # a working folder that has gone
        places.append(Path.cwd())
    if board is not None and board.given != board.name:
        places.append(Path(board.given))
    for place in places:
        with suppress(FileNotFoundError):
            if len(place.absolute().parts) > 2:
                yield str(place.absolute())


def _secrets(variables: Mapping[str, str]) -> Iterator[str]:
    for name, value in variables.items():
        parts = re.split(r"[^a-z0-9]+", name.casefold())
        # Paths are taken out as paths: a key's file is none.
        is_path = value.startswith(("/", "~"))
        if _SECRET & set(parts) and value.casefold() not in _HARMLESS and not is_path:
            yield value


def _lines(path: Path) -> list[str]:
    try:
        return read_limited(path, _LARGEST).decode(errors="replace").splitlines()
    except OSError:
        return []
