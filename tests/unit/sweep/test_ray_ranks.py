"""The ranks of a training on Ray: what comes out is what processes of this machine make."""

from __future__ import annotations

import os
import signal
import uuid
from pathlib import Path

import pytest

# Ray reads them when it is imported. Without a word of ours it leaves one in the user's home.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN"] = uuid.uuid4().hex
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# Else its workers give way to all else that computes, and tests beside busy loops do not end.
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 (Ray calls it so)
pytest.importorskip("optuna")
pytest.importorskip("ray.train")

from support.places import REPOSITORY
from support.shared_training import DAMAGED, files, shared_recipe, train_shared
from support.tiny_sweeps import DENSE, NoWatch, plan_of
from support.tiny_training import HELD, HOLD
from toolchain.errors import BoardError, DataError, RecipeError
from toolchain.sweep.cluster import RayPool
from toolchain.sweep.driver import State, run, state_of
from toolchain.sweep.plan import Plan
from toolchain.sweep.pools import Ended, Here, Pool
from toolchain.sweep.ray_ranks import RayRanks
from toolchain.sweep.session import Session
from toolchain.sweep.store import Store

ONE = DENSE.replace("[0, 1]", "[0]")


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")]))
    monkeypatch.chdir(tmp_path)


def test_ranks_on_ray_make_what_processes_make_and_tell_the_same_faults(tmp_path: Path) -> None:
    train_shared(shared_recipe(tmp_path), tmp_path / "here")
    session = Session(jobs=2)
    try:
        report = train_shared(shared_recipe(tmp_path), tmp_path / "ray", RayRanks())
        assert files(tmp_path / "ray") == files(tmp_path / "here")
        assert report.path == tmp_path / "ray/out.safetensors"
        damaged = shared_recipe(tmp_path, data={"source": DAMAGED})
        with pytest.raises(DataError, match="image 7 is damaged"):
            train_shared(damaged, tmp_path / "damaged", RayRanks())
    finally:
        session.close()


def done(plan: Plan, store: Store, pool: Pool) -> State:
    state = state_of(plan, store)
    run(state, store, pool, NoWatch())
    assert not state.failed
    return state


def test_a_training_of_a_sweep_goes_on_after_a_rank_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "limit"
    monkeypatch.setenv(HOLD, str(limit))
    plan = plan_of(
        tmp_path, ONE, data={"source": HELD},
        training={"ranks": 2, "epochs": 2, "checkpoint_every": 1},
    )  # fmt: skip
    assert plan.ranked_cpus == 2
    store = Store(tmp_path / "here")
    wanted = done(plan, store, Here(store))
    limit.write_text("50")
    store = Store(tmp_path / "ray")

    killed: list[int] = []

    class Killing(RayPool):
        def ended(self, seconds: float) -> list[Ended]:
            if not killed and [*store.folder.glob("work/*/state.pt")]:
                killed.append(ranks_at_work()[-1])
                os.kill(killed[0], signal.SIGKILL)
                limit.unlink()
            return super().ended(seconds)

    pool = Killing(store, jobs=2, ranked_cpus=plan.ranked_cpus)
    found = done(plan, store, pool)
    assert killed
    assert not found.lost  # Ray Train has begun the ranks again, not the sweep its task
    assert {key: one.files for key, one in found.done.items()} == {
        key: one.files for key, one in wanted.done.items()
    }
    assert {key: one.result for key, one in found.done.items()} == {
        key: one.result for key, one in wanted.done.items()
    }


def ranks_at_work() -> list[int]:
    """Workers of Ray Train, of any Ray that has begun below this process."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if b"RayTrainWorker" in (place / "cmdline").read_bytes() and _is_ours(int(place.name)):
                found.append(int(place.name))
        except OSError:
            continue
    return sorted(found)


def _is_ours(process: int) -> bool:
    while process > 1:
        if process == os.getpid():
            return True
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        process = int(fields[1])
    return False


def test_more_ranks_than_there_are_cpus_are_told_before_they_wait(tmp_path: Path) -> None:
    with pytest.raises(BoardError, match="holds 4 CPUs on all of its ranks, and there are 2"):
        RayPool(Store(tmp_path), jobs=2, ranked_cpus=4)


def test_ranks_do_not_go_with_files_that_are_shipped(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="several ranks meet in the folder of the sweep"):
        RayPool(Store(tmp_path), jobs=2, ranked_cpus=2, ship=True)
