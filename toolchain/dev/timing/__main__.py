"""``python -m toolchain.dev.timing``: the timing model against published times."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from toolchain import console
from toolchain.dev.timing.published import Published, Row, read_published
from toolchain.hardware.facts import Core, played_cores
from toolchain.progress import Lines
from toolchain.storage.files import check_folder

_CORES = tuple(played_cores("aarch64"))


@console.telling
def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and run; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except KeyboardInterrupt:
        print("interrupted; what was run is kept", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m toolchain.dev.timing", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text)
        made.add_argument("data", type=Path, help="the folder with pi_times.tsv")
        made.add_argument("--core", nargs="+", choices=_CORES, help="rows of these cores [all]")
        made.add_argument("--clock", nargs="+", type=int, help="rows of these clocks, in MHz [all]")
        made.add_argument("--threads", nargs="+", type=int, help="rows of these threads [all]")
        made.add_argument("--published", nargs="+", help="rows of these dates [all]")
        made.add_argument("--longest", type=float, help="rows of at most so many Mcycles [all]")
        made.add_argument("--runtime", nargs="+", help="rows of these runtimes [all]")
        made.add_argument("--network", nargs="+", help="rows of these networks [all]")
        return made

    rows = command("rows", "which program each row is of, and what is left out and why")
    _add_runner(rows)
    rows.set_defaults(run=_rows)
    counts = command("count", "count the instructions of the rows' programs; kept in the cache")
    counts.set_defaults(run=_count)
    traces = command("trace", "trace the rows' programs, small ones first; kept in the cache")
    _add_runner(traces)
    traces.set_defaults(run=_trace)
    baseline = command("baseline", "constant cycles an instruction, cross-validated")
    baseline.set_defaults(run=_baseline)
    page = commands.add_parser("page", help="fit, cross-validate, and write the page")
    page.add_argument("data", type=Path, help="the folder with pi_times.tsv")
    page.add_argument("--out", type=Path, default=Path("docs"), help="folder of the page [docs]")
    page.add_argument(
        "--only-cached", action="store_true", help="leave out what was not traced yet"
    )
    _add_runner(page)
    page.set_defaults(run=_page)
    host = commands.add_parser("host", help="this machine's own times beside estimates")
    host.add_argument("--out", type=Path, default=Path("docs"), help="folder of the page [docs]")
    host.add_argument("--rounds", type=int, default=7, help="of measuring [7]")
    host.set_defaults(run=_host)
    written = commands.add_parser(
        "coefficients", help="write the coefficients of estimates from the page's results"
    )
    written.add_argument(
        "results", type=Path, nargs="?", default=Path("docs/timing-model.json"),
        help="[docs/timing-model.json]",
    )  # fmt: skip
    written.set_defaults(run=_coefficients)
    return parser


def _add_runner(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--runner",
        type=Path,
        default=Path("build/qemu-stock/tileskip-run"),
        help="on an XNNPACK that is not patched, for aarch64 [build/qemu-stock/tileskip-run]",
    )


def _runner(options: argparse.Namespace) -> Path | None:
    runner: Path = options.runner
    return runner if runner.is_file() else None


def _chosen(options: argparse.Namespace, published: Published) -> list[Row]:
    def wanted(row: Row) -> bool:
        cores: list[Core] | None = options.core
        return (
            (cores is None or row.core in cores)
            and (options.clock is None or row.clock_mhz in options.clock)
            and (options.published is None or str(row.published) in options.published)
            and (options.threads is None or row.threads in options.threads)
            and (options.runtime is None or row.runtime in options.runtime)
            and (options.longest is None or row.cycles * row.threads <= 1e6 * options.longest)
            and (options.network is None or row.network in options.network)
        )

    return [row for row in published.rows if wanted(row)]


def _rows(options: argparse.Namespace) -> None:
    from toolchain.dev.timing.programs import NcnnProgram, program_of

    published = read_published(options.data)
    programs: Counter[tuple[str, ...]] = Counter()
    reasons = Counter(one.reason for one in published.left_out)
    for row in _chosen(options, published):
        program = program_of(row, options.data, _runner(options))
        group = (row.board, str(row.clock_mhz), f"{row.threads} threads", str(row.published))
        if isinstance(program, str):
            reasons[program] += 1
        elif isinstance(program, NcnnProgram):
            programs[*group, program.requirement, f"Python {program.release.python}"] += 1
        else:
            programs[*group, row.runtime, "our stock runner"] += 1
    for words, count in sorted(programs.items()):
        print(f"{count:4} {'  '.join(words)}")
    print("left out:")
    for reason, count in reasons.most_common():
        print(f"{count:4} {reason}")


def _count(options: argparse.Namespace) -> None:
    from toolchain.dev.timing.rows import counted_samples

    for sample in counted_samples(options.data, _chosen(options, read_published(options.data)),
                                  progress=Lines()):  # fmt: skip
        row, count = sample.row, sample.windows.main().instructions.sum()
        print(
            f"{row.board} {row.clock_mhz} {row.threads} {row.published} {row.title} "
            f"{row.ms} ms {count / 1e6:.1f} M instructions, "
            f"{row.cycles / count:.2f} cycles each",
            flush=True,
        )


def _trace(options: argparse.Namespace) -> None:
    from toolchain.dev.timing.rows import traced_samples

    for sample in traced_samples(
        options.data,
        _chosen(options, read_published(options.data)),
        runner=_runner(options),
        progress=Lines(),
    ):
        row, main = sample.row, sample.windows.main()
        print(
            f"{row.board} {row.clock_mhz} {row.threads} {row.published} {row.title}: "
            f"{row.cycles / 1e6:.1f} M cycles, {main.instructions.sum() / 1e6:.1f} M instructions, "
            f"{main.core.sum() / 1e6:.1f} M cycles of the core",
            flush=True,
        )


def _baseline(options: argparse.Namespace) -> None:
    from toolchain.dev.timing.cross_validation import errors, leave_one_family_out
    from toolchain.dev.timing.fit import fit_constant_cycles
    from toolchain.dev.timing.rows import counted_samples, groups

    samples = list(counted_samples(
        options.data, _chosen(options, read_published(options.data)), only_cached=True
    ))  # fmt: skip
    for name, group in groups(samples).items():
        if len({one.row.family for one in group}) < 2:
            continue
        found = errors(leave_one_family_out(group, fit_constant_cycles))
        print(
            f"{name}: {found.rows} rows, median {found.median:.1%}, 90th percentile "
            f"{found.ninth_decile:.1%}, worst {found.worst:.1%} ({found.worst_row.title})"
        )


def _page(options: argparse.Namespace) -> None:
    from toolchain.dev.timing.page import page, write_page
    from toolchain.dev.timing.study import run_study

    check_folder(options.out)
    results = run_study(
        options.data,
        runner=_runner(options),
        only_cached=options.only_cached,
        progress=Lines(),
    )
    print(page(results))
    for path in write_page(results, options.out):
        print(f"written: {path}", file=sys.stderr)


def _host(options: argparse.Namespace) -> None:
    from toolchain.dev.timing.host.page import page, write_page
    from toolchain.dev.timing.host.study import run_host_study

    check_folder(options.out)
    results = run_host_study(rounds=options.rounds, progress=Lines())
    print(page(results))
    for path in write_page(results, options.out):
        print(f"written: {path}", file=sys.stderr)


def _coefficients(options: argparse.Namespace) -> None:
    from toolchain.dev.timing.coefficients import FILE, coefficients_text
    from toolchain.dev.timing.page import load_results
    from toolchain.storage.files import write_whole

    text = coefficients_text(load_results(options.results))
    write_whole(FILE, text.encode())
    print(text, end="")
    print(f"written: {FILE}", file=sys.stderr)


if __name__ == "__main__":
    console.run(lambda: sys.exit(main()))
