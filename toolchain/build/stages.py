"""The three stages of a bundle, each cached under the hash of everything that goes into it.

``tflite`` (TensorFlow Lite without XNNPACK) is the slow one: patched and stock runtimes and all
boards of one ISA and ``-march`` share it. ``xnnpack`` is XNNPACK, patched or pristine, for an
ISA: it picks its kernels at run time, so no board is named to its compiler. ``programs`` links.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import toolchain
from toolchain import children
from toolchain.build import glibc
from toolchain.build.compiler import Compiler
from toolchain.build.ninja import compile_targets, configure
from toolchain.build.patches import Series
from toolchain.build.sanitizers import Sanitizer, sanitizer_flags
from toolchain.errors import BuildError
from toolchain.fetch.apt import AptRoot
from toolchain.fetch.archive import unpack_tarball
from toolchain.fetch.sources import SourceList, deb_tree, fetch, tree
from toolchain.progress import Progress
from toolchain.resources import runtime_patch_dir
from toolchain.storage.cache import cache_dir, cache_place, digest, entry, present

# -O3 takes 40% longer to compile (five large kernels: 56 s, not 40); the kernels that count are
# XNNPACK's.
TFLITE_FLAGS = "-O2 -DNDEBUG"
XNNPACK_FLAGS = "-O3 -DNDEBUG"
PROGRAM_FLAGS = "-O2 -DNDEBUG"
XNNPACK_OPTIONS: dict[str, object] = {
    "XNNPACK_BUILD_BENCHMARKS": False,
    "XNNPACK_BUILD_ALL_MICROKERNELS": False,
    "XNNPACK_ENABLE_KLEIDIAI": False,
    "XNNPACK_LIBRARY_TYPE": "static",
    "CMAKE_POSITION_INDEPENDENT_CODE": True,
}
RUNNER = "tileskip-run"
PROGRAM_TARGETS = (RUNNER, "tileskip_delegate", "tensorflowlite_c")
DELEGATE = "libtileskip_delegate.so"
C_LIBRARY = "libtensorflowlite_c.so"
KERNEL_SYMBOLS = "xnn_*_ukernel_*"
DELEGATE_SOURCES = "tensorflow/lite/delegates/xnnpack"
"""In TensorFlow's tree."""

_TFLITE_SOURCES = (
    "tensorflow", "abseil", "eigen3", "farmhash", "flatbuffers", "gemmlowp", "neon-2-sse",
    "pthreadpool", "cpuinfo",
)  # fmt: skip
_XNNPACK_SOURCES = ("pthreadpool", "cpuinfo", "fxdiv")
TEST_SOURCES = ("googletest",)
_HEADERS = ("builtin_ops.h", "c/*.h", "core/c/*.h", "core/async/c/*.h")
_VERSION_OF_ORIG = re.compile(r"_([0-9][^_]*?)(?:\+dfsg)?\.orig\.tar")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a bundle's files are."""

    compiler: Compiler
    march: str
    stock: bool
    sources: SourceList
    xnnpack_series: Series
    tensorflow_series: Series
    patch_dir: Path = field(default_factory=runtime_patch_dir)
    glibc: str | None = None
    """The oldest glibc that the libraries have to load with; the compiler's own if absent."""
    sanitizer: Sanitizer | None = None
    """Compile XNNPACK and the programs for it; the slow stage is the same with and without."""
    pthreadpool_series: Series = field(default_factory=lambda: Series("pthreadpool"))
    """Faults of the thread pool, which are mended in a stock bundle too."""

    def tflite_key(self) -> str:
        """Hash of what goes into the stage ``tflite``."""
        pins = [self.sources.get(name).sha256 for name in _TFLITE_SOURCES]
        pins.append(self.sources.get_deb("ruy").for_arch(self.compiler.deb_arch).sha256)
        files = [self.patch_dir / "tflite/CMakeLists.txt", self.patch_dir / "cmake/common.cmake"]
        files += sorted(self.header_overrides.rglob("*.h")) if self.header_overrides else []
        return digest(
            "tflite 1", self.compiler.version, self.compiler.isa, self.march, TFLITE_FLAGS,
            *pins, *(path.read_bytes() for path in files),
        )  # fmt: skip

    def xnnpack_key(self) -> str:
        """Hash of what goes into the stage ``xnnpack``."""
        pins = [self.sources.get(name).sha256 for name in ("xnnpack", *_XNNPACK_SOURCES)]
        exempt = [self.exempt_from_sanitizers.read_bytes()] if self.sanitizer else []
        return digest(
            "xnnpack 1", self.compiler.version, self.compiler.isa, self.xnnpack_flags,
            json.dumps(self.xnnpack_options), *pins,
            self.xnnpack_series.key, self.pthreadpool_series.key, *exempt,
        )  # fmt: skip

    def programs_key(self) -> str:
        """Hash of what goes into the whole bundle."""
        parts: list[str | bytes] = [
            "programs 2", self.tflite_key(), self.xnnpack_key(), self.tensorflow_series.key,
            str(self.stock), self.program_flags, toolchain.__version__,
            self.sources.get("fft2d").sha256,
            self.sources.get("fp16").sha256,
            *([f"glibc {self.glibc}"] if self.glibc else []),
        ]  # fmt: skip
        for path in _program_files(self.patch_dir):
            parts += [path.relative_to(self.patch_dir).as_posix(), path.read_bytes()]
        return digest(*parts)

    @property
    def xnnpack_flags(self) -> str:
        """The compiler's, in the stage ``xnnpack``."""
        return sanitizer_flags(self.sanitizer) if self.sanitizer else XNNPACK_FLAGS

    @property
    def program_flags(self) -> str:
        """The compiler's, in the stage ``programs``."""
        return sanitizer_flags(self.sanitizer) if self.sanitizer else PROGRAM_FLAGS

    @property
    def xnnpack_options(self) -> dict[str, object]:
        """Options of XNNPACK's own CMake."""
        if self.sanitizer:
            # A sanitizer sees nothing of what assembly reads and writes.
            return {**XNNPACK_OPTIONS, "XNNPACK_ENABLE_ASSEMBLY": False}
        return XNNPACK_OPTIONS

    @property
    def exempt_from_sanitizers(self) -> Path:
        """Upstream's known faults in XNNPACK, as CMake."""
        return self.patch_dir / "sanitized/xnnpack.cmake"

    @property
    def header_overrides(self) -> Path | None:
        """A folder of headers that go before ruy's own."""
        return self.patch_dir / "ruy_armv7" if self.compiler.isa == "armv7" else None

    @property
    def tflite_version(self) -> str:
        """``2.14.1``."""
        return _version(self.sources.get("tensorflow").file)

    @property
    def xnnpack_commit(self) -> str:
        """``4ea82e5``, the last part of the archive's version."""
        return _version(self.sources.get("xnnpack").file).rsplit(".", 1)[-1]


@dataclass(frozen=True)
class Workshop:
    """Where sources come from, how many jobs run, and who is told."""

    apt: AptRoot
    jobs: int
    progress: Progress


def build_tflite(recipe: Recipe, shop: Workshop) -> Path:
    """The stage ``tflite``: a folder with ``lib/*.a``.

    Raises:
        SourceError, BuildError: from fetching and compiling.
    """
    key = recipe.tflite_key()

    def fill(folder: Path) -> None:
        log = log_file("tflite", key)
        build = folder / "build"
        definitions = {**_tflite_trees(recipe, shop), **build_flags(TFLITE_FLAGS, recipe.march)}
        definitions["TILESKIP_ISA"] = recipe.compiler.isa
        arguments = recipe.compiler.cmake_arguments()
        configure(recipe.patch_dir / "tflite", build, definitions, extra=arguments, log=log)
        title = f"compile TensorFlow Lite ({recipe.compiler.isa})"
        compile_targets(
            build, ["tensorflow-lite"], jobs=shop.jobs, log=log, progress=shop.progress, title=title
        )
        _keep_archives(build, folder / "lib")
        shutil.rmtree(build)

    return entry("tflite", key, fill, needs=["lib/libtensorflow-lite.a"])


def build_xnnpack(recipe: Recipe, shop: Workshop) -> Path:
    """The stage ``xnnpack``: ``lib/*.a``, ``definitions.txt`` and ``src/xnnpack`` for its headers.

    Raises:
        SourceError, BuildError: from fetching, patching and compiling.
    """
    key = recipe.xnnpack_key()

    def fill(folder: Path) -> None:
        log = log_file("xnnpack", key)
        build = folder / "build"
        source = patched_xnnpack(recipe, shop, folder / "src/xnnpack")
        pool = patched_pthreadpool(recipe, shop, folder / "src/pthreadpool")
        definitions = xnnpack_definitions(recipe, shop, pool)
        configure(source, build, definitions, extra=recipe.compiler.cmake_arguments(), log=log)
        patched = "stock" if recipe.stock else "patched"
        title = f"compile XNNPACK ({_variant(recipe)}, {patched})"
        compile_targets(
            build, ["all"], jobs=shop.jobs, log=log, progress=shop.progress, title=title
        )
        _keep_archives(build, folder / "lib")
        write_definitions(build, folder)
        shutil.rmtree(build)
        shutil.rmtree(folder / "src/pthreadpool")
        for path in source.iterdir():
            if path.is_dir() and path.name not in ("include", "src"):
                shutil.rmtree(path)

    needs = ["lib/libXNNPACK.a", "definitions.txt", "src/xnnpack/include/xnnpack.h"]
    return entry("xnnpack", key, fill, needs=needs)


def build_programs(recipe: Recipe, shop: Workshop, *, again: bool = False) -> Path:
    """The stage ``programs``: the stripped files of a bundle, all but its manifest.

    Args:
        recipe: what to build.
        shop: how to build it.
        again: drop what the cache has of this stage (not of the slow ones) and build it anew.

    Raises:
        SourceError, BuildError: from fetching, patching and compiling.
    """
    key = recipe.programs_key()
    if not again and (there := present("programs", key)):
        return there
    tflite = build_tflite(recipe, shop)
    xnnpack = build_xnnpack(recipe, shop)

    def fill(folder: Path) -> None:
        log = log_file("programs", key)
        build = folder / "build"
        tensorflow = patched_tensorflow(recipe, shop, folder / "src/tensorflow")
        # A path without a key in it, so that ccache knows what includes these when a patch changes.
        headers = folder / "src/xnnpack"
        headers.symlink_to(xnnpack / "src/xnnpack")
        definitions = program_definitions(
            recipe, shop, tflite=tflite, tensorflow=tensorflow, headers=headers, xnnpack=xnnpack
        )
        if recipe.glibc:
            stand_in = glibc.stand_in(recipe.compiler, recipe.glibc, folder / "src/glibc")
            definitions["TILESKIP_GLIBC_DIR"] = stand_in
            definitions["TILESKIP_GLIBC_MINOR"] = glibc.parse_version(recipe.glibc)[1]
        configure(
            recipe.patch_dir, build, definitions, extra=recipe.compiler.cmake_arguments(), log=log
        )
        title = f"compile the runner and the libraries ({_variant(recipe)})"
        compile_targets(
            build, PROGRAM_TARGETS,
            jobs=shop.jobs, log=log, progress=shop.progress, title=title,
        )  # fmt: skip
        for name, kept in (
            (f"runner/{RUNNER}", KERNEL_SYMBOLS),
            (f"delegate/{DELEGATE}", None),
            (f"c_library/{C_LIBRARY}", None),
        ):
            built = build / name
            if recipe.sanitizer:  # whose reports name functions and lines
                built.replace(folder / built.name)
            else:
                _strip(recipe.compiler, built, folder / built.name, keep=kept)
        pristine = tree(recipe.sources.get("tensorflow"), shop.apt)
        lite = pristine / "tensorflow/lite"
        for pattern in _HEADERS:
            for header in sorted(lite.glob(pattern)):
                place = folder / "include/tensorflow/lite" / header.relative_to(lite)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(header, place)
        shutil.rmtree(build)
        shutil.rmtree(folder / "src")

    return entry("programs", key, fill, again=again)


# --- what the stages share, and XNNPACK's tests with them --------------------------------------


def patched_xnnpack(recipe: Recipe, shop: Workshop, dest: Path) -> Path:
    """Unpack XNNPACK into ``dest`` and apply the recipe's series.

    Raises:
        SourceError: the archive cannot be had.
        BuildError: a patch does not apply.
    """
    pinned = recipe.sources.get("xnnpack")
    unpack_tarball(fetch(pinned, shop.apt), dest, strip=pinned.strip)
    recipe.xnnpack_series.apply(dest)
    return dest


def patched_tensorflow(recipe: Recipe, shop: Workshop, dest: Path) -> Path:
    """Copy into ``dest`` what of TensorFlow Lite is compiled with the programs, and patch it.

    That is the XNNPACK delegate, and the kernels that a patch changes. They are linked before the
    archive of the stage ``tflite``, whose objects of the same names are then not taken; so that
    stage, which is the slow one, knows no patch.

    Raises:
        SourceError: the archive cannot be had.
        BuildError: a patch does not apply.
    """
    pristine = tree(recipe.sources.get("tensorflow"), shop.apt)
    shutil.copytree(pristine / DELEGATE_SOURCES, dest / DELEGATE_SOURCES)
    for name in patched_kernels(recipe):
        place = dest / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(pristine / name, place)
    recipe.tensorflow_series.apply(dest)
    return dest


def patched_kernels(recipe: Recipe) -> list[str]:
    """TensorFlow Lite's own kernels that a patch changes; what else is patched is the delegate."""
    names = recipe.tensorflow_series.patched_files()
    return [name for name in names if not name.startswith(f"{DELEGATE_SOURCES}/")]


def patched_pthreadpool(recipe: Recipe, shop: Workshop, dest: Path) -> Path:
    """Unpack the thread pool into ``dest``, a folder of the build's own, and patch it.

    Every file of XNNPACK's includes its header, so a path that changes with the patch, as that of
    a tree in the cache does, would compile them all anew: ccache looks at the path, too.

    Raises:
        SourceError: the archive cannot be had.
        BuildError: a patch does not apply.
    """
    pinned = recipe.sources.get("pthreadpool")
    unpack_tarball(fetch(pinned, shop.apt), dest, strip=pinned.strip)
    recipe.pthreadpool_series.apply(dest)
    return dest


def xnnpack_definitions(recipe: Recipe, shop: Workshop, pool: Path) -> dict[str, object]:
    """CMake's definitions for XNNPACK's own project: options, flags and where its dependencies are.

    Args:
        recipe: what is built.
        shop: where sources come from.
        pool: the patched thread pool.

    Raises:
        SourceError: an archive cannot be had.
    """
    exempt = {"CMAKE_PROJECT_XNNPACK_INCLUDE": recipe.exempt_from_sanitizers}
    return {
        **recipe.xnnpack_options,
        **build_flags(recipe.xnnpack_flags, None),
        **(exempt if recipe.sanitizer else {}),
        "XNNPACK_BUILD_TESTS": False,
        **{
            f"{name.upper()}_SOURCE_DIR": tree(recipe.sources.get(name), shop.apt)
            for name in _XNNPACK_SOURCES
            if name != "pthreadpool"
        },
        "PTHREADPOOL_SOURCE_DIR": pool,
    }


def write_definitions(build: Path, folder: Path) -> None:
    """Write ``definitions.txt``: what a configured build of XNNPACK defines for its files."""
    flags = _definitions_of(build / "compile_commands.json", "/src/operator-run.c")
    (folder / "definitions.txt").write_text("\n".join(flags) + "\n")


def program_definitions(
    recipe: Recipe, shop: Workshop, *, tflite: Path, tensorflow: Path, headers: Path, xnnpack: Path
) -> dict[str, object]:
    """CMake's definitions for the programs (``runtime_patch/CMakeLists.txt``).

    Args:
        recipe: what is built.
        shop: where sources come from.
        tflite: what the stage ``tflite`` left.
        tensorflow: the patched delegate and kernels.
        headers: XNNPACK's patched tree, or its headers alone.
        xnnpack: what the stage ``xnnpack`` left.

    Raises:
        SourceError: an archive cannot be had.
    """
    ruy = deb_tree(recipe.sources.get_deb("ruy"), recipe.compiler.deb_arch, shop.apt)
    return {
        **_tflite_trees(recipe, shop),
        **build_flags(recipe.program_flags, recipe.march),
        "TENSORFLOW_DELEGATE_SOURCE_DIR": tensorflow,
        "TILESKIP_PATCHED_KERNELS": ";".join(
            str(tensorflow / name) for name in patched_kernels(recipe)
        ),
        "XNNPACK_SOURCE_DIR": headers,
        "FXDIV_SOURCE_DIR": tree(recipe.sources.get("fxdiv"), shop.apt),
        "FP16_SOURCE_DIR": tree(recipe.sources.get("fp16"), shop.apt),
        "RUY_LIBRARY_DIR": ruy / "usr/lib" / recipe.compiler.triple,
        "FFT2D_SOURCE_DIR": tree(recipe.sources.get("fft2d"), shop.apt),
        "TILESKIP_ISA": recipe.compiler.isa,
        "TILESKIP_STOCK": recipe.stock,
        "TILESKIP_SANITIZED": recipe.sanitizer is not None,
        "TILESKIP_TFLITE_DIR": tflite,
        "TILESKIP_XNNPACK_DIR": xnnpack,
        "TILESKIP_VERSION": toolchain.__version__,
        "TILESKIP_TFLITE_VERSION": recipe.tflite_version,
        "TILESKIP_XNNPACK_COMMIT": recipe.xnnpack_commit,
    }


def log_folder() -> Path:
    """Where the logs of all stages go; it may not be there yet."""
    return cache_place() / "logs"


def log_file(stage: str, key: str) -> Path:
    """Where a stage's output goes; it stays when the stage fails."""
    return log_folder() / f"{stage}-{key[:16]}.log"


def _tflite_trees(recipe: Recipe, shop: Workshop) -> dict[str, object]:
    trees: dict[str, object] = {}
    for name in _TFLITE_SOURCES:
        place = tree(recipe.sources.get(name), shop.apt)
        trees[f"{name.upper().replace('-', '_')}_SOURCE_DIR"] = place
    ruy = deb_tree(recipe.sources.get_deb("ruy"), recipe.compiler.deb_arch, shop.apt)
    headers = [recipe.header_overrides, ruy / "usr/include"]
    trees["RUY_SOURCE_DIR"] = ";".join(str(path) for path in headers if path)
    return trees


def build_flags(release: str, march: str | None) -> dict[str, object]:
    """CMake's definitions for a release build with these flags."""
    # Without the map, assertions would carry the builder's paths into the programs.
    flags_of_all = [f"-ffile-prefix-map={cache_dir()}/=", *([f"-march={march}"] if march else [])]
    common = shlex.join(flags_of_all)  # the build's shell reads them, and a folder may have spaces
    flags: dict[str, object] = {"CMAKE_BUILD_TYPE": "Release"}
    for language in ("C", "CXX"):
        flags[f"CMAKE_{language}_FLAGS"] = common
        flags[f"CMAKE_{language}_FLAGS_RELEASE"] = release
    return flags


def _variant(recipe: Recipe) -> str:
    """What is compiled, for the title of a stage."""
    isa = recipe.compiler.isa
    return f"{isa}, {recipe.sanitizer} sanitizer" if recipe.sanitizer else isa


def _program_files(patch_dir: Path) -> list[Path]:
    """Every file of ``runtime_patch`` that is compiled into the programs."""
    found = [patch_dir / name for name in ("CMakeLists.txt", "ruy_compat.cc", "glibc_compat.c")]
    for folder in ("cmake", "operators", "runner", "delegate", "c_library"):
        found += sorted(path for path in (patch_dir / folder).rglob("*") if path.is_file())
    return found


def _keep_archives(build: Path, lib: Path) -> None:
    lib.mkdir()
    for archive in sorted(build.rglob("*.a")):
        archive.replace(lib / archive.name)


def _definitions_of(commands: Path, suffix: str) -> list[str]:
    """The ``-D`` definitions that one file of a build was compiled with."""
    for command in json.loads(commands.read_text(encoding="utf-8")):
        if command["file"].endswith(suffix):
            words = shlex.split(command["command"])
            return [word[2:] for word in words if word.startswith("-DXNN_")]
    raise BuildError(f"{commands}: no file ends in {suffix}")


def _strip(compiler: Compiler, built: Path, dest: Path, *, keep: str | None = None) -> None:
    kept = ["--wildcard", f"--keep-symbol={keep}"] if keep else []
    result = children.run(
        [compiler.strip, "--strip-all", *kept, "-o", str(dest), str(built)],
        limit=children.WORK_S,
        fault=BuildError,
    )
    if result.returncode:
        raise BuildError(f"{built.name} could not be stripped: {result.stderr.strip()}")


def _version(filename: str) -> str:
    match = _VERSION_OF_ORIG.search(filename)
    if not match:
        raise BuildError(f"{filename}: no version can be read from this name")
    return match[1]
