"""Our pipelines beside llvm-mca and OSACA, on inner loops of real programs.

``python -m toolchain.dev.timing.cross_check`` writes the table of
``docs/explanation/timing-model.md``. It needs Debian's ``llvm-19`` and, for the third opinion on
the A72, OSACA from PyPI.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Final

from toolchain import console
from toolchain.dev.timing.inner_loops import Loop, inner_loops
from toolchain.dev.timing.tools import hexadecimal, mca_regions, run_tool
from toolchain.errors import BuildError
from toolchain.storage.scratch import temporary_folder
from toolchain.timing.core_table import TIMED_CORES, CoreTable, Row, TimedCore, core_table
from toolchain.timing.pipeline import steady_cycles

_PAGE = Path("docs/explanation/timing-model.md")
_ITERATIONS = 100
_FAR = 0.10
"""A difference that asks for a reason."""
_LLVM: Final[dict[TimedCore, str]] = {
    "cortex-a53": "cortex-a53",
    "cortex-a72": "cortex-a72",
    "cortex-a76": "neoverse-n1",
}
"""What llvm-mca calls a core, or the nearest that it has."""
_OSACA_LONGEST = 130
"""Instructions of a loop that OSACA is asked about: it takes minutes for long ones."""

_FEATURES = "-mattr=+v8.2a,+fullfp16,+dotprod"
_LLVM_MC = ("llvm-mc-19", "-triple=aarch64", _FEATURES)

Measured = tuple[float | None, float | None, float | None]
"""Cycles of an iteration on an A53, an A72 and a Neoverse N1, by what ``bench`` measured."""

SMALL_LOOPS: Final[dict[str, tuple[list[str], Measured]]] = {
    "12 FMLA": ([f"fmla v{at}.4s, v30.4s, v31.4s" for at in range(12)], (12.1, 12.0, 6.0)),
    "12 FMLA, LDR X": (
        [*(f"fmla v{at}.4s, v30.4s, v31.4s" for at in range(12)), "ldr x1, [x2]"],
        (None, None, None),
    ),
    "FMLA to one accumulator": (["fmla v0.4s, v30.4s, v31.4s"], (4.02, 3.0, 2.0)),
    "FMLA of its result": (["fmla v0.4s, v0.4s, v31.4s"], (8.04, 7.0, 4.0)),
    "4 LDR Q": ([f"ldr q{at}, [x0]" for at in range(4)], (8.0, 4.0, 2.0)),
    "LD1 of 4 registers": (["ld1 {v0.4s, v1.4s, v2.4s, v3.4s}, [x0]"], (8.3, 4.0, 2.0)),
    "LDR X of its result": (["ldr x0, [x0]"], (3.02, 4.0, 4.0)),
    "6 MOVI": ([f"movi v{at}.4s, #1" for at in range(6)], (6.06, 4.0, 3.0)),
    "6 ADD": ([f"add x{at}, x{at}, x20" for at in range(6)], (3.02, 3.0, 2.0)),
    "ADD, shifted, of its result": (["add x0, x1, x0, lsl #17"], (2.01, 2.0, None)),
    "8 SMLAL": ([f"smlal v{at}.4s, v30.4h, v31.4h" for at in range(8)], (8.1, 8.0, 8.0)),
    "4 SADALP": ([f"sadalp v{at}.4s, v31.8h" for at in range(4)], (8.0, 4.0, 4.0)),
    "4 STR Q": ([f"str q{at}, [x0]" for at in range(4)], (4.0, 8.2, None)),
}
"""Loops of one kind of instruction -> their lines, and what a core was measured to take.

Measured: latencies and throughputs of github.com/ocxtal/insn_bench_aarch64, results/, times the
number of instructions."""
RUNNER_LOOPS: Final = (
    "xnn_f32_gemm_minmax_ukernel_1x8__asm_aarch64_neonfma_cortex_a75_prfm",
    "xnn_f32_gemm_minmax_ukernel_4x8__asm_aarch64_neonfma_cortex_a75_prfm",
    "xnn_f32_gemm_minmax_ukernel_6x8__asm_aarch64_neonfma_cortex_a73",
    "xnn_f32_gemm_minmax_ukernel_6x8__asm_aarch64_neonfma_cortex_a53_prfm",
    "xnn_f32_igemm_minmax_ukernel_4x8__asm_aarch64_neonfma_cortex_a75_prfm",
    "xnn_f32_igemm_minmax_ukernel_6x8__asm_aarch64_neonfma_cortex_a53_prfm",
    "xnn_f32_dwconv_minmax_ukernel_9p8c__neonfma",
    "xnn_f32_dwconv_minmax_ukernel_9p4c__asm_aarch64_neonfma_cortex_a55",
    "xnn_f32_live_igemm_minmax_ukernel_1x8__aarch64_neonfma",
    "xnn_f32_live_igemm_minmax_ukernel_4x8__aarch64_neonfma",
    "xnn_f32_live_igemm_minmax_ukernel_6x8__aarch64_neonfma",
    "xnn_qs8_qc8w_gemm_minmax_fp32_ukernel_2x8c8__asm_aarch64_neon_mlal_prfm",
    "xnn_qs8_qc8w_gemm_minmax_fp32_ukernel_2x8c8__asm_aarch64_neon_mlal_cortex_a53_prfm",
    "xnn_qs8_qc8w_gemm_minmax_fp32_ukernel_4x16c4__asm_aarch64_neondot_ld128",
    "xnn_qs8_qc8w_dwconv_minmax_fp32_ukernel_9p16c__neonv8_mla8_ld64",
    "xnn_f16_gemm_minmax_ukernel_6x16__asm_aarch64_neonfp16arith_cortex_a75",
)
"""Micro-kernels of the runner, of each the loop with the most multiply-adds."""
NCNN_LOOPS: Final = (
    0x11250C, 0x112840, 0x113F60, 0xD4C00, 0xD56B0, 0x169A80, 0x167FC8, 0x16B60C, 0xFCCF4, 0x106604,
    0x18AA98,
)  # fmt: skip
"""Loops of ncnn 1.0.20230816's wheel for Python 3.11, by address: the file names no functions."""


@dataclass(frozen=True)
class Opinion:
    """Cycles of an iteration of a loop on a core; all ``None`` where the core cannot run it."""

    ours: float | None = None
    llvm: float | None = None
    osaca: float | None = None
    reasons: tuple[str, ...] | None = ()
    """What has to be left out of our model to come near llvm-mca; ``None``: nothing suffices."""

    @property
    def far(self) -> bool:
        """Whether ours and llvm-mca's differ by more than a tenth."""
        return bool(self.ours and self.llvm and abs(self.ours / self.llvm - 1) > _FAR)


@console.telling
def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and write the table; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m toolchain.dev.timing.cross_check", description=__doc__
    )
    parser.add_argument("--runner", type=Path, required=True, help="tileskip-run for aarch64")
    parser.add_argument("--ncnn", type=Path, required=True, help="ncnn's library of 20230816")
    parser.add_argument("--osaca", help="the program; without it its column is empty")
    parser.add_argument("--page", type=Path, default=_PAGE, help=f"[{_PAGE}]")
    options = parser.parse_args(arguments)
    loops = chosen_loops(options.runner, options.ncnn)
    small = small_loops()
    _write(options.page, "small", small_table(small, opinions([*small.values()], None)))
    _write(options.page, "real", table(loops, opinions([*loops.values()], options.osaca)))
    return 0


def chosen_loops(runner: Path, ncnn: Path) -> dict[str, Loop]:
    """The loops of the table, by the name that it has there.

    Raises:
        BuildError: a program has not all of them.
    """
    found: dict[str, Loop] = {}
    for loop in inner_loops(runner):
        best = found.get(loop.symbol)
        if loop.symbol in RUNNER_LOOPS and (
            best is None or loop.multiply_adds > best.multiply_adds
        ):
            found[loop.symbol] = loop
    ordered = {short_name(name): found[name] for name in RUNNER_LOOPS if name in found}
    at = {loop.address: loop for loop in inner_loops(ncnn)}
    ordered |= {f"ncnn {place:#x}": at[place] for place in NCNN_LOOPS if place in at}
    if len(ordered) < len(RUNNER_LOOPS) + len(NCNN_LOOPS):
        raise BuildError(f"{runner} and {ncnn} have only {len(ordered)} of the loops")
    return ordered


def small_loops() -> dict[str, Loop]:
    """The loops of :data:`SMALL_LOOPS`, assembled."""
    made = {}
    for name, (lines, _) in SMALL_LOOPS.items():
        out = run_tool([*_LLVM_MC, "-show-encoding"], "\n".join(lines) + "\n")
        encoded = re.findall(r"encoding: \[([^]]+)\]", out)
        code = bytes(int(byte, 16) for word in encoded for byte in word.split(","))
        made[name] = Loop("", 0, code)
    return made


def short_name(symbol: str) -> str:
    """A micro-kernel's name without what all have."""
    return re.sub(r"^xnn_|_(minmax|fp32|ukernel|aarch64)(?=_)|(?<=_)_", "", symbol)


def opinions(loops: Sequence[Loop], osaca: str | None) -> dict[TimedCore, list[Opinion]]:
    """What each tool says of each loop, on each core."""
    lines = _disassembled(loops)
    told: dict[TimedCore, list[Opinion]] = {}
    for core in TIMED_CORES:
        theirs = _llvm_mca(lines, _LLVM[core])
        told[core] = []
        for loop, text, cycles in zip(loops, lines, theirs, strict=True):
            if core != "cortex-a76" and needs_armv8_2(loop):
                told[core].append(Opinion())
                continue
            third = _osaca(text, osaca) if osaca and core == "cortex-a72" else None
            ours = steady_cycles(loop.instructions, core_table(core), loop.address)
            opinion = Opinion(ours, cycles, third)
            if opinion.far:
                opinion = replace(opinion, reasons=reasons(loop, core, cycles))
            told[core].append(opinion)
    return told


def needs_armv8_2(loop: Loop) -> bool:
    """Whether a loop has dot products, or arithmetic in fp16."""
    return any(
        it.kind == "dot" or (it.kind == "fp_multiply_add" and ".8h" in it.text)
        for it in loop.instructions
    )


# --- why they differ -----------------------------------------------------------------------------


def reasons(loop: Loop, core: TimedCore, theirs: float) -> tuple[str, ...] | None:
    """The fewest things whose absence from our table brings it within a tenth of ``theirs``.

    Where none do, those that take away half of the difference, with ``in part`` behind them;
    ``None`` where none do that either.
    """
    table = core_table(core)
    start = abs(steady_cycles(loop.instructions, table, loop.address) / theirs - 1)
    names = [name for name in _LEFT_OUT if core in _ON.get(name, TIMED_CORES)]
    tried = []
    for count in range(1, len(names) + 1):
        for chosen in combinations(names, count):
            changed = table
            for name in chosen:
                changed = _LEFT_OUT[name](changed)
            ours = steady_cycles(loop.instructions, changed, loop.address)
            tried.append((abs(ours / theirs - 1), chosen))
        gap, best = min(tried)
        if gap <= _FAR:
            return best
    return (*best, "in part") if gap <= start / 2 else None


def _rows(table: CoreTable, change: Callable[[Row], Row]) -> CoreTable:
    classes = {
        kind: rows.model_copy(
            update={"forms": {form: change(row) for form, row in rows.forms.items()}}
        )
        for kind, rows in table.classes.items()
    }
    return table.changed(classes=classes)


def _without_forwarding(table: CoreTable) -> CoreTable:
    return _rows(table, lambda row: row.model_copy(update={"accumulate": None}))


def _with_long_queues(table: CoreTable) -> CoreTable:
    return table.changed(ports=dict.fromkeys(table.ports, 10_000))


def _with_loads_of_one_cycle(table: CoreTable) -> CoreTable:
    def change(row: Row) -> Row:
        uops = re.sub(r"LS\*\d+", "LS", row.uops)
        return row.model_copy(update={"uops": uops, "alone": False, "issue_cycles": 1})

    return _rows(table, change)


def _with_forwarding_of_the_a57(table: CoreTable) -> CoreTable:
    def change(row: Row) -> Row:
        return row.model_copy(update={"accumulate": 4}) if row.accumulate == 3 else row

    return _rows(table, change)


_LEFT_OUT: Final[dict[str, Callable[[CoreTable], CoreTable]]] = {
    "forwarding": _without_forwarding,
    "A57": _with_forwarding_of_the_a57,
    "halves": lambda table: table.changed(vector_halves=0),
    "queues": _with_long_queues,
    "hazard": lambda table: table.changed(load_after_multiply_add=0),
    "wide loads": _with_loads_of_one_cycle,
}
_ON: Final[dict[str, tuple[TimedCore, ...]]] = {
    "A57": ("cortex-a72",),
    "halves": ("cortex-a72",),
    "queues": ("cortex-a72", "cortex-a76"),
    "hazard": ("cortex-a53",),
    "wide loads": ("cortex-a53",),
}
"""The cores that have a thing, where not all do."""


# --- the other tools -----------------------------------------------------------------------------


def _disassembled(loops: Sequence[Loop]) -> list[list[str]]:
    """Each loop in LLVM's assembly, a line an instruction."""
    text = "\n".join(
        hexadecimal(loop.code[at : at + 4]) for loop in loops for at in range(0, len(loop.code), 4)
    )
    out = run_tool([*_LLVM_MC, "-disassemble"], text + "\n")
    lines = iter([line.strip() for line in out.splitlines() if re.match(r"\t[a-z]", line)])
    return [[next(lines) for _ in range(len(loop.code) // 4)] for loop in loops]


def _llvm_mca(loops: Sequence[Sequence[str]], cpu: str) -> list[float]:
    """Cycles of an iteration of each loop, once it runs steadily."""

    def run(iterations: int) -> list[float]:
        out = run_tool(
            ["llvm-mca-19", "-mtriple=aarch64", f"-mcpu={cpu}", f"--iterations={iterations}",
             _FEATURES, "--resource-pressure=false",
             "--instruction-info=false"],
            mca_regions(loops),
        )  # fmt: skip
        return [float(total) for total in re.findall(r"Total Cycles:\s+(\d+)", out)]

    few, many = run(_ITERATIONS), run(2 * _ITERATIONS)
    return [(b - a) / _ITERATIONS for a, b in zip(few, many, strict=True)]


def _osaca(loop: Sequence[str], program: str) -> float | None:
    """OSACA's bound by ports for the A72; ``None`` where it does not know an instruction."""
    if len(loop) > _OSACA_LONGEST:
        return None
    # Its tables know neither branches nor prefetches.
    known = [line.split("//")[0] for line in loop[:-1] if not line.startswith("prfm")]
    with temporary_folder() as folder:
        file = folder / "loop.s"
        file.write_text("\n".join(known) + "\n")
        try:
            out = run_tool([program, "--arch", "a72", "--ignore-unknown", str(file)], "")
        except BuildError as error:  # it fails on some instructions that it does not know
            if "Traceback" in error.what:
                return None
            raise
    if re.search(r"\|\s*[*P]*\s*X ", out):
        return None
    sums = [line for line in out.splitlines() if re.fullmatch(r"[\s\d.]+", line) and line.strip()]
    # The last two are the critical path and the chain between iterations, where OSACA knows no
    # forwarding of accumulators.
    return max(float(value) for value in sums[0].split()[:-2])


# --- the page ------------------------------------------------------------------------------------


def _write(page: Path, name: str, text: str) -> None:
    """Replace what stands on the page between two comments."""
    begin, end = f"<!-- cross-check: {name} -->", "<!-- end of cross-check -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    if not found:
        raise BuildError(f"{page} has no place for the table: {begin}")
    after = rest.partition(end)[2]
    page.write_text(f"{before}{begin}\n{text}{end}{after}", encoding="utf-8")


def small_table(loops: Mapping[str, Loop], told: Mapping[TimedCore, Sequence[Opinion]]) -> str:
    """The table of loops that were measured, in Markdown."""
    lines = [
        "| loop | A53 | measured | llvm-mca | A72 | measured | llvm-mca | A76 | measured (N1) "
        "| llvm-mca (N1) |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for number, name in enumerate(loops):
        cells = []
        for core, measured in zip(TIMED_CORES, SMALL_LOOPS[name][1], strict=True):
            opinion = told[core][number]
            cells += [_cycles(opinion.ours), _cycles(measured), _cycles(opinion.llvm)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def table(loops: Mapping[str, Loop], told: Mapping[TimedCore, Sequence[Opinion]]) -> str:
    """The table, in Markdown."""
    lines = [
        "| loop | multiply-adds | A53 | llvm-mca | A72 | llvm-mca | OSACA | A76 | llvm-mca |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for number, (name, loop) in enumerate(loops.items()):
        a53, a72, a76 = (told[core][number] for core in TIMED_CORES)
        cells = [_ours(a53, loop), _theirs(a53), _ours(a72, loop), _theirs(a72)]
        cells += [_cycles(a72.osaca), _ours(a76, loop), _theirs(a76)]
        lines.append(f"| `{name}` | {loop.multiply_adds} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cycles(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _ours(opinion: Opinion, loop: Loop) -> str:
    """Our cycles, with the multiply-adds a cycle."""
    if opinion.ours is None:
        return ""
    return f"{_cycles(opinion.ours)} ({loop.multiply_adds / opinion.ours:.1f})"


def _theirs(opinion: Opinion) -> str:
    """llvm-mca's cycles, with what explains that they are far from ours."""
    if not opinion.far:
        return _cycles(opinion.llvm)
    why = "order" if opinion.reasons is None else ", ".join(opinion.reasons)
    return f"{_cycles(opinion.llvm)} ({why})"


if __name__ == "__main__":
    console.run(lambda: sys.exit(main()))
