"""Text without who and where: names, addresses, keys, paths and secrets become placeholders.

Equal things become equal placeholders (``<host-1>``, ``<path-3>``), so that who reads the text can
follow it. Two kinds of rules do it: what such things look like (addresses, keys, paths), and what
they are called here (:mod:`toolchain.doctor.known_names`). Where the two kinds of error compete,
too much is taken out rather than too little.
"""

from __future__ import annotations

import ipaddress
import os
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from toolchain.doctor.known_names import KnownNames
from toolchain.foreign_text import harmless
from toolchain.formats.json_text import without_lone_bytes

Step = Callable[[str], str]
Kind = Literal["address", "email", "fingerprint", "host", "key", "path", "secret", "user"]

PUBLIC_PATHS = frozenset(
    {
        "/dev/null", "/dev/stdout", "/dev/stderr", "/proc/cpuinfo", "/proc/meminfo", "/proc/mounts",
        "/proc/sys/kernel/perf_event_paranoid", "/sys/bus/event_source/devices",
        "/sys/devices/system/clocksource/clocksource0/current_clocksource",
        "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
    }
)  # fmt: skip
"""Paths that are the same on every Linux, and say nothing of whose it is."""
_SUFFIXES = frozenset(
    {
        ".a", ".bin", ".c", ".cc", ".cfg", ".cmake", ".conf", ".cpp", ".csv", ".deb", ".gz", ".h",
        ".hpp", ".ini", ".json", ".lock", ".log", ".md", ".npy", ".npz", ".o", ".onnx", ".patch",
        ".pdf", ".png", ".pt", ".pt2", ".pth", ".pub", ".py", ".rst", ".s", ".S", ".safetensors",
        ".sh", ".so", ".svg", ".tar", ".tflite", ".toml", ".txt", ".whl", ".xz", ".yaml", ".yml",
        ".zip",
    }
)  # fmt: skip
"""Suffixes that stay behind a path's placeholder: they say what it is, and nothing more."""

# A placeholder while other rules are still to come: letters of the private use area, which none of
# them takes for a name, a digit or a part of a path that begins there.
_BEGIN, _END, _DIGITS = "\ue000", "\ue001", "".join(chr(0xE010 + digit) for digit in range(10))
_PRIVATE = re.compile("[\ue000-\uf8ff\U000f0000-\U0010ffff]")
_HELD = re.compile(f"{_BEGIN}([{_DIGITS}]+){_END}")
_COLOUR = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")

_PEM = re.compile(
    r"-----BEGIN [A-Z0-9 ]{1,60}-----.*?(?:-----END [A-Z0-9 ]{1,60}-----|\Z)"
    r"|(?:^[ \t]*[A-Za-z0-9+/=]{1,200}[ \t]*\r?\n){0,100}^[ \t]*-----END [A-Z0-9 ]{1,60}-----",
    re.S | re.M,
)
"""Keys and certificates, also where their beginning or end was cut off."""
_PUBLIC_KEY = re.compile(
    r"(?:(?:sk-)?(?:ssh|ecdsa)-[\w.@-]{1,60}[ \t]+)?(?<![A-Za-z0-9+/])"
    r"AAAA[A-Za-z0-9+/]{16,}={0,2}"
)
_HASHED_HOST = re.compile(r"\|1\|[A-Za-z0-9+/=]{8,}\|[A-Za-z0-9+/=]{8,}")
_FINGERPRINT = re.compile(
    r"\b(?:SHA(?:1|256|384|512):[A-Za-z0-9+/]{10,}={0,2}|MD5:(?:[0-9A-Fa-f]{2}:){15}[0-9A-Fa-f]{2})"
    r"|(?<![0-9A-Fa-f:])(?:[0-9A-Fa-f]{2}:){15,31}[0-9A-Fa-f]{2}(?![0-9A-Fa-f:])"
)
_MAC = re.compile(
    r"(?<![0-9A-Fa-f])(?:[0-9A-Fa-f]{2}([:-]))(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}(?![0-9A-Fa-f])"
    r"|(?<![0-9A-Fa-f])(?<![0-9A-Fa-f]\.)(?:[0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4}(?!\.?[0-9A-Fa-f])"
)
_IPV6 = re.compile(r"(?<!\w)[0-9A-Fa-f:]{0,40}:[0-9A-Fa-f:.]{0,45}(?:%[A-Za-z0-9_.-]{1,32})?(?!\w)")
_BYTE = r"(?:25[0-5]|2[0-4]\d|1\d\d|0?0?\d|0?\d\d)"
_IPV4 = re.compile(rf"(?<!\d)(?<!\d\.)(?:{_BYTE}\.){{3}}{_BYTE}(?!\d)")
_CONFIDENTIAL = (
    r"(?:pass(?:word|wd|phrase)|pwd|secret|token|cookie|credentials?|(?:api|access|private)[_-]?key|"
    r"auth(?:orization)?)"
)
_ASSIGNED = re.compile(
    rf"(?P<name>(?:(?<![A-Za-z])[\w.-]{{0,40}}?{_CONFIDENTIAL}(?![a-z])[\w-]{{0,20}}[\"']?"
    rf"\s{{0,4}}[=:](?!//)\s{{0,4}}(?:(?:bearer|basic)\s{{1,4}})?"
    rf"|--?[\w-]{{0,40}}{_CONFIDENTIAL}\s{{1,4}}|\bbearer\s{{1,4}}))"
    r"(?P<value>\"[^\"\n]*\"|'[^'\n]*'|[^\s\"',;]+)",
    re.I,
)
_SECRET_KEY = re.compile(rf"[\w.-]{{0,40}}{_CONFIDENTIAL}", re.I)
_TOKEN = re.compile(
    r"\b(?:gh[a-z]_\w{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|xox[a-z]-[\w-]{10,}|hf_\w{16,}|"
    r"npm_\w{16,}|pypi-[\w-]{16,}|sk-[\w-]{16,}|A[KS]IA[0-9A-Z]{12,}|"
    r"eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?)"
)
_RANDOM = re.compile(r"(?<![A-Za-z0-9+/_])[A-Za-z0-9+/]{32,}={0,2}(?![A-Za-z0-9+/_])")
"""What may be base64; it is taken where it has all of capitals, small letters and digits."""
_HELD_LETTERS = f"{_BEGIN}{_END}{_DIGITS}"
_URL = re.compile(
    r"\b(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{1,30}://)(?P<login>[^\s/@\"'<>]*@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[^\s/:\"'<>?#,;)\]]*)(?P<port>:\d{1,5})?"
    r"(?P<path>[/?#][^\s\"'<>]*)?"
)
_LOGIN = re.compile(
    rf"(?<![\w.+\\{_HELD_LETTERS}-])(?P<user>[\w.+\\{_HELD_LETTERS}-]+)@"
    rf"(?P<host>\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[\w{_HELD_LETTERS}][\w.{_HELD_LETTERS}-]*)"
    r"(?P<path>:(?!\d{1,5}\b)[^\s:\"'),;]+)?"
)
_SYMBOL_VERSION = re.compile(r"(?:GLIBC|GLIBCXX|GCC|CXXABI)_[0-9.]+")
"""What stands behind a symbol and an ``@`` where a linker tells of it."""
_SETTING = re.compile(
    r"^(?P<name>[ \t]*(?:host|hostname|user|directory|hostkeyalias|proxyjump)"
    r"(?:[ \t]*=[ \t]*|[ \t]+))"
    r"(?P<value>\"[^\"\n]*\"|'[^'\n]*'|\S+)(?=[ \t]*(?:#.*)?$)",
    re.I | re.M,
)
_CALLED = re.compile(
    r"(?P<name>\b(?P<kind>user|login|username|host|hostname)[ :=]{1,3})"
    r"(?P<quote>[\"'])(?P<value>(?:(?!(?P=quote))[^\n]){1,80})(?P=quote)",
    re.I,
)
_CONNECTED = re.compile(
    r"(?P<name>\b(?:resolve hostname|connect to host|connect to address|lookup of)[ \t]+)"
    r"(?P<value>[\w.-]*[\w-])",
    re.I,
)
"""How OpenSSH and others tell whom they do not reach."""
_DOMAIN = re.compile(
    r"(?<![\w./-])(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+"
    r"(?:local|lan|home|internal|corp|intranet|localdomain|arpa|box|com|org|net|edu|gov|mil|info|"
    r"biz|io|dev|app|cloud|ai|eu|de|uk|fr|it|nl|ch|at|be|us|ca|au|jp|cn|kr|br|es|se|dk|fi|cz|ru|"
    r"invalid|example|test)(?![\w-]|\.\w)",
    re.I,
)
_PART = r"[^\s\"'`<>|:;,(){}\[\]=]"
_PARTS = rf"(?:{_PART}|:(?=[^\s\d/:]))*"
# Words behind a blank belong to a path where a slash follows them at once: names may have blanks.
_TAIL = rf"{_PARTS}(?:(?: (?![-/]){_PART}+){{1,3}}(?<=[^\s/])/{_PART}*)*"
_SYSTEM = "/(?:bin|boot|dev|etc|lib|proc|run|sbin|sys|usr|var)/"
"""Where names have no blanks, and programs are that have arguments."""
_HOMES = ("/home/", "/root/", "/Users/", "/mnt/", "/media/", "/srv/")
"""Where paths of people begin, whatever stands before them."""
_QUOTED_PATH = re.compile(
    r"(?P<quote>[\"'`])(?P<path>(?:~[\w.-]*)?/(?:(?!(?P=quote))[^\n])+)(?P=quote)"
)
_MORE_WORDS = 4
"""Of a path whose last part has blanks, if there is such a file here."""
_LONG = 5
"""Letters from which on a name is taken out of the middle of words, too."""


class Scrubber:
    """Takes out of texts what tells who and where; one for all texts that belong together.

    Args:
        known: what things are called here.
    """

    def __init__(self, known: KnownNames) -> None:
        self._known = known
        self._numbers: dict[Kind, dict[str, int]] = {}
        self._held: list[str] = []
        self._place: dict[str, int] = {}
        self._known_hosts = {name.casefold() for name in known.hosts}
        self._known_users = {name.casefold() for name in known.users}
        self._prefixes = (*known.paths, *_HOMES)
        self._path_pattern = _path_pattern(self._prefixes)
        self._steps = self._all_steps()

    def text(self, text: str) -> str:
        """A text with placeholders, harmless for a terminal. Colours are dropped, too."""
        text = without_lone_bytes(_COLOUR.sub("", text).replace("\0", "").replace("\r\n", "\n"))
        # Before names are looked for: what is written for a control character may make one longer.
        text = harmless(_PRIVATE.sub("?", text))
        for step in self._steps:
            text = step(text)
        return _HELD.sub(lambda found: self._held[_number(found[1])], text)

    def value(self, value: Any) -> Any:
        """The same of a document's value: of each text in it, be it a key or not."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {
                self.text(str(key)): self._secret(part)
                if isinstance(part, str) and _SECRET_KEY.fullmatch(str(key))
                else self.value(part)
                for key, part in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.value(part) for part in value]
        return value

    def _secret(self, text: str) -> str:
        return self._held[_number(self._hold("secret", text)[1:-1])]

    def _all_steps(self) -> list[Callable[[str], str]]:
        """What is whole in itself comes first, then its parts."""
        known = self._known

        def by(pattern: re.Pattern[str], told: Callable[[re.Match[str]], str]) -> Step:
            return lambda text: pattern.sub(told, text)

        def whole(pattern: re.Pattern[str], kind: Kind) -> Step:
            return by(pattern, lambda found: self._hold(kind, found[0]))

        def named(names: Sequence[str], kind: Kind, *, bounded: bool = True) -> list[Step]:
            return [whole(one, kind) for one in _patterns(names, bounded=bounded)]

        return [
            *named(known.secrets, "secret", bounded=False),
            whole(_PEM, "key"),
            whole(_PUBLIC_KEY, "key"),
            whole(_HASHED_HOST, "host"),
            whole(_FINGERPRINT, "fingerprint"),
            whole(_TOKEN, "secret"),
            by(_URL, self._url),
            by(_ASSIGNED, self._assigned),
            by(
                _QUOTED_PATH,
                lambda found: found["quote"] + self._path(found["path"]) + found["quote"],
            ),
            by(_LOGIN, self._login),
            whole(_MAC, "address"),
            by(_IPV6, self._ipv6),
            whole(_IPV4, "address"),
            by(_SETTING, self._setting),
            by(_CALLED, self._called),
            by(_CONNECTED, lambda found: found["name"] + self._host(found["value"])),
            self._paths,
            by(_RANDOM, self._random),
            *named(known.hosts, "host"),
            whole(_DOMAIN, "host"),
            *named(known.users, "user"),
        ]

    def _hold(self, kind: Kind, value: str, suffix: str = "") -> str:
        """A placeholder's stand-in; equal values of a kind have equal ones."""
        key = value.casefold() if kind in ("host", "user", "email", "address") else value
        numbers = self._numbers.setdefault(kind, {})
        number = numbers.setdefault(key, len(numbers) + 1)
        shown = f"<{kind}-{number}>{suffix}"
        place = self._place.setdefault(shown, len(self._held))
        if place == len(self._held):
            self._held.append(shown)
        return _BEGIN + "".join(_DIGITS[int(digit)] for digit in str(place)) + _END

    # --- each kind ---------------------------------------------------------------------------

    def _url(self, found: re.Match[str]) -> str:
        if found["scheme"].lower() == "file://":
            return found["scheme"] + self._path(found["host"] + (found["path"] or ""))
        login = self._hold("secret", found["login"][:-1]) + "@" if found["login"] else ""
        path = found["path"] or ""
        rest = path if path in ("", "/") else self._path(path)
        return f"{found['scheme']}{login}{self._host(found['host'])}{found['port'] or ''}{rest}"

    def _host(self, name: str) -> str:
        bare = name.strip("[]")
        if not bare or _HELD.fullmatch(bare) or bare.casefold() in self._known.ours:
            return name
        return name.replace(bare, self._hold("address" if _is_address(bare) else "host", bare))

    def _assigned(self, found: re.Match[str]) -> str:
        inner = found["value"].strip("\"'")
        if not inner or _HELD.fullmatch(inner):
            return found[0]
        return found["name"] + found["value"].replace(inner, self._hold("secret", inner))

    def _login(self, found: re.Match[str]) -> str:
        user, path = found["user"], found["path"] or ""
        host = found["host"].rstrip(".-")
        trail = found["host"][len(host) :]  # the end of a sentence
        if not host or _SYMBOL_VERSION.fullmatch(host):
            return found[0]
        path = f":{self._path(path[1:])}" if path else ""
        known = host.casefold() in self._known_hosts or user.casefold() in self._known_users
        is_domain = bool(re.search(r"\.[A-Za-z]{2,}$", host))
        if is_domain and not known:
            return self._hold("email", f"{user}@{host}") + trail + path
        who = (
            user if user in self._known.ours or _HELD.fullmatch(user) else self._hold("user", user)
        )
        return f"{who}@{self._host(host)}{trail}{path}"

    def _ipv6(self, found: re.Match[str]) -> str:
        text = found[0]
        for end in range(len(text), 1, -1):
            is_whole = end == len(text) or text[end] in ":.%"
            if is_whole and _is_address(text[:end]) and any(map(str.isalnum, text[:end])):
                return self._hold("address", text[:end]) + text[end:]
        return text

    def _setting(self, found: re.Match[str]) -> str:
        """A key of a board's file or of an SSH configuration that names who or where."""
        inner = found["value"].strip("\"'")
        name = found["name"].strip(" \t=").lower()
        if not inner or _HELD.search(inner) or inner in self._known.ours:
            return found[0]
        if name == "directory":
            held = self._path(inner)
        else:
            held = self._hold("user", inner) if name == "user" else self._host(inner)
        return found["name"] + found["value"].replace(inner, held)

    def _called(self, found: re.Match[str]) -> str:
        value = found["value"]
        if _HELD.search(value) or value in self._known.ours:
            return found[0]
        is_host = found["kind"].lower().startswith("host")
        held = self._host(value) if is_host else self._hold("user", value)
        return f"{found['name']}{found['quote']}{held}{found['quote']}"

    def _paths(self, text: str) -> str:
        parts, at = list[str](), 0
        while found := self._path_pattern.search(text, at):
            begin, path = found.end() - len(found["path"]), found["path"]
            if not path.startswith(self._prefixes) and _is_relative(text, begin, path):
                parts.append(text[at : begin + 1])
                at = begin + 1
                continue
            path = path[: len(path.rstrip(".…!"))] or path
            path += _rest_of_name(path, text[begin + len(path) :])
            parts += [text[at:begin], self._path(path)]
            at = begin + len(path)
        return "".join([*parts, text[at:]])

    def _path(self, path: str) -> str:
        if path in PUBLIC_PATHS or not path.strip("/~"):
            return path
        suffix = posixpath.splitext(path.rstrip("/"))[1]
        return self._hold("path", path.rstrip("/"), suffix if suffix in _SUFFIXES else "")

    def _random(self, found: re.Match[str]) -> str:
        text = found[0]
        kinds = (str.isupper, str.islower, str.isdigit)
        is_mixed = all(any(map(kind, text)) for kind in kinds)
        return self._hold("secret", text) if is_mixed else text


def _rest_of_name(path: str, behind: str) -> str:
    """More words of a path's last part, where a file here is called so: ``my network.tflite``."""
    if not behind.startswith(" ") or len(path) > 1000 or os.path.lexists(path):
        return ""
    words = behind.partition("\n")[0][:500].split(" ")[1 : _MORE_WORDS + 1]
    for count in range(len(words), 0, -1):
        rest = " " + " ".join(words[:count]).rstrip(":.,;)'\"")
        if "\0" not in rest and os.path.lexists(path + rest):
            return rest
    return ""


def _number(digits: str) -> int:
    return int("".join(str(_DIGITS.index(digit)) for digit in digits))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _patterns(names: Sequence[str], *, bounded: bool) -> list[re.Pattern[str]]:
    """Where names stand: short ones as words alone, and very short ones as they are written."""
    long = [name for name in names if len(name) >= _LONG or not bounded]
    short = [name for name in names if 2 < len(name) < _LONG and bounded]
    tiny = [name for name in names if len(name) <= 2 and bounded]
    begin, end = r"(?:(?<![A-Za-z0-9])|(?<=%[0-9A-Fa-f]{2}))(?:", r")(?![A-Za-z0-9])"
    made = []
    for some, before, behind, flags in (
        (long, "(?:", ")", re.I), (short, begin, end, re.I), (tiny, begin, end, 0),
    ):  # fmt: skip
        if some:
            text = "|".join(re.escape(name) for name in some)
            made.append(re.compile(f"{before}{text}{behind}", flags))
    return made


def _path_pattern(known: Sequence[str]) -> re.Pattern[str]:
    """What looks like a path; and what begins with a known one, whose name may have blanks.

    CMake puts sources that are elsewhere below its own folders: ``x.dir/home/alice/y.cc.o``. A
    slash behind a plus is one of base64: a path that began there would cut a key in two.
    """
    prefixes = "|".join(map(re.escape, known))
    return re.compile(
        rf"(?:(?P<option>(?<![^\s\"'=(])-[A-Za-z]+)|(?<![\w.~+/{_END}-])|(?<=\.dir)"
        rf"|(?={prefixes}))"
        rf"(?P<path>(?:{prefixes}){_TAIL}|{_SYSTEM}{_PARTS}"
        rf"|(?:~[\w.-]*)?/(?=[^\s/\"'`<>|;,)]){_TAIL}|~[A-Za-z_][\w.-]*)"
    )


def _is_relative(text: str, begin: int, path: str) -> bool:
    """Whether what stands behind ``.dir`` is a folder of CMake's and no folder of this machine."""
    if not text[:begin].endswith(".dir") or not path.startswith("/"):
        return False
    return not os.path.lexists(f"/{path.split('/')[1]}")
