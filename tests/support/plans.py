"""What ``tileskip-run --plan`` would print, with chosen figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolchain.tflite_file.plan import PlannedOperator, RunnerPlan

RUNNER = {
    "version": "0.1.0", "patched": True, "tflite": "2.14.1", "xnnpack": "4ea82e5",
    "compiler": "GCC 12.2.0",
}  # fmt: skip


def operator(**figures: Any) -> PlannedOperator:
    """A convolution that XNNPACK computes; dense unless told otherwise."""
    return PlannedOperator.model_validate(
        {
            "index": 0, "type": "Convolution (NHWC, F32) IGEMM", "node": 0, "delegated": True,
            "path": "igemm", "ukernel": "xnn_f32_igemm_minmax_ukernel_4x8__any", "mr": 4, "nr": 8,
            "pixels": 196, "kept": 196, "rows": 196, "dense_rows": 196, "taps": 1764,
            "live_taps": 1764, "macs": 112896, "macs_computed": 112896, "reads": "dense",
            "writes": "dense", "why_all_pixels": None, "why_all_taps": None, "why_dense": None,
            **figures,
        }
    )  # fmt: skip


def kernel(node: int | None, **figures: Any) -> PlannedOperator:
    """An operator that TensorFlow Lite's own kernels compute."""
    none = (
        "ukernel", "mr", "nr", "pixels", "kept", "rows", "dense_rows", "taps", "live_taps", "macs",
        "macs_computed",
    )  # fmt: skip
    given = {"type": "CONV_2D", "delegated": False, "path": "tflite", "node": node, **figures}
    return operator(**{**dict.fromkeys(none), **given})


def runner_plan(operators: Sequence[PlannedOperator] | None, notes: Sequence[str] = ()) -> str:
    """The JSON."""
    plan = RunnerPlan.model_validate(
        {
            "schema": 1, "runner": RUNNER, "model": {"path": "m.tflite", "bytes": 100},
            "threads": 1, "plan": None, "notes": list(notes),
            "delegate": {"used": True, "partitions": 1, "nodes": 2, "nodes_delegated": 2},
        }
    )  # fmt: skip
    numbered = None
    if operators is not None:
        numbered = [
            each.model_copy(update={"index": index}) for index, each in enumerate(operators)
        ]
    return plan.model_copy(update={"plan": numbered}).model_dump_json(by_alias=True)
