"""XNNPACK's own convolution tests and its thread pool's, from their tarballs, on what is shipped.

Run as ``python -m toolchain.dev.xnnpack_tests --isa x86-64|aarch64|armv7 [--filter FILTER]``.
Tests of another ISA run under QEMU's user mode, in shards over the machine's cores; those of this
machine's ISA may run with a sanitizer.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import get_args

from toolchain import children, console
from toolchain.build import stages
from toolchain.build.bundle import recipe_for
from toolchain.build.compiler import Compiler, find_compiler
from toolchain.build.ninja import compile_targets, configure
from toolchain.build.qemu_user import emulator_command
from toolchain.build.sanitizers import SANITIZERS, sanitizer_environment, sanitizer_flags
from toolchain.build.stages import Recipe, Workshop
from toolchain.dev import microkernels
from toolchain.errors import BuildError
from toolchain.fetch.apt import AptRoot
from toolchain.fetch.sources import tree
from toolchain.hardware.board_file import load_board
from toolchain.hardware.facts import Core, Isa, isa_facts, played_cores
from toolchain.progress import Lines, Progress, Silent
from toolchain.storage.cache import digest, entry
from toolchain.storage.scratch import temporary_folder

# Every test that makes a convolution through the operator or the subgraph interface, and those of
# what the patch touches besides: the rewriting and running of a subgraph.
OPERATOR_TESTS = ("convolution-nhwc", "convolution-nchw", "deconvolution-nhwc")
SUBGRAPH_TESTS = ("convolution-2d", "depthwise-convolution-2d", "deconvolution-2d")
OTHER_TESTS = ("subgraph", "subgraph-nchw", "subgraph-fp16", "fusion", "runtime",
               "memory-planner", "workspace")  # fmt: skip
UPSTREAM_TESTS = (*OPERATOR_TESTS, *SUBGRAPH_TESTS, *OTHER_TESTS)
# Added by runtime_patch/xnnpack, so not there in a stock tree.
OWN_TESTS = ("masked-convolution-2d", "compact-layout", "live-taps", "live-igemm",
             "channel-blocks")  # fmt: skip
# The one that calls each of our micro-kernels.
MICROKERNEL_TESTS = "live-igemm"
# The thread pool's; a patch brings the second one.
POOL_TESTS = ("pthreadpool", "late-workers")
TESTS = (*OWN_TESTS, *UPSTREAM_TESTS, *POOL_TESTS)
# Those that make a thread pool: what ThreadSanitizer is for.
THREADED_TESTS = (*OWN_TESTS, "convolution-nhwc", *POOL_TESTS)
# The library is the bundle's; only the tests' own code is compiled, and quickly.
TEST_FLAGS = "-O1"
_ISAS: tuple[Isa, ...] = ("x86-64", "aarch64", "armv7")
_SUMMARY = re.compile(r"^\[==========\] (\d+) tests? from .* ran\.", re.M)
_FAILED = re.compile(r"^\[  FAILED  \] ([^\s,]+/?\S*?)(?:,.*)?(?: \(\d+ ms\))?$", re.M)
_REPORT = re.compile(r"^.*(?:ERROR: \w+Sanitizer|WARNING: ThreadSan|: runtime error: )", re.M)
_LINES_SHOWN, _REPORT_LINES_SHOWN = 6, 40
_SKIPPED = re.compile(r"^\[  SKIPPED \] (\d+) tests?", re.M)


@dataclass(frozen=True)
class ProgramResult:
    """One test program, all its shards together."""

    name: str
    ran: int
    skipped: int
    """Tests that asked for an instruction that the machine does not have."""
    failed: tuple[str, ...]
    seconds: float
    output: str
    """All that the program printed, shard after shard."""


def build_tests(recipe: Recipe, shop: Workshop, tests: Sequence[str] = TESTS) -> Path:
    """Compile the test programs on the recipe's XNNPACK; the cached folder holds ``<name>-test``.

    Raises:
        SourceError, BuildError: from fetching, patching and compiling.
    """
    key = digest(
        "tests 1",
        _test_flags(recipe),
        recipe.xnnpack_key(),
        recipe.sources.get("googletest").sha256,
        (recipe.patch_dir / "xnnpack_tests/CMakeLists.txt").read_bytes(),
        *tests,
    )

    xnnpack = stages.build_xnnpack(recipe, shop)

    def fill(folder: Path) -> None:
        log = stages.log_file("xnnpack-tests", key)
        build = folder / "build"
        source = stages.patched_xnnpack(recipe, shop, folder / "src/xnnpack")
        pool = stages.patched_pthreadpool(recipe, shop, folder / "src/pthreadpool")
        definitions = tests_definitions(
            recipe, shop, tests, source=source, pool=pool, xnnpack=xnnpack
        )
        project = recipe.patch_dir / "xnnpack_tests"
        configure(project, build, definitions, extra=recipe.compiler.cmake_arguments(), log=log)
        targets = [f"{name}-test" for name in tests]
        title = f"compile XNNPACK's tests ({recipe.compiler.isa})"
        compile_targets(
            build, targets, jobs=shop.jobs, log=log, progress=shop.progress, title=title
        )
        for target in targets:
            (build / target).replace(folder / target)
        shutil.rmtree(build)
        shutil.rmtree(folder / "src")

    return entry("xnnpack-tests", key, fill)


def tests_definitions(
    recipe: Recipe, shop: Workshop, tests: Sequence[str], *, source: Path, pool: Path, xnnpack: Path
) -> dict[str, object]:
    """CMake's definitions for the tests (``runtime_patch/xnnpack_tests``).

    Args:
        recipe: what is tested.
        shop: where sources come from.
        tests: names without ``-test``.
        source: XNNPACK's patched tree.
        pool: the patched thread pool.
        xnnpack: what the stage ``xnnpack`` left.

    Raises:
        SourceError: an archive cannot be had.
    """
    # No libraries of the other ISA need to be installed to run these.
    static = {"CMAKE_EXE_LINKER_FLAGS": "-static"} if recipe.compiler.cross else {}
    return {
        **stages.xnnpack_definitions(recipe, shop, pool),
        **stages.build_flags(_test_flags(recipe), None),
        **static,
        "XNNPACK_SOURCE_DIR": source,
        "TILESKIP_XNNPACK_DIR": xnnpack,
        "GOOGLETEST_SOURCE_DIR": tree(recipe.sources.get("googletest"), shop.apt),
        "TESTS": ";".join(tests),
        "POOL_TESTS": ";".join(POOL_TESTS),
    }


def run_tests(
    folder: Path,
    compiler: Compiler,
    *,
    tests: Sequence[str] = TESTS,
    gtest_filter: str = "*",
    core: Core | None = None,
    jobs: int = 1,
    environment: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> list[ProgramResult]:
    """Run test programs, each in ``jobs`` shards at once.

    Args:
        folder: what :func:`build_tests` returned.
        compiler: the one that compiled them; programs of another ISA go through QEMU.
        tests: names without ``-test``.
        gtest_filter: GoogleTest's filter.
        core: the core that QEMU plays, the ISA's ``test_core`` by default; programs of this
            machine's ISA run on it as it is.
        jobs: shards at a time.
        environment: variables that the programs get besides.
        progress: where each program is announced.

    Returns:
        One result a program, in order; failures are in it, not raised.

    Raises:
        BuildError: a program crashed or a sanitizer ended it, so that its tests were not counted.
        MissingToolError: QEMU's user mode is not installed.
    """
    progress = progress or Silent()
    results = []
    with temporary_folder() as root:
        emulator = []
        if compiler.cross and (played := core or isa_facts(compiler.isa).test_core):
            emulator = emulator_command(played, root, compiler.isa)
        for name in tests:
            command = [*emulator, str(folder / f"{name}-test"), f"--gtest_filter={gtest_filter}"]
            begun = time.monotonic()
            with (
                progress.stage(f"run {name}-test", total=jobs) as stage,
                ThreadPoolExecutor(jobs) as pool,
            ):
                outputs = []
                shards = range(jobs)
                run = partial(_run_shard, command, shards=jobs, environment=environment or {})
                for output in pool.map(run, shards):
                    outputs.append(output)
                    stage.advance()
            results.append(_result(name, outputs, time.monotonic() - begun))
    return results


def _run_shard(
    command: list[str], shard: int, *, shards: int, environment: Mapping[str, str]
) -> str:
    variables = {
        **os.environ,
        **environment,
        "GTEST_TOTAL_SHARDS": str(shards),
        "GTEST_SHARD_INDEX": str(shard),
        "GTEST_BRIEF": "0",
        "GTEST_COLOR": "no",
    }
    result = children.run(command, limit=2 * children.WORK_S, fault=BuildError, env=variables)
    output = result.stdout
    # A sanitizer that finds a leak says so after the last test.
    if not _SUMMARY.search(output) or result.returncode not in (0, 1):
        name = Path(command[-2]).name
        raise BuildError(
            f"{name} ended with {result.returncode}:\n{_what_it_said_last(output, result.stderr)}"
        )
    return output


def _what_it_said_last(output: str, errors: str) -> str:
    report = _REPORT.search(errors)
    if report:
        return "\n".join(errors[report.start() :].splitlines()[:_REPORT_LINES_SHOWN])
    return "\n".join((output + errors).splitlines()[-_LINES_SHOWN:])


def _test_flags(recipe: Recipe) -> str:
    return sanitizer_flags(recipe.sanitizer) if recipe.sanitizer else TEST_FLAGS


def _result(name: str, outputs: Sequence[str], seconds: float) -> ProgramResult:
    ran = skipped = 0
    failed: list[str] = []
    for output in outputs:
        ran += sum(int(match) for match in _SUMMARY.findall(output))
        skipped += sum(int(match) for match in _SKIPPED.findall(output))
        tail = output[output.rfind("[==========]") :]
        failed += [item for item in _FAILED.findall(tail) if not item.isdigit()]
    whole = "\n".join(outputs)
    return ProgramResult(name, ran, skipped, tuple(sorted(set(failed))), seconds, whole)


@console.telling
def main(arguments: Sequence[str] | None = None) -> int:
    """Build and run; prints one line a program. 0 if every test passed, 1 if one failed."""
    parser = argparse.ArgumentParser(prog="toolchain.dev.xnnpack_tests", description=__doc__)
    parser.add_argument("--isa", choices=_ISAS, default="x86-64")
    parser.add_argument(
        "--core",
        choices=get_args(Core),
        help="the core that QEMU plays (default: cortex-a76, which has dot products and fp16; "
        "for armv7 cortex-a53)",
    )
    parser.add_argument("--filter", default="*", help="GoogleTest filter (default: every test)")
    parser.add_argument("--only", action="append", choices=TESTS, help="this program alone")
    parser.add_argument("--stock", action="store_true", help="test XNNPACK without the patches")
    parser.add_argument(
        "--sanitizer",
        choices=SANITIZERS,
        help="compile XNNPACK and the tests for it; with `thread` the tests that make threads run",
    )
    parser.add_argument("--sources", type=Path, help="folder of archives at hand")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args(arguments)
    # Of another ISA's programs nothing is played, so the core says nothing.
    played = played_cores("armv7" if options.isa == "armv7" else "aarch64")
    if options.core and options.core not in played:
        parser.error(f"argument --core: {options.core} does not run {options.isa}")
    if options.sanitizer and find_compiler(options.isa).cross:
        parser.error(f"argument --sanitizer: this machine does not run {options.isa}")
    progress = Lines()
    board = load_board(isa_facts(options.isa).test_board)
    recipe = recipe_for(board, stock=options.stock, sanitizer=options.sanitizer)
    shop = Workshop(AptRoot(progress, sources=options.sources), options.jobs, progress)
    tests: tuple[str, ...] = THREADED_TESTS if options.sanitizer == "thread" else TESTS
    if options.stock:
        tests = tuple(name for name in tests if name not in OWN_TESTS)
    own = microkernels.own_microkernels(recipe.patch_dir / "xnnpack", options.isa)
    folder = build_tests(recipe, shop, tests)
    results = run_tests(
        folder,
        recipe.compiler,
        tests=options.only or tests,
        gtest_filter=options.filter,
        core=options.core,
        jobs=options.jobs,
        environment=sanitizer_environment(recipe.sanitizer) if recipe.sanitizer else None,
        progress=progress,
    )
    for item in results:
        state = "FAILED" if item.failed else "ok"
        print(
            f"{state:6} {item.name:26} {item.ran:5} tests, {item.skipped} skipped, "
            f"{item.seconds:.0f} s"
        )
        for test in item.failed:
            print(f"         {test}")
        if item.failed:
            log = stages.log_file(f"{item.name}-test", options.isa)
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text(item.output)
            print(f"         what they printed: {log}")
    ran, failed = sum(item.ran for item in results), sum(len(item.failed) for item in results)
    print(f"{options.isa}: {ran} tests, {failed} failed")
    untested = _tell_microkernels(own, results, every_test=options.filter == "*")
    return 1 if failed or untested or not ran else 0


def _tell_microkernels(
    own: tuple[str, ...], results: Sequence[ProgramResult], *, every_test: bool
) -> bool:
    """Print which of our micro-kernels were called; whether one of them has no test."""
    output = [item.output for item in results if item.name == MICROKERNEL_TESTS]
    if not output:
        return False
    coverage = microkernels.coverage(own, *output)
    states = {
        "called by tests": coverage.called,
        "skipped, for this machine lacks their instructions": coverage.skipped,
        "FAILED, no test calls them": coverage.untested if every_test else (),
    }
    for state, names in states.items():
        for line in microkernels.by_rows(names):
            print(f"micro-kernels {state}: {line}")
    return every_test and bool(coverage.untested)


if __name__ == "__main__":
    console.run(lambda: sys.exit(main()))
