"""The runtime's sources laid out to be edited and built at once, and written back.

Run as ``python -m toolchain.dev.runtime_tree make|build|save``;
docs/development/edit-runtime.md shows how.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from toolchain import console
from toolchain.build import stages
from toolchain.build.bundle import recipe_for
from toolchain.build.compiler import require
from toolchain.build.ninja import compile_targets, configure
from toolchain.build.patches import Series, load_series
from toolchain.build.stages import Recipe, Workshop
from toolchain.dev import checkout, xnnpack_tests
from toolchain.errors import BuildError
from toolchain.fetch.apt import AptRoot
from toolchain.fetch.archive import unpack_tarball
from toolchain.fetch.sources import fetch, tree
from toolchain.hardware.board_file import Board, load_board
from toolchain.progress import Lines
from toolchain.resources import runtime_patch_dir

NAMES = ("xnnpack", "pthreadpool", "tensorflow")
_TENSORFLOW_FOLDERS = (stages.DELEGATE_SOURCES, "tensorflow/lite/kernels")
_ARCHIVES = {"libXNNPACK.a": "", "libmicrokernels-prod.a": "", "libpthreadpool.a": "pthreadpool",
             "libcpuinfo.a": "cpuinfo"}  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """The folders below the one that the sources are laid out in."""

    root: Path

    @property
    def library(self) -> Path:
        """Ninja's folder of XNNPACK, with the thread pool."""
        return self.root / "library"

    @property
    def tests(self) -> Path:
        """Ninja's folder of XNNPACK's tests and ours."""
        return self.root / "tests"

    @property
    def programs(self) -> Path:
        """Ninja's folder of the delegate, the runner and the C library."""
        return self.root / "programs"

    def checkout(self, name: str) -> Path:
        """The checkout of one of :data:`NAMES`."""
        return self.root / name


def make(root: Path, series: dict[str, Series], recipe: Recipe, shop: Workshop) -> None:
    """Lay all sources out, each in a git checkout of its own.

    Args:
        root: the folder; checkouts that are there go if nothing in them is unsaved.
        series: what is done to each of :data:`NAMES`.
        recipe: says which sources.
        shop: where they come from.

    Raises:
        SourceError: an archive cannot be had.
        BuildError: something there is not saved, or a patch does not apply.
    """
    layout = Layout(root)
    for name in NAMES:
        place = layout.checkout(name)
        if place.exists() and not checkout.is_saved(place):
            raise BuildError(
                f"{place} has changes that are not saved",
                hint=f"make runtime-save writes them back; or remove {place}",
            )
    for name in NAMES:
        place = layout.checkout(name)
        with shop.progress.stage(f"lay {name} out in {place}"):
            shutil.rmtree(place, ignore_errors=True)
            _unpack(name, place, recipe, shop)
            checkout.lay_out(series[name], place)


def _unpack(name: str, place: Path, recipe: Recipe, shop: Workshop) -> None:
    pinned = recipe.sources.get(name)
    if name != "tensorflow":
        unpack_tarball(fetch(pinned, shop.apt), place, strip=pinned.strip)
        return
    pristine = tree(pinned, shop.apt)
    for folder in _TENSORFLOW_FOLDERS:
        shutil.copytree(pristine / folder, place / folder)


def configure_builds(root: Path, recipe: Recipe, shop: Workshop) -> None:
    """Configure Ninja's folders ``library``, ``tests`` and ``programs`` on the checkouts.

    Raises:
        SourceError, BuildError: from fetching, CMake, and the stage ``tflite``, which is as in any
            build, and from the cache where it is there.
    """
    layout = Layout(root)
    log = root / "configure.log"
    arguments = recipe.compiler.cmake_arguments()
    source, pool = layout.checkout("xnnpack"), layout.checkout("pthreadpool")
    definitions = stages.xnnpack_definitions(recipe, shop, pool)
    with shop.progress.stage(f"configure builds in {root}"):
        configure(source, layout.library, definitions, extra=arguments, log=log)
        stages.write_definitions(layout.library, root)
        (root / "lib").mkdir(exist_ok=True)
        for name, folder in _ARCHIVES.items():
            link = root / "lib" / name
            link.unlink(missing_ok=True)
            link.symlink_to(layout.library / folder / name)
        project = recipe.patch_dir / "xnnpack_tests"
        definitions = xnnpack_tests.tests_definitions(
            recipe, shop, xnnpack_tests.TESTS, source=source, pool=pool, xnnpack=root
        )
        configure(project, layout.tests, definitions, extra=arguments, log=log)
    definitions = stages.program_definitions(
        recipe, shop, tflite=stages.build_tflite(recipe, shop),
        tensorflow=layout.checkout("tensorflow"), headers=source, xnnpack=root,
    )  # fmt: skip
    configure(recipe.patch_dir, layout.programs, definitions, extra=arguments, log=log)


def build(root: Path, shop: Workshop) -> None:
    """Compile what was edited: the library, our tests on it, and the programs.

    Raises:
        BuildError: a compiler failed.
    """
    layout = Layout(root)
    tests = [f"{name}-test" for name in xnnpack_tests.OWN_TESTS]
    for folder, targets in (
        (layout.library, ["all"]),
        (layout.tests, tests),
        (layout.programs, stages.PROGRAM_TARGETS),
    ):
        compile_targets(
            folder, targets, jobs=shop.jobs, log=root / "build.log", progress=shop.progress,
            title=f"compile {folder}",
        )  # fmt: skip


def save(root: Path, patch_dir: Path) -> list[Path]:
    """Write every checkout back to ``runtime_patch``; the files that changed there.

    Raises:
        BuildError: a checkout cannot be saved as it is.
    """
    layout = Layout(root)
    changed: list[Path] = []
    for name in NAMES:
        changed += checkout.save(layout.checkout(name), patch_dir / name)
    return changed


@console.telling
def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m toolchain.dev.runtime_tree",
                                     description=__doc__)  # fmt: skip
    parser.add_argument("action", choices=("make", "build", "save"))
    parser.add_argument("--in", type=Path, default=Path("build/runtime"), dest="root",
                        metavar="DIR", help="where the sources lie [build/runtime]")  # fmt: skip
    parser.add_argument("--board", default="host", help="what is built for, with make [host]")
    parser.add_argument("--sources", type=Path, help="folder of archives at hand")
    options = parser.parse_args(arguments)
    root = options.root.absolute()
    progress = Lines()
    require({"git": "git"})
    shop = Workshop(
        AptRoot(progress, sources=options.sources), len(os.sched_getaffinity(0)), progress
    )
    if options.action == "make":
        _make(root, load_board(options.board), shop)
    elif options.action == "build":
        build(root, shop)
        _tell_what_to_run(Layout(root))
    else:
        changed = save(root, runtime_patch_dir())
        print("\n".join(str(path) for path in changed) or "nothing to save")
    return 0


def _make(root: Path, board: Board, shop: Workshop) -> None:
    recipe = recipe_for(board)
    make(root, {name: load_series(recipe.patch_dir / name) for name in NAMES}, recipe, shop)
    configure_builds(root, recipe, shop)
    print(f"The sources are in {root}: edit them, then make runtime-build and make runtime-save")


def _tell_what_to_run(layout: Layout) -> None:
    for name in xnnpack_tests.OWN_TESTS:
        print(layout.tests / f"{name}-test")
    print(layout.programs / "runner" / stages.RUNNER)


if __name__ == "__main__":
    console.run(lambda: sys.exit(main()))
