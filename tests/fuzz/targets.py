"""What mutated models go through; each says what went wrong, or nothing."""

from __future__ import annotations

import io
import os
import resource
import signal
import subprocess
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from toolchain.build.sanitizers import FOUND, sanitizer_environment
from toolchain.errors import DeployError
from toolchain.hardware.board_file import known_tiles, load_board
from toolchain.report.layers import inspection_table
from toolchain.report.tiling_table import tiling_table
from toolchain.tflite_file.inspection import inspect_model

LIMIT_S = 10
"""Seconds of the processor that one model may take."""
_ENDS = (0, 3)
"""The runner's exit codes for a model: run, or refused."""
_NO_MEMORY = (
    "out of memory",
    "allocation-size-too-big",
    "failed to allocate",
    "rss-limit-exceeded",
)
_MEMORY = 4 << 30


class HangError(BaseException):
    """Nobody catches it on the way."""


@contextmanager
def _limited() -> Iterator[None]:
    def ended(*_: object) -> None:
        raise HangError

    before = signal.signal(signal.SIGPROF, ended)
    signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def through_reader(path: Path, *, tables: bool = True) -> str:
    """Read a model, find its layers, masks and unsupported operators.

    Args:
        path: the model.
        tables: print it, too, which takes longest.
    """
    core = known_tiles(load_board("rpi4"))
    try:
        with _limited():
            report = inspect_model(path, core)
            if tables:
                console = Console(file=io.StringIO(), width=100)
                console.print(inspection_table(report, 100))
                if report.tiling is not None:
                    console.print(tiling_table(report, report.tiling, 100))
    except DeployError:
        return ""
    except HangError:
        return f"hang: more than {LIMIT_S} s"
    except Exception:
        return traceback.format_exc(limit=-4)
    return ""


def through_runner(path: Path, runner: Path, plain: Path | None = None) -> str:
    """Run a model once on the runner with a sanitizer.

    Args:
        path: the model.
        runner: with AddressSanitizer, which cannot refuse memory as the system does.
        plain: without, for models that ask for more memory than there is.
    """
    said = _run(path, runner, sanitized=True)
    if plain is not None and any(text in said for text in _NO_MEMORY):
        return _run(path, plain, sanitized=False)
    return said


def _run(path: Path, runner: Path, *, sanitized: bool) -> str:
    environment = dict(os.environ)
    if sanitized:
        environment |= sanitizer_environment("address")
        # A process that ends at once may leak; tests/native --sanitizer look for that.
        environment["ASAN_OPTIONS"] += ":detect_leaks=0"
        environment["ASAN_OPTIONS"] += ":max_allocation_size_mb=3000:hard_rss_limit_mb=6000"

    def limits() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (LIMIT_S, LIMIT_S))
        if not sanitized:
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))

    done = subprocess.run(
        [runner, "--model", path, "--runs", "0", "--threads", "1"],
        env=environment, preexec_fn=limits, check=False, errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    if done.returncode in _ENDS:
        return ""
    kind = "hang" if done.returncode in (-signal.SIGKILL, -signal.SIGXCPU) else "crash"
    kind = "sanitizer" if done.returncode == FOUND else kind
    return f"{kind}: exit code {done.returncode}\n{done.stderr[-6000:]}"
