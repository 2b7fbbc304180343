"""The finished tasks of a sweep: whole or not there, and each once."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from support.patience import await_that, written
from support.places import REPOSITORY
from support.tiny_sweeps import keep
from toolchain.errors import OutputError
from toolchain.sweep.store import RESULT, Store
from toolchain.sweep.tasks import Resources, Task, make_task

HELD = """
import sys, time
from pathlib import Path
from toolchain.sweep.store import Store
from toolchain.sweep.tasks import Task

def work(folder):
    (folder / "half.bin").write_bytes(b"half")
    Path(sys.argv[3]).write_text("begun\\n")
    time.sleep(600)
    return {}

Store(Path(sys.argv[1])).once(Task.model_validate_json(sys.argv[2]), work)
"""
"""A process that is at work on a task until it is killed."""


def task(name: str = "one") -> Task:
    return make_task("train", name, {"seed": 1}, Resources(cpus=1))


def test_a_task_is_done_once_and_then_found(tmp_path: Path) -> None:
    store, one = Store(tmp_path), task()
    assert store.record(one) is None
    first = keep(store, one, {"accuracy": 0.5})
    assert first.result == {"accuracy": 0.5}
    assert keep(store, one, {"accuracy": 0.7}) == first
    assert Store(tmp_path).record(one) == first


def test_a_task_that_fails_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    store, one = Store(tmp_path), task()

    def work(folder: Path) -> dict[str, object]:
        (folder / "half.bin").write_bytes(b"half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        store.once(one, work)
    assert store.record(one) is None
    assert list((tmp_path / "done").iterdir()) == []


def test_another_task_has_another_key(tmp_path: Path) -> None:
    one = task()
    others = [
        make_task("train", "one", {"seed": 2}, Resources(cpus=1)),
        make_task("train", "one", {"seed": 1}, Resources(cpus=2)),
        make_task("convert", "one", {"seed": 1}, Resources(cpus=1)),
        make_task("train", "one", {"seed": 1}, Resources(cpus=1), needs=["ab"]),
    ]
    assert len({one.key, *(other.key for other in others)}) == 5
    places = make_task(
        "train", "one", {"seed": 1}, Resources(cpus=1), places={"cwd": str(tmp_path)}
    )
    assert places.key == one.key


@pytest.mark.parametrize("name", ["network.safetensors", RESULT])
def test_a_result_that_was_damaged_is_made_anew(tmp_path: Path, name: str) -> None:
    store, one = Store(tmp_path), task()
    keep(store, one, {"accuracy": 0.5})
    (store.place(one) / name).write_bytes(b"{}")
    assert store.record(one) is None
    assert keep(store, one, {"accuracy": 0.6}).result == {"accuracy": 0.6}
    assert store.record(one) is not None
    assert [path.name for path in (tmp_path / "done").iterdir()] == [one.folder]


def test_two_that_want_the_same_task_do_it_once(tmp_path: Path) -> None:
    store, one = Store(tmp_path), task()
    at_work, go, done = threading.Event(), threading.Event(), list[str]()

    def slow(folder: Path) -> dict[str, object]:
        del folder
        at_work.set()
        assert go.wait(600)
        done.append("first")
        return {"by": "first"}

    def second(folder: Path) -> dict[str, object]:
        del folder
        done.append("second")
        return {"by": "second"}

    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(store.once(one, slow).result))]
    threads[0].start()
    assert at_work.wait(600)
    threads.append(threading.Thread(target=lambda: found.append(store.once(one, second).result)))
    threads[1].start()
    go.set()
    for thread in threads:
        thread.join()
    assert found == [{"by": "first"}] * 2
    assert done == ["first"]


def test_what_a_killed_process_was_at_work_on_is_done_by_the_next(tmp_path: Path) -> None:
    store, one, begun = Store(tmp_path / "store"), task(), tmp_path / "begun"
    words = [sys.executable, "-c", HELD, str(store.folder), one.model_dump_json(), str(begun)]
    with subprocess.Popen(words, cwd=REPOSITORY) as process:
        await_that("it is at work", lambda: written(begun))
        process.send_signal(signal.SIGKILL)
    assert store.record(one) is None
    assert keep(store, one, {"accuracy": 0.5}).result == {"accuracy": 0.5}
    assert [path.name for path in (store.folder / "done").iterdir()] == [one.folder]


def test_a_result_travels_to_another_folder(tmp_path: Path) -> None:
    there, here, one = Store(tmp_path / "there"), Store(tmp_path / "here"), task()
    record = keep(there, one, {"accuracy": 0.5})
    files = there.packed(one)
    with pytest.raises(OutputError, match="did not arrive whole"):
        here.adopt(one, {name: files[name] for name in files if name != RESULT})
    assert here.adopt(one, files) == record == here.record(one)
