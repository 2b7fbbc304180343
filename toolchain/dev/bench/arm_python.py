"""Python for aarch64 with another runtime, to count that runtime's instructions under QEMU.

Debian's Python comes from its archive and the runtimes from the same package index as everywhere
else; neither is installed here. Both are kept in the cache.
"""

from __future__ import annotations

import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

from toolchain import children
from toolchain.build.qemu_user import emulator_command
from toolchain.dev.bench import peer_worker
from toolchain.dev.bench.counts import read_marks
from toolchain.dev.bench.plugin import counting_plugin
from toolchain.errors import BoardError, SourceError
from toolchain.fetch.apt import AptRoot, unpack_deb
from toolchain.hardware.facts import Core
from toolchain.progress import Progress, Silent
from toolchain.storage.cache import digest, entry

_SUITE = "bookworm"
_DEBS = (
    "python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib", "libc6", "zlib1g",
    "libexpat1", "libssl3", "libstdc++6", "libgcc-s1", "libgomp1", "libbz2-1.0", "liblzma5",
    "libffi8",
)  # fmt: skip
# A link out of the folder, to a file that nothing needs.
_WITHOUT = ("./usr/lib/python3.11/sitecustomize.py",)
_NUMPY = "numpy==1.26.4"
# One version serves all three: tflite-runtime needs numpy 1, the others take it.
_PLATFORMS = ("manylinux2014", "manylinux_2_27", "manylinux_2_28", "manylinux_2_34")
_RUNS = 2


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
    root, site = _python(progress), _site(requirement, progress)
    work = Path(settings["output"]).parent
    play = work / "play"
    play.mkdir(exist_ok=True)
    for folder in ("usr", "lib", "etc"):  # beside them goes the core's own /proc
        if not (play / folder).exists():
            (play / folder).symlink_to(root / folder)
    path, counts = work / "marked.json", work / "counts"
    path.write_text(json.dumps({**settings, "marked": _RUNS}))
    command = [
        *emulator_command(core, play),
        *("-d", "plugin", "-D", str(work / "log"), "-plugin", f"{counting_plugin()},out={counts}"),
        *(str(root / "usr/bin/python3.11"), "-S", "-s", peer_worker.__file__, str(path)),
    ]
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONHASHSEED": "0"}
    done = children.run(command, limit=children.WORK_S, fault=BoardError, env=environment)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise BoardError(f"{requirement} failed under QEMU: {said[-1]}")
    _, inferences = read_marks(counts.read_text())
    return inferences[-1].total


def _python(progress: Progress) -> Path:
    """A root folder with Debian's Python for aarch64."""

    def fill(folder: Path) -> None:
        for deb in AptRoot(progress).fetch_debs(_DEBS, arch="arm64", suite=_SUITE):
            unpack_deb(deb, folder, without=_WITHOUT)

    return entry("arm-python", digest("arm python 1", _SUITE, *_DEBS), fill)


def _site(requirement: str, progress: Progress) -> Path:
    """A folder with the runtime and numpy, for ``PYTHONPATH``."""

    def fill(folder: Path) -> None:
        wheels = folder / "wheels"
        platforms = [f"--platform={name}_aarch64" for name in _PLATFORMS]
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--only-binary=:all:", "--python-version=3.11", "--implementation=cp"),
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

    return entry("arm-site", digest("arm site 1", requirement, _NUMPY, *_PLATFORMS), fill)
