"""The sources laid out to be edited are those that are built, and save as what is committed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from toolchain.build.bundle import recipe_for
from toolchain.build.patches import load_series
from toolchain.build.stages import Workshop, patched_pthreadpool, patched_xnnpack
from toolchain.dev import checkout, runtime_tree
from toolchain.errors import BuildError
from toolchain.fetch.apt import AptRoot
from toolchain.hardware.board_file import load_board
from toolchain.progress import Silent
from toolchain.resources import runtime_patch_dir


def files(tree: Path) -> dict[str, bytes]:
    """All of a tree but git's own."""
    paths = (path for path in tree.rglob("*") if path.is_file())
    names = {path.relative_to(tree): path for path in paths}
    return {
        name.as_posix(): path.read_bytes()
        for name, path in names.items()
        if name.parts[0] != ".git"
    }


@pytest.fixture(scope="module")
def patch_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is committed, which a wrong save may not reach."""
    place = tmp_path_factory.mktemp("project") / "runtime_patch"
    for name in runtime_tree.NAMES:
        shutil.copytree(runtime_patch_dir() / name, place / name)
    return place


@pytest.fixture(scope="module")
def laid_out(patch_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runtime")
    series = {name: load_series(patch_dir / name) for name in runtime_tree.NAMES}
    shop = Workshop(AptRoot(), 1, Silent())
    runtime_tree.make(root, series, recipe_for(load_board("host")), shop)
    return root


def test_it_saves_as_what_is_committed(laid_out: Path, patch_dir: Path) -> None:
    assert runtime_tree.save(laid_out, patch_dir) == []
    for name in runtime_tree.NAMES:
        assert files(patch_dir / name) == files(runtime_patch_dir() / name)
        assert checkout.is_saved(laid_out / name)


def test_it_is_what_is_built(laid_out: Path, tmp_path: Path) -> None:
    recipe, shop = recipe_for(load_board("host")), Workshop(AptRoot(), 1, Silent())
    built = {
        "xnnpack": patched_xnnpack(recipe, shop, tmp_path / "xnnpack"),
        "pthreadpool": patched_pthreadpool(recipe, shop, tmp_path / "pthreadpool"),
    }
    for name, tree in built.items():
        assert files(laid_out / name) == files(tree)


def test_what_is_not_saved_is_not_removed(laid_out: Path, patch_dir: Path) -> None:
    edited = laid_out / "xnnpack/src/runtime.c"
    before = edited.read_bytes()
    edited.write_bytes(before + b"// edited\n")
    series = {name: load_series(patch_dir / name) for name in runtime_tree.NAMES}
    shop = Workshop(AptRoot(), 1, Silent())
    with pytest.raises(BuildError, match="has changes that are not saved"):
        runtime_tree.make(laid_out, series, recipe_for(load_board("host")), shop)
    assert edited.read_bytes() == before + b"// edited\n"
    edited.write_bytes(before)
