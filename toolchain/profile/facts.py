"""What a board says about itself. Every fact may be absent; then it is ``None``, and listed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from toolchain.board import system
from toolchain.board.connection import Connection, TimeUp
from toolchain.hardware.board_file import Board

_MODEL = "/proc/device-tree/model"
_MEMINFO = "/proc/meminfo"
_GOVERNOR = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
_FREQUENCY = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"
_MAX_FREQUENCY = "/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq"
_TEMPERATURE = "/sys/class/thermal/thermal_zone0/temp"
_CLOCK = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
_VITALS = (_GOVERNOR, _FREQUENCY, _TEMPERATURE, _CLOCK, _MEMINFO)
_THROTTLED = ["vcgencmd", "get_throttled"]
_NUMBER = "[0-9]{1,18}"
"""What no computation with it can overflow; Python refuses to read 5,000 digits."""
_FILES = (_MODEL, _MEMINFO, _MAX_FREQUENCY)

_DUMMY_MODEL = "linux,dummy-virt"
"""What QEMU's virt machine calls itself."""

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
    clock_source: str | None = None
    """What the kernel reads the time from: every time that is measured comes from it."""
    memory_available_kib: int | None = None


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


def clock_mhz(facts: BoardFacts, board: Board | None) -> int | None:
    """The highest clock of a board's cores, as it says itself or else its file does.

    Args:
        facts: of the board.
        board: its file, where there is one.

    Returns:
        ``None`` where neither says, and for an emulated board, whose clock is none.
    """
    if facts.emulated:
        return None
    if facts.max_frequency_khz:
        return round(facts.max_frequency_khz / 1000)
    return board.clock_mhz if board else None


def read_facts(connection: Connection, *, emulated: bool = False) -> BoardFacts:
    """Ask a board what it is.

    Args:
        connection: the board.
        emulated: whether it is known to be emulated; else its device tree may say so.

    Raises:
        BoardError: it does not tell its machine.
    """
    files = system.read_files(connection, _FILES)
    model = _text(files.get(_MODEL))
    memory = _meminfo(_text(files.get(_MEMINFO)) or "")
    own = system.read_system(connection)
    return BoardFacts(
        emulated=emulated or model == _DUMMY_MODEL,
        model=model,
        machine=own.machine,
        kernel=own.kernel,
        glibc=own.glibc,
        cores=dict(own.cores),
        features=list(own.listed),
        hwcap=_hex(own.hwcap),
        hwcap2=_hex(own.hwcap2),
        max_frequency_khz=_integer(files.get(_MAX_FREQUENCY)),
        memory_total_kib=memory.get("MemTotal"),
        memory_available_kib=memory.get("MemAvailable"),
        vitals=read_vitals(connection),
    )


def read_vitals(connection: Connection) -> Vitals:
    """Ask a board how fast, how warm and how well fed it is now; one round trip."""
    files, said = system.read_files_and_answer(connection, _VITALS, _THROTTLED)
    heat = _integer(files.get(_TEMPERATURE))
    return Vitals(
        governor=_text(files.get(_GOVERNOR)),
        frequency_khz=_integer(files.get(_FREQUENCY)),
        temperature_c=None if heat is None else heat / 1000,
        throttled=parse_throttled(_text(said) or ""),
        clock_source=_text(files.get(_CLOCK)),
        memory_available_kib=_meminfo(_text(files.get(_MEMINFO)) or "").get("MemAvailable"),
    )


_LOAD = "cat /proc/stat && sleep 0.3 && cat /proc/stat"


def read_load(connection: Connection) -> float | None:
    """How many cores of a board are busy, while nothing of ours runs there; waits for a moment.

    What a virtual machine's host gave to others counts, too. ``None`` where the system does not
    tell.
    """
    return parse_load(_run(connection, ["sh", "-c", _LOAD]) or "")


def parse_load(text: str) -> float | None:
    """Busy cores between two readings of ``/proc/stat``, see proc_stat(5)."""
    readings = [
        [int(ticks) for ticks in line.split()[1:9]]
        for line in text.splitlines()
        if re.fullmatch(rf"cpu(\s+{_NUMBER}){{8,}}", line)
    ]
    cores = len(re.findall(r"^cpu\d+ ", text, re.M)) / 2
    if len(readings) != 2:
        return None
    passed = [after - before for before, after in zip(*readings, strict=True)]
    idle = passed[3] + passed[4]  # waiting for a disk is idle, too
    return cores * (sum(passed) - idle) / sum(passed) if sum(passed) > 0 else None


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


def _meminfo(text: str) -> dict[str, int]:
    found = re.findall(rf"^(\w+):\s+({_NUMBER}) kB$", text, re.M)
    return {name: int(value) for name, value in found}


def _run(connection: Connection, argv: Sequence[str]) -> str | None:
    try:
        result = connection.run(argv, check=False, timeout=system.TELL_S)
    except TimeUp:  # firmware that hangs, say: a fact that is not told
        return None
    return None if result.exit_code else result.text.strip() or None


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", errors="replace").strip("\0\n ") or None


def _integer(data: bytes | None) -> int | None:
    text = _text(data) or ""
    return int(text) if re.fullmatch(rf"-?{_NUMBER}", text) else None


def _hex(value: int | None) -> str | None:
    return None if value is None else f"0x{value:x}"
