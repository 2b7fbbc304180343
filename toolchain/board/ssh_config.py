"""What OpenSSH's client configuration says of a host, in OpenSSH's own words.

``ssh -G`` is asked where OpenSSH is installed: it has read ``Include`` and ``Match``, canonicalised
the name and knows its defaults. Elsewhere paramiko parses the same files.
"""

from __future__ import annotations

import getpass
import glob
import hashlib
import os
import pwd
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import paramiko

from toolchain.errors import ConnectionFailed
from toolchain.formats.input_file import read_limited
from toolchain.hints import apt_line
from toolchain.storage.scratch import temporary_folder

OPTIONAL_TOOLS = {"ssh": "openssh-client"}
"""What is asked where it is installed, with the Debian package that has it."""
_SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")
_ASK_TIMEOUT_S = 60
_MAX_INCLUDES = 16  # as in OpenSSH
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
"""Seconds, by the letter behind a number (``TIME FORMATS`` of ``sshd_config``)."""
# Their value is the rest of the line, with quotes and number signs as they stand.
_VERBATIM = {"host", "match", "proxycommand", "localcommand", "remotecommand", "knownhostscommand"}
_STATEMENT = re.compile(r"\s*([A-Za-z]\w*)(?:\s*=\s*|\s+)(.*?)\s*")
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|\'([^\']*)\'|(\S+)')
_DEFAULTS = {
    "identityfile": ("~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ecdsa_sk", "~/.ssh/id_ed25519",
                     "~/.ssh/id_ed25519_sk", "~/.ssh/id_xmss", "~/.ssh/id_dsa"),
    "userknownhostsfile": ("~/.ssh/known_hosts ~/.ssh/known_hosts2",),
    "globalknownhostsfile": ("/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2",),
}  # fmt: skip

DEFAULT_IDENTITIES = _DEFAULTS["identityfile"]
"""Keys that are tried if no ``IdentityFile`` is named; most of them do not exist."""


@dataclass(frozen=True)
class Settings:
    """The configuration of one host."""

    host: str
    """As it was asked for."""
    user: str
    port: int
    values: Mapping[str, tuple[str, ...]]
    """By keyword, in small letters; one that may be repeated has several values."""

    @property
    def hostname(self) -> str:
        """The address or name to connect to."""
        return self.one("hostname") or self.host

    def one(self, keyword: str) -> str | None:
        """A keyword's value; ``None`` if it is not set, or is ``none``."""
        value = self.values.get(keyword, ("none",))[0]
        return None if value.lower() == "none" else value

    def says(self, keyword: str, *, default: bool) -> bool:
        """Whether a keyword says ``yes``; the default if it is not set."""
        value = self.values.get(keyword, ("",))[0].lower()
        return value in ("yes", "true") if value else default

    def number(self, keyword: str, default: int) -> int:
        """A whole number; the default where there is none, or no such number."""
        text = self.one(keyword) or ""
        return int(text) if re.fullmatch("[0-9]{1,6}", text) else default

    def seconds(self, keyword: str) -> float | None:
        """A keyword's time, as ``90`` or ``1m30s``; ``None`` if it is none, or not set."""
        value = self.one(keyword) or ""
        if not re.fullmatch(r"(?:[0-9]{1,9}[smhdw]?)+", value, re.I):
            return None
        parts = re.findall(r"([0-9]+)([smhdw]?)", value.lower())
        return float(sum(int(count) * _UNITS[unit] for count, unit in parts)) or None

    def expanded(self, text: str) -> str:
        """A value with its ``~``, ``${VARIABLE}`` and tokens like ``%h`` replaced."""
        return expand(text, self._tokens())

    def paths(self, keyword: str) -> tuple[Path, ...]:
        """A keyword's files: repeated, or several on a line, which OpenSSH prints unquoted."""
        found: list[Path] = []
        for value in self.values.get(keyword, ()):
            if keyword in ("userknownhostsfile", "globalknownhostsfile"):
                found += map(Path, self._split(value))
            else:
                found.append(Path(self.expanded(value)))
        return tuple(path for path in found if str(path).lower() != "none")

    def _split(self, value: str) -> Iterator[str]:
        words = value.split(" ")
        while words:
            # A path with blanks is told from two paths by what there is.
            for count in range(len(words), 0, -1):
                path = self.expanded(" ".join(words[:count]))
                if count == 1 or Path(path).is_file():
                    yield path
                    words = words[count:]
                    break

    def _tokens(self) -> dict[str, str]:
        local = socket.gethostname()
        jump = self.one("proxyjump") or ""
        whole = f"{local}{self.hostname}{self.port}{self.user}{jump}"
        return {
            "%": "%", "h": self.hostname, "n": self.host, "p": str(self.port), "r": self.user,
            "k": self.one("hostkeyalias") or self.host, "u": getpass.getuser(), "l": local,
            "L": local.split(".")[0], "d": str(Path("~").expanduser()), "i": str(os.getuid()),
            "j": jump, "C": hashlib.sha1(os.fsencode(whole), usedforsecurity=False).hexdigest(),
        }  # fmt: skip


def expand(text: str, tokens: Mapping[str, str]) -> str:
    """Replace ``~``, ``${VARIABLE}`` and ``%x``; what is not known stays as it is."""
    text = _at_home(text)
    text = re.sub(r"\$\{(\w+)\}", lambda found: os.environ.get(found[1], found[0]), text)
    return re.sub("%(.)", lambda found: tokens.get(found[1], found[0]), text)


def lookup(host: str, user: str | None, port: int | None, config: Path | None) -> Settings:
    """What the configuration says of a host.

    Args:
        host: as the user wrote it; it does not begin with ``-``.
        user: of the command line or the board's file; goes before the configuration.
        port: likewise.
        config: a configuration file to read instead of the user's and the system's.

    Raises:
        ConnectionFailed: the configuration has a fault; the message is OpenSSH's own.
    """
    program = shutil.which("ssh")
    values = _ask(program, host, user, port, config) if program else None
    if values is None:
        values = _parse(host, user, port, config)
    text = values.get("port", ("22",))[0]
    return Settings(
        host=host,
        user=user or values.get("user", (getpass.getuser(),))[0],
        port=port or (int(text) if re.fullmatch("[0-9]{1,5}", text) else 22),
        values={**_DEFAULTS, **values},
    )


def _at_home(text: str) -> str:
    with suppress(RuntimeError):  # ~name of a user that there is not
        return str(Path(text).expanduser()) if text.startswith("~") else text
    return text


# --- asking OpenSSH ------------------------------------------------------------------------------


def _ask(
    program: str, host: str, user: str | None, port: int | None, config: Path | None
) -> dict[str, tuple[str, ...]] | None:
    """OpenSSH's answer; ``None`` if that ``ssh`` is another one, which knows no ``-G``."""
    home = Path("~").expanduser()
    copied: dict[str, str] = {}
    with temporary_folder() as folder:
        command = [program, "-G", "-T"]
        if home != Path(pwd.getpwuid(os.getuid()).pw_dir):
            # OpenSSH takes the home of the user's account, whatever HOME says: name HOME's files.
            command += ["-F", str(_rehomed(config, home, folder, copied))]
        elif config is not None:
            command += ["-F", str(config)]
        if user is not None:
            command += ["-l", user]
        if port is not None:
            command += ["-p", str(port)]
        try:
            done = subprocess.run(
                [*command, "--", host],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_ASK_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ConnectionFailed(
                f"ssh -G {host} did not end in {_ASK_TIMEOUT_S} s",
                hint="a 'Match exec' of your SSH configuration may wait for something",
            ) from error
    text = done.stderr.decode(errors="replace")
    for copy, path in copied.items():
        text = text.replace(copy, path)
    said = [line for line in text.splitlines() if line.strip()]
    if done.returncode and any(re.match(r"(?i)(usage:|.*unknown option)", line) for line in said):
        return None
    if done.returncode:
        raise ConnectionFailed(
            f"the SSH configuration of '{host}': {'; '.join(said[:2]) or 'ssh -G failed'}",
            hint=f"correct it until this shows it: ssh -G {host}",
        )
    values: dict[str, tuple[str, ...]] = {}
    for line in done.stdout.decode(errors="surrogateescape").split("\n"):
        keyword, _, value = line.partition(" ")
        values[keyword.lower()] = (*values.get(keyword.lower(), ()), value)
    return values


def _rehomed(config: Path | None, home: Path, folder: Path, copied: dict[str, str]) -> Path:
    """The configuration as it is with another home, as files in ``folder``; returns the first.

    Args:
        config: a file of the user's choice.
        home: the other home.
        folder: an empty one.
        copied: gets each file's path there, and of what it is a copy, line by line.
    """
    top = folder / "config"
    user = config or home / ".ssh" / "config"
    lines = []
    if user.is_file():
        lines.append(f'Include "{_copied(user, home, folder, 0, copied)}"')
    if config is None and _SYSTEM_CONFIG.is_file():
        lines.append(f"Include {_SYSTEM_CONFIG}")
    known = [f'"{home}/.ssh/known_hosts{suffix}"' for suffix in ("", "2")]
    lines += ["Match all", f"UserKnownHostsFile {' '.join(known)}"]
    top.write_text("\n".join(lines) + "\n")
    return top


def _copied(path: Path, home: Path, folder: Path, depth: int, copied: dict[str, str]) -> Path:
    lines = []
    for keyword, value, line in _lines(path):
        if keyword == "include":
            files = _included(value, home, depth)
            copies = [f'"{_copied(file, home, folder, depth + 1, copied)}"' for file in files]
            line = f"Include {' '.join(copies)}" if copies else "# nothing to include"
        elif keyword == "userknownhostsfile":
            # These are the only paths of which OpenSSH replaces the tilde before it prints them.
            paths = [re.sub(r"^~(?=/|$)", str(home), word) for word in _words(value)]
            line = " ".join(["UserKnownHostsFile", *(f'"{path}"' for path in paths)])
        lines.append(line)
    copy = folder / f"{len(list(folder.iterdir()))}.conf"
    copy.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogateescape")
    copied[str(copy)] = str(path)
    return copy


# --- reading the files ourselves -----------------------------------------------------------------


def _parse(
    host: str, user: str | None, port: int | None, config: Path | None
) -> dict[str, tuple[str, ...]]:
    home = Path("~").expanduser()
    files = [config] if config else [home / ".ssh" / "config", _SYSTEM_CONFIG]
    lines = ["Host *"]
    if user is not None:
        lines.append(f"User {user}")
    if port is not None:
        lines.append(f"Port {port}")
    for file in files:
        if file.is_file():
            lines += ["Host *", *_flat(file, home, 0)]
    try:
        found = paramiko.SSHConfig.from_text("\n".join(lines) + "\n").lookup(host)
    except (paramiko.SSHException, KeyError, ValueError) as error:
        raise ConnectionFailed(f"{files[0]}: {error}") from error
    return {
        key: tuple(value) if isinstance(value, list) else (value or "none",)
        for key, value in found.items()
    }


def _flat(path: Path, home: Path, depth: int) -> Iterator[str]:
    """A file's lines with others' included, comments and quotes removed."""
    block = "Host *"
    for keyword, value, _ in _statements(path):
        if keyword == "include":
            for file in _included(value, home, depth):
                yield from _flat(file, home, depth + 1)
            yield block
        elif keyword == "host":
            block = f"Host {' '.join(_words(value))}"
            yield block
        elif keyword == "match" and re.search(r"\bexec\b", value, re.I):
            raise ConnectionFailed(
                f"{path}: 'Match exec' needs OpenSSH's own client, which is not installed",
                hint=apt_line(*OPTIONAL_TOOLS.values()),
            )
        elif keyword in _VERBATIM:
            line = f"{keyword} {value}"
            block = line if keyword == "match" else block
            yield line
        else:
            yield f"{keyword} {' '.join(_words(value))}"


def _statements(path: Path) -> Iterator[tuple[str, str, str]]:
    """Keyword in small letters, value, and the line itself."""
    return (found for found in _lines(path) if found[0])


def _lines(path: Path) -> Iterator[tuple[str, str, str]]:
    """The same of every line; one that says nothing has no keyword, and is empty."""
    try:
        text = read_limited(path).decode("utf-8", errors="surrogateescape")
    except OSError as error:
        raise ConnectionFailed(f"{path}: cannot be read: {error.strerror}") from error
    for line in text.split("\n"):  # OpenSSH knows no other end of a line
        found = _STATEMENT.fullmatch(line)
        yield (found[1].lower(), found[2], line) if found else ("", "", "")


def _words(value: str) -> list[str]:
    """The words of a value; quotes hold one together, a number sign begins a comment."""
    words = []
    for found in _WORD.finditer(value):
        if found[3] and found[3].startswith("#"):
            break
        words.append(next(group for group in found.groups() if group is not None))
    return words


def _included(value: str, home: Path, depth: int) -> list[Path]:
    if depth >= _MAX_INCLUDES:
        raise ConnectionFailed("the SSH configuration includes itself: 'Include' goes in a circle")
    found: list[Path] = []
    for word in _words(value):
        pattern = str(home / ".ssh" / _at_home(word))
        matches = sorted(glob.glob(pattern))  # noqa: PTH207 - Path's takes no absolute pattern
        found += [path for path in map(Path, matches) if path.is_file()]
    return found
