"""A process beside an emulated board that ends it with its owner, and that is its slow link.

One runs for each board that has an owner or a link, in a session of its own, so that nothing that
ends a terminal ends it too early. It ends by itself when QEMU has.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from toolchain.board.session import Owner, await_end_of_any

LOG = "keeper.log"
"""What it complained about, beside the board's serial line."""
_BEGIN_S = 60.0


def start(
    board: str, log: Path, qemu: int, qemu_port: int, owner: Owner | None, link: str | None
) -> tuple[int, int | None]:
    """Start a board's keeper, and wait until it is at work.

    Args:
        board: its name.
        log: the file of its serial line, which tells its processes from others.
        qemu: the process to watch.
        qemu_port: where it is reached.
        owner: with whom it ends.
        link: what lies before it.

    Returns:
        The keeper's process, and the port of the link.

    Raises:
        OSError: it does not begin.
    """
    words = [
        board, qemu, qemu_port, *(("", "") if owner is None else (owner.pid, owner.started)),
        link or "",
    ]  # fmt: skip
    root = Path(__file__).resolve().parents[2]
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    with log.with_name(LOG).open("wb") as complaints:
        process = subprocess.Popen(
            # Its own words after the log's path, by which it is found.
            [sys.executable, "-P", "-m", __name__, str(log), *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,
        )
    said = b""
    try:
        said = _line(process)
    finally:
        if not said.strip().isdigit():
            process.kill()
            process.wait()
    if not said.strip().isdigit():
        raise OSError("it ended at once" if process.returncode > 0 else "it said nothing")
    return process.pid, int(said) or None


def _line(process: subprocess.Popen[bytes]) -> bytes:
    """The line that it prints when it is at work; less if it ends or time is up."""
    assert process.stdout is not None  # noqa: S101 (it is a pipe)
    said, deadline = b"", time.monotonic() + _BEGIN_S
    with process.stdout as stream:
        number = stream.fileno()
        while not said.endswith(b"\n") and (left := deadline - time.monotonic()) > 0:
            if select.select([number], [], [], left)[0]:
                piece = os.read(number, 64)
                if not piece:
                    break
                said += piece
    return said


def main(words: list[str]) -> None:
    """Keep a board, as :func:`start` says, until it has ended."""
    _log, board, qemu, qemu_port, owner_pid, owner_started, link = words
    try:
        handle = os.pidfd_open(int(qemu))
    except ProcessLookupError:
        return
    owner = Owner(int(owner_pid), int(owner_started), "session", "") if owner_pid else None
    with ExitStack() as stack:
        port = 0
        if link:
            from toolchain.board.link_proxy import LinkProxy
            from toolchain.hardware.link import parse_link

            port = stack.enter_context(LinkProxy(int(qemu_port), parse_link(link))).port
        print(port, flush=True)
        sys.stdout = sys.stderr  # who started this has gone
        if owner is not None:
            _end_with(owner, board, handle)
        await_end_of_any(handle)


def _end_with(owner: Owner, board: str, handle: int) -> None:
    """End a board when its owner ends, unless it has ended before."""
    others = owner.handle()
    if others is not None:
        await_end_of_any(handle, others)
    if not owner.alive:
        from toolchain.board.emulator import end_with  # slow to import, and mostly not needed

        end_with(board, owner)


if __name__ == "__main__":
    main(sys.argv[1:])
