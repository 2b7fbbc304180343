"""``python -m toolchain.bench``: what masks gain, measured."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from toolchain.build.qemu_user import CORES
from toolchain.errors import DeployError


def _ops(options: argparse.Namespace) -> int:
    from concurrent.futures import ThreadPoolExecutor

    from rich.console import Console

    from toolchain.bench.counts import ModelCount, count_model
    from toolchain.bench.operators import compare_operators
    from toolchain.bench.table import operator_table

    runner = options.bundle / "tileskip-run"

    def count(path: Path) -> tuple[Path, ModelCount]:
        return path, count_model(
            runner, path, core=options.core, threads=options.threads, runs=options.runs
        )

    with ThreadPoolExecutor(2) as pool:
        dense, *masked = pool.map(count, [options.dense, *options.masked])
    tables = [compare_operators(dense, one, two_sided=options.two_sided) for one in masked]
    if options.json:
        print("[" + ",\n".join(table.model_dump_json(indent=1) for table in tables) + "]")
    else:
        console = Console(width=None if sys.stdout.isatty() else 180)
        for table in tables:
            console.print(operator_table(table), soft_wrap=True)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m toolchain.bench", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    ops = commands.add_parser(
        "ops", help="instructions of each operator, a dense model beside masked ones"
    )
    ops.add_argument("dense", type=Path, metavar="DENSE.tflite")
    ops.add_argument("masked", type=Path, nargs="+", metavar="MASKED.tflite")
    ops.add_argument("--bundle", type=Path, default=Path("build/qemu"), help="[build/qemu]")
    ops.add_argument("--core", choices=tuple(CORES), default="cortex-a72", help="[cortex-a72]")
    ops.add_argument("--threads", type=int, default=1, help="[1]")
    ops.add_argument(
        "--runs",
        type=int,
        default=1,
        help="inferences after the first; with 0 what lies outside of operators holds set-up [1]",
    )
    ops.add_argument(
        "--two-sided", action="store_true", help="an ideal that skips masked taps, too (lattices)"
    )
    ops.add_argument("--json", action="store_true", help="JSON on standard output")
    ops.set_defaults(run=_ops)
    options = parser.parse_args(arguments)
    try:
        code: int = options.run(options)
    except DeployError as error:
        print(f"error: {error.what}", file=sys.stderr)
        if error.hint:
            print(f"  hint: {error.hint}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
