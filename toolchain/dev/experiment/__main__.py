"""``python -m toolchain.dev.experiment``: train, and write the page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from toolchain import console
from toolchain.dev.experiment.page import write_page
from toolchain.dev.experiment.runs import EPOCHS, SEEDS, experiment, run_all
from toolchain.progress import Lines
from toolchain.storage.files import check_folder


@console.telling
def main() -> int:
    """Run the experiment; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m toolchain.dev.experiment", description=__doc__)
    parser.add_argument("--jobs", type=int, help="trainings at once [as many as cores]")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--limit", type=int, help="train on so many images only, for a quick try")
    parser.add_argument("--folder", type=Path, default=Path("build/experiment"))
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of the page [docs]")
    options = parser.parse_args()
    try:
        check_folder(options.folder)
        check_folder(options.out)
        sweep = experiment(options.seeds, epochs=options.epochs, limit=options.limit)
        results = run_all(sweep, options.folder, jobs=options.jobs, progress=Lines())
        for path in write_page(results, options.out):
            print(path)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    console.run(lambda: sys.exit(main()))
