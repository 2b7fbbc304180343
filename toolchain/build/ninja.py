"""CMake and Ninja as child processes: progress from their output, a log, and a clean end."""

from __future__ import annotations

import os
import re
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from toolchain import children
from toolchain.build.compiler import missing_tools
from toolchain.errors import BuildError
from toolchain.progress import Progress, Stage
from toolchain.signals import sigterm_exits
from toolchain.storage.cache import cache_dir

OPTIONAL_TOOLS = {"ccache": "ccache"}
"""What keeps compiled files where it is installed, with the Debian package that has it."""
_STEP = re.compile(r"^\[(\d+)/(\d+)\] (.*)$")
_LINES_SHOWN = 12
_LINE_WIDTH = 300
SILENCE_S = 7200.0
"""Seconds in which a build has to say something: the longest compile of one file, many times."""
_SECONDS_TO_END = 5.0


def configure(
    source: Path, build: Path, definitions: Mapping[str, object], *, extra: Sequence[str], log: Path
) -> None:
    """Run CMake on ``source`` into ``build`` with the Ninja generator.

    Args:
        source: folder of the ``CMakeLists.txt``.
        build: folder of the build, made if absent.
        definitions: ``-D`` entries.
        extra: further arguments, the compiler's for one.
        log: file that gets all output, appended.

    Raises:
        BuildError: CMake failed; names the log and shows its last lines.
    """
    launcher = ["-DCMAKE_C_COMPILER_LAUNCHER=ccache", "-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"]
    command = [
        "cmake", "-G", "Ninja", "-S", str(source), "-B", str(build),
        "-DFETCHCONTENT_FULLY_DISCONNECTED=ON", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON",
        *(launcher if not missing_tools(OPTIONAL_TOOLS) else []),
        *extra,
        *(f"-D{key}={_cmake_value(value)}" for key, value in definitions.items()),
    ]  # fmt: skip
    # Twice: some variables are only in CMake's cache after the first run, and a build that finds
    # its own configuration changed compiles everything again.
    for _ in range(2):
        run_logged(command, log=log, what=f"CMake could not configure {source.name}")


def compile_targets(
    build: Path, targets: Sequence[str], *, jobs: int, log: Path, progress: Progress, title: str
) -> None:
    """Build targets with Ninja.

    Raises:
        BuildError: a compiler failed; names the log and shows its last lines.
    """
    command = ["ninja", "-C", str(build), "-j", str(jobs), *targets]
    with progress.stage(title) as stage:
        run_logged(command, log=log, what=f"{title} failed", stage=stage)


def run_logged(
    command: Sequence[str],
    *,
    log: Path,
    what: str,
    stage: Stage | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run a program in a process group of its own; when this one is interrupted, end them all.

    Raises:
        BuildError: it did not end with 0; says ``what``, names the log, shows its last lines.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    last: deque[str] = deque(maxlen=400)
    done = total = 0
    with log.open("a", encoding="utf-8") as sink:
        sink.write(f"$ {' '.join(command)}\n")
        sink.flush()
        process = subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
            env={**os.environ, **_ccache_environment(), "NINJA_STATUS": "[%f/%t] ", **(env or {})},
        )  # fmt: skip
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        watchdog = children.Watchdog(
            SILENCE_S, lambda: children.end_group(process, _SECONDS_TO_END)
        )
        try:
            with sigterm_exits(), watchdog:
                for line in process.stdout:
                    watchdog.alive()
                    sink.write(line)
                    last.append(line.rstrip("\n"))
                    step = _STEP.match(line)
                    if step and stage:
                        now, count = int(step[1]), int(step[2])
                        if count != total:
                            total = count
                            stage.total(total)
                        if now > done:
                            stage.advance(now - done, detail=_short(step[3]))
                            done = now
                process.wait()
        except BaseException:
            children.end_group(process, _SECONDS_TO_END)
            raise
    if watchdog.bit:
        raise children.time_up(command[0], SILENCE_S, BuildError, silent=True)
    if process.returncode:
        raise BuildError(
            f"{what} (exit {process.returncode}); last lines of {log}:\n{_tail(last)}",
            hint=f"the whole output is in {log}",
        )


def _cmake_value(value: object) -> str:
    if isinstance(value, bool):
        return "ON" if value else "OFF"
    return str(value)


def _ccache_environment() -> dict[str, str]:
    """Keep ccache's files in our cache, with relative paths, so that scratch folders hit."""
    root = cache_dir()
    return {
        "CCACHE_DIR": str(root / "ccache"),
        "CCACHE_BASEDIR": str(root),
        "CCACHE_NOHASHDIR": "1",
        "CCACHE_MAXSIZE": "2G",
    }


def _short(text: str) -> str:
    """``Building CXX object a/b/conv.cc.o`` -> ``conv.cc``."""
    return text.rsplit("/", 1)[-1].removesuffix(".o")[:48]


def _tail(lines: deque[str]) -> str:
    """The last lines; from the first error on if there is one among them."""
    kept = [line[:_LINE_WIDTH] for line in lines]
    for index, line in enumerate(kept):
        if re.search(r"\berror: |undefined reference|^CMake Error", line):
            return "\n".join(kept[index : index + _LINES_SHOWN])
    return "\n".join(kept[-_LINES_SHOWN:])
