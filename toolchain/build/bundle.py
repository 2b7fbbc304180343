"""A bundle: what a board runs, with a manifest that says how it was made."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

import toolchain
from toolchain.build import stages
from toolchain.build.compiler import find_compiler
from toolchain.build.elf import ElfFacts, read_elf
from toolchain.build.glibc import parse_version
from toolchain.build.hwcap import required_features
from toolchain.build.patches import Series, load_series
from toolchain.build.sanitizers import Sanitizer
from toolchain.build.stages import C_LIBRARY, DELEGATE, RUNNER, Recipe, Workshop
from toolchain.errors import BundleError, OutputError
from toolchain.fetch.apt import AptRoot
from toolchain.fetch.sources import load_sources
from toolchain.formats.json_text import parse_json
from toolchain.formats.text_file import read_text
from toolchain.hardware.board_file import Board
from toolchain.hardware.facts import Isa
from toolchain.progress import Progress, Silent
from toolchain.resources import runtime_patch_dir
from toolchain.storage.cache import RECORD, digest, locked, sha256_file
from toolchain.storage.files import check_folder, check_name, disk_full
from toolchain.storage.scratch import scratch_folder

MANIFEST = "manifest.json"
PROGRAMS = (RUNNER, DELEGATE, C_LIBRARY)
"""What every bundle has, besides headers."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceRecord(_Table):
    """One archive that went in."""

    version: str
    file: str
    sha256: str


class FileRecord(_Table):
    """One file of the bundle."""

    sha256: str
    bytes: int
    elf: ElfFacts | None = None


class Manifest(_Table):
    """``manifest.json``; see docs/reference/bundle.md for each key."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    key: str
    version: str
    board: str
    isa: Isa
    march: str
    hwcap: tuple[str, ...] = ()
    """What the board's cores must have, as its kernel writes it in ``/proc/cpuinfo``."""
    stock: bool
    compiler: str
    flags: dict[str, str]
    sources: dict[str, SourceRecord]
    patches: dict[str, dict[str, str]]
    glibc_floor: str | None
    """The oldest glibc that every file of the bundle runs with; the runner alone may need none."""
    files: dict[str, FileRecord]


@dataclass(frozen=True)
class Bundle:
    """A checked bundle on disk."""

    path: Path
    manifest: Manifest

    @property
    def runner(self) -> Path:
        """The program that runs on the board."""
        return self.path / RUNNER

    @property
    def delegate(self) -> Path:
        """The external delegate, for any TFLite interpreter."""
        return self.path / DELEGATE

    @property
    def c_library(self) -> Path:
        """TFLite's C library with the delegate inside; its headers are in ``include``."""
        return self.path / C_LIBRARY

    @classmethod
    def load(cls, path: Path) -> Bundle:
        """Read a bundle and compare every file with the manifest.

        Raises:
            BundleError: no bundle, a manifest that does not fit, or a file that was changed.
        """
        manifest_path = path / MANIFEST
        if not manifest_path.is_file():
            what = f"it has no {MANIFEST}" if path.exists() else "there is no such folder"
            raise BundleError(f"{path} is no bundle: {what}")
        text = read_text(manifest_path, BundleError)
        manifest = parse_json(Manifest, text, BundleError, str(manifest_path))
        if missing := [name for name in PROGRAMS if name not in manifest.files]:
            raise BundleError(f"{manifest_path}: names no {' and no '.join(missing)}")
        if strange := [name for name in manifest.files if not _is_inside(name)]:
            raise BundleError(f"{manifest_path}: {strange[0]!r} is no file of the bundle")
        for name, record in manifest.files.items():
            file = path / name
            # The size first: a file may have been replaced by one that takes hours to read.
            same = file.is_file() and file.stat().st_size == record.bytes
            if not same or sha256_file(file) != record.sha256:
                fault = "was changed" if file.is_file() else "is not there"
                raise BundleError(f"{file} {fault} since it was built")
        return cls(path, manifest)


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return name.isprintable() and not path.is_absolute() and ".." not in path.parts


def bundle_path(board: Board, *, stock: bool = False, sanitizer: Sanitizer | None = None) -> Path:
    """Where a board's bundle is left: ``build/<board>``, ``...-stock``, ``...-address``.

    A board of the inventory has that of the board that it is like.
    """
    variants = ("stock" if stock else None, sanitizer)
    return Path("build") / "-".join([board.built_as, *(name for name in variants if name)])


def build(
    board: Board,
    *,
    stock: bool = False,
    sanitizer: Sanitizer | None = None,
    out: Path | None = None,
    sources: Path | None = None,
    jobs: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Bundle:
    """Make a board's bundle, from the cache as far as it goes.

    Args:
        board: what to build for.
        stock: leave XNNPACK and the delegate as upstream wrote them, but for fixes.
        sanitizer: compile XNNPACK, the delegate and the runner for it; a bundle for tests.
        out: the bundle's folder, ``build/<board>`` by default; replaced as a whole. A folder
            that is not a bundle is never replaced.
        sources: a folder with archives that the user has; asked before the network.
        jobs: parallel compilers, the number of usable cores by default.
        force: compile the programs again and write the bundle anew.
        progress: where stages are announced.

    Returns:
        The bundle, checked.

    Raises:
        OutputError: ``out`` cannot be written, or is there and no bundle; told before any work.
        SourceError: an archive cannot be had or is not the pinned one.
        BuildError: a patch, CMake or a compiler failed.
        MissingToolError: a program is not installed; the hint is the line that installs it.
    """
    progress = progress or Silent()
    out = out or bundle_path(board, stock=stock, sanitizer=sanitizer)
    _check_out(out)

    def waiting() -> None:
        progress.note(f"{out}: waiting for another command that builds it")

    with locked(f"bundle-{digest(str(out.resolve()))[:16]}", waiting):
        recipe = recipe_for(board, stock=stock, sanitizer=sanitizer)
        key = bundle_key(recipe, board)
        present = None if force else _present(out, key)
        if present:
            return present
        usable = jobs or len(os.sched_getaffinity(0))
        shop = Workshop(AptRoot(progress, sources=sources), usable, progress)
        with locked(f"programs-{recipe.programs_key()}"):  # nobody makes it anew while it is copied
            _write(stages.build_programs(recipe, shop, again=force), out, board, recipe, key)
        return Bundle.load(out)


def recipe_for(board: Board, *, stock: bool = False, sanitizer: Sanitizer | None = None) -> Recipe:
    """What a board's bundle is made from, with the compiler that is installed.

    Raises:
        SourceError, BuildError: ``sources.toml`` or a series is faulty.
        MissingToolError: no compiler.
    """
    xnnpack, tensorflow, pthreadpool = patch_series(stock=stock)
    return Recipe(
        compiler=find_compiler(board.isa),
        march=board.march,
        stock=stock,
        sources=load_sources(),
        xnnpack_series=xnnpack,
        tensorflow_series=tensorflow,
        patch_dir=runtime_patch_dir(),
        glibc=board.glibc,
        sanitizer=sanitizer,
        pthreadpool_series=pthreadpool,
    )


def bundle_key(recipe: Recipe, board: Board) -> str:
    """The key of the bundle that is made by a recipe: another one is made of other things.

    Boards that are like one share its bundle, whichever of them it was built for.
    """
    return digest(recipe.programs_key(), board.built_as)


def patch_series(*, stock: bool = False) -> tuple[Series, Series, Series]:
    """What is done to XNNPACK, TensorFlow and pthreadpool.

    Raises:
        BuildError: a series is faulty.
    """
    folder = runtime_patch_dir()
    return (
        load_series(folder / "xnnpack", stock=stock),
        load_series(folder / "tensorflow", stock=stock),
        # Whole in a stock bundle, too: its overlay is the test of a fix.
        load_series(folder / "pthreadpool"),
    )


def patch_hashes(series: Iterable[Series]) -> dict[str, dict[str, str]]:
    """The hash of each file of each series, as a manifest has them."""
    return {one.name: one.hashes() for one in series}


def _check_out(out: Path) -> None:
    check_name(out, OutputError)
    if out.exists() and not (out / MANIFEST).is_file():
        empty = out.is_dir() and not any(out.iterdir())
        if not empty:
            raise OutputError(
                f"{out} is there and is not a bundle, so it is not replaced",
                hint="name another folder with --out, or move it away",
            )
    check_folder(out)


def _present(out: Path, key: str) -> Bundle | None:
    """The bundle that is there, if it is whole and was made from the same things."""
    try:
        found = Bundle.load(out)
    except BundleError:
        return None
    return found if found.manifest.key == key else None


def _write(built: Path, out: Path, board: Board, recipe: Recipe, key: str) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(out) as scratch:
            ours = shutil.ignore_patterns(RECORD)
            shutil.copytree(built, scratch, dirs_exist_ok=True, ignore=ours)
            manifest = _manifest(scratch, board, recipe, key)
            text = manifest.model_dump_json(indent=2, by_alias=True) + "\n"
            (scratch / MANIFEST).write_text(text)
            scratch.chmod(0o755)
            _replace_folder(scratch, out)
    except OSError as error:
        told = disk_full(error, out)
        raise told or OutputError(f"{out}: cannot be written: {error.strerror or error}") from error


def _replace_folder(new: Path, old: Path) -> None:
    """Put ``new`` where ``old`` is; in between there is no bundle, never half of one."""
    if old.exists():
        with scratch_folder(old) as aside:
            old.replace(aside / old.name)
            new.replace(old)
    else:
        new.replace(old)


def _manifest(folder: Path, board: Board, recipe: Recipe, key: str) -> Manifest:
    files: dict[str, FileRecord] = {}
    for path in sorted(item for item in folder.rglob("*") if item.is_file()):
        name = path.relative_to(folder).as_posix()
        elf = read_elf(path) if name in PROGRAMS else None
        files[name] = FileRecord(sha256=sha256_file(path), bytes=path.stat().st_size, elf=elf)
    records = {
        item.name: SourceRecord(version=item.version, file=item.file, sha256=item.sha256)
        for item in recipe.sources.source
        if item.name not in stages.TEST_SOURCES
    }
    for deb in recipe.sources.deb:
        pinned = deb.for_arch(recipe.compiler.deb_arch)
        records[deb.name] = SourceRecord(
            version=pinned.version or deb.version, file=pinned.file, sha256=pinned.sha256
        )
    floors = [record.elf.glibc_floor for record in files.values() if record.elf]
    known = [floor for floor in floors if floor]
    return Manifest(
        schema=1,
        key=key,
        version=toolchain.__version__,
        board=board.built_as,
        isa=board.isa,
        march=board.march,
        hwcap=required_features(recipe.compiler, board.march),
        stock=recipe.stock,
        compiler=recipe.compiler.version,
        flags={
            "tflite": f"{stages.TFLITE_FLAGS} -march={board.march}",
            "xnnpack": recipe.xnnpack_flags,
            "programs": f"{recipe.program_flags} -march={board.march}",
        },
        sources=records,
        patches=patch_hashes(
            (recipe.xnnpack_series, recipe.tensorflow_series, recipe.pthreadpool_series)
        ),
        glibc_floor=max(known, key=parse_version, default=None),
        files=files,
    )
