"""Boards that are full, closed, of another kind, of another key, or full of noise: kind 13."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

from faults.bench import COMMANDS, LIMIT_S, Bench, bench, chance, impatient
from faults.fault import Fault, Place
from faults.transport import met
from support.openssh import make_key, public_text
from toolchain.build.bundle import Bundle

_BOARD_ERROR, _LINK_ERROR, _KEY_ERROR = 8, 6, 7
_USING = ("push", "run", "verify", "profile")
"""The commands that bring a runtime to the board."""
_YEAR_S = 365 * 24 * 3600


def _turn(number: int, of: tuple[str, ...] = COMMANDS) -> tuple[str, int]:
    """The command whose turn it is, and how often it was before."""
    return of[number % len(of)], number // len(of)


def _told(made: Bench, name: str, codes: tuple[int, ...]) -> list[str]:
    """Run a command that has to end with one of some errors."""
    made.forget_results()
    return made.refusal(name, made.begin(name).end(LIMIT_S), codes)


def _as_root(*words: str) -> None:
    subprocess.run([*words], check=True)


# --- its disk --------------------------------------------------------------------------------


@contextmanager
def _disk(made: Bench, size: int) -> Iterator[None]:
    """A file system of so many bytes as the home; what lay there before is covered."""
    board = str(made.user.board)
    _as_root("mount", "-t", "tmpfs", "-o", f"size={size}", "none", board)
    try:
        yield
    finally:
        made.await_end()
        _as_root("umount", board)


def _fill(made: Bench, room: int) -> None:
    """Leave only so many bytes of the disk."""
    filler = made.user.board / "filler"
    free = os.statvfs(made.user.board)
    size = max(0, free.f_bavail * free.f_frsize - room)
    with suppress(OSError), filler.open("wb") as file:  # what is sent meanwhile takes it, too
        os.posix_fallocate(file.fileno(), 0, size)


def full_disk(place: Place, number: int) -> str:
    """Full from the beginning, or from a byte of the command's traffic on."""
    made, (name, turn) = bench(place), _turn(number)
    room = chance("disk", number).choice([0, 4096, 40_000, 100_000])
    late = turn % 2 == 1
    with _disk(made, 64 << 20):
        if late:
            with met(made, name, "none", "disk", number, act=lambda _: _fill(made, room)) as met_:
                done, when = met_[0], str(met_[1])
        else:
            made.prepare(name)
            made.forget_results()
            _fill(made, room)
            done, when = made.begin(name).end(LIMIT_S), "the beginning"
        if done.returncode:
            found = made.refusal(name, done, (_BOARD_ERROR,))
        else:
            found = made.success(name, done)
        if name == "push" and not late and not done.returncode:
            found.append("a full disk took everything")
        found += [*made.await_end(), *made.partial(), *made.held()]
        (made.user.board / "filler").unlink()
        found += made.again(name)
    return "; ".join(f"{room} bytes left at {when}: {it}" for it in found)


def read_only_home(place: Place, number: int) -> str:
    """Nothing can be written, whether what is needed lies there or not."""
    made, (name, turn) = bench(place), _turn(number)
    made.prepare(name if turn % 2 else "push")
    board = str(made.user.board)
    before = _content(made.user.board)
    _as_root("mount", "--bind", board, board)
    try:
        _as_root("mount", "-o", "remount,bind,ro", board)
        made.forget_results()
        done = made.begin(name).end(LIMIT_S)
        # What is there already can be measured, and where nothing lies nothing has to go.
        may = (name == "profile" and turn % 2) or (name == "clean" and not turn % 2)
        if done.returncode == 0 and may:
            found = made.told(done.stderr)
        else:
            found = made.refusal(name, done, (_BOARD_ERROR,))
        found += made.await_end()
    finally:
        _as_root("umount", board)
    if _content(made.user.board) != before:
        found.append("something there has changed")
    return "; ".join(found + made.after(name))


def _content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
    }


# --- its clock -------------------------------------------------------------------------------


def wrong_clock(place: Place, number: int) -> str:
    """All that lies there is from a year ago, or from next year, parts of files among it."""
    made, (name, turn) = bench(place), _turn(number)
    made.prepare("clean")
    shift = (-_YEAR_S, _YEAR_S)[turn % 2]
    left = made.user.board / "tileskip/models" / "0123456789abcdef"
    left.mkdir()
    (left / f".{'ab' * 32}.part").write_bytes(b"left")
    run = made.user.board / "tileskip/run-0123456789ab"
    run.mkdir()
    for path in [made.user.board, *made.user.board.rglob("*")]:
        when = path.lstat().st_mtime + shift
        os.utime(path, (when, when), follow_symlinks=False)
    made.forget_results()
    found = made.success(name, made.begin(name).end(LIMIT_S))
    if run.exists() and shift < 0:
        found.append("what an earlier run has left is still there")
    found += [*made.await_end(), *made.partial(), *made.held()]
    # A limit by age is by the board's clock: what is from next year is not old.
    made.prepare("clean")
    for path in [made.user.board, *made.user.board.rglob("*")]:
        when = path.lstat().st_mtime + shift
        os.utime(path, (when, when), follow_symlinks=False)
    limit = ["boards", "clean", "pi.toml", "--older-than", "30d", "--yes"]
    done = made.user.deploy(*limit)
    gone = not made.stored()
    if done.returncode or gone != (shift < 0):
        found.append(f"older than 30 days: {done.returncode}, all gone: {gone}")
    return "; ".join(f"{shift // _YEAR_S} years: {it}" for it in found + made.again(name))


# --- of another kind -------------------------------------------------------------------------


def _changed_bundle(made: Bench, folder: Path, change: Callable[[dict[str, object]], None]) -> Path:
    """The bundle, with a manifest that says something else."""
    shutil.copytree(made.bundle.path, folder)
    path = folder / "manifest.json"
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))
    Bundle.load(folder)
    return folder


def wrong_architecture(place: Place, number: int) -> str:
    """A bundle for other machines, or a board that says it is one."""
    made, (name, turn) = bench(place), _turn(number, _USING)
    made.prepare(name)
    before = _content(made.user.board)
    made.forget_results()
    if turn % 2:
        machine = ("aarch64", "armv7l", "riscv64")[turn // 2 % 3]
        tools = place.fresh(number)
        uname = tools / "uname"
        uname.write_text(f"#!/bin/sh\necho {machine}\n")
        uname.chmod(0o755)
        with made.start_up(f"PATH={tools}:$PATH\n"):
            done = made.begin(name).end(LIMIT_S)
    else:
        isa = ("aarch64", "armv7")[turn // 2 % 2]

        def change(document: dict[str, object]) -> None:
            document["isa"] = isa

        other = _changed_bundle(made, place.folder / f"bundle{number}", change)
        done = made.begin(name, bundle=other).end(LIMIT_S)
    found = made.refusal(name, done, (_BOARD_ERROR,))
    if _content(made.user.board) != before:
        found.append("something was sent there all the same")
    return "; ".join(found + made.after(name))


def wrong_glibc(place: Place, number: int) -> str:
    """A bundle whose libraries need a newer one than the board's, or just one that it has."""
    made, (name, turn) = bench(place), _turn(number, _USING)
    floor = ("2.99", "2.100", "3.0", "2.17")[turn % 4]

    def change(document: dict[str, object]) -> None:
        files = document["files"]
        assert isinstance(files, dict)
        for record in files.values():
            if record.get("elf") and not record["elf"]["static"]:
                record["elf"]["glibc_floor"] = floor

    made.prepare(name)
    before = _content(made.user.board)
    other = _changed_bundle(made, place.folder / f"bundle{number}", change)
    made.forget_results()
    done = made.begin(name, bundle=other).end(LIMIT_S)
    if floor == "2.17":
        return "; ".join(made.success(name, done) + made.after(name))
    found = made.refusal(name, done, (_BOARD_ERROR,))
    if _content(made.user.board) != before:
        found.append("something was sent there all the same")
    return "; ".join(f"{floor}: {it}" for it in found + made.after(name))


# --- another one -----------------------------------------------------------------------------


def changed_key(place: Place, number: int) -> str:
    """Another key is on record than that of the server, or its own as one that was revoked."""
    made, (name, turn) = bench(place), _turn(number)
    user, kind = made.user, ("ed25519", "ecdsa", "rsa")[turn % 3]
    made.prepare(name)
    before, known = _content(user.board), user.known.read_text()
    key = public_text(make_key(place.fresh(number) / "other", kind=kind))
    own = public_text(user.server.host_key)
    lines = (f"the-board {key}", f"@revoked the-board {own}", f"the-board {key}\n@revoked * {own}")
    user.known.write_text(f"{lines[number // 3 % 3]}\n")
    try:
        found = _told(made, name, (_KEY_ERROR,))
    finally:
        user.known.write_text(known)
    if _content(user.board) != before:
        found.append("something was done there all the same")
    return "; ".join(found + made.after(name))


# --- noise -----------------------------------------------------------------------------------

_HOSTILE = "\x1b]0;owned\x07\x9b31m\x1b[2J\x08\x7f\u202ex[red]y[/red]\x1b[?1049h"
_BANNER = b"SSH-2.0-OpenSSH_9.2p1\r\n"


def _garbage(drawn: Random, kind: int) -> bytes:
    """What a server says that is none of SSH, or only at first."""
    noise = drawn.randbytes(drawn.randrange(1, 40_000))
    return (
        noise,
        b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n<html>no</html>\r\n",
        b"",
        _BANNER + noise,
        b"SSH-1.5-old\r\n",
        b"SSH-2.0-" + b"x" * drawn.randrange(1, 100_000),
        _HOSTILE.encode() * drawn.randrange(1, 200) + b"\r\n" + _BANNER,
        _BANNER + (drawn.randrange(1, 1 << 32)).to_bytes(4, "big") + noise,
        b"hello\r\n" * drawn.randrange(1, 100_000),
        b"\x00" * drawn.randrange(1, 100_000),
    )[kind % 10]


@contextmanager
def _saying(answer: bytes, *, closes: bool) -> Iterator[int]:
    """A server that says one thing to everybody; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener, _ended_at_exit() as links:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    link, _ = listener.accept()
                    links.append(link)
                    with suppress(OSError):
                        link.sendall(answer)
                        if closes:
                            link.shutdown(socket.SHUT_WR)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@contextmanager
def _ended_at_exit() -> Iterator[list[socket.socket]]:
    links: list[socket.socket] = []
    try:
        yield links
    finally:
        for link in links:
            link.close()


def garbage_server(place: Place, number: int) -> str:
    """What answers is no SSH server, or one that speaks nonsense; it goes on or hangs up."""
    made, (name, turn) = bench(place), _turn(number)
    drawn = chance("garbage", number)
    made.prepare(name)
    answer = _garbage(drawn, number // len(COMMANDS) + 3 * number)
    with _saying(answer, closes=turn % 2 == 0) as port, impatient(made.user, 3.0):
        made.reach(port)
        found = _told(made, name, (_LINK_ERROR,))
    return "; ".join(f"{answer[:30]!r}: {it}" for it in found + made.after(name))


_CAT = (
    "mkdir -p tools; printf '#!/bin/sh\\nexec yes{}\\n' >tools/cat; "
    "chmod +x tools/cat; PATH=$PWD/tools:$PATH"
)
_ENDLESS = {
    "greeting": "yes tileskip",
    "greeting without lines": "cat /dev/zero",
    "errors of a login": "yes tileskip >&2",
    "an answer": _CAT.format(""),
    "errors of a program": _CAT.format(" >&2"),
}
"""What is endless, by what a login does first. That a shell there collects itself what a program
says is given up, too, but only after five minutes."""


def endless_output(place: Place, number: int) -> str:
    """The login, or a program there, prints without end."""
    made, (name, turn) = bench(place), _turn(number)
    kind = list(_ENDLESS)[(number + turn) % len(_ENDLESS)]
    if name == "clean" and kind in ("an answer", "errors of a program"):
        kind = "greeting"  # a shell there collects what this one says
    made.prepare(name)
    with made.start_up(f"{_ENDLESS[kind]}\n"):
        found = _told(made, name, (_BOARD_ERROR,))
        found += made.await_end()
    shutil.rmtree(made.user.board / "tools", ignore_errors=True)
    return "; ".join(f"{kind}: {it}" for it in found + made.after(name))


def hostile_output(place: Place, number: int) -> str:
    """The login, the kernel's name or the runner's error hold what a terminal would obey."""
    made, (name, turn) = bench(place), _turn(number)
    made.prepare(name)
    made.forget_results()
    tools = place.fresh(number)
    noise = tools / "noise"
    noise.write_bytes(_HOSTILE.encode() + b"\n" + chance("hostile", number).randbytes(200) + b"\n")
    show = f"cat {noise}; cat {noise} >&2"
    kind = (number + turn) % 3
    if kind == 0:  # printed beside all that is asked: commands work all the same
        with made.start_up(f"{show}\n"):
            done = made.begin(name).end(LIMIT_S)
        found = made.success(name, done)
    else:
        says = (f"{show}; exit 1", f"cat {noise}; exit 0")[kind - 1]
        for tool in ("uname", "id", "ls"):
            (tools / tool).write_text(f"#!/bin/sh\n{says}\n")
            (tools / tool).chmod(0o755)
        with made.start_up(f"PATH={tools}:$PATH\n"):
            found = _told(made, name, (_BOARD_ERROR,))
    found += made.told(done.stderr + done.stdout) if kind == 0 else []
    return "; ".join(found + made.after(name))


def _row(name: str, tries: int, test: str, inject: Callable[[Place, int], str]) -> Fault:
    return Fault(name, 13, tries, test, inject, 400.0, cheap=False)


FAULTS = (
    _row("a board whose disk is full", 20, "unit/board/test_transfer.py", full_disk),
    _row("a board whose home is read-only", 10, "native/test_bad_boards.py", read_only_home),
    _row("a board whose clock is a year wrong", 10, "native/test_bad_boards.py", wrong_clock),
    _row("a board of another architecture", 12, "unit/board/test_requirements.py",
         wrong_architecture),
    _row("a board with another glibc", 12, "unit/board/test_requirements.py", wrong_glibc),
    _row("a board whose host key has changed", 15, "unit/board/test_host_keys.py", changed_key),
    _row("a server that answers garbage", 20, "unit/board/test_ssh.py", garbage_server),
    _row("a board that prints without end", 15, "unit/board/test_ssh.py", endless_output),
    _row("a board that prints escape sequences", 15, "unit/test_foreign_text.py", hostile_output),
)  # fmt: skip
