"""The GoogleTests of the runner's own pieces, compiled with the sanitizers and run."""

from __future__ import annotations

import subprocess
from pathlib import Path

from toolchain.build.compiler import require
from toolchain.fetch.apt import AptRoot
from toolchain.fetch.sources import load_sources, tree

SOURCES = Path(__file__).parent / "runner"


def test_every_unit_test_of_the_runner_passes(tmp_path: Path) -> None:
    require({"cmake": "cmake", "ninja": "ninja-build", "g++": "g++"})
    googletest = tree(load_sources().get("googletest"), AptRoot())
    build = tmp_path / "build"
    commands: list[list[str | Path]] = [
        [
            "cmake",
            "-G",
            "Ninja",
            "-S",
            SOURCES,
            "-B",
            build,
            f"-DGOOGLETEST_SOURCE_DIR={googletest}",
        ],
        ["cmake", "--build", build],
        ["ctest", "--test-dir", build, "--output-on-failure"],
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
