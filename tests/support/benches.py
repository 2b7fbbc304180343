"""Results of a bench with chosen figures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from toolchain.dev.bench.counts import ModelCount, OpCount
from toolchain.dev.bench.models import Dtype
from toolchain.dev.bench.native import Machine, Spread
from toolchain.dev.bench.results import BenchResults, CaseResult, Counted, Timed
from toolchain.profile.operators import OperatorRow, Tile

KERNEL = "xnn_f32_igemm_minmax_ukernel_4x8__asm_aarch64_neonfma_cortex_a75_prfm"
GEMM = KERNEL.replace("igemm", "gemm")
MACS = 1_000_000


def op_count(
    instructions: int,
    *,
    outside: int = 0,
    kernel: str = KERNEL,
    kind: str = "Convolution (NHWC, F32) IGEMM",
    mr: int | None = 4,
    pixels: int | None = 100,
    kept: int | None = 100,
) -> OpCount:
    """An operator with ``outside`` of its instructions outside of its micro-kernel."""
    return OpCount(
        type=kind, delegated=True, instructions=instructions,
        functions={kernel: instructions - outside, "(other)": outside},
        ukernel=kernel if mr else None, mr=mr, nr=8 if mr else None, pixels=pixels, kept=kept,
    )  # fmt: skip


def model_count(ops: Sequence[OpCount], *, name: str = "m", other: int = 10) -> ModelCount:
    """An inference of these operators."""
    return ModelCount(
        model=name, core="cortex-a72", threads=1, patched=True, ops=list(ops), other=other,
        prepare=1000, spread=0.0,
    )  # fmt: skip


def operator_row(
    *,
    dense: int = 1000,
    masked: int = 800,
    pixels: int | None = 100,
    kept: int | None = 80,
    live: float = 1.0,
    outside: tuple[int, int] = (0, 0),
    mr: tuple[int, int] = (4, 4),
    kernels: tuple[str, str] = (KERNEL, KERNEL),
    kind: str = "3x3",
    name: str = "conv",
    reason: str | None = None,
) -> OperatorRow:
    """An operator; pairs are those of the dense model and of the masked one."""
    share = kept / pixels if kept is not None and pixels else 1.0
    tiles = [
        Tile(ukernel=kernel, mr=rows, rows=count)
        for kernel, rows, count in zip(kernels, mr, (pixels, kept), strict=True)
        if count is not None
    ]
    return OperatorRow(
        index=0, name=name, kind=kind, shape="8 -> 8, 10x10" if tiles else "", macs=MACS,
        pixels=pixels, kept=kept, live=live, dense=dense, masked=masked,
        ideal=dense * share * live, dense_outside=outside[0], masked_outside=outside[1],
        dense_tile=tiles[0] if tiles and dense else None, masked_tile=tiles[1] if tiles else None,
        reason=reason,
    )  # fmt: skip


def around(median: float, width: float = 0.02) -> Spread:
    """A spread with quartiles at this part below and above."""
    return Spread(median=median, low=median * (1 - width), high=median * (1 + width), samples=9)


def case(
    sparsity: float,
    *,
    network: str = "resnet18",
    dtype: Dtype = "fp32",
    threads: int = 1,
    instructions: int = 1_000_000,
    speedup: float | None = None,
    operators: Sequence[OperatorRow] = (),
    spread: float = 0.0,
) -> CaseResult:
    """A case with counts, and with times where a speed-up in time is given."""
    timed = None
    if speedup is not None:
        timed = Timed(
            us=around(1000 / speedup), speedup=around(speedup), prepare_us=around(500),
            prepare_ratio=around(1.1), peak_rss_kib=1000,
            stock_ratio=around(1.02) if not sparsity else None,
        )  # fmt: skip
    return CaseResult(
        network=network, dtype=dtype, sparsity=sparsity, threads=threads,
        macs=MACS, macs_left=round(MACS * (1 - sparsity)),
        counted=Counted(
            instructions=instructions, prepare=50_000, spread=spread,
            stock=round(instructions * 1.01) if not sparsity else None,
        ),
        timed=timed, operators=list(operators),
    )  # fmt: skip


def bench(cases: Sequence[CaseResult], *, missing: Sequence[str] = ()) -> BenchResults:
    """A document of cases."""
    return BenchResults(
        schema=1, tool="0.1.0", created=datetime(2026, 1, 2, tzinfo=UTC), core="cortex-a72",
        runtime="TensorFlow Lite 2.14.1", qemu="qemu-aarch64 version 7.2",
        machine=Machine(cpu="a CPU", cores=2, load=0.1), cases=list(cases), missing=list(missing),
    )  # fmt: skip
