"""Child processes: their steps move the bar, their failures name the log, none outlives us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.patience import PATIENCE, await_that, written
from toolchain.build.ninja import configure, run_logged
from toolchain.errors import BuildError


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILESKIP_CACHE", str(tmp_path / "cache"))


class Recorder:
    def __init__(self) -> None:
        self.steps: list[float] = []
        self.totals: list[float] = []
        self.details: list[str | None] = []

    def advance(self, steps: float = 1, detail: str | None = None) -> None:
        self.steps.append(steps)
        self.details.append(detail)

    def total(self, steps: float) -> None:
        self.totals.append(steps)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_ninjas_steps_move_the_bar(tmp_path: Path) -> None:
    stage = Recorder()
    code = "print('[1/3] Building CXX object a/b/conv.cc.o'); print('x'); print('[3/3] Link y')"
    run_logged(python(code), log=tmp_path / "l/log", what="it failed", stage=stage)
    assert stage.totals == [3]
    assert stage.steps == [1, 2]
    assert stage.details == ["conv.cc", "Link y"]
    assert "Building CXX object" in (tmp_path / "l/log").read_text()


def test_a_failure_shows_the_first_error_and_names_the_log(tmp_path: Path) -> None:
    code = (
        "print('[1/2] Building'); print('a.cc:3:1: error: no such thing');"
        "[print('note', i) for i in range(100)]; raise SystemExit(2)"
    )
    with pytest.raises(BuildError) as caught:
        run_logged(python(code), log=tmp_path / "log", what="compile X failed")
    assert caught.value.what.startswith("compile X failed (exit 2)")
    assert "a.cc:3:1: error: no such thing" in caught.value.what
    assert len(caught.value.what.splitlines()) < 20
    assert caught.value.hint is not None
    assert str(tmp_path / "log") in caught.value.hint


_CMAKE = """#!/bin/sh
while [ "$1" != -B ]; do shift; done
mkdir -p "$2"
if [ -f "$2/CMakeCache.txt" ]; then from=cache; else from=command; fi
echo "$from" > "$2/build.ninja"
touch "$2/CMakeCache.txt"
"""


def test_a_build_is_configured_from_cmakes_own_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What CMake puts there in its first run is a change to Ninja: all is compiled once more."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/cmake").write_text(_CMAKE)
    (tmp_path / "bin/cmake").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    configure(tmp_path, tmp_path / "build", {}, extra=[], log=tmp_path / "log")
    assert (tmp_path / "build/build.ninja").read_text() == "cache\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_whole_process_group(tmp_path: Path, number: int) -> None:
    """Another Python runs the build and is interrupted; the build's grandchild must be gone."""
    pid_file = tmp_path / "pid"
    grandchild = (
        f"import os,time; open({str(pid_file)!r},'w').write(f'{{os.getpid()}}\\n'); time.sleep(600)"
    )
    child = f"import subprocess,sys; subprocess.run([sys.executable,'-c',{grandchild!r}])"
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pathlib import Path; from toolchain.build.ninja import run_logged\n"
        f"command = [sys.executable, '-c', {child!r}]\n"
        f"run_logged(command, log=Path({str(tmp_path / 'log')!r}), what='x')"
    )
    with subprocess.Popen(python(code), stderr=subprocess.PIPE) as process:
        await_that("the grandchild begins", lambda: written(pid_file))
        pid = int(pid_file.read_text())
        process.send_signal(number)
        process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    await_that("the grandchild ends", lambda: not _running(pid))


def _running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
