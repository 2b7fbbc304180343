"""``python -m toolchain.dev.foreign_samples``: make the tests' output of other tools anew.

TensorFlow Lite's benchmark_model is built from the pinned sources. The other two are taken as they
are, and left out where they are not named.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from toolchain import console
from toolchain.build.bundle import recipe_for
from toolchain.build.stages import Workshop
from toolchain.dev.bench.models import model_file
from toolchain.dev.foreign_samples import programs
from toolchain.dev.foreign_samples.benchmark_model import build_benchmark_model
from toolchain.fetch.apt import AptRoot
from toolchain.hardware.board_file import load_board
from toolchain.progress import Lines

SAMPLES = Path("tests/unit/profile/foreign/samples")


@console.telling
def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and run; prints the files that were written."""
    parser = argparse.ArgumentParser(
        prog="python -m toolchain.dev.foreign_samples",
        description=__doc__,
        epilog="example: python -m toolchain.dev.foreign_samples --benchncnn ncnn/build/benchncnn",
    )
    parser.add_argument("--folder", type=Path, default=SAMPLES, help="where files are written")
    parser.add_argument("--benchncnn", type=Path, help="the program, built from ncnn's sources")
    parser.add_argument(
        "--executorch-python", type=Path, help="Python of an environment that has executorch"
    )
    parser.add_argument("--sources", type=Path, help="folder of archives at hand")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args(arguments)
    progress = Lines()
    recipe = recipe_for(load_board("host"), stock=True)
    shop = Workshop(AptRoot(progress, sources=options.sources), options.jobs, progress)
    program = build_benchmark_model(recipe, shop)
    model = model_file("fashion_resnet_dense", progress=progress)
    folder: Path = options.folder
    made = programs.benchmark_model(program, model, folder / "benchmark_model")
    if options.benchncnn:
        made += programs.benchncnn(options.benchncnn.resolve(), folder / "benchncnn")
    if options.executorch_python:
        made += programs.executorch(options.executorch_python.absolute(), folder / "executorch")
    for path in made:
        print(f"{path}: written")
    return 0


if __name__ == "__main__":
    console.run(lambda: sys.exit(main()))
