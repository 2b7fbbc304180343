"""TensorFlow Lite's own benchmark tool, from the pinned sources, on the libraries of a bundle."""

from __future__ import annotations

import shutil
from pathlib import Path

from toolchain.build import stages
from toolchain.build.ninja import compile_targets, configure
from toolchain.build.stages import Recipe, Workshop
from toolchain.fetch.sources import tree
from toolchain.storage.cache import digest, entry

PROGRAM = "benchmark_model"
_TOOL_SOURCES = ("tensorflow/core/util", "tensorflow/tsl/util")
"""What it needs of TensorFlow beside TensorFlow Lite: a few files that a bundle has no use for."""


def build_benchmark_model(recipe: Recipe, shop: Workshop) -> Path:
    """Compile the program; everything but its own sources comes from the stages of a bundle.

    Args:
        recipe: of a bundle for this machine.
        shop: how to build it.

    Returns:
        The program, in the cache.

    Raises:
        SourceError, BuildError: from fetching, patching and compiling.
    """
    project = recipe.patch_dir / PROGRAM
    key = digest(
        "benchmark_model 1", recipe.programs_key(), (project / "CMakeLists.txt").read_bytes()
    )
    tflite = stages.build_tflite(recipe, shop)
    xnnpack = stages.build_xnnpack(recipe, shop)

    def fill(folder: Path) -> None:
        log = stages.log_file(PROGRAM, key)
        build = folder / "build"
        pinned = recipe.sources.get("tensorflow").model_copy(update={"only": _TOOL_SOURCES})
        definitions = stages.program_definitions(
            recipe, shop,
            tflite=tflite,
            tensorflow=stages.patched_tensorflow(recipe, shop, folder / "src/tensorflow"),
            headers=xnnpack / "src/xnnpack",
            xnnpack=xnnpack,
        )  # fmt: skip
        definitions["TENSORFLOW_TOOLS_SOURCE_DIR"] = tree(pinned, shop.apt)
        configure(project, build, definitions, extra=recipe.compiler.cmake_arguments(), log=log)
        title = "compile TensorFlow Lite's benchmark_model"
        compile_targets(
            build, [PROGRAM], jobs=shop.jobs, log=log, progress=shop.progress, title=title
        )
        (build / PROGRAM).replace(folder / PROGRAM)
        shutil.rmtree(build)
        shutil.rmtree(folder / "src")

    return entry("benchmark-model", key, fill, needs=[PROGRAM]) / PROGRAM
