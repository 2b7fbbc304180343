"""``python -m toolchain.dev.transfer``: a push beside OpenSSH's ``scp``, to one server of OpenSSH.

The two take turns, each from the login to the end. A push does more than ``scp``: it hashes the
copy on the server, writes it to the disk and renames it. What that takes is told apart.
"""

from __future__ import annotations

import argparse
import gzip
import os
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from toolchain import children, console
from toolchain.board import push
from toolchain.board.connection import hashing
from toolchain.board.link_proxy import LinkProxy
from toolchain.board.ssh import SshConnection
from toolchain.board.target import SshTarget
from toolchain.dev.openssh import Server, serving
from toolchain.dev.reference.tables import table
from toolchain.dev.results_page import Part, read_results, write_results
from toolchain.errors import BoardError, ConnectionFailed
from toolchain.hardware.board_file import Board, Ssh, load_board
from toolchain.hardware.link import Link, parse_link
from toolchain.progress import Silent
from toolchain.storage.scratch import temporary_folder

NAME = "transfer"
_LIMIT_S = 3600.0
_CUT_AT = 0.8
_PIECE = 64 * 1024


class Turns(Part):
    """Both over one link, in turns."""

    link: str
    bytes: int
    scp_s: list[float]
    push_s: list[float]
    scp_login_s: list[float]
    """Of ``ssh`` and a program that does nothing, between the turns."""
    push_login_s: list[float]
    """Of each push, its login."""
    load: float | None = None
    """Programs that wanted to run on this machine meanwhile, on average, these among them."""

    @property
    def ratio(self) -> float:
        """Throughput of the push over that of ``scp``: medians, from the login to the end."""
        return statistics.median(self.scp_s) / statistics.median(self.push_s)

    @property
    def ratio_after_login(self) -> float:
        """The same without what logging in takes."""
        scp = statistics.median(self.scp_s) - statistics.median(self.scp_login_s)
        after = (all_ - login for all_, login in zip(self.push_s, self.push_login_s, strict=True))
        return scp / statistics.median(after)


class Cut(Part):
    """A push that is cut, and repeated."""

    bytes: int
    cut_after: int
    """Bytes that had left this machine."""
    sent_again: int
    """Bytes that left it as the push was repeated, those of the connection among them."""


class Packing(Part):
    """What packing makes of a file."""

    file: str
    bytes: int
    packed: int


class ServerWork(Part):
    """What the server took for itself."""

    hash_s: float
    sync_s: float


class Transfers(Part):
    """The document."""

    created: datetime
    openssh: str
    cores: int
    turns: list[Turns]
    server: ServerWork
    cut: Cut
    packing: list[Packing]


def measure(options: argparse.Namespace) -> Transfers:
    """Run all of it."""
    with temporary_folder() as folder, serving(folder) as server:
        local, slow = folder / "local.bin", folder / "slow.bin"
        for path, size in ((local, options.size), (slow, options.slow_size)):
            path.write_bytes(Random(0).randbytes(size))  # noqa: S311 - no secret
        turns = [_turns(server, local, None, options.turns)]
        if options.link is not None:
            turns.append(_turns(server, slow, options.link, options.turns))
        return Transfers(
            created=datetime.now(UTC),
            openssh=_version(),
            cores=os.cpu_count() or 0,
            turns=turns,
            server=_server_work(server, local),
            cut=_cut(server, local),
            packing=[_packing(path) for path in options.files],
        )


def merged(earlier: Transfers, later: Transfers) -> Transfers:
    """Results of two runs: of a link, and of all else, those of the later one."""
    turns = {one.link: one for one in [*earlier.turns, *later.turns]}
    packing = {one.file: one for one in [*earlier.packing, *later.packing]}
    return later.model_copy(
        update={"turns": list(turns.values()), "packing": list(packing.values())}
    )


# --- in turns --------------------------------------------------------------------------------


def _turns(server: Server, path: Path, link: Link | None, count: int) -> Turns:
    """Both, one after the other; who begins alternates."""
    loads: list[float] = []
    found: dict[str, list[float]] = {name: [] for name in ("scp", "push", "ssh", "login")}
    for number in range(count):
        with _way(server, link, number) as port:
            jobs: list[Callable[[], None]] = [
                lambda port=port: found["scp"].append(_scp(server, path, port)),  # type: ignore[misc]
                lambda port=port: _push(server, path, port, found),  # type: ignore[misc]
            ]
            for job in jobs if number % 2 == 0 else reversed(jobs):
                os.sync()  # what the other has left to write
                job()
        with _way(server, link, number) as port:
            found["ssh"].append(_ssh(server, port))
        loads.append(os.getloadavg()[0])
        print(f"{link or 'loopback'}: {number + 1} of {count}", flush=True)
    return Turns(
        link=str(link or "loopback"), bytes=path.stat().st_size, scp_s=found["scp"],
        push_s=found["push"], scp_login_s=found["ssh"], push_login_s=found["login"],
        load=statistics.fmean(loads),
    )  # fmt: skip


@contextmanager
def _way(server: Server, link: Link | None, seed: int) -> Iterator[int]:
    if link is None:
        yield server.port
    else:
        with LinkProxy(server.port, link, seed=seed) as proxy:
            yield proxy.port


def _scp(server: Server, path: Path, port: int) -> float:
    there = server.folder / "copied"
    words = ["scp", "-q", *server.options(port), "-P", str(port), str(path), server.address(there)]
    seconds = _timed(words)
    if there.stat().st_size != path.stat().st_size:
        raise BoardError("scp has not copied all")
    there.unlink()
    return seconds


def _ssh(server: Server, port: int) -> float:
    words = ["ssh", *server.options(port), "-p", str(port), f"{server.user}@127.0.0.1", "true"]
    return _timed(words)


def _timed(words: Sequence[str]) -> float:
    begun = time.perf_counter()
    done = children.run(words, limit=_LIMIT_S, fault=BoardError)
    seconds = time.perf_counter() - begun
    if done.returncode:
        raise BoardError(f"{words[0]}: exit code {done.returncode}: {done.stderr}")
    return seconds


def _board(server: Server) -> Board:
    where = Ssh(directory=str(server.folder / "board"))
    return load_board("host").model_copy(update={"ssh": where})


def _push(server: Server, path: Path, port: int, found: dict[str, list[float]]) -> None:
    board = _board(server)
    begun = time.perf_counter()
    with SshConnection("server", server.target(port)) as connection:
        login = time.perf_counter() - begun
        push.push(connection, board, [push.model_upload(board, path)], Silent())
        found["push"].append(time.perf_counter() - begun)
    found["login"].append(login)
    shutil.rmtree(board.ssh.directory)


# --- what else ---------------------------------------------------------------------------------


def _server_work(server: Server, path: Path) -> ServerWork:
    """How long the server hashes the file, and writes it to the disk."""
    copy = server.folder / "work"
    os.sync()
    shutil.copyfile(path, copy)
    begun = time.perf_counter()
    subprocess.run(["sync", copy], check=True)  # noqa: S607 - the one that a push finds
    synced = time.perf_counter()
    with SshConnection("server", server.target()) as connection:
        ready = time.perf_counter()
        script = hashing(path.stat().st_size) + '$program <"$1"'
        connection.run(["sh", "-c", script, "sh", str(copy)])
        hashed = time.perf_counter()
    copy.unlink()
    return ServerWork(hash_s=hashed - ready, sync_s=synced - begun)


def _cut(server: Server, path: Path) -> Cut:
    board, size = _board(server), path.stat().st_size
    with _Counting(server.port) as relay:
        target = server.target(relay.port)
        relay.cut_after = int(_CUT_AT * size)
        with suppress(ConnectionFailed):
            _pushed(target, board, path)
            raise BoardError("the push was not cut")
        before, relay.cut_after = relay.carried, None
        _pushed(target, board, path)
        return Cut(bytes=size, cut_after=before, sent_again=relay.carried - before)


def _pushed(target: SshTarget, board: Board, path: Path) -> None:
    with SshConnection("server", target) as connection:
        push.push(connection, board, [push.model_upload(board, path)], Silent())


class _Counting:
    """Passes connections on, counts what comes from here, and cuts them at a number."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.carried = 0
        self.cut_after: int | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                for ends in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, is_client: bool) -> None:
        with suppress(OSError):
            while piece := source.recv(_PIECE):
                if is_client:
                    if self.cut_after is not None and self.carried + len(piece) > self.cut_after:
                        break
                    self.carried += len(piece)
                sink.sendall(piece)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> _Counting:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def _packing(path: Path) -> Packing:
    content = path.read_bytes()
    return Packing(file=path.name, bytes=len(content), packed=len(gzip.compress(content, 6)))


def _version() -> str:
    done = children.run(["ssh", "-V"], limit=children.LOOK_S, fault=BoardError)
    return done.stderr.split(",")[0].strip()


# --- the page ----------------------------------------------------------------------------------


def page(results: Transfers) -> str:
    """The page, in Markdown."""
    cut, server = results.cut, results.server
    lines = [
        "# How fast a push is",
        "",
        f"Written by `python -m toolchain.dev.transfer` on {results.created:%Y-%m-%d}, with "
        f"{results.openssh} as the server and as `scp`, both on this machine of {results.cores} "
        "cores. [On a board](../reference/on-the-board.md#how-a-file-gets-there) says what a push "
        "does.",
        "",
        "## Beside scp",
        "",
        "A file of random bytes, `scp` and a push in turns. A time goes from the login to the end; "
        "the end of a push is a file that was hashed on the server, written to its disk and "
        "renamed. Medians, and in brackets the least and the most.",
        "",
        table(
            ("link", "MB", "turns", "`scp`, s", "push, s", "throughput, of `scp`'s",
             "the same without logins", "load"),
            [
                (one.link, f"{one.bytes / 1e6:g}", str(len(one.scp_s)), _spread(one.scp_s),
                 _spread(one.push_s), f"**{one.ratio:.2f}**", f"{one.ratio_after_login:.2f}",
                 "-" if one.load is None else f"{one.load:.0f}")
                for one in results.turns
            ],
        ),
        "",
        f"Of the time of a push over loopback the server hashes for {server.hash_s * 1000:.0f} ms "
        f"and writes to its disk for {server.sync_s * 1000:.0f} ms, which `scp` does not do. "
        "The slow link is a proxy that delivers each segment when TCP would over a link of that "
        "delay, one way, and that loss; both have the same losses in each turn. The load is the "
        "number of programs that wanted to run meanwhile; the two are compared in turns, so it "
        "slows both. What a push does besides sending weighs most where the link is as fast as "
        "memory: its seconds are the same on a slow one.",
        "",
        "## A push that is cut",
        "",
        table(
            ("MB", "cut after", "sent as it was repeated", "of the file"),
            [(f"{cut.bytes / 1e6:g}", f"{cut.cut_after / cut.bytes:.0%}",
              f"{cut.sent_again / 1e6:.1f} MB", f"**{cut.sent_again / cut.bytes:.0%}**")],
        ),
        "",
        "What had not arrived is sent, and with it what was under way: up to 2 MiB, as much as the "
        "server takes ahead of the program that reads.",
        "",
    ]  # fmt: skip
    if results.packing:
        rows = [
            (f"`{one.file}`", f"{one.bytes / 1e3:,.0f}", f"{one.packed / one.bytes:.0%}")
            for one in results.packing
        ]
        lines += [
            "## What packing saves",
            "",
            table(("file", "kB", "packed"), rows),
            "",
            "A file is packed where samples of it shrink below 80% and the link is slower than "
            "10 MB/s. On a faster one packing takes as long as it saves.",
            "",
        ]
    return "\n".join(lines)


def _spread(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"


@console.telling
def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and run; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m toolchain.dev.transfer", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("files", type=Path, nargs="*", help="whose packing is told, too")
    parser.add_argument("--size", type=int, default=50_000_000, help="bytes [50000000]")
    parser.add_argument(
        "--slow-size", type=int, default=50_000_000, help="the same over --link [50000000]"
    )
    parser.add_argument(
        "--kept", type=Path, metavar="RESULTS.json", help="of an earlier run: other links stay"
    )
    parser.add_argument("--turns", type=int, default=5, help="[5]")
    parser.add_argument("--link", type=parse_link, default=parse_link("20ms,1%"), help="[20ms,1%%]")
    parser.add_argument("--no-link", action="store_const", const=None, dest="link")
    parser.add_argument(
        "--out", type=Path, default=Path("docs/explanation"), help="[docs/explanation]"
    )
    options = parser.parse_args(arguments)
    results = measure(options)
    if options.kept is not None:
        earlier = read_results(Transfers, options.kept, BoardError)
        results = merged(earlier, results)
    for path in write_results(NAME, page(results), results, options.out):
        print(path)
    return 0


if __name__ == "__main__":
    console.run(lambda: sys.exit(main()))
