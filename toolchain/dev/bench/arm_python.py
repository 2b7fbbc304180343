"""Python for aarch64 with another runtime, which runs under QEMU.

Debian's Python comes from its archive and the runtimes from the same package index as everywhere
else; neither is installed here. Both are kept in the cache.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from toolchain import children
from toolchain.errors import SourceError
from toolchain.fetch.apt import AptRoot, unpack_deb
from toolchain.hardware.caches import Caches, CoreMemory
from toolchain.hardware.facts import Core
from toolchain.progress import Progress, Silent
from toolchain.storage.cache import digest, entry
from toolchain.timing.guest import HERE
from toolchain.timing.trace import WINDOW, Trace, trace_program

_LIBRARIES = (
    "libc6", "zlib1g", "libexpat1", "{ssl}", "libstdc++6", "libgcc-s1", "libgomp1", "libbz2-1.0",
    "liblzma5", "{ffi}",
)  # fmt: skip
_NUMPY = "numpy==1.26.4"
# One version serves all: tflite-runtime needs numpy 1, the others take it, and so does Python 3.9.
_PLATFORMS = ("manylinux2014", "manylinux_2_27", "manylinux_2_28", "manylinux_2_34")


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


@dataclass(frozen=True)
class Guest:
    """A program that is ready to be traced."""

    command: Sequence[str | Path]
    libraries: Path | None = None
    links: Mapping[str, Path] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    contents: Sequence[str] = ()

    def trace(
        self, core: Core, caches: Caches, *, memory: CoreMemory | None = None, window: int = WINDOW
    ) -> Trace:
        """Its trace, as :func:`toolchain.timing.trace.trace_program` makes and raises it."""
        return trace_program(
            self.command,
            core,
            caches,
            memory=memory,
            libraries=self.libraries,
            links=self.links,
            environment=self.environment,
            contents=self.contents,
            window=window,
        )


@dataclass(frozen=True)
class ArmPython:
    """A Python for aarch64 that has a package; nothing of it is installed."""

    root: Path
    """With the ``usr``, ``lib`` and ``etc`` that it has to find at these paths."""
    command: tuple[str, ...]
    """How a command line begins, up to the program."""
    environment: dict[str, str]
    contents: tuple[str, ...]
    """What is installed in it."""

    def guest(self, *arguments: str | Path, files: Mapping[str, Path] | None = None) -> Guest:
        """A program of this Python's, to be traced.

        Args:
            arguments: the program and what it is given.
            files: further files in the guest's folder, by their names there.
        """
        binary, *flags = self.command
        return Guest(
            command=(Path(binary), *flags, *arguments),
            libraries=self.root,
            links={"site": Path(self.environment["PYTHONPATH"]), **(files or {})},
            # Threads of OpenMP that wait sleep: how long one spins depends on this machine.
            environment={
                **self.environment,
                "PYTHONPATH": f"{HERE}/site",
                "OMP_WAIT_POLICY": "passive",
            },
            contents=self.contents,
        )


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
        contents=(requirement, release.python),
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
        # Some wheels have their packages apart, which installing would bring together.
        for apart in [*folder.glob("*.data/purelib/*"), *folder.glob("*.data/platlib/*")]:
            apart.rename(folder / apart.name)

    key = digest("arm site 3", release.python, requirement, _NUMPY, *_PLATFORMS)
    return entry("arm-site", key, fill)
