"""Builds that meet, and threads on a busy machine: kinds 3 and 5 of the list."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from faults.fault import Fault, Place
from support.bundles import write_masked_model
from support.places import REPOSITORY
from toolchain.build.bundle import Bundle, build
from toolchain.errors import DeployError
from toolchain.hardware.board_file import load_board

_BUSY = "while True: pass"
_FORKED = """
import os, sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter, load_delegate
delegate = load_delegate(sys.argv[2], {"num_threads": "2"})
model = Interpreter(sys.argv[1], experimental_delegates=[delegate])
model.allocate_tensors()
model.invoke()
child = os.fork()
if child == 0:
    model.invoke()
    os._exit(0)
_, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status))
"""
_COPY = """
import sys
from pathlib import Path
from toolchain.hardware.board_file import load_board
from toolchain.build.bundle import build
build(load_board("host"), out=Path(sys.argv[1]))
"""


def _host(place: Place) -> Bundle:
    return place.once("host", lambda folder: build(load_board("host"), out=folder / "b"))


def _model(place: Place) -> Path:
    return place.once(
        "model", lambda folder: write_masked_model(folder / "m.tflite", size=64, channels=16)
    )


def busy_threads(place: Place, number: int) -> str:
    """The runner with four threads beside busy loops, 200 inferences; some seconds are enough."""
    runner, model = _host(place).runner, _model(place)
    with ExitStack() as stack:
        for _ in range((0, 4, 8)[number % 3]):
            busy = stack.enter_context(subprocess.Popen([sys.executable, "-c", _BUSY]))
            stack.callback(busy.kill)
        try:
            done = subprocess.run(
                [runner, "--model", model, "--threads", "4", "--runs", "200"],
                capture_output=True, check=False, timeout=40,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return "four threads took more than 40 s"
    return "" if done.returncode == 0 else f"exit code {done.returncode}"


def fork_after_run(place: Place, number: int) -> str:
    """A child that runs the model of its parent, which has two threads."""
    del number
    words = [sys.executable, "-c", _FORKED, str(_model(place)), str(_host(place).delegate)]
    process = subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        code = process.wait(25)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.wait()
        return "the child hangs"
    return "" if code == 0 else f"exit code {code}"


def build_beside_build(place: Place, number: int) -> str:
    """``build --force`` while another command copies the same entry of the cache."""
    folder = place.fresh(number)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with ExitStack() as stack:
        others = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", _COPY, str(folder / f"copy{each}")],
                    env=environment, stderr=subprocess.PIPE,
                )
            )
            for each in range(2)
        ]  # fmt: skip
        try:
            build(load_board("host"), out=folder / "forced", force=True)
        except DeployError as error:
            return f"build --force: {error.what}"
        said = [other.communicate()[1].decode(errors="replace")[-300:] for other in others]
        if any(other.returncode for other in others):
            return f"beside it: {said}"
    try:
        for path in folder.iterdir():
            Bundle.load(path)
    except DeployError as error:
        return error.what
    return ""


FAULTS = (
    Fault("four threads on two cores, beside busy loops", 3, 6, "",
          busy_threads, 120, cheap=False),
    Fault("fork after a run with two threads", 3, 3, "", fork_after_run, 60,
          cheap=False),
    Fault("build --force beside builds that copy", 5, 25, "unit/storage/test_cache.py",
          build_beside_build, 600, cheap=False),
)  # fmt: skip
