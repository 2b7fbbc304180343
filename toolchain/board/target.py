"""Where a board is and who logs in there: from ``--host``, its TOML file and OpenSSH's files."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

from toolchain.board import ssh_config
from toolchain.board.ssh_config import DEFAULT_IDENTITIES, Settings
from toolchain.errors import ConnectionFailed
from toolchain.hardware.board_file import NO_ADDRESS, Board

# What OpenSSH allows in names: nothing that a shell would take for its own, no leading dash.
_MAX_JUMPS = 4
_NO_FILE = Path("/dev/null")


@dataclass(frozen=True)
class HostSpec:
    """``user@address:port`` taken apart; what was not said is ``None``."""

    host: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        """As :func:`parse_host` takes it."""
        host = f"[{self.host}]" if ":" in self.host and self.port else self.host
        return "".join(
            [
                "" if self.user is None else f"{self.user}@",
                host,
                "" if self.port is None else f":{self.port}",
            ]
        )


@dataclass(frozen=True)
class SshTarget:
    """Everything that opens an SSH connection."""

    hostname: str
    user: str
    port: int = 22
    identities: tuple[Path, ...] = ()
    """Keys to try: private ones, or public ones whose private part the agent holds."""
    known_hosts: tuple[Path, ...] = ()
    only_identities: bool = False
    """Try no other key of the agent."""
    proxy_command: str | None = None
    jump: SshTarget | None = None
    alias: str | None = None
    """The host as the user named it, which his ``ssh`` understands, too."""
    host_key_alias: str | None = None
    """The name under which ``known_hosts`` keeps its key, if another than its address."""
    agent: str = "SSH_AUTH_SOCK"
    """As ``IdentityAgent``: a socket's path, a variable that holds it, or ``none``."""
    certificates: tuple[Path, ...] = ()
    """Of the user's keys."""
    absent: tuple[Path, ...] = ()
    """Keys that the configuration names and that do not exist."""
    revoked: Path | None = None
    """``RevokedHostKeys``."""
    family: str = "any"
    """``any``, ``inet`` or ``inet6``."""
    bind_address: str | None = None
    """The address of this machine to connect from."""
    named: str | None = None
    """What names it on a command line, from which the user's configuration leads to it; ``None`` of
    what no such word leads to."""
    hashes_names: bool = False
    """Whether names are hashed where host keys are recorded: ``HashKnownHosts``."""
    offers_keys: bool = True
    """``PubkeyAuthentication``."""
    answers: tuple[str, ...] = ("keyboard-interactive", "password")
    """The methods for which the user may be asked something; none with ``BatchMode``."""
    tries: int = 3
    """How often, for each: ``NumberOfPasswordPrompts``; none with ``BatchMode``."""
    timeout: float | None = None
    """Seconds, as ``ConnectTimeout``."""
    silence: float | None = None
    """Seconds after which ``ServerAliveInterval`` and ``ServerAliveCountMax`` give it up."""

    def __str__(self) -> str:
        port = "" if self.port == 22 else f":{self.port}"
        host = f"[{self.hostname}]" if ":" in self.hostname else self.hostname
        return f"{self.user}@{host}{port}"

    @property
    def known_name(self) -> str:
        """The name under which ``known_hosts`` keeps its key."""
        if self.host_key_alias:
            return self.host_key_alias.lower()
        return self.bare_name if self.port == 22 else f"[{self.bare_name}]:{self.port}"

    @property
    def bare_name(self) -> str:
        """Its address without a port, in small letters."""
        return self.hostname.lower()

    @property
    def record(self) -> Path:
        """The file to record its host key in."""
        return self.known_hosts[0] if self.known_hosts else _default_records()[0]

    @property
    def is_direct(self) -> bool:
        """Whether it is reached over the network, without a host or program in between."""
        return self.jump is None and self.proxy_command is None


def is_there(identity: Path) -> bool:
    """Whether there is a key file: the public one is enough, the agent may have the other."""
    return identity.is_file() or identity.with_name(f"{identity.name}.pub").is_file()


def parse_host(text: str) -> HostSpec:
    """Take apart what one gives to ``ssh``, or ``[user@]address:port``.

    An address may be a name of the SSH configuration. An IPv6 address with a port stands in square
    brackets. ``ssh://[user@]address[:port]`` is understood, too.

    Raises:
        ConnectionFailed: it is not of that form.
    """
    is_uri = text.lower().startswith("ssh://")
    rest = text[6:].removesuffix("/") if is_uri else text
    user, at, address = rest.rpartition("@")
    if is_uri:
        user = unquote(user.split(";")[0].split(":")[0])
    host, port = _split_port(address)
    number = int(port) if port and re.fullmatch("[0-9]{1,5}", port) else None
    if (
        not host
        or host.startswith("-")
        or "/" in host
        or NO_ADDRESS.search(host)
        or (at and (not user or user.startswith("-") or NO_ADDRESS.search(user.replace("\\", ""))))
        or (port is not None and (number is None or not 1 <= number <= 65535))
    ):
        raise ConnectionFailed(
            f"'{text}' is no address of a board",
            hint="write user@address, user@address:port or ssh://user@address:port; an IPv6 "
            "address with a port as user@[fe80::1]:22",
        )
    return HostSpec(host, user or None, number)


def resolve(
    board: Board, host: str | None, identity: Path | None, *, config: Path | None = None
) -> SshTarget:
    """The target of a board: ``--host`` goes before its TOML file, that before the SSH config.

    Args:
        board: the board.
        host: ``--host``, if given.
        identity: ``--identity``, if given: then no other key is tried.
        config: an SSH client configuration instead of the user's and the system's.

    Raises:
        ConnectionFailed: no host is named anywhere, one is malformed, or the SSH configuration has
            a fault.
    """
    target = _lookup(_named(board, host), config, depth=0)
    identity = identity or own_identity(board)
    if identity is not None:
        return replace(target, identities=(identity.expanduser(),), only_identities=True, absent=())
    return target


def own_identity(board: Board) -> Path | None:
    """The key that a board's file names, if it does."""
    return None if board.ssh.identity is None else Path(board.ssh.identity).expanduser()


def usual(*, config: Path | None = None) -> SshTarget:
    """What the SSH configuration says of a host of which it says nothing in particular.

    Raises:
        ConnectionFailed: the SSH configuration has a fault.
    """
    return _lookup(HostSpec("localhost"), config, depth=0)


def login_words(board: Board, host: str | None, identity: Path | None) -> list[str]:
    """The words of a shell's command line that log in to a board by hand: ``ssh pi@raspberrypi``.

    Args:
        board: the board.
        host: ``--host``, if given.
        identity: ``--identity``, if given.

    Raises:
        ConnectionFailed: no host is named anywhere, or one is malformed.
    """
    spec = _named(board, host)
    identity = identity or own_identity(board)
    return [
        "ssh",
        *([] if identity is None else [*identity_words(identity), "-o", "IdentitiesOnly=yes"]),
        *([] if spec.port is None else ["-p", str(spec.port)]),
        spec.host if spec.user is None else f"{spec.user}@{spec.host}",
    ]


def option_words(name: str, value: str | Path) -> list[str]:
    """The words that give OpenSSH's programs an option whose value is a path.

    Args:
        name: such as ``UserKnownHostsFile``, which takes several, and tokens.
        value: the path; blanks in it, quotes and what looks like a token stand for themselves.
    """
    text = re.sub(r'(["\\])', r"\\\1", str(value).replace("%", "%%"))
    return ["-o", f'{name}="{text}"' if re.search(r"[\s\"'\\#]", text) else f"{name}={text}"]


def identity_words(key: Path) -> list[str]:
    """The words that give OpenSSH's programs a private key."""
    # ssh looks for the file of -i as it is spelled, then takes a percent sign in it for a token.
    return option_words("IdentityFile", key) if "%" in str(key) else ["-i", str(key)]


def _named(board: Board, host: str | None) -> HostSpec:
    named = host or board.ssh.host
    if not named:
        raise ConnectionFailed(
            f"board '{board.name}': no host is known",
            hint="name it with --host user@address, or as [ssh] host = in the board's file",
        )
    spec = parse_host(named)
    return HostSpec(spec.host, spec.user or board.ssh.user, spec.port or board.ssh.port)


def _split_port(address: str) -> tuple[str, str | None]:
    bracketed = re.fullmatch(r"\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\](?::(.*))?", address)
    if bracketed:
        return bracketed[1], bracketed[2]
    if address.count(":") > 1:  # an IPv6 address, as `ssh` takes it: without a port
        plain = re.fullmatch(r"[0-9A-Fa-f:.]+(?:%[\w.-]+)?", address)
        return (address if plain else ""), None
    if "[" in address or "]" in address:
        return "", None
    host, colon, port = address.partition(":")
    return host, port if colon else None


def _lookup(spec: HostSpec, config: Path | None, *, depth: int) -> SshTarget:
    found = ssh_config.lookup(spec.host, spec.user, spec.port, config)
    if found.says("proxyusefdpass", default=False) and found.one("proxycommand"):
        raise ConnectionFailed(
            f"the SSH configuration of '{spec.host}' has ProxyUseFdpass, which is not supported",
            hint="let its ProxyCommand carry the connection itself (nc without -F)",
        )
    identities = _identities(found)
    command, revoked = found.one("proxycommand"), found.one("revokedhostkeys")
    asks_nothing = found.says("batchmode", default=False)
    return SshTarget(
        hostname=found.hostname,
        user=found.user,
        port=found.port,
        identities=tuple(path for path in identities if is_there(path)),
        known_hosts=_records(found),
        only_identities=found.says("identitiesonly", default=False),
        proxy_command=None if command is None else found.expanded(command),
        jump=_jump(found, config, depth),
        alias=spec.host,
        host_key_alias=found.one("hostkeyalias"),
        agent=_agent(found),
        certificates=found.paths("certificatefile"),
        absent=tuple(
            path
            for path in identities
            if not is_there(path) and path not in map(Path, map(found.expanded, DEFAULT_IDENTITIES))
        ),
        revoked=None if revoked is None else Path(found.expanded(revoked)),
        family=(found.one("addressfamily") or "any").lower(),
        bind_address=found.one("bindaddress"),
        named=None if config else str(spec),
        hashes_names=found.says("hashknownhosts", default=False),
        offers_keys=found.says("pubkeyauthentication", default=True),
        answers=() if asks_nothing else _answers(found),
        tries=0 if asks_nothing else found.number("numberofpasswordprompts", 3),
        timeout=found.seconds("connecttimeout"),
        silence=_silence(found),
    )


def _answers(found: Settings) -> tuple[str, ...]:
    keywords = {
        "keyboard-interactive": "kbdinteractiveauthentication",
        "password": "passwordauthentication",
    }
    return tuple(way for way, keyword in keywords.items() if found.says(keyword, default=True))


def _silence(found: Settings) -> float | None:
    interval = found.seconds("serveraliveinterval")
    return interval and interval * max(1, found.number("serveralivecountmax", 3))


def _identities(found: Settings) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(found.paths("identityfile")))


def _agent(found: Settings) -> str:
    values = found.values.get("identityagent")
    if not values:
        return "SSH_AUTH_SOCK"
    value = values[0]
    return value if value.startswith("$") and "{" not in value else found.expanded(value)


def _records(found: Settings) -> tuple[Path, ...]:
    # Some keep no keys, for then OpenSSH asks or warns and goes on. Here a key must be on record,
    # so there must be a file for it: the one that OpenSSH takes by default.
    own = [path for path in found.paths("userknownhostsfile") if path != _NO_FILE]
    return (*(own or _default_records()), *found.paths("globalknownhostsfile"))


def _default_records() -> tuple[Path, ...]:
    return tuple(Path(f"~/.ssh/known_hosts{suffix}").expanduser() for suffix in ("", "2"))


def _jump(found: Settings, config: Path | None, depth: int) -> SshTarget | None:
    """The last of the hosts to jump through, each of which knows the one before it."""
    named = found.one("proxyjump")
    if named is None:
        return None
    if depth >= _MAX_JUMPS:
        raise ConnectionFailed(
            f"the SSH configuration: ProxyJump of '{found.host}' goes in a circle",
            hint="put ProxyJump none into the section of the host to jump through",
        )
    jump: SshTarget | None = None
    for hop in found.expanded(named).split(","):
        nearer = _lookup(parse_host(hop.strip()), config, depth=depth + 1)
        # Only the first is reached as its own section says; the others through those before them.
        if jump is not None:
            nearer = replace(nearer, jump=jump, proxy_command=None, named=None)
        jump = nearer
    return jump
