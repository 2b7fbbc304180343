"""What tries of the commands that go to a board share: a board, a user, and what must hold after.

The board is this machine behind OpenSSH's server; the commands are processes of their own.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import re
import secrets
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faults.fault import Place
from support.bundles import write_masked_model
from support.openssh import public_text
from support.places import REPOSITORY
from support.relay import Relay
from support.ssh_user import Begun, SshUser, user_of_a_server
from toolchain.agreement.differences import Array
from toolchain.build.bundle import Bundle, build
from toolchain.foreign_text import harmless
from toolchain.hardware.board_file import load_board
from toolchain.storage.cache import sha256_file

COMMANDS = ("push", "run", "verify", "profile", "clean")
LIMIT_S = 180.0
"""Seconds that a command may take; none of them takes five on an idle machine."""
_ENDED_S = 60.0
"""Seconds in which a board has to have ended what it ran."""
_CODES = range(3, 21)
"""The exit codes of errors that are told."""


@dataclass(frozen=True)
class Traffic:
    """Bytes of a command over a link that is well."""

    sent: int
    answered: int


class Bench:
    """A board behind OpenSSH's server, and a user of it.

    Args:
        user: of the server.
        bundle: the runtime for the board.
        host_key: the board's, which the user has on record.
    """

    def __init__(self, user: SshUser, bundle: Bundle, host_key: str) -> None:
        self.user, self.bundle = user, bundle
        user.known.write_text(f"the-board {host_key}\n")
        self.reach(user.server.port)
        text = (REPOSITORY / "boards/host.toml").read_text().replace('"local"', '"ssh"')
        (user.work / "pi.toml").write_text(f'{text}\n[ssh]\nhost = "pi"\n')
        self.model = write_masked_model(
            user.work / "m.tflite", size=32, channels=4, seed=secrets.randbits(32)
        )
        # Their size is that of a few images, so that some of the points lie in their transfer.
        shape = (6, 32, 32, 3)
        np.save(user.work / "x.npy", np.random.default_rng(0).random(shape, np.float32))
        files = (bundle.runner, bundle.delegate, self.model)
        self.hashes = {sha256_file(path) for path in files}
        """Of all that a push brings there."""
        self.traffic: dict[str, Traffic] = {}
        self._outputs: Array | None = None
        self._ours = set(user.work.iterdir())
        self._full = user.folder / "full"
        """What lies on the board after a push."""

    def reach(self, port: int) -> None:
        """Lead the user's commands to the board through a port."""
        self.user.port = port
        self.user.configure("HostKeyAlias the-board")

    @contextmanager
    def start_up(self, text: str) -> Iterator[None]:
        """What logins do first, in the words of a shell."""
        path = self.user.folder / "start-up"
        path.write_text(text)
        try:
            yield
        finally:
            path.unlink()

    def words(self, name: str, *, bundle: Path | None = None) -> list[str]:
        """The words of a command."""
        if name == "clean":
            return ["boards", "clean", "pi.toml", "--all", "--yes"]
        more = {
            "push": [],
            "run": ["--input", "x.npy", "--output-dir", "o"],
            "verify": ["--inputs", "2"],
            "profile": ["--runs", "2", "--warmup", "0", "--no-history", "--output", "p.json"],
        }
        place = str(bundle or self.bundle.path)
        return [name, "m.tflite", "--board", "pi.toml", "--bundle", place, *more[name]]

    def prepare(self, name: str) -> None:
        """Leave on the board what there is before a command: nothing before a push."""
        self.reach(self.user.server.port)
        if not self._full.exists():
            self._empty()
            self.require("push")
            shutil.copytree(self.user.board, self._full)
        self._empty()
        if name != "push":
            shutil.copytree(self._full, self.user.board, dirs_exist_ok=True)

    def measure(self, name: str) -> Traffic:
        """What a command sends and is answered."""
        if name not in self.traffic:
            self.prepare(name)
            with Relay(self.user.server.port) as relay:
                self.reach(relay.port)
                self.require(name)
                self.traffic[name] = Traffic(relay.carried, relay.answered)
        return self.traffic[name]

    def begin(self, name: str, *, bundle: Path | None = None) -> Begun:
        """Begin a command, with another runtime if one is given."""
        return self.user.begin(*self.words(name, bundle=bundle))

    def require(self, name: str) -> None:
        """Run a command that has to do what it is to do."""
        self._forget()
        if wrong := "; ".join(self.success(name, self.begin(name).end(LIMIT_S))):
            raise AssertionError(f"{name} over a link that is well: {wrong}")

    # --- what must hold ----------------------------------------------------------------------

    def success(self, name: str, done: subprocess.CompletedProcess[str]) -> list[str]:
        """What is wrong with a command that is to have ended well."""
        if done.returncode:
            return [f"{name} ended with {done.returncode}: {done.stderr[-300:]}"]
        there, found = set(self.stored().values()), list[str]()
        if name == "clean" and there:
            found.append("what was to go is still there")
        if name != "clean" and there != self.hashes:
            found.append("not all that was pushed is there")
        if name == "run":
            output = self.user.work / "o/output0.npy"
            if self._outputs is None and output.exists():
                self._outputs = np.load(output)
            if not output.exists() or not self._is_output(output):
                found.append("the outputs are other ones")
        if name == "profile" and not self._profiled():
            found.append("the profile has no measurement")
        return found

    def refusal(
        self, name: str, done: subprocess.CompletedProcess[str], codes: Iterable[int] = _CODES
    ) -> list[str]:
        """What is wrong with how a command told its fault."""
        said, found = done.stderr + done.stdout, []
        if done.returncode not in codes:
            found.append(f"{name} ended with {done.returncode}: {done.stderr[-300:]}")
        if "Traceback" in said:
            found.append(f"{name}: {said[-500:]}")
        if not re.search(r"^ *(error|warning): .*\S", said, re.M) or "hint: " not in said:
            found.append(f"{name} does not say what to do: {said[-300:]}")
        return found + self.told(said)

    def told(self, said: str) -> list[str]:
        """What may not stand in any message."""
        raw = sorted(set(said) - set(harmless(said)))
        return [f"{raw} reached the terminal"] if raw else []

    def partial(self) -> list[str]:
        """What has a final name, and is not whole: on the board, and of the results here."""
        found = [
            f"{name} is not whole on the board"
            for name, known in self.stored().items()
            if known not in self.hashes
        ]
        output, profile = self.user.work / "o/output0.npy", self.user.work / "p.json"
        if output.exists() and not self._is_output(output):
            found.append("the outputs are not whole")
        if profile.exists() and not self._profiled():
            found.append("the profile is not whole")
        return found

    def left(self) -> list[str]:
        """What lies beside the results here that is none of them."""
        kept = {*self._ours, self.user.work / "o", self.user.work / "p.json"}
        return [
            f"{path.name} is left here" for path in self.user.work.iterdir() if path not in kept
        ]

    def held(self) -> list[str]:
        """Locks that somebody still has."""
        return held_locks(self.user.locks, self.user.board / "tileskip")

    def running(self) -> list[str]:
        """The programs that the board still runs for us, and what our commands run here."""
        return programs_of({f"HOME={self.user.folder / 'sshd'}", f"HOME={self.user.home}"})

    def connections(self) -> list[int]:
        """The processes of the server's connections, and what runs in them."""
        return self.user.server.descendants()

    def await_end(self, *, of_connections: bool = False) -> list[str]:
        """What still runs when it should have ended; a connection may be about to begin more."""
        deadline = time.monotonic() + _ENDED_S
        while left := [
            *(f"connection {pid}" for pid in (self.connections() if of_connections else ())),
            *self.running(),
        ]:
            if time.monotonic() > deadline:
                return [f"still runs: {left[0][:200]}"]
            time.sleep(0.05)
        return []

    def again(self, name: str) -> list[str]:
        """What is wrong with the same command, over a link that is well."""
        self.reach(self.user.server.port)
        done = self.begin(name).end(LIMIT_S)
        return [f"again: {one}" for one in [*self.success(name, done), *self.left()]]

    def after(self, name: str) -> list[str]:
        """All that must hold once a command has met its fault, and the same command after it."""
        found = [*self.await_end(of_connections=True), *self.partial(), *self.held()]
        return [*found, *self.again(name)]

    def stored(self) -> dict[str, str]:
        """The hashes of files on the board that have their final names, by these."""
        return {
            str(path): sha256_file(path)
            for path in (self.user.board / "tileskip").glob("*/*/*")
            if path.parent.parent.name in ("bundles", "models") and path.name[0] != "."
        }

    def forget_results(self) -> None:
        """Remove what earlier tries have left here."""
        self._forget()

    def _forget(self) -> None:
        shutil.rmtree(self.user.work / "o", ignore_errors=True)
        (self.user.work / "p.json").unlink(missing_ok=True)

    def _empty(self) -> None:
        for path in self.user.board.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _is_output(self, path: Path) -> bool:
        """Whether a file has the outputs that the first run had."""
        with suppress(ValueError):
            return self._outputs is not None and np.array_equal(np.load(path), self._outputs)
        return False

    def _profiled(self) -> bool:
        with suppress(OSError, ValueError, KeyError):
            document = json.loads((self.user.work / "p.json").read_bytes())
            return len(document["measurements"]) == 1
        return False


def held_locks(locks: Path, store: Path) -> list[str]:
    """Locks that somebody has: those of the lease, and those of a push.

    Args:
        locks: the folder of the lease's.
        store: that of the board's files.
    """
    places = [*locks.glob("tileskip.[ql]*"), *store.glob("*/*")]
    return [f"{path.name} is locked" for path in places if not _is_free(path)]


def programs_of(marks: set[str]) -> list[str]:
    """The command lines of processes whose environment has one of some words."""
    return [
        line
        for folder in Path("/proc").glob("[0-9]*")
        for line in _words_of_one_with(folder, marks)
    ]


def _is_free(path: Path) -> bool:
    try:
        opened = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(opened)
    return True


def _words_of_one_with(folder: Path, marks: set[str]) -> list[str]:
    """The command line of a process whose environment has one of the marks."""
    with suppress(OSError):
        variables = (folder / "environ").read_bytes().split(b"\0")
        if marks & {os.fsdecode(one) for one in variables}:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            return [shlex.join(map(os.fsdecode, filter(None, words)))]
    return []


def _login(folder: Path) -> str:
    """What the server runs: a start-up file of the user, if there is one, before the command."""
    start = shlex.quote(str(folder / "start-up"))
    return f'if [ -e {start} ]; then . {start}; fi; exec sh -c "$SSH_ORIGINAL_COMMAND"'


def host_bundle(place: Place) -> Bundle:
    """The runtime of this machine, which the board is, with a hash of its own.

    Other programs of this machine may run the same runtime meanwhile, and what runs is kept.
    """

    def make(folder: Path) -> Bundle:
        runner = build(load_board("host"), out=folder / "b").runner
        with runner.open("ab") as file:
            file.write(os.urandom(16))
        manifest = folder / "b/manifest.json"
        document = json.loads(manifest.read_bytes())
        record = document["files"][runner.name]
        record.update(sha256=sha256_file(runner), bytes=runner.stat().st_size)
        manifest.write_text(json.dumps(document))
        return Bundle.load(folder / "b")

    return place.once("host", make)


def bench(place: Place) -> Bench:
    """The one of all tries of a fault."""

    def make(folder: Path) -> Bench:
        warm_up()
        user = place.stack.enter_context(user_of_a_server(folder, _login(folder)))
        return Bench(user, host_bundle(place), public_text(user.server.host_key))

    return place.once("bench", make)


def warm_up() -> None:
    """Import what commands need, once for all of the processes that are made of this one."""
    import ai_edge_litert.interpreter  # noqa: F401

    from toolchain.board import cleaning, verify  # noqa: F401
    from toolchain.operations import profile, push, run  # noqa: F401
    from toolchain.report import operator_table, profile_plot, profile_table  # noqa: F401


def chance(*words: object) -> random.Random:
    """One that is the same for the same try."""
    return random.Random(" ".join(map(str, words)))  # noqa: S311 (no secret)


@contextmanager
def impatient(user: SshUser, seconds: float) -> Iterator[None]:
    """Commands that give up a silent board after so many seconds."""
    before = user.patience, user.silence
    user.patience, user.silence = seconds, seconds
    try:
        yield
    finally:
        user.patience, user.silence = before
