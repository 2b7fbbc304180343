"""A bundle is whole and unchanged, or it is not one."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from toolchain.build import bundle
from toolchain.build.bundle import PROGRAMS, Bundle, bundle_path
from toolchain.errors import BundleError, OutputError
from toolchain.hardware.board_file import load_board
from toolchain.storage.cache import sha256_file


def write_bundle(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True)
    for name in PROGRAMS:
        (folder / name).write_bytes(b"program")
    manifest: dict[str, Any] = {
        "schema": 1, "key": "k", "version": "0.1.0", "board": "qemu", "isa": "aarch64",
        "march": "armv8-a", "stock": False, "compiler": "g++", "flags": {}, "sources": {},
        "patches": {}, "glibc_floor": "2.34",
        "files": {
            name: {"sha256": sha256_file(folder / name), "bytes": 7} for name in PROGRAMS
        },
    }  # fmt: skip
    manifest.update(changes)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_a_whole_bundle_is_read(tmp_path: Path) -> None:
    made = Bundle.load(write_bundle(tmp_path / "b"))
    assert made.manifest.board == "qemu"
    assert made.runner == tmp_path / "b/tileskip-run"
    assert made.delegate.name == "libtileskip_delegate.so"
    assert made.c_library.name == "libtensorflowlite_c.so"


def test_boards_that_are_like_one_share_its_bundle() -> None:
    board = load_board("qemu")
    recipe = SimpleNamespace(programs_key=lambda: "programs")
    key = bundle.bundle_key(recipe, board)  # type: ignore[arg-type]
    assert bundle.bundle_key(recipe, board.named("kitchen")) == key  # type: ignore[arg-type]
    assert bundle.bundle_key(recipe, load_board("rpi4")) != key  # type: ignore[arg-type]


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"is no bundle: it has no manifest\.json"):
        Bundle.load(tmp_path)


def test_a_changed_file_is_named(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "b")
    (folder / "tileskip-run").write_bytes(b"PROGRAM")
    with pytest.raises(BundleError, match="tileskip-run was changed since it was built"):
        Bundle.load(folder)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "b")
    (folder / "tileskip-run").unlink()
    with pytest.raises(BundleError, match="tileskip-run is not there since it was built"):
        Bundle.load(folder)


@pytest.mark.parametrize(
    ("changes", "key"), [({"schema": 2}, "schema"), ({"isa": "mips"}, "isa"), ({"x": 1}, "x")]
)
def test_a_manifest_of_another_kind_is_refused(
    tmp_path: Path, changes: dict[str, Any], key: str
) -> None:
    folder = write_bundle(tmp_path / "b", **changes)
    with pytest.raises(BundleError, match=rf"manifest\.json: {key}: "):
        Bundle.load(folder)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_manifest_without_a_program_is_refused(tmp_path: Path, name: str) -> None:
    folder = write_bundle(tmp_path / "b")
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"][name]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=rf"manifest\.json: names no {name}"):
        Bundle.load(folder)


@pytest.mark.parametrize("name", ["../b.txt", "/etc/hostname", "a/../../b.txt", "a\x1b[2J"])
def test_a_manifest_that_leads_outside_is_refused(tmp_path: Path, name: str) -> None:
    folder = write_bundle(tmp_path / "b")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = {"sha256": "0", "bytes": 1}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"is no file of the bundle") as caught:
        Bundle.load(folder)
    assert caught.value.what.isprintable()


def test_bundles_of_a_board_lie_side_by_side() -> None:
    board = load_board("rpi4")
    assert bundle_path(board) == Path("build/rpi4")
    assert bundle_path(board, stock=True) == Path("build/rpi4-stock")
    assert bundle_path(board, sanitizer="thread") == Path("build/rpi4-thread")


def test_a_folder_that_is_no_bundle_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="is not a bundle, so it is not replaced"):
        bundle.build(load_board("host"), out=tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_bundle_is_replaced_as_a_whole(tmp_path: Path) -> None:
    old, new = write_bundle(tmp_path / "old"), write_bundle(tmp_path / "new", key="newer")
    (old / "left-over").write_text("")
    bundle._replace_folder(new, old)
    assert Bundle.load(old).manifest.key == "newer"
    assert not (old / "left-over").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
