"""What a board says about itself. Every fact may be absent; then it is ``None``, and listed."""

from __future__ import annotations

import re
import secrets
import struct
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from toolchain.board.connection import Connection

_MODEL = "/proc/device-tree/model"
_CPUINFO = "/proc/cpuinfo"
_MEMINFO = "/proc/meminfo"
_AUXV = "/proc/self/auxv"
_GOVERNOR = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
_FREQUENCY = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"
_MAX_FREQUENCY = "/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq"
_TEMPERATURE = "/sys/class/thermal/thermal_zone0/temp"
_VITALS = (_GOVERNOR, _FREQUENCY, _TEMPERATURE)
_FILES = (_MODEL, _CPUINFO, _MEMINFO, _AUXV, _MAX_FREQUENCY)

_AT_HWCAP, _AT_HWCAP2 = 16, 26  # <elf.h>
_DUMMY_MODEL = "linux,dummy-virt"
"""What QEMU's virt machine calls itself."""

# MIDR part numbers, from Arm's technical reference manuals.
_ARM_PARTS = {
    0xD03: "Cortex-A53", 0xD04: "Cortex-A35", 0xD05: "Cortex-A55", 0xD07: "Cortex-A57",
    0xD08: "Cortex-A72", 0xD09: "Cortex-A73", 0xD0A: "Cortex-A75", 0xD0B: "Cortex-A76",
    0xD0C: "Neoverse-N1", 0xD0D: "Cortex-A77", 0xD41: "Cortex-A78", 0xD46: "Cortex-A510",
    0xC07: "Cortex-A7", 0xC0F: "Cortex-A15",
}  # fmt: skip

# `vcgencmd get_throttled`: bits 0 to 3 are now, 16 to 19 the same since boot.
_THROTTLE_BITS = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Throttled(_Facts):
    """What the Raspberry Pi's firmware says about power and heat."""

    now: list[str]
    since_boot: list[str]


class Vitals(_Facts):
    """What changes while a board works."""

    governor: str | None = None
    frequency_khz: int | None = None
    temperature_c: float | None = None
    throttled: Throttled | None = None


class BoardFacts(_Facts):
    """What a board is."""

    emulated: bool
    model: str | None = None
    machine: str | None = None
    """As ``uname -m``."""
    kernel: str | None = None
    glibc: str | None = None
    cores: dict[str, int] = Field(default_factory=dict)
    """How many cores there are of each kind."""
    features: list[str] = Field(default_factory=list)
    """Of ``/proc/cpuinfo``, as the kernel writes them."""
    hwcap: str | None = None
    """Hexadecimal, of the auxiliary vector."""
    hwcap2: str | None = None
    max_frequency_khz: int | None = None
    memory_total_kib: int | None = None
    memory_available_kib: int | None = None
    vitals: Vitals = Vitals()
    """When the facts were read."""

    @property
    def absent(self) -> list[str]:
        """The facts that this board does not tell."""
        own = [name for name, value in self if name != "vitals" and value in (None, {}, [])]
        return own + [name for name, value in self.vitals if value is None]


def read_facts(connection: Connection, *, emulated: bool = False) -> BoardFacts:
    """Ask a board what it is.

    Args:
        connection: the board.
        emulated: whether it is known to be emulated; else its device tree may say so.
    """
    files = _read(connection, _FILES)
    model = _text(files.get(_MODEL))
    cores, features = parse_cpuinfo(_text(files.get(_CPUINFO)) or "")
    memory = _meminfo(_text(files.get(_MEMINFO)) or "")
    words = _run(connection, ["uname", "-s", "-r", "-m"])
    system = words.split() if words else []
    capabilities = parse_auxv(files.get(_AUXV, b""))
    return BoardFacts(
        emulated=emulated or model == _DUMMY_MODEL,
        model=model,
        machine=system[2] if len(system) == 3 else None,
        kernel=" ".join(system[:2]) or None,
        glibc=_glibc(connection, system[2] if len(system) == 3 else ""),
        cores=cores,
        features=features,
        hwcap=_hex(capabilities.get(_AT_HWCAP)),
        hwcap2=_hex(capabilities.get(_AT_HWCAP2)),
        max_frequency_khz=_integer(files.get(_MAX_FREQUENCY)),
        memory_total_kib=memory.get("MemTotal"),
        memory_available_kib=memory.get("MemAvailable"),
        vitals=read_vitals(connection),
    )


def read_vitals(connection: Connection) -> Vitals:
    """Ask a board how fast, how warm and how well fed it is now."""
    files = _read(connection, _VITALS)
    heat = _integer(files.get(_TEMPERATURE))
    return Vitals(
        governor=_text(files.get(_GOVERNOR)),
        frequency_khz=_integer(files.get(_FREQUENCY)),
        temperature_c=None if heat is None else heat / 1000,
        throttled=parse_throttled(_run(connection, ["vcgencmd", "get_throttled"]) or ""),
    )


def parse_cpuinfo(text: str) -> tuple[dict[str, int], list[str]]:
    """Kinds of cores with their number, and the features of the first core."""
    cores: dict[str, int] = {}
    features: list[str] = []
    for block in re.split(r"\n\s*\n", text):
        fields = {
            key.strip(): value.strip()
            for key, separator, value in (line.partition(":") for line in block.splitlines())
            if separator
        }
        if "processor" not in fields:
            continue
        name = fields.get("model name") or _part(fields)
        cores[name] = cores.get(name, 0) + 1
        features = features or (fields.get("Features") or fields.get("flags", "")).split()
    return cores, features


def parse_auxv(data: bytes) -> dict[int, int]:
    """The auxiliary vector of a 64-bit little-endian process: type -> value."""
    usable = len(data) // 16 * 16
    return dict(struct.iter_unpack("<QQ", data[:usable]))


def parse_throttled(text: str) -> Throttled | None:
    """The answer of ``vcgencmd get_throttled``; ``None`` if it is none."""
    found = re.fullmatch(r"throttled=0x([0-9a-fA-F]+)", text.strip())
    if not found:
        return None
    bits = int(found[1], 16)
    return Throttled(
        now=[name for bit, name in enumerate(_THROTTLE_BITS) if bits >> bit & 1],
        since_boot=[name for bit, name in enumerate(_THROTTLE_BITS) if bits >> (16 + bit) & 1],
    )


def _part(fields: dict[str, str]) -> str:
    implementer, part = fields.get("CPU implementer", "?"), fields.get("CPU part", "?")
    if implementer == "0x41" and re.fullmatch(r"0x[0-9a-f]+", part):
        known = _ARM_PARTS.get(int(part, 16))
        if known:
            return known
    return f"implementer {implementer}, part {part}"


def _meminfo(text: str) -> dict[str, int]:
    found = re.findall(r"^(\w+):\s+(\d+) kB$", text, re.M)
    return {name: int(value) for name, value in found}


def _glibc(connection: Connection, machine: str) -> str | None:
    said = _run(connection, ["getconf", "GNU_LIBC_VERSION"])
    if not said:
        loader = {"aarch64": "/lib/ld-linux-aarch64.so.1", "x86_64": "/lib64/ld-linux-x86-64.so.2"}
        said = _run(connection, [loader[machine], "--version"]) if machine in loader else None
    found = re.search(r"(?:glibc|version|GLIBC)\D*?(\d+\.\d+)", said or "")
    return found[1] if found else None


def _read(connection: Connection, paths: Sequence[str]) -> dict[str, bytes]:
    """Those of the files that can be read; one round trip for all."""
    mark = secrets.token_hex(12)
    script = (
        'mark=$1; shift; for f; do if [ -r "$f" ]; then '
        'printf "%s%s\\n" "$mark" "$f"; cat "$f" 2>/dev/null; fi; done'
    )
    result = connection.run(["sh", "-c", script, "sh", mark, *paths], check=False)
    found: dict[str, bytes] = {}
    for piece in result.stdout.split(mark.encode())[1:]:
        name, _, data = piece.partition(b"\n")
        if data:
            found[name.decode()] = data
    return found


def _run(connection: Connection, argv: Sequence[str]) -> str | None:
    result = connection.run(argv, check=False)
    return None if result.exit_code else result.text.strip() or None


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", errors="replace").strip("\0\n ") or None


def _integer(data: bytes | None) -> int | None:
    text = _text(data) or ""
    return int(text) if re.fullmatch(r"-?\d+", text) else None


def _hex(value: int | None) -> str | None:
    return None if value is None else f"0x{value:x}"
