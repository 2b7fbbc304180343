from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.bundles import write_bundle
from support.patience import PATIENCE
from support.places import REPOSITORY
from toolchain.board import push
from toolchain.board.connection import Connection
from toolchain.board.invoke import BoardRunner
from toolchain.board.system import read_system
from toolchain.build.bundle import Bundle
from toolchain.errors import BoardError
from toolchain.hardware.board_file import Board
from toolchain.progress import Silent


@pytest.fixture
def small_disk(connection: Connection) -> Iterator[str]:
    """A file system of 1 MiB."""
    connection.run(["mkdir", "-p", "small"])
    connection.run(["mount", "-t", "tmpfs", "-o", "size=1m", "small", "small"])
    yield "small"
    connection.run(["umount", "small"])


def random_file(path: Path, size: int) -> Path:
    path.write_bytes(os.urandom(size))
    return path


def test_what_is_there_is_not_sent_again(
    board: Board, connection: Connection, tmp_path: Path
) -> None:
    bundle = write_bundle(tmp_path / "b", os.urandom(10_000), isa="aarch64")
    model = random_file(tmp_path / "a model.tflite", 300_000)
    uploads = [*push.bundle_uploads(board, bundle), push.model_upload(board, model)]
    assert all(item.sent for item in push.push(connection, board, uploads, Silent()))
    assert not any(item.sent for item in push.push(connection, board, uploads, Silent()))
    assert connection.sha256(uploads[2].remote) == uploads[2].sha256


def start(board: Board, connection: Connection, bundle: Bundle) -> BoardRunner:
    return BoardRunner(connection, board, bundle, Silent())


def test_a_bundle_for_another_machine_is_refused(
    board: Board, connection: Connection, tmp_path: Path
) -> None:
    bundle = write_bundle(tmp_path / "b", b"x", isa="x86-64")
    with pytest.raises(BoardError, match=r"built for x86-64, the board is .* type aarch64"):
        start(board, connection, bundle)


def test_a_bundle_that_needs_more_than_the_board_has_is_refused_before_it_is_sent(
    board: Board, connection: Connection, tmp_path: Path
) -> None:
    """The emulated Cortex-A72 has no dot products; its system is Bookworm, of glibc 2.36."""
    needs = {"hwcap": ("asimd", "asimddp", "fp"), "glibc_floor": "2.38"}
    bundle = write_bundle(tmp_path / "b", os.urandom(100), isa="aarch64", **needs)  # type: ignore[arg-type]
    with pytest.raises(BoardError) as caught:
        start(board, connection, bundle)
    assert "need cores with asimddp, the board's have " in caught.value.what
    assert "libtileskip_delegate.so needs glibc 2.38, the board has 2.36" in caught.value.what
    assert 'put glibc = "2.36" into the board\'s file' in (caught.value.hint or "")
    for upload in push.bundle_uploads(board, bundle):
        assert not connection.exists(upload.remote)


def test_a_bundle_of_what_the_board_has_is_sent(
    board: Board, connection: Connection, tmp_path: Path
) -> None:
    bundle = write_bundle(
        tmp_path / "b", os.urandom(100), isa="aarch64", hwcap=("asimd", "fp"), glibc_floor="2.36"
    )
    assert all(item.sent for item in start(board, connection, bundle).pushed)


def test_the_board_says_what_it_has_and_that_it_runs_32_bit_programs(
    connection: Connection,
) -> None:
    system = read_system(connection)
    assert (system.machine, system.glibc, system.bits) == ("aarch64", "2.36", 64)
    assert {"fp", "asimd", "crc32"} <= system.features
    assert "asimddp" not in system.features
    assert system.features_arm32 is not None
    assert {"neon", "vfpv3", "vfpv4"} <= system.features_arm32


def test_a_disk_that_is_too_small_is_told_before_sending(
    board: Board, connection: Connection, small_disk: str, tmp_path: Path
) -> None:
    there = board.model_copy(update={"ssh": board.ssh.model_copy(update={"directory": small_disk})})
    upload = push.model_upload(there, random_file(tmp_path / "m.tflite", 3_000_000))
    with pytest.raises(BoardError, match=r"disk is full: [\d,]+ bytes are needed, [\d,]+ are free"):
        push.push(connection, there, [upload], Silent())
    assert connection.run(["find", small_disk, "-type", "f"]).text == ""


def test_a_disk_that_fills_up_on_the_way_leaves_no_file(
    connection: Connection, small_disk: str, tmp_path: Path
) -> None:
    local = random_file(tmp_path / "m.tflite", 3_000_000)
    with pytest.raises(BoardError, match="disk is full: 3,000,000 bytes are needed") as caught:
        connection.put(local, f"{small_disk}/m.tflite")
    free = int(caught.value.what.split("needed, ")[1].split(" are")[0].replace(",", ""))
    assert free == 1 << 20, "what had been copied is counted as free again"
    assert connection.run(["find", small_disk, "-type", "f"]).text == ""


def test_a_read_only_place_is_told(connection: Connection, tmp_path: Path) -> None:
    with pytest.raises(BoardError, match="cannot be written"):
        connection.put(random_file(tmp_path / "f", 10), "/proc/f")


def test_an_interrupted_push_leaves_no_file_and_the_next_goes_on(
    board: Board, connection: Connection, tmp_path: Path
) -> None:
    """Ctrl-C in the middle of ``deploy push``."""
    bundle = write_bundle(tmp_path / "b", os.urandom(30_000_000), isa="aarch64")
    board_file = tmp_path / f"{board.name}.toml"
    board_file.write_text((REPOSITORY / "boards" / "qemu.toml").read_text())
    with subprocess.Popen(
        [sys.executable, "deploy.py", "push", "--board", str(board_file), "--bundle",
         str(tmp_path / "b")],
        cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        script = "find tileskip -name '.*.part' -size +100k"
        while process.poll() is None and not connection.run(["sh", "-c", script]).text:
            pass
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, said
    (part,) = connection.run(["find", "tileskip", "-name", ".*.part"]).text.split()
    assert connection.run(["find", "tileskip", "-size", "+20000k"]).text == ""
    arrived = int(connection.run(["wc", "-c", part]).text.split()[0])
    notes: list[str] = []

    class Noting(Silent):
        def note(self, message: str) -> None:
            notes.append(message)

    pushed = push.push(connection, board, push.bundle_uploads(board, bundle), Noting())
    assert connection.sha256(pushed[0].remote) == pushed[0].sha256
    assert notes == [f"{connection.name}: tileskip-run: goes on after {arrived / 30_000_000:.0%}"]
    assert not connection.exists(part)
