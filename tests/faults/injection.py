"""Tries of a fault in a process of its own: a hang and a crash are failures, too."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from faults.fault import Fault, Place

_START_S = 600.0
"""Until a try begins: Python imports much of the project first, and the machine may be busy."""


def injected(fault: Fault, tries: int) -> list[str]:
    """The failures of so many tries."""
    failures: list[str] = []
    first = 0
    while first < tries:
        command = [sys.executable, "-m", "faults", "--worker", fault.name, "--tries"]
        environment = {**os.environ, "FAULTS_FIRST": str(first), "COLUMNS": "100"}
        process = subprocess.Popen(
            [*command, str(tries)], env=environment, stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        lines: queue.Queue[str] = queue.Queue()
        assert process.stdout is not None
        thread = threading.Thread(target=_read, args=(process.stdout, lines), daemon=True)
        thread.start()
        limit = _START_S
        try:
            while line := lines.get(timeout=limit):
                number, said = json.loads(line)
                limit = fault.limit_s if said is None else _START_S
                first = number if said is None else number + 1
                failures += [f"try {number}: {said}"] if said else []
            if process.wait() or first < tries:
                failures.append(f"try {first}: its process ended with {process.returncode}")
                first += 1
        except queue.Empty:
            failures.append(f"try {first}: did not end in {limit:g} s")
            first += 1
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return failures


def _read(stream: object, lines: queue.Queue[str]) -> None:
    for line in stream:  # type: ignore[attr-defined]
        lines.put(line)
    lines.put("")


def work(fault: Fault, tries: int) -> None:
    """Try from ``$FAULTS_FIRST`` on; two lines of JSON for each: it begins, and what came of it."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is none of it
    with tempfile.TemporaryDirectory(prefix="tileskip-faults-") as folder:
        place = Place(Path(folder))
        with place.stack:
            for number in range(int(os.environ["FAULTS_FIRST"]), tries):
                output.write(json.dumps([number, None]) + "\n")
                output.flush()
                try:
                    said = fault.inject(place, number)
                except Exception as error:  # a failure of what was tried, whatever it is
                    said = f"{type(error).__name__}: {error}"
                output.write(json.dumps([number, said]) + "\n")
                output.flush()
