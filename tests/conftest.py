from __future__ import annotations

import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from support import own_emulators, traces
from toolchain.build.sanitizers import SANITIZERS
from toolchain.garbage import collect_seldom
from toolchain.openmp import wait_briefly
from toolchain.storage.cache import cache_dir

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


_LONG = (
    "emulated/test_pages.py", "emulated/test_gate_in_ci.py", "native/test_pages.py",
    "emulated/test_readme.py", "native/test_profile.py", "unit/train/test_together.py",
    "emulated/test_troubled_board.py", "unit/cli/test_outputs.py", "unit/board/test_left_behind.py",
    "unit/board/test_silence.py", "unit/cli/test_train.py",
)  # fmt: skip
"""Files that take minutes come first, so that at the end no worker is left alone with one."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    places = {here / name: number for number, name in enumerate(_LONG)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


_STATE = pytest.StashKey[dict[str, str]]()
_DATA = pytest.StashKey[str]()
_CACHES = "TILESKIP_TESTS_CACHES"


def pytest_configure(config: pytest.Config) -> None:
    """Remember how things are; xdist's workers inherit the mark.

    What programs of ours keep of the user's, such as a history of profiles, goes to a folder that
    is removed. Boards of the user's take no part, and each worker has emulated ones of its own.
    """
    is_worker = hasattr(config, "workerinput")
    if not is_worker:
        config.stash[_DATA] = tempfile.mkdtemp(prefix="tileskip-data-")
        os.environ["XDG_DATA_HOME"] = os.environ["XDG_CONFIG_HOME"] = config.stash[_DATA]
        os.environ.pop("TILESKIP_BOARDS", None)
        os.environ[traces.MARK] = uuid.uuid4().hex
        os.environ[_CACHES] = tempfile.mkdtemp(prefix="tileskip-caches-")
        config.stash[_STATE] = traces.state()
    if is_worker or not config.getoption("numprocesses", None):
        own = tempfile.mkdtemp(dir=os.environ[_CACHES])
        own_emulators.lay_out(Path(own), cache_dir())
        os.environ["TILESKIP_CACHE"] = own


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
    caches = Path(os.environ[_CACHES])
    lines += [
        f"made in a cache that is removed: {name} (support/own_emulators.py names what is shared)"
        for cache in caches.iterdir()
        for name in own_emulators.not_shared(cache)
    ]
    shutil.rmtree(caches, ignore_errors=True)
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
