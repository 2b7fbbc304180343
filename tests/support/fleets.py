"""Several boards that are this machine, each with a folder and a runner of its own."""

from __future__ import annotations

from pathlib import Path

from support.bundles import LYING_RUNNER, write_bundle
from support.places import REPOSITORY
from support.python_runner import python_runner
from support.runner_outputs import runner_output

RIGHT = python_runner()
LYING = LYING_RUNNER
FAILING = b"#!/bin/sh\nexit 4\n"
WAITING = b"#!/bin/sh\necho $$ >>begun\nexec sleep 600\n"
"""A runner that is at work until it is ended; it adds its number to a file where it runs."""


def timing_runner(us: float) -> bytes:
    """A runner that tells the same times whatever it is given, in microseconds."""
    told = runner_output(samples_us=[us, us * 1.001, us * 0.999]).model_dump_json(by_alias=True)
    return f"#!/bin/sh\ncat <<'END'\n{told}\nEND\n".encode()


def write_board(folder: Path, name: str, runner: bytes | None) -> Path:
    """A board file, and its bundle where commands of that folder find it.

    Args:
        folder: that commands run in.
        name: of the board.
        runner: its program; without one its bundle is not built.
    """
    path = folder / f"{name}.toml"
    text = (REPOSITORY / "boards/host.toml").read_text()
    path.write_text(f'{text}\n[ssh]\ndirectory = "{name}"\n')
    if runner is not None:
        write_bundle(folder / "build" / name, runner)
    return path
