"""No reader of a user's files waits for a pipe, or takes what a device or a hole would give."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import paramiko
import pytest

from support.bundles import write_bundle, write_masked_model
from support.openssh import make_key, public_text
from toolchain.board import arrays, identities
from toolchain.board.host_keys import HostKeys, ShownKey
from toolchain.board.target import SshTarget
from toolchain.build.bundle import MANIFEST, Bundle
from toolchain.build.stages import RUNNER
from toolchain.convert.calibration import load_samples
from toolchain.errors import DeployError, HostKeyError, ModelError
from toolchain.formats import input_file
from toolchain.formats.number_files import load_npy, load_npz
from toolchain.hardware.board_file import load_board
from toolchain.profile.document import load_profile
from toolchain.profile.results import read_result
from toolchain.report.page.accuracies import load_accuracies
from toolchain.report.page.documents import read_document
from toolchain.report.page.published import load_published
from toolchain.sparsity.checkpoint_file import read_checkpoint_file
from toolchain.sparsity.mask_header import read_mask_header
from toolchain.tflite_file.graph import read_model
from toolchain.train.image_folder import check_header
from toolchain.train.recipe import load_recipe

PATIENCE = 60.0


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_file, "PATIENCE_S", 0.3)


@pytest.fixture(params=["pipe", "endless", "hole", "folder", "socket"])
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """What stands where a file should."""
    path = tmp_path / "odd"
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "endless":
        path.symlink_to("/dev/zero")
    elif request.param == "hole":
        with path.open("wb") as stream:
            stream.truncate(1 << 42)
    elif request.param == "folder":
        path.mkdir()
    else:
        os.mknod(path, 0o140600)
    return path


def called(odd: Path, name: str) -> Path:
    link = odd.with_name(name)
    link.symlink_to(odd)
    return link


def _input(odd: Path, name: str) -> object:
    model = read_model(write_masked_model(odd.with_name("m.tflite")))
    return arrays.load_inputs(model, [called(odd, name)])


def _images(odd: Path) -> object:
    folder = odd.with_name("images") / "train"
    folder.mkdir(parents=True)
    (folder / "a.png").symlink_to(odd)
    return load_samples(str(folder.parent), [(1, 3, 16, 16)], limit=1, seed=0)


def _bundle(odd: Path, name: str) -> object:
    folder = odd.with_name("bundle")
    write_bundle(folder, b"runner")
    (folder / name).unlink()
    (folder / name).symlink_to(odd)
    return Bundle.load(folder)


def _revoked(odd: Path) -> object:
    private = make_key(odd.with_name("host"))
    known = odd.with_name("known_hosts")
    known.write_text(f"pi {public_text(private)}\n")
    key = ShownKey.of(paramiko.Ed25519Key.from_private_key_file(str(private)))
    HostKeys("pi", SshTarget("pi", "pi", 22, (), (known,))).check(key)
    HostKeys("pi", SshTarget("pi", "pi", 22, (), (known,), revoked=odd)).check(key)
    return None


READERS: dict[str, Callable[[Path], object]] = {
    "a board file": lambda odd: load_board(str(called(odd, "b.toml"))),
    "a recipe": lambda odd: load_recipe(called(odd, "r.toml")),
    "a profile": load_profile,
    "another tool's result": read_result,
    "a report's document": lambda odd: read_document(odd, {}),
    "accuracies": load_accuracies,
    "a table of accuracies": lambda odd: load_accuracies(called(odd, "a.csv")),
    "published times": load_published,
    "a model": read_model,
    "an .npy file": lambda odd: load_npy(odd, ModelError),
    "an .npz file": lambda odd: load_npz(odd, ModelError),
    "an .npy input": lambda odd: _input(odd, "x.npy"),
    "an .npz input": lambda odd: _input(odd, "x.npz"),
    "a raw input": lambda odd: _input(odd, "x.bin"),
    "a checkpoint": read_checkpoint_file,
    "a header of masks": read_mask_header,
    "an image": check_header,
    "images to calibrate with": _images,
    "a manifest": lambda odd: _bundle(odd, MANIFEST),
    "a runner": lambda odd: _bundle(odd, RUNNER),
    "a key": lambda odd: identities.read_identity("pi", odd, ()),
    "revoked host keys": _revoked,
}


@pytest.mark.parametrize("reader", READERS)
def test_it_is_told_at_once(odd: Path, reader: str) -> None:
    caught: list[BaseException | None] = []

    def work() -> None:
        try:
            READERS[reader](odd)
            caught.append(None)
        except BaseException as error:
            caught.append(error)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(PATIENCE)
    assert caught, "it waits"
    assert isinstance(caught[0], DeployError), repr(caught[0])
    if reader == "revoked host keys":
        assert isinstance(caught[0], HostKeyError)
        assert "RevokedHostKeys" in caught[0].what
