"""A disk that is full is told with its file and exit code 13, and nothing half written is left.

A limit to the size of files does to a process what a full disk does, and needs no root.
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.places import REPOSITORY
from toolchain.build import bundle
from toolchain.build.bundle import PROGRAMS
from toolchain.errors import OutputError
from toolchain.hardware.board_file import load_board
from toolchain.storage.files import disk_full
from toolchain.zoo import fashion_mnist

CHECKPOINT = REPOSITORY / "toolchain/zoo/checkpoints/fashion_resnet_s20.safetensors"
QUICK = REPOSITORY / "toolchain/train/recipes/quick.toml"


def run_with_room_for(size: int, folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    # -B: compiled modules would be cut off as well, and Python 3.11 would take them as they are.
    return subprocess.run(
        [sys.executable, "-B", REPOSITORY / "deploy.py", *map(str, words)], cwd=folder, text=True,
        capture_output=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )  # fmt: skip


@pytest.mark.parametrize("options", [[], ["--quantize", "fp16"]], ids=["float32", "fp16"])
def test_a_conversion_that_does_not_fit(tmp_path: Path, options: list[str]) -> None:
    done = run_with_room_for(100_000, tmp_path, "convert", CHECKPOINT, "-o", "c.tflite", *options)
    assert (done.returncode, done.stdout) == (13, ""), done.stderr
    assert "error: c.tflite: cannot be written: File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("room", [100, 100_000])
def test_a_training_that_does_not_fit(tmp_path: Path, room: int) -> None:
    """The curves first, the state last."""
    fashion_mnist.load("test")  # what is fetched does not fit, either
    recipe = QUICK.read_text().replace("epochs = 6", "epochs = 2").replace("= 6000", "= 1500")
    (tmp_path / "r.toml").write_text(recipe)
    done = run_with_room_for(room, tmp_path, "train", "r.toml")
    assert (done.returncode, done.stdout) == (13, ""), done.stderr
    assert "cannot be written: File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.run", "r.toml"]
    assert not [path for path in (tmp_path / "r.run").iterdir() if "state" in path.name]


def test_a_bundle_that_does_not_fit(tmp_path: Path) -> None:
    built = tmp_path / "built"
    built.mkdir()
    for name in PROGRAMS:
        (built / name).write_bytes(bytes(10_000))
    board, out = load_board("host"), tmp_path / "out/b"
    recipe = bundle.recipe_for(board)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, hard))
    try:
        with pytest.raises(OutputError, match="out/b: cannot be written: File too large"):
            bundle._write(built, out, board, recipe, "k")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(out.parent.iterdir()) == []


def test_what_a_library_writes_where_nobody_looks_is_told_with_its_path() -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a/b")
    told = disk_full(full)
    assert told is not None
    assert told.what == "a/b: cannot be written: No space left on device"
    copied = shutil.Error([("from", "to/x", str(full)), ("from", "to/y", str(full))])
    told = disk_full(copied)
    assert told is not None
    assert told.what == "to/x: cannot be written: No space left on device"
    for other in (OSError(errno.ENOENT, "x"), shutil.Error([("from", "to", "[Errno 13] denied")])):
        assert disk_full(other) is None
