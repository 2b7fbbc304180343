"""Write every lock file anew: what ``pyproject.toml`` asks for, each package with its hashes.

``python -m toolchain.dev.locks``, which is ``make lock``, needs Python and pip and no package; it
installs uv, as it is locked, into a folder that goes away. A package keeps its version unless it
no longer fits; ``--upgrade`` takes the newest ones.

A file holds for Linux and every Python that the project supports. None names an index: where
packages come from is up to whoever installs. So PyTorch has two files of its own. One is for the
build for CPUs (``2.13.0+cpu``), which not every index has; the other is for the build of pip's
default index, which computes on GPUs, and the many packages that it needs.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
import venv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolchain.storage.scratch import temporary_folder

REPOSITORY = Path(__file__).resolve().parents[2]
PYTHONS = ("3.11", "3.12", "3.13")
_CUDA = re.compile(r"(nvidia|cuda)-.*|triton|torch")
"""PyTorch's build for GPUs, and the packages that only it needs."""
_HASH = re.compile(r"--hash=(sha256:[0-9a-f]{64})")


@dataclass(frozen=True)
class Lock:
    """A lock file."""

    path: str
    asked: tuple[str, ...]
    """What is to be in it, as options of ``uv pip compile``."""
    within: tuple[str, ...] = ()
    """Files whose versions it takes."""
    beside: tuple[str, ...] = ()
    """Files whose packages are left out of it."""
    pythons: tuple[str, ...] = PYTHONS


ALL, CPU, CUDA = "requirements.lock", "requirements-cpu.lock", "requirements-cuda.lock"
_WHOLE = (ALL, CUDA)
_RELEASE = "requirements-release.lock"
_DEV = "requirements-dev.lock"
_PROJECT = "pyproject.toml"
LOCKS = (
    Lock("requirements-base.lock", (_PROJECT,), within=(ALL,)),
    Lock(_DEV, (_PROJECT, "--extra=all", "--group=dev"), _WHOLE, _WHOLE),
    Lock(_RELEASE, ("--group=release",)),
    Lock("requirements-peers.lock", ("--group=peers", "--no-deps")),
    Lock("tests/tflite-runtime.lock", ("--group=tflite-runtime",), pythons=("3.11",)),
    Lock("tests/fuzz/requirements.lock", ("--group=fuzz",)),
    Lock("tests/viewers/requirements.lock", ("--group=viewers",), pythons=("3.11",)),
    Lock(
        "tests/mutation/requirements.lock",
        (_PROJECT, "--extra=all", "--group=dev", "--group=mutants"),
        (*_WHOLE, _DEV),
        (*_WHOLE, _DEV),
    ),
    Lock(
        "tests/frameworks/tensorflow.lock",
        (_PROJECT, "--extra=all", "--group=dev", "--group=test-tensorflow"),
        (*_WHOLE, _DEV),
        (*_WHOLE, _DEV),
        pythons=("3.11",),
    ),
    Lock(
        "tests/labgrid_places/requirements.lock",
        (_PROJECT, "--extra=labgrid", "--group=test-labgrid"),
        (*_WHOLE, _DEV),
        pythons=("3.11",),
    ),
    Lock("docs/site.lock", ("--group=site",), pythons=("3.11",)),
)
"""Those that are made of the first three, or alone."""


def entries(text: str) -> dict[str, str]:
    """The packages of a lock file: their names, and the lines that each has.

    A package that has several versions, for several Pythons, has the lines of all.
    """
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines(keepends=True):
        if line.startswith("#") or not line.strip():
            continue
        if not line[0].isspace():
            name = re.split(r"[=<>!~;\s\[]", line, maxsplit=1)[0]
        found[name] = found.get(name, "") + line
    return found


def parted(packages: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """What every installation has, and PyTorch's build for GPUs with what only it needs."""
    cuda = {name: lines for name, lines in packages.items() if _CUDA.fullmatch(name)}
    return {name: lines for name, lines in packages.items() if name not in cuda}, cuda


def for_cpus(version: str, hashes: Iterable[str], before: str) -> str:
    """The lines of PyTorch's build for CPUs.

    Args:
        version: ``torch==2.13.0``.
        hashes: of the builds that pip has found.
        before: the lines that there were; those of the same version keep their hashes, since pip
            finds other builds on other machines.
    """
    requirement = f"{version}+cpu"
    kept = _HASH.findall(before) if before.split()[:1] == [requirement] else []
    found = sorted({*hashes, *kept})
    return requirement + "".join(f" \\\n    --hash={item}" for item in found) + "\n"


class _Tools:
    def __init__(self, folder: Path, *, upgrade: bool) -> None:
        self._folder, self._upgrade = folder, upgrade
        venv.create(folder / "venv", with_pip=True)
        python = str(folder / "venv/bin/python")
        self._pip = [python, "-m", "pip", "--disable-pip-version-check"]
        locked = ("--require-hashes", "--no-deps", "--requirement", REPOSITORY / _RELEASE)
        subprocess.run([*self._pip, "install", "--quiet", *map(str, locked)], check=True)

    def resolve(
        self, asked: Sequence[str], known: str, within: Sequence[str], pythons: Sequence[str]
    ) -> str:
        out = self._folder / "out.lock"
        out.write_text("" if self._upgrade else known)
        command = [
            *(str(self._folder / "venv/bin/uv"), "pip", "compile", "--quiet"),
            *("--universal", "--fork-strategy=fewest", "--python-version", pythons[0]),
            *("--generate-hashes", "--no-header", "--output-file", str(out), *asked),
            *(f"--constraint={path}" for path in within),
        ]
        subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
        return out.read_text()

    def cpu_hashes(self, requirement: str) -> set[str]:
        """Hashes of a package's builds for CPUs, of those Pythons for which pip finds one."""
        found = set()
        for python in PYTHONS:
            folder = self._folder / f"cpu{python}"
            machine = ("--only-binary=:all:", "--python-version", python)
            subprocess.run(
                [*self._pip, "download", "--quiet", "--no-deps", "--dest", str(folder), *machine,
                 f"{requirement}+cpu"], check=False, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            for path in folder.glob("*.whl"):
                with path.open("rb") as stream:
                    found.add(f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}")
        return found


def _read(*paths: str) -> str:
    files = [REPOSITORY / path for path in paths]
    return "".join(path.read_text() for path in files if path.is_file())


def _write(path: str, packages: Mapping[str, str]) -> None:
    head = (
        f"# Written by make lock.\n# pip install --require-hashes --no-deps --requirement {path}\n"
    )
    (REPOSITORY / path).write_text(head + "".join(packages.values()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write them; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make lock", description=__doc__)
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions")
    options = parser.parse_args(arguments)
    with temporary_folder() as folder:
        try:
            _lock(_Tools(folder, upgrade=options.upgrade))
        except subprocess.CalledProcessError as error:
            return int(error.returncode)
    return 0


def _lock(tools: _Tools) -> None:
    before = _read(ALL, CUDA)
    packages, cuda = parted(entries(tools.resolve((_PROJECT, "--extra=all"), before, (), PYTHONS)))
    version = cuda["torch"].split()[0]
    earlier = entries(_read(CPU)).get("torch", "")
    cpu = {"torch": for_cpus(version, tools.cpu_hashes(version), earlier)}
    for path, content in ((ALL, packages), (CPU, cpu), (CUDA, cuda)):
        _write(path, content)
    for lock in LOCKS:
        text = tools.resolve(lock.asked, _read(lock.path), lock.within, lock.pythons)
        without = entries(_read(*lock.beside))
        _write(lock.path, {n: lines for n, lines in entries(text).items() if n not in without})


if __name__ == "__main__":
    sys.exit(main())
