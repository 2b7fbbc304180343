from __future__ import annotations

import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from support import traces
from toolchain.build.sanitizers import SANITIZERS
from toolchain.garbage import collect_seldom
from toolchain.openmp import wait_briefly

if TYPE_CHECKING:
    from faults.fault import Place

collect_seldom()
wait_briefly(os.environ)  # as deploy does; what tests start inherits it

# A shell starts what it runs in the background with SIGINT ignored, and every child inherits that;
# tests of Ctrl-C need it as it is in a terminal.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Hypothesis gives each example 200 ms of the clock, and a second to what makes the first ten; how
# long they take on a busy machine is no property of what is tested.
settings.register_profile("tileskip", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tileskip")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("tileskip")
    group.addoption(
        "--board-host",
        metavar="USER@ADDRESS",
        help="run tests/hardware on this real board, reached over SSH",
    )
    group.addoption("--board", default="rpi4", help="what that board is (default: rpi4)")
    group.addoption(
        "--sanitizer",
        choices=SANITIZERS,
        help="tests/native: the patched runtime is compiled for it, and what tests its memory runs",
    )
    group.addoption(
        "--armv7",
        action="store_true",
        help="tests/emulated: build for 32-bit boards, too (ten minutes of compiling once)",
    )
    group.addoption(
        "--malformed",
        type=int,
        default=0,
        metavar="N",
        help="unit/test_malformed_files.py: N files of each format, of a seed that is told",
    )


_STATE = pytest.StashKey[dict[str, str]]()
_DATA = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Remember how things are; xdist's workers inherit the mark.

    What programs of ours keep of the user's, such as a history of profiles, goes to a folder that
    is removed. Boards of the user's take no part.
    """
    if not hasattr(config, "workerinput"):
        config.stash[_DATA] = tempfile.mkdtemp(prefix="tileskip-data-")
        os.environ["XDG_DATA_HOME"] = os.environ["XDG_CONFIG_HOME"] = config.stash[_DATA]
        os.environ.pop("TILESKIP_BOARDS", None)
        os.environ[traces.MARK] = uuid.uuid4().hex
        config.stash[_STATE] = traces.state()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A run fails that leaves a process, or that changed files outside of temporary folders."""
    before = session.config.stash.get(_STATE, None)
    if before is None:  # one of xdist's workers
        return
    shutil.rmtree(session.config.stash[_DATA], ignore_errors=True)
    left = traces.left_processes(os.environ[traces.MARK])
    traces.end(left)
    after = traces.state()
    changed = sorted(
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    )
    lines = [f"still running: {pid} {command}" for pid, command in left.items()]
    lines += [f"changed: {name}" for name in changed]
    if lines:
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        for line in lines:
            if reporter is not None:
                reporter.write_line(line, red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="module")
def fault_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Where faults are injected: one board for all tests of a file."""
    from faults.fault import Place

    place = Place(tmp_path_factory.mktemp("place"))
    with place.stack:
        yield place
