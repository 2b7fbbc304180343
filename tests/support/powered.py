"""A board that tells its power: a stand-in for the firmware of a Raspberry Pi 5, and for a meter.

``vcgencmd`` is a script that prints what the firmware does. The watts are known, so that what is
measured has one right answer.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

RAILS = {"3V7_WL_SW": (3.7, 0.5), "DDR_VDDQ": (0.6, 0.0), "VDD_CORE": (0.75, 0.2)}
"""Volts and amperes: 2 watts."""
IDLE_W = sum(volts * amperes for volts, amperes in RAILS.values())
WORKING = RAILS | {"VDD_CORE": (0.75, 4.2)}
WORKING_W = IDLE_W + 3.0

# What it was run with, and for how long each run slept, as the runner tells it.
_RUNNER = """#!{python}
import json, os, pathlib, statistics, sys, time
words = dict(zip(sys.argv[1:], sys.argv[2:]))
pathlib.Path({pid!r}).write_text(f"{{os.getpid()}}\\n")
report = json.loads({report!r})
samples = []
for _ in range(int(words["--warmup"])):
    time.sleep({us} / 1e6)
for _ in range(int(words["--runs"])):
    began = time.perf_counter()
    time.sleep({us} / 1e6)
    samples.append((time.perf_counter() - began) * 1e6)
if samples:
    middle = statistics.median(samples)
    report["timing"] = dict(
        runs=len(samples), warmup=int(words["--warmup"]), min_us=min(samples), median_us=middle,
        mean_us=statistics.fmean(samples), p95_us=max(samples), max_us=max(samples),
        mad_us=statistics.median(abs(one - middle) for one in samples), samples_us=samples)
else:
    report["timing"] = None
print(json.dumps(report))
"""


def pmic_text(rails: Mapping[str, tuple[float, float]] = RAILS) -> str:
    """What ``vcgencmd pmic_read_adc`` prints of rails: volts and amperes of each."""
    number = 0
    lines = []
    for unit, kind, place in (("A", "current", 1), ("V", "volt", 0)):
        for name, figures in rails.items():
            lines.append(f"{name}_{unit} {kind}({number})={figures[place]:.8f}{unit}".rjust(40))
            number += 1
    lines += ["EXT5V_V volt(24)=5.15000000V".rjust(40), "BATT_V volt(25)=0.00598290V".rjust(40)]
    return "\n".join(lines) + "\n"


def program(path: Path, script: str) -> Path:
    """A shell script that can be run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def saying(text: str) -> str:
    """Shell text that prints something as it stands."""
    return f"printf %s {shlex.quote(text)}"


def while_alive(pid: Path, then: str, otherwise: str) -> str:
    """Shell text that does one thing while the process of a file runs, and else another."""
    there = f'read -r pid <{shlex.quote(str(pid))} && kill -0 "$pid"'
    return f"if {{ {there}; }} 2>/dev/null; then {then}; else {otherwise}; fi"


def sleeping_runner(pid: Path, report: str, *, us: float = 20_000.0) -> bytes:
    """A runner whose runs sleep; it writes its number to a file.

    Args:
        pid: that file.
        report: JSON that it prints, but for the times.
        us: that a run sleeps.
    """
    return _RUNNER.format(python=sys.executable, pid=str(pid), report=report, us=us).encode()
