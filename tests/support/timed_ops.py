"""Operators as the runner times them, and the layers of a small network."""

from __future__ import annotations

from pathlib import Path

from support.bundles import write_masked_model
from toolchain.profile.operators import LayerTrace, trace
from toolchain.profile.runner_output import REMAINDER, Op
from toolchain.tflite_file.graph import read_model
from toolchain.tflite_file.layers import find_layers

IGEMM = "xnn_f32_igemm_minmax_ukernel_4x8__asm_aarch64_neonfma_cortex_a75_prfm"
LIVE = "xnn_f32_live_igemm_minmax_ukernel_6x8__aarch64_neonfma"
PIXELS = 256


def two_layers(folder: Path, sparsity: float = 0.25) -> list[LayerTrace]:
    """Of two 3x3 convolutions on 16x16 pixels, both masked."""
    path = write_masked_model(folder / f"net_{sparsity}.tflite", sparsity=sparsity)
    return [trace(layer) for layer in find_layers(read_model(path))]


def conv(
    us: float,
    *,
    kept: int = PIXELS,
    kernel: str = IGEMM,
    dead: float | None = None,
    macs: int | None = None,
) -> Op:
    """A convolution in tiles of as many rows as its micro-kernel's name has."""
    mr = int(kernel.partition("_ukernel_")[2][0])
    return Op(
        index=0, type="Convolution (NHWC, F32) IGEMM", delegated=True, median_us=us, share=None,
        ukernel=kernel, mr=mr, nr=8, pixels=PIXELS, kept=kept, skipped_share=1 - kept / PIXELS,
        dead_tap_share=dead, macs_computed=macs,
    )  # fmt: skip


def other(us: float, kind: str = "Add (ND, F32)", *, delegated: bool = True) -> Op:
    """An operator without multiply-accumulates."""
    return Op(
        index=0, type=kind, delegated=delegated, median_us=us, share=None, ukernel=None, mr=None,
        nr=None, pixels=None, kept=None, skipped_share=None,
    )  # fmt: skip


def listed(*ops: Op, remainder_us: float = 5.0) -> list[Op]:
    """Operators in order, numbered, and the remainder at their end."""
    every = [*ops, other(remainder_us, REMAINDER, delegated=False)]
    return [op.model_copy(update={"index": index}) for index, op in enumerate(every)]
