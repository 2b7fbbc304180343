"""What a new board says of itself: what its entry in the inventory is made from."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from toolchain.board import system
from toolchain.board.connection import Connection
from toolchain.board.system import System
from toolchain.foreign_text import harmless
from toolchain.profile.facts import BoardFacts, read_facts

_LONGEST = 120
"""Characters that are kept of what it calls something."""
_OS_RELEASE = ("/etc/os-release", "/usr/lib/os-release")
_HOSTNAME = "/proc/sys/kernel/hostname"
# The clock of every core, for clusters differ; and what cools it: a device that is no fan slows it
# down instead.
_SCRIPT = r"""
for file in /sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq; do
  [ -r "$file" ] && read -r clock <"$file" && echo "clock $clock"
done
for folder in /sys/class/thermal/cooling_device*; do
  [ -r "$folder/type" ] && read -r type <"$folder/type" && echo "cooling $type"
done
for folder in /sys/class/hwmon/hwmon*; do
  for file in "$folder"/fan[0-9]*_input; do
    [ -r "$file" ] && read -r rpm <"$file" && echo "fan $rpm"
  done
done
"""
_FAN = re.compile(r"fan", re.I)
_KERNEL_64 = ("aarch64", "arm64", "armv8l", "x86_64", "amd64")


@dataclass(frozen=True)
class Probe:
    """What a board is, as far as it tells."""

    facts: BoardFacts
    system: System
    hostname: str | None
    os: str | None
    """``Debian GNU/Linux 12 (bookworm)``."""
    clock_mhz: int | None
    """The highest of its cores; ``None`` of an emulated one, whose clock is none."""
    cooling: str | None

    @property
    def bits(self) -> int | None:
        """Of its own programs."""
        return self.system.bits

    @property
    def kernel_bits(self) -> int:
        """Of its kernel."""
        return 64 if self.system.machine in _KERNEL_64 else 32

    @property
    def cores(self) -> str | None:
        """``4 x Cortex-A72``."""
        found = [f"{count} x {name}" for name, count in self.system.cores.items()]
        return line(", ".join(found))

    @property
    def memory_mib(self) -> int | None:
        """All of its memory."""
        total = self.facts.memory_total_kib
        return None if total is None else max(1, total >> 10)


def probe(connection: Connection) -> Probe:
    """Ask a board what it is; changes nothing there.

    Raises:
        BoardError: it does not tell its machine.
        ConnectionFailed: it went away.
    """
    facts = read_facts(connection)
    own = system.read_system(connection)
    files = system.read_files(connection, [*_OS_RELEASE, _HOSTNAME])
    releases = [files[path] for path in _OS_RELEASE if path in files]
    said = connection.run(["sh", "-c", _SCRIPT], check=False, timeout=system.TELL_S).text
    told = [words for text in said.splitlines() if len(words := text.split(None, 1)) == 2]
    clocks = [int(value) for key, value in told if key == "clock" and _is_number(value)]
    return Probe(
        facts=facts,
        system=own,
        hostname=line(files.get(_HOSTNAME, b"").decode(errors="replace")),
        os=line(_os_name(releases[0].decode(errors="replace")) if releases else ""),
        clock_mhz=None if facts.emulated or not clocks else round(max(clocks) / 1000),
        cooling=_cooling(told),
    )


def line(text: str) -> str | None:
    """What a board calls something, on one line, made harmless; ``None`` of nothing."""
    printable = "".join(
        letter if letter.isprintable() else "?"
        for letter in harmless(" ".join(text.strip("\0").split()))
    )
    return printable[:_LONGEST].strip() or None


def _os_name(text: str) -> str:
    """What os-release(5) calls the system: ``PRETTY_NAME``, else ``NAME`` and ``VERSION``."""
    values: dict[str, str] = {}
    for each in text.splitlines():
        key, equals, value = each.strip().partition("=")
        if equals and re.fullmatch("[A-Z0-9_]{1,64}", key):
            try:
                words = shlex.split(value)
            except ValueError:  # a quote that is not closed
                words = [value]
            values[key] = words[0] if words else ""
    own = " ".join(filter(None, (values.get("NAME"), values.get("VERSION"))))
    return values.get("PRETTY_NAME") or own


def _cooling(told: Sequence[Sequence[str]]) -> str | None:
    """``fan`` where it has one; else whether it tells of what cools it at all."""
    fans = [value for key, value in told if key == "fan"]
    fans += [value for key, value in told if key == "cooling" and _FAN.search(value)]
    if fans:
        return "fan"
    return "no fan" if any(key == "cooling" for key, _ in told) else None


def _is_number(text: str) -> bool:
    return re.fullmatch("[0-9]{1,12}", text) is not None
