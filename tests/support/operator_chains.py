"""Models of operators that follow each other: every pair of kinds, in chains of three.

A tour over all ordered pairs of kinds is cut into chains; some chains share a model, so that they
share an arena as well. What a kind needs and the value before it does not have (four axes, a type,
a sign) is put in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from support.operator_kinds import KINDS, Kind
from support.operator_site import WHOLE, DType, Site, Value
from support.runtimes import Runtime
from support.stock_interpreter import KERNELS, run_stock
from support.tflite_writer import Array, GraphWriter, quantize

Variant = Literal["float32", "float16_weights", "int8", "uint8"]
VARIANTS: tuple[Variant, ...] = ("float32", "float16_weights", "int8", "uint8")
TOGETHER = 8
"""Chains of a model."""


@dataclass(frozen=True)
class Output:
    """What a chain makes."""

    operators: tuple[str, ...]
    value: Value


@dataclass(frozen=True)
class ChainModel:
    """A file with some chains, each with an output."""

    path: Path
    input: Array
    outputs: tuple[Output, ...]
    seed: tuple[int, ...]


def dtype_of(variant: Variant) -> DType:
    """Of the input."""
    return "float32" if variant == "float16_weights" else variant


def kinds_of(variant: Variant) -> tuple[Kind, ...]:
    """Those that the delegate takes of a variant's type."""
    dtype = dtype_of(variant)
    return tuple(kind for kind in KINDS if dtype in kind.types)


def with_weights(kind: Kind) -> bool:
    """Whether float16 weights make a difference."""
    return any(
        part in kind.operator for part in ("CONV", "FULLY", "PRELU", "ADD", "MUL", "CONCATENATION")
    )


def tour(kinds: Sequence[Kind], rng: np.random.Generator) -> list[Kind]:
    """Every ordered pair of kinds once, a kind behind itself as well (Hierholzer's algorithm)."""
    left = {i: [int(k) for k in rng.permutation(len(kinds))] for i in range(len(kinds))}
    path, done = [0], []
    while path:
        if left[path[-1]]:
            path.append(left[path[-1]].pop())
        else:
            done.append(path.pop())
    return [kinds[i] for i in reversed(done)]


def chains(variant: Variant, seed: int) -> list[tuple[Kind, ...]]:
    """Chains of three that hold every ordered pair of a variant's kinds."""
    whole = tour(kinds_of(variant), np.random.default_rng(seed))
    cut = [tuple(whole[i : i + 3]) for i in range(0, len(whole) - 1, 2)]
    if variant == "float16_weights":
        cut = [chain for chain in cut if any(with_weights(kind) for kind in chain)]
    return cut


def random_chains(variant: Variant, count: int, seed: int) -> list[tuple[Kind, ...]]:
    """Some chains of three."""
    rng, kinds = np.random.default_rng(seed), kinds_of(variant)
    return [tuple(kinds[int(i)] for i in rng.integers(len(kinds), size=3)) for _ in range(count)]


def write_chains(
    path: Path,
    variant: Variant,
    together: Sequence[Sequence[Kind]],
    seed: tuple[int, ...],
    *,
    masked: bool = True,
) -> ChainModel:
    """A model of one input; ``seed`` decides its shape and all else that is drawn."""
    rng = np.random.default_rng(seed)
    dtype = dtype_of(variant)
    graph = GraphWriter()
    site = Site(graph, rng, dtype, variant == "float16_weights", masked)
    shape = (
        site.one_of(1, 1, 2, 3), 3 + site.below(6), 3 + site.below(6),
        site.one_of(1, 2, 3, 4, 8, 8, 9, 16),
    )  # fmt: skip
    held = site.quantization(dtype)
    x = Value(graph.tensor(shape, dtype, held), shape, held, dtype)
    values = rng.uniform(-1.5, 1.5, shape)
    data = values.astype(np.float32) if held is None else quantize(values, held, dtype)
    outputs = []
    for chain in together:
        site.taken = []
        value = x
        for kind in chain:
            value = put_behind(site, kind, value)
        outputs.append(Output(tuple(site.taken), value))
    tensors = [output.value.tensor for output in outputs]
    graph.write(path, [x.tensor], tensors)
    return ChainModel(path, data, tuple(outputs), seed)


def put_behind(site: Site, kind: Kind, value: Value) -> Value:
    """The kind, and before it whatever it needs."""
    if value.dtype not in kind.types:
        name = "DEQUANTIZE" if value.dtype != "float32" else "QUANTIZE"
        value = _kind(name).apply(site, value)
    if kind.of_positive and not value.positive:
        value = _kind("ABS").apply(site, value)
    if kind.rank == 4 and len(value.shape) != 4:
        value = site.reshaped(value, _four(value.shape))
    return kind.apply(site, value)


def _four(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Four axes of as many elements; pixels where that is possible."""
    match shape:
        case (batch, height, width):
            return batch, height, width, 1
        case (batch, elements):
            for side in (4, 3, 2):
                if elements % (side * side) == 0:
                    return batch, side, side, elements // (side * side)
            return batch, 1, 1, elements
        case (elements,):
            return (1, 2, elements // 2, 1) if elements % 2 == 0 else (1, 1, elements, 1)
        case _:
            raise AssertionError(shape)


def _kind(name: str) -> Kind:
    return next(kind for kind in KINDS if kind.name == name)


# --- comparing ---------------------------------------------------------------------------------

FLOAT_TOLERANCE = 1e-3
"""Of the largest value of an output, which a sum may leave small; a wrong pixel or channel is off
by about as much as that value."""


def check(runtime: Runtime, model: ChainModel, threads: int) -> list[str]:
    """What is wrong with a model on a runtime; nothing, if the stock interpreter agrees.

    Args:
        runtime: the one under test.
        model: to run.
        threads: of the runtime.
    """
    found = _differences(runtime, model, model.input, threads)
    if found and any(name in WHOLE for output in model.outputs for name in output.operators):
        # A last bit may have made another whole number of one element; not again of others.
        found = _differences(runtime, model, np.flip(model.input).copy(), threads)
    return [f"{line} (seed {model.seed}, {threads} threads)" for line in found]


def _differences(runtime: Runtime, model: ChainModel, x: Array, threads: int) -> list[str]:
    ran = runtime.run(model.path, x, threads)
    if ran.whole is False:
        return [f"not taken as a whole: {[output.operators for output in model.outputs]}"]
    return faults(model, ran.outputs, [run_stock(model.path, x, kernels) for kernels in KERNELS])


def faults(
    model: ChainModel, outputs: Sequence[Array], references: Sequence[Sequence[Array]]
) -> list[str]:
    """What differs from a reference by more than rounding does, a line for each output."""
    found = []
    for number, (output, made) in enumerate(zip(outputs, model.outputs, strict=True)):
        for reference in references:
            wanted = reference[number]
            difference, limit = compared(output, wanted, made.value)
            if not difference <= limit:  # what is no number is wrong, too
                chain = " -> ".join(made.operators)
                found.append(f"{chain}: off by {difference:.3g}, {limit:.3g} allowed")
                break
    return found


def compared(output: Array, wanted: Array, value: Value) -> tuple[float, float]:
    """The largest difference and what it may be: in steps, or over the largest value."""
    assert output.shape == wanted.shape == value.shape
    assert output.dtype == wanted.dtype
    difference = np.abs(output.astype(np.float64) - wanted.astype(np.float64)).max()
    if value.quantization is not None:
        return float(difference), value.steps
    assert np.isfinite(wanted).all()
    largest = max(float(np.abs(wanted).max()), 1e-6)
    return float(difference) / largest, FLOAT_TOLERANCE + 3 * value.slack / largest
