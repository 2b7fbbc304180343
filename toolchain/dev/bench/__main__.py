"""``python -m toolchain.dev.bench``: what masks gain, measured."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain import console
from toolchain.dev.bench.models import DTYPES, NETWORKS, SPARSITIES, THREAD_NETWORKS
from toolchain.hardware.facts import played_cores
from toolchain.progress import Lines, Progress, Silent
from toolchain.storage.files import check_folder

if TYPE_CHECKING:
    from toolchain.build.bundle import Bundle
    from toolchain.dev.bench.run import Runtimes

_WORSE = 1
_CORES = tuple(played_cores("aarch64"))


@console.telling
def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and run; returns the exit code, 1 where a comparison got worse."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except KeyboardInterrupt:
        print("interrupted; what was counted is kept", file=sys.stderr)
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m toolchain.dev.bench", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    ops = commands.add_parser(
        "ops", help="instructions of each operator, a dense model beside masked ones"
    )
    ops.add_argument("dense", type=Path, metavar="DENSE.tflite")
    ops.add_argument("masked", type=Path, nargs="+", metavar="MASKED.tflite")
    ops.add_argument("--bundle", type=Path, default=Path("build/qemu"), help="[build/qemu]")
    ops.add_argument("--core", choices=_CORES, default="cortex-a72", help="[cortex-a72]")
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

    run = commands.add_parser("run", help="measure networks, and write the page")
    run.add_argument("--only", nargs="+", choices=tuple(NETWORKS), help="these networks [all]")
    run.add_argument("--dtype", nargs="+", choices=DTYPES, help="[both]")
    run.add_argument(
        "--sparsity", nargs="+", type=float, help=f"[{' '.join(f'{s:g}' for s in SPARSITIES)}]"
    )
    run.add_argument("--threads", nargs="+", type=int, help="[1 2]")
    run.add_argument("--core", choices=_CORES, default="cortex-a72", help="[cortex-a72]")
    run.add_argument(
        "--quick", action="store_true", help="s = 0.2 and one thread unless given, few timed runs"
    )
    run.add_argument("--no-count", action="store_true", help="times alone; QEMU is not needed")
    run.add_argument("--no-time", action="store_true", help="instructions alone")
    run.add_argument("--no-stock", action="store_true", help="without the unpatched runtime")
    run.add_argument("--jobs", type=int, default=2, help="models counted at once [2]")
    run.add_argument("--out", type=Path, default=Path("docs"), help="folder of the page [docs]")
    run.add_argument(
        "--bundles",
        type=Path,
        default=Path("build"),
        help="folder of the bundles qemu, qemu-stock, host, host-stock; built if missing [build]",
    )
    run.add_argument(
        "--no-build", action="store_true", help="take the bundles as they are, old or not"
    )
    run.add_argument(
        "--models", type=Path, help="folder of converted files, taken as they are: NAME.tflite"
    )
    run.add_argument("--json", action="store_true", help="the results on standard output, too")
    run.set_defaults(run=_run)

    compare = commands.add_parser(
        "compare", help="what got worse between two results; exit code 1 if something did"
    )
    compare.add_argument("old", type=Path, metavar="OLD.json")
    compare.add_argument("new", type=Path, metavar="NEW.json")
    compare.add_argument(
        "--threshold", type=float, default=0.1, help="growth of instructions let through, %% [0.1]"
    )
    compare.add_argument("--json", action="store_true", help="JSON on standard output")
    compare.set_defaults(run=_compare)

    peers = commands.add_parser(
        "peers", help="other runtimes beside ours, on this machine and on boards; writes a page"
    )
    peers.add_argument("--only", nargs="+", choices=tuple(NETWORKS), help="[all but lattices]")
    peers.add_argument("--dtype", nargs="+", choices=DTYPES, help="[both]")
    peers.add_argument("--threads", nargs="+", type=int, default=[1], help="[1]")
    peers.add_argument("--sparsity", nargs="+", type=float, default=[0.2, 0.3], help="[0.2 0.3]")
    peers.add_argument(
        "--boards", nargs="*", help="estimates for these; may be none [rpi3 rpi4 rpi5]"
    )
    peers.add_argument("--quick", action="store_true", help="few rounds")
    peers.add_argument("--out", type=Path, default=Path("docs"), help="folder of the page [docs]")
    peers.add_argument("--bundles", type=Path, default=Path("build"), help="[build]")
    peers.add_argument("--models", type=Path, help="folder of converted files, taken as they are")
    peers.add_argument("--no-build", action="store_true", help="take the bundle as it is")
    peers.add_argument(
        "--tflite-python",
        type=Path,
        default=Path(".venv-tflite/bin/python"),
        help="of the environment with tflite-runtime [.venv-tflite/bin/python]",
    )
    peers.add_argument(
        "--peers-python",
        type=Path,
        default=Path(".venv-peers/bin/python"),
        help="of the environment with the others [.venv-peers/bin/python]",
    )
    peers.set_defaults(run=_peers)

    threads = commands.add_parser(
        "threads", help="several threads on a machine that others use, beside stock runtimes"
    )
    threads.add_argument("--only", nargs="+", choices=tuple(THREAD_NETWORKS), help="[all]")
    threads.add_argument("--threads", nargs="+", type=int, help="[1 2 4]")
    threads.add_argument("--busy", nargs="+", type=int, help="processes beside [0 4 20]")
    threads.add_argument("--quick", action="store_true", help="few rounds")
    threads.add_argument(
        "--before",
        type=Path,
        metavar="DELEGATE",
        help="libtileskip_delegate.so of another build, to compare with",
    )
    threads.add_argument("--out", type=Path, default=Path("docs"), help="folder [docs]")
    threads.add_argument("--bundles", type=Path, default=Path("build"), help="[build]")
    threads.add_argument("--models", type=Path, help="folder of converted files")
    threads.add_argument("--no-build", action="store_true", help="take the bundle as it is")
    threads.add_argument("--json", action="store_true", help="the results on standard output, too")
    threads.add_argument(
        "--tflite-python",
        type=Path,
        default=Path(".venv-tflite/bin/python"),
        help="of the environment with tflite-runtime [.venv-tflite/bin/python]",
    )
    threads.set_defaults(run=_threads)

    boards = commands.add_parser(
        "boards", help="times on boards, estimated: what masks gain there; writes a page"
    )
    boards.add_argument("--only", nargs="+", choices=tuple(NETWORKS), help="[all]")
    boards.add_argument("--dtype", nargs="+", choices=DTYPES, help="[both]")
    boards.add_argument("--sparsity", nargs="+", type=float, help="[0.1 0.2 0.3]")
    boards.add_argument("--boards", nargs="+", help="[rpi3 rpi4 rpi5]")
    boards.add_argument("--no-stock", dest="stock", action="store_false",
                        help="without dense models on the unpatched runtime")  # fmt: skip
    boards.add_argument("--add", action="store_true",
                        help="keep what the page has of other networks and boards")  # fmt: skip
    boards.add_argument("--jobs", type=int, default=2, help="networks traced at once [2]")
    boards.add_argument("--out", type=Path, default=Path("docs"), help="folder of the page [docs]")
    boards.add_argument("--bundles", type=Path, default=Path("build"), help="[build]")
    boards.add_argument("--models", type=Path, help="folder of converted files")
    boards.add_argument("--no-build", action="store_true", help="take the bundles as they are")
    boards.add_argument("--json", action="store_true", help="the results on standard output, too")
    boards.set_defaults(run=_boards)

    page = commands.add_parser("page", help="write the page again from its results")
    page.add_argument("results", type=Path, metavar="RESULTS.json")
    page.add_argument("--out", type=Path, default=Path("docs"), help="folder of the page [docs]")
    page.set_defaults(run=_page)
    return parser


def _ops(options: argparse.Namespace) -> int:
    from toolchain.dev.bench.counts import ModelCount, count_model
    from toolchain.dev.bench.operators import compare_operators
    from toolchain.dev.bench.table import operator_table

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
        for table in tables:
            _console().print(operator_table(table), soft_wrap=True)
    return 0


def _run(options: argparse.Namespace) -> int:
    from toolchain.dev.bench.page import write_page
    from toolchain.dev.bench.run import Plan, measure
    from toolchain.dev.bench.table import results_table

    check_folder(options.out)
    progress: Progress = Silent() if options.json else Lines()
    plan = Plan(
        networks=options.only or tuple(NETWORKS),
        dtypes=options.dtype or DTYPES,
        sparsities=options.sparsity or ((0.0, 0.2) if options.quick else SPARSITIES),
        threads=options.threads or ((1,) if options.quick else (1, 2)),
        core=options.core,
        runs=7 if options.quick else 41,
        rounds=3 if options.quick else 7,
        models=options.models,
        jobs=options.jobs,
    )
    results = measure(plan, _bundles(options, progress), progress)
    written = write_page(results, options.out)
    if options.json:
        print(results.to_json().decode(), end="")
    else:
        _console().print(results_table(results), soft_wrap=True)
        for path in written:
            print(path)
    return 0


def _peers(options: argparse.Namespace) -> int:
    from toolchain.dev.bench.boards import BOARDS
    from toolchain.dev.bench.peers import Pythons, compare_peers
    from toolchain.dev.bench.peers_page import peers_page, write_peers

    check_folder(options.out)
    progress = Lines()
    boards = BOARDS if options.boards is None else options.boards
    results = compare_peers(
        options.only or [name for name, network in NETWORKS.items() if not network.two_sided],
        options.dtype or DTYPES,
        options.threads,
        delegate=_bundle(options, "host", progress).delegate,
        bundles={name: _bundle(options, name, progress) for name in boards},
        pythons=Pythons(options.tflite_python, options.peers_python),
        sparsities=options.sparsity,
        models=options.models,
        rounds=7 if options.quick else 41,
        progress=progress,
    )
    written = write_peers(results, options.out)
    print(peers_page(results))
    for path in written:
        print(path)
    return 0


def _threads(options: argparse.Namespace) -> int:
    from toolchain.dev.bench.threads import BUSY, THREADS, measure_threads
    from toolchain.dev.bench.threads_page import threads_page, write_threads

    check_folder(options.out)
    progress: Progress = Silent() if options.json else Lines()
    results = measure_threads(
        options.only or tuple(THREAD_NETWORKS),
        delegate=_bundle(options, "host", progress).delegate,
        tflite_python=options.tflite_python,
        before=options.before,
        threads=options.threads or THREADS,
        busy=BUSY if options.busy is None else options.busy,
        models=options.models,
        rounds=7 if options.quick else 41,
        progress=progress,
    )
    written = write_threads(results, options.out)
    if options.json:
        print(results.model_dump_json(indent=1))
    else:
        print(threads_page(results))
        for path in written:
            print(path)
    return 0


def _boards(options: argparse.Namespace) -> int:
    from toolchain.dev.bench.boards import BOARDS, SPARSITIES, estimate_boards, load_boards
    from toolchain.dev.bench.boards_page import NAME, boards_page, write_boards

    check_folder(options.out)
    older = load_boards(options.out / f"{NAME}.json") if options.add else None
    progress: Progress = Silent() if options.json else Lines()
    names = options.boards or BOARDS
    results = estimate_boards(
        options.only or tuple(NETWORKS),
        options.dtype or DTYPES,
        {name: _bundle(options, name, progress) for name in names},
        stock={name: _bundle(options, name, progress, stock=True) for name in names}
        if options.stock
        else None,
        sparsities=options.sparsity or SPARSITIES,
        models=options.models,
        jobs=options.jobs,
        progress=progress,
    )
    results = results.joined(older) if older else results
    written = write_boards(results, options.out)
    if options.json:
        print(results.to_json().decode(), end="")
    else:
        print(boards_page(results))
        for path in written:
            print(path)
    return 0


def _bundles(options: argparse.Namespace, progress: Progress) -> Runtimes:
    from toolchain.dev.bench.run import Runtimes

    def bundle(board: str, wanted: bool, *, stock: bool = False) -> Bundle | None:
        return _bundle(options, board, progress, stock=stock) if wanted else None

    count, time, stock = not options.no_count, not options.no_time, not options.no_stock
    return Runtimes(
        board=bundle("qemu", count),
        board_stock=bundle("qemu", count and stock, stock=True),
        host=bundle("host", time),
        host_stock=bundle("host", time and stock, stock=True),
    )


def _bundle(
    options: argparse.Namespace, board: str, progress: Progress, *, stock: bool = False
) -> Bundle:
    from toolchain.board.invoke import load_bundle
    from toolchain.build.bundle import build
    from toolchain.hardware.board_file import load_board

    place = options.bundles / (f"{board}-stock" if stock else board)
    if options.no_build:
        return load_bundle(load_board(board), place, stock=stock)
    return build(load_board(board), stock=stock, out=place, progress=progress)


def _compare(options: argparse.Namespace) -> int:
    import json

    from toolchain.dev.bench.compare import compare
    from toolchain.dev.bench.results import load_results
    from toolchain.dev.bench.table import comparison_table

    found = compare(
        load_results(options.old),
        load_results(options.new),
        instructions=options.threshold / 100,
    )
    if options.json:
        print(json.dumps(found.to_dict(), indent=1))
    else:
        _console().print(comparison_table(found), soft_wrap=True)
    return _WORSE if found.worse else 0


def _page(options: argparse.Namespace) -> int:
    from toolchain.dev.bench.page import write_page
    from toolchain.dev.bench.results import load_results

    for path in write_page(load_results(options.results), options.out):
        print(path)
    return 0


def _console() -> console.Screen:
    return console.Screen(width=None if sys.stdout.isatty() else 180)


if __name__ == "__main__":
    console.run(lambda: sys.exit(main()))
