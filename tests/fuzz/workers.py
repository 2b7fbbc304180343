"""Mutations in several processes; one that ends its process is told, and does not end the others.

A worker is this module as a program: target, number of the first mutation, how many, folders. It
writes a line before each mutation, its number, and what went wrong behind it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from fuzz.mutations import load_seeds, mutation
from fuzz.targets import through_reader, through_runner

KEPT = Path("build/fuzz")
RUNNER, PLAIN = Path("build/host-address/tileskip-run"), Path("build/host/tileskip-run")
_TABLES = 16
"""Every so many models are printed as well."""


def fuzz(
    target: str, folders: Sequence[Path], first: int, count: int, *, jobs: int = 1
) -> dict[int, str]:
    """What went wrong, by the number of the mutation; nothing where all went well.

    Args:
        target: ``reader`` or ``runner``.
        folders: of sound models.
        first: number of the first mutation.
        count: how many.
        jobs: processes.
    """
    found: dict[int, str] = {}
    share = -(-count // jobs)
    ends = [(at, min(at + share, first + count)) for at in range(first, first + count, share)]
    threads = [
        threading.Thread(target=_range, args=(target, folders, *each, found)) for each in ends
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def _range(
    target: str, folders: Sequence[Path], first: int, end: int, found: dict[int, str]
) -> None:
    while first < end:
        command = [sys.executable, "-m", "fuzz.workers", target, str(first), str(end)]
        with subprocess.Popen(
            [*command, *map(str, folders)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                number, said = json.loads(line)
                first = number
                if said:
                    found[number] = said
        if process.returncode == 0:
            return
        found[first] = f"the process ended with {process.returncode}"
        _keep(*mutation(load_seeds(folders), first), first)
        first += 1


def _keep(name: str, data: bytes, number: int) -> None:
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / f"{number}-{name}").write_bytes(data)


def _work(target: str, first: int, end: int, folders: Sequence[Path]) -> None:
    seeds = load_seeds(folders)
    with tempfile.TemporaryDirectory(prefix="tileskip-fuzz-") as folder:
        path = Path(folder) / "m.tflite"
        for number in range(first, end):
            print(json.dumps([number, ""]), flush=True)
            name, data = mutation(seeds, number)
            path.write_bytes(data)
            if target == "runner":
                said = through_runner(path, RUNNER, PLAIN)
            else:
                said = through_reader(path, tables=number % _TABLES == 0)
            if said:
                _keep(name, data, number)
                print(json.dumps([number, f"{name}: {said}"]), flush=True)


if __name__ == "__main__":
    _work(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), [Path(word) for word in sys.argv[4:]])
