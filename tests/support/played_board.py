"""A board that is played: this machine's shell, with ``/proc`` and ``/sys`` from a folder.

Scripts run as on a real board. What they read below ``/proc`` and ``/sys``, and programs that only
a Raspberry Pi has, are made by the test.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from toolchain.board.connection import Sink
from toolchain.board.local import LocalConnection

_CORE = "processor\t: {}\nFeatures\t: fp asimd crc32\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n"
_CPU = "sys/devices/system/cpu"
_CLOCK = "sys/devices/system/clocksource/clocksource0"


class PlayedBoard(LocalConnection):
    """A Raspberry Pi 4 that is well, until a test changes something.

    Args:
        folder: for its files.
        monkeypatch: for its programs.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.bin, self.home = folder / "root", folder / "bin", folder / "home"
        self.bin.mkdir(parents=True)
        super().__init__("rpi4 (pi@raspberrypi)", self.home)
        monkeypatch.setenv("PATH", f"{self.bin}:{os.environ['PATH']}")
        vector = struct.pack("<6Q", 6, 4096, 16, 0x8FF, 0, 0)
        self.file("proc/cpuinfo", "\n".join(_CORE.format(number) for number in range(4)))
        self.file("proc/self/auxv", vector)
        self.file("proc/meminfo", "MemTotal: 3884000 kB\nMemAvailable: 3500000 kB\n")
        self.file("proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.5\0")
        self.file("proc/sys/kernel/perf_event_paranoid", "2\n")
        self.file("proc/mounts", Path("/proc/mounts").read_bytes())
        self.stat(1, 1000)
        for number in range(4):
            self.file(f"{_CPU}/cpu{number}/cpufreq/scaling_governor", "performance\n")
        self.file(f"{_CLOCK}/current_clocksource", "arch_sys_counter\n")
        self.file(f"{_CLOCK}/available_clocksource", "arch_sys_counter \n")
        self.file("sys/class/thermal/thermal_zone0/temp", "48312\n")
        (self.root / "sys/bus/event_source/devices/armv8_cortex_a72").mkdir(parents=True)
        self.program("vcgencmd", "echo throttled=0x0")
        self.program("uname", 'case "$*" in -m) echo aarch64 ;; *) echo Linux 6.1.0 ;; esac')
        self.program("getconf", "echo glibc 2.36")
        self.program("linux32", "exit 1")
        self.program("id", 'case "$*" in -u) echo 1000 ;; *) exec /usr/bin/id "$@" ;; esac')

    def execute(
        self, argv: Sequence[str], *, stdout: Sink | None = None, **given: Any
    ) -> tuple[int, str]:
        """See ``Connection.execute``; in what is printed, files have the names that they play."""
        words = [re.sub(r"(?<![\w.])/(?=(?:proc|sys)/)", f"{self.root}/", word) for word in argv]
        output = io.BytesIO()
        result = super().execute(words, stdout=output, **given)
        if stdout is not None:
            stdout.write(output.getvalue().replace(os.fsencode(self.root), b""))
        return result

    def file(self, name: str, content: str | bytes) -> None:
        """Write a file of ``/proc`` or ``/sys``."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    def governors(self, *names: str) -> None:
        """The governor of each core."""
        for number, name in enumerate(names):
            self.file(f"{_CPU}/cpu{number}/cpufreq/scaling_governor", f"{name}\n")

    def clock_source(self, current: str, *others: str) -> None:
        """What the clock is read from, and could be."""
        self.file(f"{_CLOCK}/current_clocksource", f"{current}\n")
        self.file(f"{_CLOCK}/available_clocksource", f"{' '.join([current, *others])}\n")

    def program(self, name: str, script: str) -> None:
        """Put a program in the place of another one."""
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def stat(self, busy: int, idle: int) -> None:
        """What ``/proc/stat`` says, and by how much it goes on while it is looked at twice."""
        lines = [f"cpu  0 0 0 {number} 0 0 0 0\n" + "".join(f"cpu{n} 0\n" for n in range(4))
                 for number in (0, idle)]  # fmt: skip
        self.file("proc/stat", lines[0])
        self.file("proc/stat2", lines[1].replace("cpu  0 0 0", f"cpu  {busy} 0 0"))
        here = shlex.quote(str(self.root / "proc"))
        self.program("sleep", f"cp {here}/stat2 {here}/stat")
