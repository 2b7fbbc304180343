"""Estimates of made-up models."""

from __future__ import annotations

from toolchain.profile.estimate_document import EstimatedOperator, ModelEstimate
from toolchain.profile.operators import LayerTrace
from toolchain.profile.runner_output import REMAINDER, Op
from toolchain.profile.timed_operators import timed_rows


def estimated_model(
    name: str, ops: list[Op], layers: list[LayerTrace], first: ModelEstimate | None = None
) -> ModelEstimate:
    """A model whose operators take as long as ``ops`` say, and wait for the multipliers."""
    names = [row.name for row in timed_rows(None, (ops, layers))]
    total = sum(op.median_us or 0 for op in ops) / 1e3
    operators = [
        EstimatedOperator(
            index=op.index,
            name=names[op.index],
            type=op.type,
            delegated=op.delegated,
            ms=(op.median_us or 0) / 1e3,
            share=(op.median_us or 0) / 1e3 / total,
            bound="multiply",
            by_bound={"core": (op.median_us or 0) / 1e3},
            instructions=1000,
            ukernel=op.ukernel,
            mr=op.mr,
            nr=op.nr,
            pixels=op.pixels,
            kept=op.kept,
            dead_tap_share=op.dead_tap_share,
            macs_computed=op.macs_computed,
            peak_share=0.5,
            memory_lines=10,
        )
        for op in ops
        if op.type != REMAINDER
    ]
    found = ModelEstimate(
        name=name,
        sha256="0" * 64,
        ms=total,
        low_ms=total / 1.1,
        high_ms=total * 1.1,
        instructions=5000,
        macs_computed=1000,
        peak_share=0.5,
        by_bound={"core": total},
        operators=operators,
        outside_ms=0.0,
        layers=layers,
    )
    if first is None:
        return found
    rows = timed_rows((first.timed_ops(), first.layers), (found.timed_ops(), layers))
    return found.model_copy(update={"beside": rows})
