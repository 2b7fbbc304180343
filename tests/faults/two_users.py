"""Two users of one board, whose commands meet by chance: kind 14."""

from __future__ import annotations

import itertools
import select
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from faults.bench import LIMIT_S, chance, held_locks, programs_of, warm_up
from faults.fault import Fault, Place
from support.bundles import write_bundle, write_masked_model
from support.fleets import timing_runner
from support.openssh import make_key, public_text, serving
from support.places import REPOSITORY
from support.ssh_user import Begun, SshUser

_KINDS = ("profile", "push", "clean")
_EACH = 3
"""Commands of a user in one try."""
_PAUSE_S = 0.6
"""Between two commands of a user, at most."""
# The runner notes when it was at work; both users' programs have one clock, that of the board.
_RUNNER = b"""#!%s
import os, random, subprocess, sys, time
begin = time.monotonic_ns()
time.sleep(random.uniform(0.01, 0.08))
done = subprocess.run(["./tells"])
with open("measured", "a") as file:
    file.write(f"{begin} {time.monotonic_ns()} {sys.argv[sys.argv.index('--model') + 1]}\\n")
sys.exit(done.returncode)
"""


@dataclass
class _Board:
    """One board, and two users of it, each with a home, a cache and a folder of his own."""

    home: Path
    users: tuple[SshUser, SshUser]
    bundle: Path
    sshd: Path

    def words(self, kind: str) -> list[str]:
        """The words of a command."""
        if kind == "clean":
            return ["boards", "clean", "pi.toml", "--all", "--yes"]
        words = [kind, "m.tflite", "--board", "pi.toml", "--bundle", str(self.bundle)]
        more = ["--runs", "2", "--warmup", "0", "--no-history"] if kind == "profile" else []
        return words + more


@dataclass
class _Work:
    """What one user does, one command after the other."""

    user: SshUser
    name: str
    kinds: list[str]
    pauses: list[float]
    """Before each of them."""
    begun: Begun | None = None
    next_at: float = 0.0
    wrong: list[str] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        """Whether all has ended."""
        return self.begun is None and not self.kinds


def _board(place: Place) -> _Board:
    def make(folder: Path) -> _Board:
        warm_up()
        home = folder / "board"
        home.mkdir()
        key = make_key(folder / "key")
        login = f'cd {shlex.quote(str(home))} && exec sh -c "$SSH_ORIGINAL_COMMAND"'
        server = place.stack.enter_context(
            serving(folder / "sshd", authorized=public_text(key) + "\n", login=login)
        )
        bundle = write_bundle(folder / "bundle", _RUNNER % sys.executable.encode())
        text = (REPOSITORY / "boards/host.toml").read_text().replace('"local"', '"ssh"')
        users = list[SshUser]()
        for name in ("anna", "ben"):
            (folder / name).mkdir()
            user = SshUser(folder / name, server, key)
            user.trust()
            (user.work / "pi.toml").write_text(f'{text}\n[ssh]\nhost = "pi"\n')
            write_masked_model(user.work / "m.tflite", size=4, channels=2, seed=len(users))
            users.append(user)
        users[1].places = users[0].places  # they lie on the board
        return _Board(home, (users[0], users[1]), bundle.path, folder / "sshd")

    return place.once("two", make)


def two_users(place: Place, number: int) -> str:
    """Each of two users has some commands; when they begin is drawn."""
    board, drawn = _board(place), chance("two users", number)
    for path in board.home.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    tells = board.home / "tells"
    tells.write_bytes(timing_runner(1000.0))
    tells.chmod(0o755)
    works = []
    for user, name in zip(board.users, ("anna", "ben"), strict=True):
        kinds = ["profile", *(drawn.choice(_KINDS) for _ in range(_EACH - 1))]
        drawn.shuffle(kinds)
        works.append(_Work(user, name, kinds, [drawn.uniform(0, _PAUSE_S) for _ in kinds]))
    profiles = sum(work.kinds.count("profile") for work in works)
    _all_of(works, board)
    found = [wrong for work in works for wrong in work.wrong]
    found += _judge((board.home / "measured").read_text(), profiles)
    marks = {f"HOME={board.sshd}", *(f"HOME={user.home}" for user in board.users)}
    found += [f"still runs: {line[:200]}" for line in _ended(marks)]
    found += held_locks(board.users[0].locks, board.home / "tileskip")
    return "; ".join(found)


def _judge(text: str, profiles: int) -> list[str]:
    """What is wrong with the times at which the runner was at work, for one user or the other."""
    lines = [line.split(maxsplit=2) for line in text.splitlines()]
    measured = sorted((int(begin), int(end), model) for begin, end, model in lines)
    each, left = divmod(len(measured), profiles)
    # One looks how long a run takes, and others are timed.
    if left or each < 2:
        return [f"{profiles} profiles have made {len(measured)} measurements"]
    found = []
    for (_, end, _), (begin, _, _) in itertools.pairwise(measured):
        if begin < end:
            found.append(f"a measurement began {(end - begin) / 1e6:.1f} ms before another's end")
    # Both users have a model of their own: all that belongs to one profile stands together.
    for model, group in itertools.groupby(measured, key=lambda one: one[2]):
        count = len(list(group))
        if count % each:
            found.append(f"{count} of a profile's {each} measurements of {model} stand together")
    return found


def _ended(marks: set[str]) -> list[str]:
    """What still runs when all should have ended."""
    deadline = time.monotonic() + LIMIT_S
    while (left := programs_of(marks)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def _all_of(works: Sequence[_Work], board: _Board) -> None:
    """Do all that the users do; none of it may take longer than the limit."""
    deadline = time.monotonic() + LIMIT_S
    for work in works:
        work.next_at = time.monotonic() + work.pauses[0]
    while not all(work.is_over for work in works):
        now = time.monotonic()
        if now > deadline:
            for work in works:
                if work.begun:
                    work.wrong.append(f"{work.name} waits for ever: {shlex.join(work.begun.line)}")
                    work.begun.kill()
                    work.begun.end()
            return
        for work in works:
            if work.begun is None and work.kinds and work.next_at <= now:
                words = board.words(work.kinds.pop(0))
                work.pauses.pop(0)
                work.begun = work.user.begin(*words)
        _look(works, deadline)


def _look(works: Sequence[_Work], deadline: float) -> None:
    """Wait until a command ends, or the next is to begin."""
    ended = select.poll()
    due = [deadline]
    for work in works:
        if work.begun:
            ended.register(work.begun.handle, select.POLLIN)
        elif work.kinds:
            due.append(work.next_at)
    over = {handle for handle, _ in ended.poll(max(0.0, min(due) - time.monotonic()) * 1000 + 1)}
    for work in works:
        if work.begun and work.begun.handle in over:
            done = work.begun.end()
            work.begun = None
            if work.kinds:
                work.next_at = time.monotonic() + work.pauses[0]
            if done.returncode or "Traceback" in done.stderr:
                work.wrong.append(
                    f"{work.name}: {shlex.join(done.args)} ended with {done.returncode}: "
                    f"{done.stderr[-300:]}"
                )


FAULTS = (
    Fault("two users, one board", 14, 50, "native/test_two_users.py", two_users, 400.0,
          cheap=False),
)  # fmt: skip
