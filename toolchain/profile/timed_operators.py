"""Operators by their times: a model's rows, beside those of the first model or alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from toolchain.profile.operator_reasons import time_reason
from toolchain.profile.operators import (
    LayerTrace,
    Operator,
    OperatorRow,
    Slot,
    is_layer,
    operator_row,
    pair,
    timed,
    timed_slots,
)
from toolchain.profile.runner_output import REMAINDER, Op
from toolchain.tflite_file.plan import Layout, Path
from toolchain.timing.core_table import arithmetic_of
from toolchain.timing.roof import Roof


class TimedRow(OperatorRow):
    """One operator by its time, in microseconds."""

    by_plan: float | None = None
    """Dense over masked multiply-accumulates as the runtime computes them, rows of tiles that
    nobody wants with them; ``None`` where that is not told. The ideal is then by it."""
    delegated: bool
    """Whether XNNPACK runs it."""
    why_not_delegated: str | None = None
    """Why it does not, in its words; ``None`` where it does not say."""
    path: Path | None = None
    """Which way the runtime computes it; ``None`` where it does not tell."""
    reads: Layout | None = None
    """The layout of its first input."""
    writes: Layout | None = None
    """That of its output."""
    dead_tap_share: float | None
    """Of the taps of kept pixels, those that are not computed either."""
    macs_computed: int | None = None
    """Multiply-accumulates that the runtime computes, rows of tiles that nobody wants with them;
    all of the layer's where it does not tell."""
    macs_per_second: float | None = None
    """``macs_computed`` over the time."""
    of_peak: float | None = None
    """``macs_per_second`` over what the cores can do at most; ``None`` where that is not known."""


class ToldRow(NamedTuple):
    """A row with what the runner said of the operators that it is of."""

    row: TimedRow
    dense: Op | None
    """``None`` where the dense model has no such operator, or there is none to compare with."""
    own: Op | None
    """``None`` where only the dense model has it."""


Timed = tuple[Sequence[Op], Sequence[LayerTrace]]
"""Operators of a model as the runner timed them, the remainder at their end; and its layers."""


def timed_rows(dense: Timed | None, own: Timed, roof: Roof | None = None) -> list[TimedRow]:
    """The operators of a model in the order of execution, beside another form of it or alone.

    Args:
        dense: of the other model. A network of other layers is left out, and so is ``None``.
        own: of the model.
        roof: what the cores can do that it was timed on, where that is known.
    """
    return [each.row for each in told_rows(dense, own, roof)]


def told_rows(dense: Timed | None, own: Timed, roof: Roof | None = None) -> list[ToldRow]:
    """As :func:`timed_rows`, each row with the operators themselves."""
    mine, layers = _slots_of(own)
    other, other_layers = _slots_of(dense) if dense is not None else (None, [])
    if mine is None:  # the layers are not to be told
        mine, layers = [([timed(op) for op in own[0] if op.type != REMAINDER], None)], []
        other = None
    beside = other is not None and [one.form for one in layers] == [
        one.form for one in other_layers
    ]
    if other is None or not beside:
        other = [([], None)] * len(mine)
    rows = []
    place = f"before {layers[0].name}" if layers else None
    for index, each in enumerate(pair(other, mine, layers)):
        row = _timed_row(index, *each, roof, beside=beside)
        if (layer := each[2]) is not None:
            place = f"after {layer.name}"
        else:
            # "Binary Elementwise (ND)" is Binary: types and ways to compute take too much room.
            name = re.sub(r"( Elementwise)?( \(.*)?$", "", row.kind)
            row = row.model_copy(update={"name": f"{name} {place}" if place else name})
        rows.append(ToldRow(row, *(op.told if op else None for op in each[:2])))
    dense_rest, rest = [
        next((timed(op) for op in ops if op.type == REMAINDER), None)
        for ops in ((dense or own)[0], own[0])
    ]
    last = _timed_row(len(rows), dense_rest if beside else None, rest, None, roof, beside=beside)
    last = last.model_copy(update={"name": "outside of operators", "kind": REMAINDER})
    told = dense_rest.told if beside and dense_rest else None
    return [*rows, ToldRow(last, told, rest.told if rest else None)]


def _slots_of(model: Timed) -> tuple[list[Slot] | None, Sequence[LayerTrace]]:
    ops, layers = model
    return timed_slots(ops, layers), layers


def _timed_row(
    index: int,
    dense: Operator | None,
    masked: Operator | None,
    layer: LayerTrace | None,
    roof: Roof | None,
    *,
    beside: bool,
) -> TimedRow:
    row = operator_row(index, dense, masked, layer)
    told = masked.told if masked else None
    if layer is not None and layer.masked and layer.pixels:  # a mask that is not skipped counts
        share = layer.kept / layer.pixels
        mask = {"pixels": layer.pixels, "kept": layer.kept, "ideal": row.dense * share}
        row = row.model_copy(update=mask)
    skipped = told is not None and told.kept != told.pixels
    by_plan = None
    if skipped or layer is None or not layer.masked:
        by_plan = _by_plan(dense.told if dense else None, told)
    if by_plan is not None:
        row = row.model_copy(update={"ideal": row.dense / by_plan})
    return TimedRow(
        **{
            **dict(row),
            "by_plan": by_plan,
            "reason": time_reason(row, layer, skipped=skipped, planned=by_plan is not None)
            if beside
            else None,
            "delegated": told.delegated if told else True,
            "why_not_delegated": told.why_not_delegated if told else None,
            "path": told.path if told else None,
            "reads": told.reads if told else None,
            "writes": told.writes if told else None,
            "dead_tap_share": told.dead_tap_share if told else None,
            **_work(told, layer, roof),
        }
    )


def _work(told: Op | None, layer: LayerTrace | None, roof: Roof | None) -> dict[str, object]:
    """What an operator computes, and how fast."""
    if told is None or (layer is None and not told.macs_computed):
        return {}
    macs = told.macs_computed
    if macs is None:
        macs = layer.macs if layer else 0
    rate = macs * 1e6 / told.median_us if macs and told.median_us else None
    peak = roof.peak(arithmetic_of(told.type)) if roof else None
    return {
        "macs_computed": macs,
        "macs_per_second": rate,
        "of_peak": rate / peak if rate and peak else None,
    }


def _by_plan(dense: Op | None, masked: Op | None) -> float | None:
    """Dense over masked multiply-accumulates, where the runtime tells both."""
    if dense is None or masked is None or not dense.macs_computed or not masked.macs_computed:
        return None
    return dense.macs_computed / masked.macs_computed


def macs_computed(ops: Sequence[Op] | None, layers: Sequence[LayerTrace]) -> int | None:
    """Multiply-accumulates of all layers, as the runtime says that it computes them.

    Args:
        ops: what the runner says of each operator, the remainder at their end.
        layers: of the file; one of another kernel's is computed whole.

    Returns:
        ``None`` where operators and layers do not match, or the runtime does not tell.
    """
    matched = timed_slots(ops, layers)
    if not ops or matched is None:
        return None
    told = [op for op in ops if is_layer(op.type)]
    if not any(op.macs_computed is not None for op in told):
        return None
    return sum(
        layer.macs if op.macs_computed is None else op.macs_computed
        for op, layer in zip(told, layers, strict=True)
    )


def live_share(ops: Sequence[Op] | None, layers: Sequence[LayerTrace]) -> float | None:
    """Of the multiply-accumulates that masks leave, the share that dead taps leave of them.

    Args:
        ops: what the runner says of each operator, the remainder at their end.
        layers: of the file.

    Returns:
        ``None`` where operators and layers do not match.
    """
    matched = timed_slots(ops, layers)
    if not ops or matched is None:
        return None
    shares = [op.dead_tap_share or 0.0 for op in ops if is_layer(op.type)]
    left = [layer.macs - layer.macs_saved for layer in layers]
    total = sum(left)
    dead = sum(macs * share for macs, share in zip(left, shares, strict=True))
    return 1 - dead / total if total else None
