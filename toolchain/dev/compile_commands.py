"""How each C and C++ file of ours is compiled, for tools that read code as a compiler does.

The commands are CMake's own, of the projects that builds configure. Nothing is compiled for them:
the patched trees are laid out, and what would be linked need not be there.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from toolchain.build import stages
from toolchain.build.ninja import configure
from toolchain.build.stages import Recipe, Workshop
from toolchain.dev import xnnpack_tests
from toolchain.fetch.sources import tree
from toolchain.storage.cache import digest

Commands = dict[str, list[str]]
"""A file's path in the repository, and the arguments of its compiler without the file's name."""

# A file that no project compiles, but a test or a developers' program by itself, and one of the
# projects that is compiled alike.
_LIKE = {
    **{
        f"runtime_patch/qemu_plugin/{name}.c": "runtime_patch/glibc_compat.c"
        for name in (
            "aarch64_code",
            "branch_predictor",
            "caches",
            "count_instructions",
            "edges",
            "machine_code",
            "trace",
            "x86_64_code",
        )
    },
    "tests/emulated/core_tiles.cc": "runtime_patch/xnnpack/overlay/test/live-taps.cc",
    "tests/emulated/old_glibc_check.cc": "runtime_patch/runner/files.cc",
    "tests/emulated/old_glibc_main.c": "runtime_patch/glibc_compat.c",
    "tests/fuzz/model_check_fuzz.cc": "runtime_patch/runner/model_check.cc",
    "tests/native/c_library/run_model.c": "runtime_patch/c_library/op_resolver.cc",
    "tests/native/qemu_plugin/play.c": "runtime_patch/glibc_compat.c",
}
# Where headers of overlays are included from: first in the list, so that a tool names our files and
# sees them as they are now, not their copies in a tree.
_OVERLAY_HEADERS = (
    "runtime_patch/xnnpack/overlay/include",
    "runtime_patch/xnnpack/overlay/src",
    "runtime_patch/xnnpack/overlay",
    "runtime_patch/tensorflow/overlay",
    "runtime_patch/runner",
    "runtime_patch/qemu_plugin",
)
_GLIBC_MINOR = 31
_KEY = "key.txt"


def compile_commands(
    root: Path, repository: Path, recipes: Sequence[Recipe], shop: Workshop
) -> Commands:
    """The command of each C and C++ file of the repository that one of the recipes compiles.

    Args:
        root: a folder for the trees and CMake's, which are made anew when what they follow from
            has changed: patches, pins, options, the names of files.
        repository: what the files' paths are relative to.
        recipes: the first one is asked for all files, the others for those of XNNPACK that it does
            not compile: micro-kernels of other instruction sets.
        shop: where sources come from.

    Raises:
        SourceError, BuildError: from fetching, patching and configuring.
    """
    key = _key(repository, recipes)
    if not (root / _KEY).is_file() or (root / _KEY).read_text() != key:
        shutil.rmtree(root, ignore_errors=True)
        _configure(root, repository, recipes, shop)
        (root / _KEY).write_text(key)
    found: Commands = {}
    for index, recipe in enumerate(recipes):
        triple = recipe.compiler.triple
        for database in sorted((root / str(index)).glob("*/compile_commands.json")):
            for name, arguments in _read(database, root, repository):
                found.setdefault(name, [*arguments, f"--target={triple}"])
    for name, other in _LIKE.items():
        if other in found:
            found[name] = _in_language_of(name, found[other])
    return found


def _key(repository: Path, recipes: Sequence[Recipe]) -> str:
    parts: list[str | bytes] = ["compile commands 1", str(repository)]
    parts += [recipe.compiler.version for recipe in recipes]
    files = sorted(path for path in recipes[0].patch_dir.rglob("*") if path.is_file())
    files += [repository / "tests/native/runner/CMakeLists.txt"]
    for path in files:
        parts.append(path.relative_to(repository).as_posix())
        parts.append("" if path.suffix in (".c", ".cc", ".h") else path.read_bytes())
    for module in (stages.__file__, xnnpack_tests.__file__, __file__):
        parts.append(Path(module).read_bytes())
    return digest(*parts)


def _configure(root: Path, repository: Path, recipes: Sequence[Recipe], shop: Workshop) -> None:
    recipe = recipes[0]
    with shop.progress.stage(f"lay sources out in {root}"):
        source = stages.patched_xnnpack(recipe, shop, root / "xnnpack")
        pool = stages.patched_pthreadpool(recipe, shop, root / "pthreadpool")
        tensorflow = stages.patched_tensorflow(recipe, shop, root / "tensorflow")
    log = root / "configure.log"
    with shop.progress.stage(f"configure builds in {root}"):
        for index, other in enumerate(recipes):
            build = root / str(index)
            definitions = stages.xnnpack_definitions(other, shop, pool)
            arguments = other.compiler.cmake_arguments()
            configure(source, build / "library", definitions, extra=arguments, log=log)
        build, arguments = root / "0", recipe.compiler.cmake_arguments()
        stages.write_definitions(build / "library", root)
        definitions = xnnpack_tests.tests_definitions(
            recipe, shop, xnnpack_tests.TESTS, source=source, pool=pool, xnnpack=root
        )
        project = recipe.patch_dir / "xnnpack_tests"
        configure(project, build / "tests", definitions, extra=arguments, log=log)
        definitions = stages.program_definitions(
            recipe, shop, tflite=root, tensorflow=tensorflow, headers=source, xnnpack=root
        )
        definitions["TILESKIP_GLIBC_DIR"] = root
        definitions["TILESKIP_GLIBC_MINOR"] = _GLIBC_MINOR
        configure(recipe.patch_dir, build / "programs", definitions, extra=arguments, log=log)
        googletest = tree(recipe.sources.get("googletest"), shop.apt)
        definitions = {"GOOGLETEST_SOURCE_DIR": googletest}
        project = repository / "tests/native/runner"
        configure(project, build / "runner-tests", definitions, extra=arguments, log=log)
    for series, place in ((recipe.xnnpack_series, source), (recipe.tensorflow_series, tensorflow)):
        for file in series.overlay:
            if file.path.suffix == ".h":
                (place / file.name).unlink()


def _read(database: Path, root: Path, repository: Path) -> Iterator[tuple[str, list[str]]]:
    """The commands of our files in one of CMake's databases."""
    for command in json.loads(database.read_text(encoding="utf-8")):
        path = Path(command["file"])
        if path.is_relative_to(root):
            tree_name, *rest = path.relative_to(root).parts
            path = repository.joinpath("runtime_patch", tree_name, "overlay", *rest)
        if not path.is_file() or not path.is_relative_to(repository):
            continue
        words = shlex.split(command["command"])
        # The compiler's name, then options, and at the end: -o OBJECT -c FILE.
        compiler, *options = words[: words.index("-o")]
        headers = [f"-I{repository / folder}" for folder in _OVERLAY_HEADERS]
        yield path.relative_to(repository).as_posix(), [compiler, *headers, *options]


def _in_language_of(name: str, arguments: Sequence[str]) -> list[str]:
    """The arguments of another file, without what is for its language alone."""
    if name.endswith(".c"):
        return ["cc", *(word for word in arguments[1:] if not word.startswith("-std="))]
    return list(arguments)
