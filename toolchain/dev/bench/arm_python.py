"""Python for aarch64 with another runtime, to count that runtime's instructions under QEMU.

Debian's Python comes from its archive and the runtimes from the same package index as everywhere
else; neither is installed here. Both are kept in the cache.
"""

from __future__ import annotations

import json
import os
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchain import children
from toolchain.build.qemu_user import emulator_command
from toolchain.dev.bench import peer_worker
from toolchain.dev.bench.counts import read_marks
from toolchain.errors import BoardError, SourceError
from toolchain.fetch.apt import AptRoot, unpack_deb
from toolchain.hardware.facts import Core
from toolchain.progress import Progress, Silent
from toolchain.storage.cache import digest, entry
from toolchain.timing.qemu_plugin import compiled_plugin

_LIBRARIES = (
    "libc6", "zlib1g", "libexpat1", "{ssl}", "libstdc++6", "libgcc-s1", "libgomp1", "libbz2-1.0",
    "liblzma5", "{ffi}",
)  # fmt: skip
_NUMPY = "numpy==1.26.4"
# One version serves all: tflite-runtime needs numpy 1, the others take it, and so does Python 3.9.
_PLATFORMS = ("manylinux2014", "manylinux_2_27", "manylinux_2_28", "manylinux_2_34")
_RUNS = 2


@dataclass(frozen=True)
class Release:
    """A Python of Debian's."""

    python: str
    suite: str
    ssl: str
    ffi: str

    @property
    def debs(self) -> tuple[str, ...]:
        """Its packages, and those of the libraries that the runtimes need."""
        own = (f"python{self.python}-minimal", f"libpython{self.python}-minimal",
               f"libpython{self.python}-stdlib")  # fmt: skip
        return (*own, *(name.format(ssl=self.ssl, ffi=self.ffi) for name in _LIBRARIES))


NEWEST = Release("3.11", "bookworm", "libssl3", "libffi8")
OLDER = Release("3.9", "bullseye", "libssl1.1", "libffi7")
"""For packages from before Python 3.11."""


def count_peer(
    requirement: str,
    settings: dict[str, Any],
    *,
    core: Core = "cortex-a72",
    progress: Progress | None = None,
) -> int:
    """Instructions of one inference of another runtime, its Python call among them.

    Args:
        requirement: the runtime's package: ``ncnn==1.0.20261020``.
        settings: for ``peer_worker.py``; its files are found under the same paths.
        core: what QEMU plays.
        progress: where downloads are announced.

    Raises:
        SourceError: Python or the runtime cannot be had for aarch64.
        BoardError: it failed.
        MissingToolError: QEMU or the compiler of its plugin is not installed.
    """
    progress = progress or Silent()
    work = Path(settings["output"]).parent
    play = work / "play"
    play.mkdir(exist_ok=True)
    python = arm_python(requirement, progress=progress)
    for folder in ("usr", "lib", "etc"):  # beside them goes the core's own /proc
        if not (play / folder).exists():
            (play / folder).symlink_to(python.root / folder)
    path, counts = work / "marked.json", work / "counts"
    plugin = compiled_plugin("count_instructions")
    path.write_text(json.dumps({**settings, "marked": _RUNS}))
    command = [
        *emulator_command(core, play),
        *("-d", "plugin", "-D", str(work / "log"), "-plugin", f"{plugin},out={counts}"),
        *(*python.command, peer_worker.__file__, str(path)),
    ]
    environment = {**os.environ, **python.environment}
    done = children.run(command, limit=children.WORK_S, fault=BoardError, env=environment)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise BoardError(f"{requirement} failed under QEMU: {said[-1]}")
    _, inferences = read_marks(counts.read_text())
    return inferences[-1].total


@dataclass(frozen=True)
class ArmPython:
    """A Python for aarch64 that has a package; nothing of it is installed."""

    root: Path
    """With the ``usr``, ``lib`` and ``etc`` that it has to find at these paths."""
    command: tuple[str, ...]
    """How a command line begins, up to the program."""
    environment: dict[str, str]


def arm_python(
    requirement: str, *, release: Release = NEWEST, progress: Progress | None = None
) -> ArmPython:
    """A Python with a package, from the cache.

    Args:
        requirement: the package, pinned.
        release: which Python.
        progress: where downloads are announced.

    Raises:
        SourceError: Python or the package cannot be had for aarch64.
    """
    progress = progress or Silent()
    root, site = _python(release, progress), _site(release, requirement, progress)
    return ArmPython(
        root=root,
        command=(str(root / f"usr/bin/python{release.python}"), "-S", "-s"),
        environment={"PYTHONPATH": str(site), "PYTHONHASHSEED": "0"},
    )


def _python(release: Release, progress: Progress) -> Path:
    """A root folder with Debian's Python for aarch64."""
    # A link out of the folder, to a file that nothing needs.
    without = (f"./usr/lib/python{release.python}/sitecustomize.py",)

    def fill(folder: Path) -> None:
        debs = AptRoot(progress).fetch_debs(release.debs, arch="arm64", suite=release.suite)
        for deb in debs:
            unpack_deb(deb, folder, without=without)

    return entry("arm-python", digest("arm python 1", release.suite, *release.debs), fill)


def _site(release: Release, requirement: str, progress: Progress) -> Path:
    """A folder with the runtime and numpy, for ``PYTHONPATH``."""

    def fill(folder: Path) -> None:
        wheels = folder / "wheels"
        platforms = [f"--platform={name}_aarch64" for name in _PLATFORMS]
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--only-binary=:all:", f"--python-version={release.python}"),
            "--implementation=cp",
            *(*platforms, "--dest", str(wheels), requirement, _NUMPY),
        ]
        with progress.stage(f"fetch {requirement} for aarch64", 1) as stage:
            done = children.run(command, limit=children.WORK_S, fault=SourceError)
            if done.returncode:
                said = done.stderr.strip().splitlines() or ["no reason given"]
                raise SourceError(f"{requirement} cannot be had for aarch64: {said[-1]}")
            stage.advance()
        for wheel in wheels.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)
            wheel.unlink()
        wheels.rmdir()

    key = digest("arm site 2", release.python, requirement, _NUMPY, *_PLATFORMS)
    return entry("arm-site", key, fill)
