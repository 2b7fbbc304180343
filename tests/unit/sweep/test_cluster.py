"""Tasks on Ray: what is made there is what is made here, and workers and machines may die."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

# Ray reads them when it is imported. Without a word of ours it leaves one in the user's home.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN"] = uuid.uuid4().hex
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# Else its workers give way to all else that computes, and tests beside busy loops do not end.
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 (Ray calls it so)
pytest.importorskip("optuna")
pytest.importorskip("ray")

from support.patience import PATIENCE, await_that
from support.places import REPOSITORY
from support.tiny_sweeps import DENSE, FILES, NoWatch, plan_of, write_sweep
from support.tiny_training import HELD, HOLD
from toolchain.errors import BoardError, ConnectionFailed
from toolchain.sweep.cluster import RayPool
from toolchain.sweep.driver import State, run, state_of
from toolchain.sweep.plan import Plan, Planning
from toolchain.sweep.pools import Ended, Here
from toolchain.sweep.results import results_of
from toolchain.sweep.search import Search
from toolchain.sweep.spec import load_sweep
from toolchain.sweep.store import Store

_RAY = Path(sys.executable).with_name("ray")


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")]))
    monkeypatch.chdir(tmp_path)


def done_here(plan: Plan, folder: Path) -> State:
    store = Store(folder)
    state = state_of(plan, store)
    run(state, store, Here(store), NoWatch())
    return state


def files_of(state: State) -> dict[str, dict[str, str]]:
    return {key: record.files for key, record in state.done.items()}


@contextmanager
def node(port: int, temporary: Path, *, head: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """One node of a cluster on this machine, with one CPU."""
    where = [f"--address=127.0.0.1:{port}"]
    if head:
        where = ["--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={temporary}"]
    words = [str(_RAY), "start", "--block", "--num-cpus=1", "--object-store-memory=100000000"]
    process = subprocess.Popen(
        [*words, *where], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0
    )
    try:
        yield process
    finally:
        kill(process)
        if head:
            shutil.rmtree(temporary, ignore_errors=True)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a node with all that it has begun."""
    for pid in tree(process.pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


def tree(pid: int) -> list[int]:
    found = [pid]
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(place.read_text().rpartition(")")[2].split()[1]) == pid:
                found += tree(int(place.parent.name))
        except OSError:
            continue
    return found


def at_work(process: subprocess.Popen[bytes]) -> list[int]:
    """The workers of a node that have a task of a sweep."""
    found = []
    for pid in tree(process.pid):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if line.startswith(b"ray::train "):
            found.append(pid)
    return found


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Counting(NoWatch):
    def __init__(self) -> None:
        self.lost: list[str] = []

    def ended(self, state: State, ended: Ended) -> None:
        del state
        self.lost += [ended.lost] if ended.lost else []


def test_results_are_the_same_on_ray_and_here_bit_for_bit(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, DENSE + FILES)
    here = done_here(plan, tmp_path / "here")
    for name, ship in (("shared", False), ("shipped", True)):
        store = Store(tmp_path / name)
        state = state_of(plan, store)
        run(state, store, RayPool(store, jobs=2, ship=ship), NoWatch())
        assert files_of(state) == files_of(here)
        said = [
            results_of(one, place).model_copy(update={"made": []})
            for one, place in ((state, store), (here, Store(tmp_path / "here")))
        ]
        assert said[0] == said[1]


def test_a_search_tries_the_same_on_ray_and_here(tmp_path: Path) -> None:
    path = write_sweep(
        tmp_path,
        "[search]\ntrials = 4\nat_once = 2\nstartup = 2\n"
        "sparsity = { low = 0.1, high = 0.5 }\nmost_macs = 30000\n",
    )
    found = []
    for name in ("here", "ray"):
        planning = Planning.of(load_sweep(path), path)
        store, spec = Store(tmp_path / name), planning.sweep.search
        assert spec is not None
        state = state_of(planning.plan, store, Search(planning, spec))
        run(state, store, Here(store) if name == "here" else RayPool(store, jobs=2), NoWatch())
        found.append((results_of(state, store).search, files_of(state)))
    assert found[0] == found[1]
    assert len(found[0][1]) == 4


def test_a_fault_of_a_task_comes_back_as_it_is_here(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, DENSE, model={"arguments": {"classes": 4}})
    here = done_here(plan, tmp_path / "here")
    store = Store(tmp_path / "ray")
    state = state_of(plan, store)
    run(state, store, RayPool(store, jobs=1), NoWatch())
    assert {key: (type(one), one.what) for key, one in state.failed.items()} == {
        key: (type(one), one.what) for key, one in here.failed.items()
    }
    assert len(state.failed) == 2


def test_a_cluster_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConnectionFailed, match="no cluster of Ray can be reached"):
        RayPool(Store(tmp_path), address=f"127.0.0.1:{free_port()}")


def test_a_worker_and_a_node_may_die(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "limit"
    monkeypatch.setenv(HOLD, str(limit))
    plan = plan_of(tmp_path, DENSE, data={"source": HELD})
    wanted = files_of(done_here(plan, tmp_path / "here"))
    limit.write_text("20")
    port, temporary = free_port(), Path(f"/tmp/tileskip-test-{uuid.uuid4().hex[:8]}")
    with ExitStack() as stack:
        head = stack.enter_context(node(port, temporary, head=True))
        reach = stack.enter_context(_reached(port, tmp_path))
        other = stack.enter_context(node(port, temporary))
        store = Store(tmp_path / "ray")
        state, watch = state_of(plan, store), Counting()

        class Killing(RayPool):
            killed = 0

            def ended(self, seconds: float) -> list[Ended]:
                if self.killed == 0 and at_work(head):
                    os.kill(at_work(head)[0], signal.SIGKILL)
                    self.killed = 1
                elif self.killed == 1 and at_work(other):
                    kill(other)
                    self.killed = 2
                    limit.unlink()
                return super().ended(seconds)

        pool = Killing(store, address=f"127.0.0.1:{port}")
        await_that("there are two nodes", lambda: "2 nodes" in pool.said, PATIENCE)
        run(state, store, pool, watch)
        del reach
    assert len(watch.lost) >= 2
    assert "its process died" in watch.lost
    assert files_of(state) == wanted


@contextmanager
def _reached(port: int, folder: Path) -> Iterator[None]:
    """A cluster, once it can be reached."""

    def reached() -> bool:
        try:
            pool = RayPool(Store(folder), address=f"127.0.0.1:{port}")
        except ConnectionFailed:
            return False
        pool.close(tidy=False)
        return True

    await_that("the cluster is there", reached)
    yield


def test_a_board_that_no_machine_has_is_told_with_the_line_that_adds_it(tmp_path: Path) -> None:
    port, temporary = free_port(), Path(f"/tmp/tileskip-test-{uuid.uuid4().hex[:8]}")
    with node(port, temporary, head=True), _reached(port, tmp_path):
        with pytest.raises(BoardError, match="has no board rpi4") as raised:
            RayPool(Store(tmp_path), address=f"127.0.0.1:{port}", boards=["rpi4"])
        assert "board:rpi4" in (raised.value.hint or "")
        with pytest.raises(BoardError, match="a training holds 1 GPUs, and there are 0"):
            RayPool(Store(tmp_path), address=f"127.0.0.1:{port}", gpus=1)
