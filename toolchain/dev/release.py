"""Build what is released, and try it where nothing else is installed.

``python -m toolchain.dev.release``, which is ``make release``, leaves the sdist and a wheel made of
it in ``dist``. The wheel is installed into an empty environment with the packages of
``requirements-base.lock`` and none more; commands run there, from outside of the checkout. It
needs Python and pip, and no package.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Sequence
from pathlib import Path

import toolchain
from toolchain.storage.scratch import temporary_folder

REPOSITORY = Path(__file__).resolve().parents[2]
LARGEST_MB = 300
_TIMES = 10
_LOCKED = (
    *("install", "--quiet", "--require-hashes", "--no-deps", "--only-binary", ":all:"),
    "--requirement",
)
_MISSING = 11
_WRITE_MODEL = """
from pathlib import Path
from support.bundles import write_masked_model
write_masked_model(Path("model.tflite"))
"""
_HEAVY = """
import importlib.util, sys
heavy = ("torch", "jax", "tensorflow", "scipy", "matplotlib", "litert_torch")
sys.exit(", ".join(filter(importlib.util.find_spec, heavy)) or None)
"""


class ReleaseError(Exception):
    """What must not be released."""


class Environment:
    """A fresh one, with pip."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=True)
        self.folder = folder

    def pip(self, *words: str | Path) -> None:
        """Run pip."""
        python = str(self.folder / "bin/python")
        program = [python, "-m", "pip", "--disable-pip-version-check"]
        subprocess.run([*program, *map(str, words)], cwd=REPOSITORY, check=True)

    def run(
        self, *words: str | Path, home: Path, code: int = 0, python_path: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run one of its programs.

        Args:
            words: the program, by its name in ``bin``, and its arguments.
            home: the folder to run it in, and that of the cache.
            code: how it is to end.
            python_path: a folder of modules beside those that are installed.

        Raises:
            ReleaseError: it ends otherwise.
        """
        program, *arguments = map(str, words)
        variables = {"PATH": os.environ["PATH"], "HOME": str(home), "COLUMNS": "100"}
        if python_path is not None:
            variables["PYTHONPATH"] = str(python_path)
        done = subprocess.run(
            [str(self.folder / "bin" / program), *arguments],
            cwd=home, env=variables, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != code or "Traceback" in done.stderr:
            raise ReleaseError(
                f"{' '.join([program, *arguments])}: exit code {done.returncode}, not {code}\n"
                f"{done.stdout}{done.stderr}"
            )
        return done

    @property
    def megabytes(self) -> float:
        """What its files come to, pip's too; 10^6 bytes."""
        files = [path for path in self.folder.rglob("*") if not path.is_symlink()]
        return sum(path.stat().st_size for path in files if path.is_file()) / 1e6


def check_changelog(text: str, version: str) -> None:
    """Check that a version is in the changelog.

    Raises:
        ReleaseError: it is not.
    """
    if not re.search(rf"^## {re.escape(version)}\b", text, re.MULTILINE):
        raise ReleaseError(f"CHANGELOG.md: has no section '## {version}'")


def build(scratch: Path, dist: Path) -> Path:
    """Leave sdist and wheel in a folder, and nothing else; the wheel is made of the sdist.

    Returns:
        The wheel.
    """
    tools = Environment(scratch / "tools")
    tools.pip(*_LOCKED, "requirements-release.lock")
    shutil.rmtree(dist, ignore_errors=True)
    python = tools.folder / "bin/python"
    subprocess.run(
        [python, "-m", "build", "--no-isolation", "--outdir", dist, REPOSITORY],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    (wheel,) = dist.glob("*.whl")
    return wheel


def try_wheel(wheel: Path, scratch: Path) -> dict[str, float]:
    """Use a wheel as whoever installs it does.

    Returns:
        What was measured, by name.

    Raises:
        ReleaseError: it does not do what it should, or brings too much.
    """
    light, home = Environment(scratch / "light"), scratch / "home"
    home.mkdir()
    light.pip(*_LOCKED, "requirements-base.lock")
    light.pip("install", "--quiet", "--no-deps", "--no-index", wheel)
    light.pip("check")
    size = light.megabytes
    told = light.run("deploy", "--version", home=home).stdout.strip()
    if told != toolchain.__version__:
        raise ReleaseError(f"deploy --version: says {told}, not {toolchain.__version__}")
    light.run("python", "-c", _WRITE_MODEL, home=home, python_path=REPOSITORY / "tests")
    light.run("python", "-c", _HEAVY, home=home)
    for words in ("--help", "build --help", "emulator --help", "boards", "models", "cache"):
        light.run("deploy", *words.split(), home=home)
    shown = light.run("deploy", "inspect", "model.tflite", "--board", "rpi4", home=home).stdout
    if "model.tflite" not in shown:
        raise ReleaseError(f"deploy inspect: shows no model\n{shown}")
    wanting = light.run("deploy", "convert", "--model", "resnet18", home=home, code=_MISSING)
    if "[convert]" not in wanting.stderr:
        raise ReleaseError(f"deploy convert: does not say what to install\n{wanting.stderr}")
    seconds = []
    for _ in range(_TIMES):
        started = time.monotonic()
        light.run("deploy", "--help", home=home)
        seconds.append(time.monotonic() - started)
    if size > LARGEST_MB:
        raise ReleaseError(f"the environment is {size:.0f} MB, more than {LARGEST_MB}")
    return {"MB of the environment": size, "s of deploy --help": statistics.median(seconds)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Build and try it; returns the exit code."""
    if arguments if arguments is not None else sys.argv[1:]:
        print("usage: make release", file=sys.stderr)
        return 2
    try:
        check_changelog((REPOSITORY / "CHANGELOG.md").read_text(), toolchain.__version__)
        with temporary_folder() as folder:
            wheel = build(folder, REPOSITORY / "dist")
            found = try_wheel(wheel, folder)
    except ReleaseError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        return int(error.returncode)
    for path in sorted((REPOSITORY / "dist").iterdir()):
        print(f"{path.relative_to(REPOSITORY)}: {path.stat().st_size / 1e6:.1f} MB")
    for name, value in found.items():
        print(f"{value:.3g} {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
