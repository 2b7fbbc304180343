"""Where a board is and who logs in there: from ``--host``, its TOML file and ``~/.ssh/config``."""

from __future__ import annotations

import getpass
import re
from dataclasses import dataclass
from pathlib import Path

import paramiko

from toolchain.board.config import Board
from toolchain.errors import ConnectionFailed

_HOST = re.compile(
    r"(?:(?P<user>[^@\s:/-][^@\s:/]*)@)?"
    r"(?:\[(?P<v6>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[A-Za-z0-9_.%][A-Za-z0-9_.%-]*))"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
_MAX_JUMPS = 4


@dataclass(frozen=True)
class HostSpec:
    """``user@address:port`` taken apart; what was not said is ``None``."""

    host: str
    user: str | None = None
    port: int | None = None


@dataclass(frozen=True)
class SshTarget:
    """Everything that opens an SSH connection."""

    hostname: str
    user: str
    port: int = 22
    identities: tuple[Path, ...] = ()
    """Private keys to try first."""
    known_hosts: tuple[Path, ...] = ()
    only_identities: bool = False
    """Try no other key: not the agent's, not those in ``~/.ssh``."""
    proxy_command: str | None = None
    jump: SshTarget | None = None

    def __str__(self) -> str:
        port = "" if self.port == 22 else f":{self.port}"
        host = f"[{self.hostname}]" if ":" in self.hostname else self.hostname
        return f"{self.user}@{host}{port}"

    @property
    def known_name(self) -> str:
        """The name under which ``known_hosts`` keeps its key."""
        return self.hostname if self.port == 22 else f"[{self.hostname}]:{self.port}"


def parse_host(text: str) -> HostSpec:
    """Take ``[user@]address[:port]`` apart; an IPv6 address stands in square brackets.

    Raises:
        ConnectionFailed: it is not of that form.
    """
    found = _HOST.fullmatch(text)
    port = int(found["port"]) if found and found["port"] else None
    if not found or (port is not None and not 1 <= port <= 65535):
        raise ConnectionFailed(
            f"'{text}' is no address of a board",
            hint="write user@address or user@address:port; an IPv6 address as user@[fe80::1]:22",
        )
    return HostSpec(found["v6"] or found["host"], found["user"], port)


def resolve(
    board: Board, host: str | None, identity: Path | None, *, config: Path | None = None
) -> SshTarget:
    """The target of a board: ``--host`` goes before its TOML file, that before the SSH config.

    Args:
        board: the board.
        host: ``--host``, if given.
        identity: ``--identity``, if given: then no other key is tried.
        config: the SSH client configuration; ``~/.ssh/config`` unless given.

    Raises:
        ConnectionFailed: no host is named anywhere, or one is malformed.
    """
    named = host or board.ssh.host
    if not named:
        raise ConnectionFailed(
            f"board '{board.name}': no host is known",
            hint="name it with --host user@address, or as [ssh] host = in the board's file",
        )
    spec = parse_host(named)
    spec = HostSpec(spec.host, spec.user or board.ssh.user, spec.port or board.ssh.port)
    settings = _ssh_config(config or Path("~/.ssh/config").expanduser())
    target = _lookup(settings, spec, depth=0)
    if identity is not None:
        return SshTarget(
            **{**vars(target), "identities": (identity.expanduser(),), "only_identities": True}
        )
    return target


def _ssh_config(path: Path) -> paramiko.SSHConfig:
    if not path.is_file():
        return paramiko.SSHConfig()
    try:
        return paramiko.SSHConfig.from_path(str(path))
    except (OSError, UnicodeDecodeError, paramiko.SSHException) as error:
        raise ConnectionFailed(f"{path}: cannot be read: {error}") from error


def _lookup(config: paramiko.SSHConfig, spec: HostSpec, *, depth: int) -> SshTarget:
    try:
        found = config.lookup(spec.host)
    except (paramiko.SSHException, KeyError) as error:
        raise ConnectionFailed(f"~/.ssh/config: {error}") from error
    records = found.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2").split()
    records += found.get("globalknownhostsfile", "/etc/ssh/ssh_known_hosts").split()
    jump = found.get("proxyjump")
    target_jump = None
    if jump and jump.lower() != "none":
        if depth >= _MAX_JUMPS:
            raise ConnectionFailed(f"~/.ssh/config: ProxyJump of '{spec.host}' goes in a circle")
        # A list is jumped through from the left; the one nearest to the board stands last.
        *before, last = jump.split(",")
        target_jump = _lookup(config, parse_host(last.strip()), depth=depth + 1)
        for hop in reversed(before):
            outer = _lookup(config, parse_host(hop.strip()), depth=depth + 1)
            target_jump = SshTarget(**{**vars(target_jump), "jump": outer})
    command = found.get("proxycommand")
    return SshTarget(
        hostname=found["hostname"],
        user=spec.user or found.get("user") or getpass.getuser(),
        port=spec.port or int(found.get("port", 22)),
        identities=tuple(
            path
            for path in (Path(name).expanduser() for name in found.get("identityfile", []))
            if path.is_file()
        ),
        known_hosts=tuple(Path(name).expanduser() for name in records),
        only_identities=found.get("identitiesonly", "no").lower() == "yes",
        proxy_command=None if not command or command.lower() == "none" else command,
        jump=target_jump,
    )
