"""What a run of the tests leaves behind: processes, and files outside of its temporary folders."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

MARK = "TILESKIP_TESTS"
"""A variable that every process that is started by a run inherits."""
_SECONDS_TO_END = 30.0
"""On a busy machine, what is ended takes a while; a guard on a board gives up after twice that."""
_OF_PYTHON = b"multiprocessing.resource_tracker"
"""A helper of an interpreter that has used multiprocessing; it ends with that."""
_KEPT = (".ssh", ".config/tileskip", ".local/share/tileskip", ".local/state/tileskip")
"""Folders of the user's home that programs of ours read, and no test may touch."""


def left_processes(mark: str) -> dict[int, str]:
    """Processes that bear the mark, with their command lines, but for this one and its ancestors.

    Those that are about to end are given the time to. One that has just begun shows no environment
    for a moment, so the last look is the second one that finds none.
    """
    deadline = time.monotonic() + _SECONDS_TO_END
    found, before = _marked(mark), True
    while (found or before) and time.monotonic() < deadline:
        time.sleep(0.1)
        before = bool(found)
        found = _marked(mark)
    return found


def end(processes: dict[int, str]) -> None:
    """Kill them, and wait until they have ended."""
    for pid in processes:
        try:
            os.kill(pid, signal.SIGKILL)
            while Path(f"/proc/{pid}/cmdline").read_bytes():  # none: a zombie
                time.sleep(0.01)
        except (OSError, ProcessLookupError):
            continue


def _marked(mark: str) -> dict[int, str]:
    wanted = f"{MARK}={mark}".encode()
    found, ours = {}, _ancestors()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) in ours:
            continue
        try:
            variables = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").strip()
        except OSError:
            continue
        if wanted in variables and command and _OF_PYTHON not in command:  # none: a zombie
            found[int(folder.name)] = command.decode(errors="replace")
    return found


def _ancestors() -> set[int]:
    found, pid = set(), os.getpid()
    while pid > 1:
        found.add(pid)
        status = Path(f"/proc/{pid}/status").read_text()
        pid = int(status.partition("PPid:")[2].split()[0])
    return found


def state() -> dict[str, str]:
    """What no test may change: the user's own files."""
    found = {}
    for name in _KEPT:
        for path in sorted((Path.home() / name).rglob("*")):
            facts = path.lstat()
            found[str(path)] = f"{facts.st_mtime_ns} {facts.st_size} {facts.st_mode:o}"
    return found
