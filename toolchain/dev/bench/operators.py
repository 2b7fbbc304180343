"""A masked model's operators beside the dense one's, by counted instructions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from toolchain.dev.bench.counts import ModelCount, OpCount
from toolchain.dev.bench.taps import live_taps
from toolchain.errors import ModelError
from toolchain.profile.operator_reasons import UNEXPLAINED, reason
from toolchain.profile.operators import (
    Operator,
    OperatorRow,
    Slot,
    is_layer,
    operator_row,
    pair,
    slots,
    trace,
)
from toolchain.tflite_file.graph import read_model
from toolchain.tflite_file.layers import Layer, find_layers


class OperatorTable(BaseModel):
    """All operators of two models, and their sums."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dense_model: str
    masked_model: str
    rows: list[OperatorRow]
    dense: int
    """Instructions of an inference, those outside of operators too."""
    masked: int
    macs: int
    macs_left: int
    """Those that no mask throws away, whether the runtime skips the others or not."""

    @property
    def speedup(self) -> float:
        """Dense over masked instructions of the whole inference."""
        return self.dense / self.masked

    @property
    def ideal(self) -> float:
        """Dense over remaining multiply-accumulates of the whole network."""
        return self.macs / self.macs_left

    @property
    def unexplained(self) -> list[OperatorRow]:
        """Operators below their ideal without a known reason."""
        return [row for row in self.rows if row.reason and row.reason.startswith(UNEXPLAINED)]


def compare_operators(
    dense: tuple[Path, ModelCount], masked: tuple[Path, ModelCount], *, two_sided: bool = False
) -> OperatorTable:
    """Put the operators of two models beside each other.

    Args:
        dense: the file and what was counted of it.
        masked: the same network with masks.
        two_sided: whether the ideal skips masked taps, too.

    Raises:
        ModelError: the two files are not the same network.
    """
    model = read_model(masked[0])
    dense_layers, masked_layers = find_layers(read_model(dense[0])), find_layers(model)
    live = live_taps(model) if two_sided else {}
    dense_traces, traces = (
        [trace(one) for one in dense_layers],
        [trace(one) for one in masked_layers],
    )
    if [one.form for one in dense_traces] != [one.form for one in traces]:
        raise ModelError(f"{dense[0]} and {masked[0]} are not the same network: layers differ")
    places = {layer.name: layer.index for layer in masked_layers}
    rows: list[OperatorRow] = []
    index = 0
    for one, other, layer in pair(
        _slots(dense[1].ops, dense_layers, dense[0]),
        _slots(masked[1].ops, masked_layers, masked[0]),
        traces,
    ):
        share = live.get(places[layer.name], 1.0) if layer else 1.0
        row = operator_row(index, one, other, layer, share)
        why = reason(row, layer, masked[1].instructions)
        rows.append(row.model_copy(update={"reason": why}))
        index += layer is not None or other is not None
    return OperatorTable(
        dense_model=dense[1].model,
        masked_model=masked[1].model,
        rows=rows,
        dense=dense[1].instructions,
        masked=masked[1].instructions,
        macs=sum(layer.macs for layer in masked_layers),
        macs_left=round(
            sum(
                (layer.macs - layer.macs_masked) * live.get(layer.index, 1.0)
                for layer in masked_layers
            )
        ),
    )


def _slots(ops: Sequence[OpCount], layers: Sequence[Layer], path: Path) -> list[Slot]:
    found = slots([_operator(op) for op in ops], len(layers))
    if found is None:
        ran = sum(is_layer(op.type) for op in ops)
        raise ModelError(
            f"{path}: {ran} operators with multiply-accumulates ran, the file has {len(layers)}"
        )
    return found


def _operator(op: OpCount) -> Operator:
    return Operator(op.type, op.instructions, op.in_kernels, op.ukernel, op.mr, op.pixels, op.kept)
