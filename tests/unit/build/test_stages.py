"""What a stage's key depends on decides what is compiled again, and what is shared."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from toolchain.build.compiler import Compiler
from toolchain.build.patches import OverlayFile, Series
from toolchain.build.stages import Recipe
from toolchain.fetch.sources import load_sources
from toolchain.resources import runtime_patch_dir


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    patch_dir = tmp_path / "runtime_patch"
    shutil.copytree(runtime_patch_dir(), patch_dir)
    return Recipe(
        compiler=Compiler("aarch64", "gcc", "g++", "strip", "g++ 12", cross=True),
        march="armv8-a", stock=True, sources=load_sources(), patch_dir=patch_dir,
        xnnpack_series=Series("xnnpack"), tensorflow_series=Series("tensorflow"),
    )  # fmt: skip


def keys(recipe: Recipe) -> tuple[str, str, str]:
    return recipe.tflite_key(), recipe.xnnpack_key(), recipe.programs_key()


def changed(before: Recipe, after: Recipe) -> tuple[bool, ...]:
    return tuple(a != b for a, b in zip(keys(before), keys(after), strict=True))


@pytest.fixture
def series(tmp_path: Path) -> Series:
    (tmp_path / "x.c").write_text("int x;")
    return Series("xnnpack", (OverlayFile("src/x.c", tmp_path / "x.c"),))


def test_the_same_recipe_has_the_same_keys(recipe: Recipe) -> None:
    assert keys(recipe) == keys(dataclasses.replace(recipe))


def test_a_patch_of_xnnpack_leaves_tflite_alone(recipe: Recipe, series: Series) -> None:
    patched = dataclasses.replace(recipe, stock=False, xnnpack_series=series)
    assert changed(recipe, patched) == (False, True, True)


def test_a_patch_of_the_thread_pool_leaves_tflite_alone(recipe: Recipe, series: Series) -> None:
    patched = dataclasses.replace(recipe, pthreadpool_series=series)
    assert changed(recipe, patched) == (False, True, True)


def test_a_patch_of_tensorflow_lite_leaves_both_slow_stages_alone(
    recipe: Recipe, series: Series
) -> None:
    patched = dataclasses.replace(recipe, tensorflow_series=series)
    assert changed(recipe, patched) == (False, False, True)


def test_a_change_of_the_runner_only_compiles_the_programs(recipe: Recipe) -> None:
    before = keys(recipe)
    with (recipe.patch_dir / "runner/CMakeLists.txt").open("a") as stream:
        stream.write("# changed\n")
    after = keys(recipe)
    assert (before[0] == after[0], before[1] == after[1]) == (True, True)
    assert before[2] != after[2]


def test_xnnpack_is_shared_by_boards_of_one_isa(recipe: Recipe) -> None:
    other = dataclasses.replace(recipe, march="armv8.2-a")
    assert changed(recipe, other) == (True, False, True)


def test_another_compiler_builds_everything_again(recipe: Recipe) -> None:
    compiler = dataclasses.replace(recipe.compiler, version="g++ 13")
    assert changed(recipe, dataclasses.replace(recipe, compiler=compiler)) == (True, True, True)


def test_versions_are_read_from_the_archives_names(recipe: Recipe) -> None:
    assert recipe.tflite_version == "2.14.1"
    assert recipe.xnnpack_commit == "4ea82e5"


def test_an_older_glibc_only_links_the_programs_again(recipe: Recipe) -> None:
    older = dataclasses.replace(recipe, glibc="2.31")
    assert changed(recipe, older) == (False, False, True)
    assert changed(older, dataclasses.replace(recipe, glibc="2.28")) == (False, False, True)


def test_a_sanitizer_leaves_the_slow_stage_alone(recipe: Recipe) -> None:
    address = dataclasses.replace(recipe, sanitizer="address")
    assert changed(recipe, address) == (False, True, True)
    assert changed(address, dataclasses.replace(recipe, sanitizer="thread")) == (False, True, True)


def test_the_header_that_goes_before_ruys_counts_for_armv7_alone(recipe: Recipe) -> None:
    compiler = dataclasses.replace(recipe.compiler, isa="armv7")
    armv7 = dataclasses.replace(recipe, compiler=compiler)
    before = keys(recipe), keys(armv7)
    with (recipe.patch_dir / "ruy_armv7/ruy/platform.h").open("a") as stream:
        stream.write("// changed\n")
    after = keys(recipe), keys(armv7)
    assert after[0] == before[0]
    assert after[1][0] != before[1][0]
    assert after[1][1] == before[1][1]
