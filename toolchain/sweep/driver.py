"""The loop that brings a sweep to its end: hands out what is ready, and takes what has ended.

It remembers nothing that is not in the store, so that it may be killed at any moment.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from toolchain.errors import BoardError, DeployError
from toolchain.sweep.pools import Ended, Pool
from toolchain.sweep.store import Record, Store
from toolchain.sweep.tasks import KINDS, Task

if TYPE_CHECKING:  # torch is slow to import
    from toolchain.sweep.plan import Plan
    from toolchain.sweep.search import Search, Tried

LOOK_S = 0.5


@dataclass
class State:
    """How far a sweep is."""

    plan: Plan
    search: Search | None = None
    """Adds trials to the plan."""
    done: dict[str, Record] = field(default_factory=dict)
    """By the key of the task."""
    before: set[str] = field(default_factory=set)
    """Keys of those that were done when the sweep was begun."""
    at_work: dict[str, Task] = field(default_factory=dict)
    failed: dict[str, DeployError] = field(default_factory=dict)
    """Tasks that cannot be done."""
    left_out: set[str] = field(default_factory=set)
    """Tasks that need one of those."""
    lost: Counter[str] = field(default_factory=Counter)
    """How often the worker of a task died."""
    known: set[str] = field(default_factory=set)
    """Keys of the tasks that were looked for in the store."""

    @property
    def settled(self) -> int:
        """Tasks of which nothing more is to be expected."""
        return len(self.done) + len(self.failed) + len(self.left_out)

    @property
    def finished(self) -> bool:
        """Whether that is all of them, and no more will be added."""
        all_asked = self.search is None or self.search.finished
        return all_asked and self.settled == len(self.plan.tasks)

    def counts(self) -> dict[str, dict[str, int]]:
        """For each kind of task, how many there are, and how many in each state."""
        found: dict[str, dict[str, int]] = {}
        for kind in KINDS:
            keys = [key for key, task in self.plan.tasks.items() if task.kind == kind]
            if keys:
                found[kind] = {
                    "tasks": len(keys),
                    "done": sum(key in self.done for key in keys),
                    "at work": sum(key in self.at_work for key in keys),
                    "failed": sum(key in self.failed for key in keys),
                    "left out": sum(key in self.left_out for key in keys),
                }
        return found


class Watch(Protocol):
    """Is told how a sweep goes on."""

    def begun(self, state: State, task: Task) -> None:
        """A task was handed out."""

    def ended(self, state: State, ended: Ended) -> None:
        """A task has ended: it is done, cannot be done, or is to be begun again."""

    def tried(self, state: State, tried: Tried) -> None:
        """A trial of the search has ended."""

    def looked(self, state: State) -> None:
        """Nothing has ended for a moment."""


def state_of(plan: Plan, store: Store, search: Search | None = None) -> State:
    """How far a sweep is, from what its store holds.

    Args:
        plan: of it.
        store: of it.
        search: of it; it is brought to where it was.
    """
    state = State(plan, search)
    take_up(state, store)
    if search is not None:
        search.grow(state, store)
    state.before = set(state.done)
    return state


def take_up(state: State, store: Store) -> None:
    """Look in the store for tasks that the state does not know yet."""
    for key, task in state.plan.tasks.items():
        if key not in state.known:
            state.known.add(key)
            if (record := store.record(task)) is not None:
                state.done[key] = record


def run(state: State, store: Store, pool: Pool, watch: Watch) -> None:
    """Do what is not done.

    Args:
        state: see :func:`state_of`; it is kept up to date.
        store: where results are.
        pool: who does it.
        watch: is told.

    Raises:
        KeyboardInterrupt, SystemExit, toolchain.train.interrupt.Stopped: the sweep was stopped.
    """
    tidy = True
    try:
        while True:
            _grow(state, store, watch)
            for task in _ready(state, pool.room - len(state.at_work)):
                state.at_work[task.key] = task
                watch.begun(state, task)
                pool.begin(task)
            if not state.at_work:
                return
            ended = pool.ended(LOOK_S)
            for one in ended:
                del state.at_work[one.task.key]
                _settle(state, store, one)
                watch.ended(state, one)
            if not ended:
                watch.looked(state)
    except DeployError:
        tidy = False  # the pool has failed
        raise
    finally:
        pool.close(tidy=tidy)


def _grow(state: State, store: Store, watch: Watch) -> None:
    """Leave out what cannot be done, and let the search go on with what is known now."""
    while True:
        _leave_out(state)
        if state.search is None:
            return
        before = len(state.plan.tasks)
        tried = state.search.grow(state, store)
        for one in tried:
            watch.tried(state, one)
        if not tried and len(state.plan.tasks) == before:
            return


def _leave_out(state: State) -> None:
    """Note tasks that need one that failed."""
    for key, task in state.plan.tasks.items():
        if key in state.done or key in state.at_work or key in state.failed:
            continue
        if any(need in state.failed or need in state.left_out for need in task.needs):
            state.left_out.add(key)


def _ready(state: State, room: int) -> list[Task]:
    """Tasks whose needs are done, at most ``room``; those that finish a network go first."""
    if room <= 0:
        return []
    found = []
    for key, task in state.plan.tasks.items():
        if key in state.done or key in state.at_work or key in state.failed:
            continue
        if key not in state.left_out and all(need in state.done for need in task.needs):
            found.append(task)
    return sorted(found, key=lambda task: -KINDS.index(task.kind))[:room]


def _settle(state: State, store: Store, ended: Ended) -> None:
    key = ended.task.key
    if ended.record is not None:
        state.done[key] = ended.record
    elif ended.error is not None:
        state.failed[key] = ended.error
    elif (record := store.record(ended.task)) is not None:  # it died when all was done
        state.done[key] = record
    else:
        state.lost[key] += ended.blamed
        if state.lost[key] > state.plan.retries:
            times = state.lost[key]
            state.failed[key] = BoardError(
                f"{ended.task.name}: its worker has died {times} times: {ended.lost}",
                hint="it may need more memory than there is: let fewer tasks run at once (--jobs)",
            )
