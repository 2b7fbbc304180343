"""What ``deploy gain`` says, as a document: a model beside copies of it with masks.

Its rows and layers are the same whether times were estimated or measured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from toolchain.profile.document import Measurement, Profile
from toolchain.profile.estimate_document import Estimate, ModelEstimate
from toolchain.profile.operators import is_layer
from toolchain.profile.timed_operators import TimedRow, macs_computed
from toolchain.timing.bounds import Limit
from toolchain.timing.model import Bound

_SPARSE = "SPMM"
"""What XNNPACK calls a convolution whose weights it keeps sparse."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class LeftOut(_Part):
    """A convolution that gets no mask."""

    layer: str
    kind: str
    """``3x3``, ``3x3 s2``, ``dw 3x3``, ``1x1``."""
    why: str
    macs: int


class GainCopy(_Part):
    """A copy with masks."""

    sparsity: float
    """That was asked for."""
    pixels: int
    """Output pixels of the layers that were to be masked."""
    masked_pixels: int
    """Those of them that are masked."""
    sha256: str

    @property
    def share(self) -> float:
        """Of the pixels, those that are masked."""
        return self.masked_pixels / self.pixels


class GainRow(_Part):
    """The file, or one of its copies, and what it takes."""

    name: str
    sparsity: float
    """0 for the file itself."""
    untrained: bool
    """Whether its masks are for measuring; so are those of all copies."""
    ms: float | None
    """Of an inference: estimated, or the median of what was measured. ``null`` on an emulated
    board, whose seconds mean nothing."""
    low_ms: float | None
    """Nine of ten estimates lie between this ..."""
    high_ms: float | None
    """... and this; of what was measured, the median does."""
    instructions: float | None
    speedup: float | None
    """The file's time over this one's; on an emulated board that of instructions."""
    low_speedup: float | None = None
    """Of what was measured in turns: the ratio lies between this ..."""
    high_speedup: float | None = None
    """... and this."""
    by_plan: float | None
    """Multiply-accumulates that the runtime computes of the file, over those of this one; ``null``
    where it does not tell."""
    by_bound: dict[Bound, float] = {}
    """Milliseconds by what they are spent on, of an estimate."""

    @property
    def bound(self) -> Bound | None:
        """What most of the time is spent on; ``None`` where that is not known."""
        return max(self.by_bound, key=lambda one: self.by_bound[one], default=None)


class GainLayer(_Part):
    """One operator of the file beside those of the copies."""

    name: str
    kind: str
    shape: str
    """``64 -> 128, 28x28``; empty for what is no layer."""
    bound: Limit | Bound | None
    """What it waits for most in the file, of an estimate."""
    ms: float | None
    """In the file; ``null`` where only copies have it."""
    copies_ms: list[float | None]
    """In each copy, in their order; ``null`` where it is not there."""

    @property
    def saved_ms(self) -> float:
        """What the last copy saves; below 0 where it takes longer."""
        return (self.ms or 0.0) - (self.copies_ms[-1] or 0.0)


class Gain(_Part):
    """A model, what masks would gain on it, and which layers cannot have any."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    tool: str
    """Version of this toolchain."""
    model: str
    """The file."""
    sha256: str
    board: str
    title: str
    """Of the board."""
    measured: bool
    """Whether times were measured on the board; else they are estimated."""
    emulated: bool
    """Whether that board is emulated, so that instructions are what means something."""
    threads: int
    policy: str
    seed: int
    layers: list[str]
    """The patterns of names or kinds that were to be masked; empty for all layers."""
    masked: list[str]
    """Layers that have masks in the copies."""
    masked_share: float
    """Of the multiply-accumulates, those of these layers."""
    left_out: list[LeftOut]
    other_graphs: int
    """Graphs of the file beside the main one, such as branches and loops; they get no masks."""
    copies: list[GainCopy]
    rows: list[GainRow]
    """The file, then its copies; one that could not be measured is not there."""
    by_layer: list[GainLayer]
    """What saves most first; empty where operators were not timed."""
    notes: list[str] = []
    """What to know about the figures."""
    estimate: Estimate | None = None
    """Of the file and its copies, with all that is known of each operator."""
    profile: Profile | None = None
    """Likewise, where they were measured."""


def rows_of_estimate(estimate: Estimate, copies: Sequence[GainCopy]) -> list[GainRow]:
    """A row a model of an estimate.

    Args:
        estimate: of the file, and of its copies.
        copies: in any order.
    """
    shares = {one.sha256: one.sparsity for one in copies}
    computed = [_computed(one) for one in estimate.models]
    if _sparse_layers(estimate.models[0]):
        computed[0] = None  # of sparse weights it is not told
    return [
        GainRow(
            name=one.name,
            sparsity=shares.get(one.sha256, 0.0),
            untrained=one.untrained,
            ms=one.ms,
            low_ms=one.low_ms,
            high_ms=one.high_ms,
            instructions=one.instructions,
            speedup=estimate.speedup(one) if one.ms else None,
            by_plan=computed[0] / left if computed[0] and left else None,
            by_bound=one.by_bound,
        )
        for one, left in zip(estimate.models, computed, strict=True)
    ]


def _computed(one: ModelEstimate) -> int | None:
    """Multiply-accumulates that the runtime computes, of the layers of which it tells that."""
    known = macs_computed(one.timed_ops(), one.layers)
    return known if known is not None else one.macs_computed or None


def rows_of_profile(profile: Profile, copies: Sequence[GainCopy]) -> list[GainRow]:
    """A row a model of a profile.

    Args:
        profile: of the file, and of its copies.
        copies: in any order.
    """
    shares = {one.sha256: one.sparsity for one in copies}
    return [_measured(profile, one, shares) for one in profile.measurements]


def _measured(profile: Profile, one: Measurement, shares: Mapping[str, float]) -> GainRow:
    emulated = profile.by_instructions
    ends = one.spread.interval if one.spread else None
    ratios = profile.ratio_interval(one)
    us = None if emulated else one.median_us
    first = one is profile.first(one) and not profile.reference_failed
    return GainRow(
        name=one.name,
        sparsity=shares.get(one.sha256, 0.0),
        untrained=one.untrained,
        ms=None if us is None else us / 1e3,
        low_ms=ends.low / 1e3 if ends else None,
        high_ms=ends.high / 1e3 if ends else None,
        instructions=one.instructions,
        speedup=1.0 if first else profile.ratio(one),
        low_speedup=ratios.low if ratios and not first else None,
        high_speedup=ratios.high if ratios and not first else None,
        by_plan=profile.ratio_by_plan(one),
    )


def layers_of_estimate(estimate: Estimate) -> list[GainLayer]:
    """The operators of a file beside those of its copies, what saves most first.

    Empty where there is no copy, or where one runs other layers than the file.
    """
    first, *copies = estimate.models
    bounds: dict[str, Limit | Bound] = {one.name: one.bound for one in first.operators}
    return _by_layer([one.beside for one in copies], bounds)


def layers_of_profile(profile: Profile) -> list[GainLayer]:
    """The same of what was measured; empty where operators were not timed."""
    if profile.reference_failed:
        return []
    return _by_layer([one.operators for one in profile.measurements[1:]], {})


def _by_layer(
    copies: Sequence[Sequence[TimedRow]], bounds: Mapping[str, Limit | Bound]
) -> list[GainLayer]:
    if not copies or not all(copies):
        return []
    found: dict[tuple[str, int], TimedRow] = {}
    own: list[dict[tuple[str, int], float]] = []
    for rows in copies:
        numbered = list(_numbered(rows))
        own.append({key: row.masked / 1e3 for key, row in numbered if row.masked})
        for key, row in numbered:
            if key not in found or (row.dense and not found[key].dense):
                found[key] = row
    layers = [
        GainLayer(
            name=row.name,
            kind=row.kind,
            shape=row.shape,
            bound=bounds.get(row.name) if row.dense else None,
            ms=row.dense / 1e3 if row.dense else None,
            copies_ms=[times.get(key) for times in own],
        )
        for key, row in found.items()
    ]
    return sorted(layers, key=lambda one: -one.saved_ms)


def _numbered(rows: Sequence[TimedRow]) -> Iterator[tuple[tuple[str, int], TimedRow]]:
    """Each row by its name, and how many of that name come before: two may follow one layer."""
    seen = Counter[str]()
    for row in rows:
        yield (row.name, seen[row.name]), row
        seen[row.name] += 1


def notes_of_estimate(estimate: Estimate) -> Iterator[str]:
    """What to know about an estimate of a file and its copies, a sentence each."""
    first, *copies = estimate.models
    sparse = _sparse_layers(first)
    if sparse and any(_sparse_layers(one) < sparse for one in copies):
        yield (
            f"Without masks XNNPACK computes {sparse} layers by their sparse weights alone "
            f"({_SPARSE}); with masks it does not."
        )
    left = max((_not_delegated(one) for one in copies), default=0)
    if left:
        yield (
            f"XNNPACK does not take {left} layer{'s'[: left != 1]} with masks: their masks are not "
            "skipped."
        )


def _not_delegated(one: ModelEstimate) -> int:
    """Layers with masks that run on TensorFlow Lite's own kernels."""
    layers = [op for op in one.operators if is_layer(op.type)]
    if len(layers) != len(one.layers):
        return 0
    pairs = zip(layers, one.layers, strict=True)
    return sum(layer.masked and not op.delegated for op, layer in pairs)


def _sparse_layers(one: ModelEstimate) -> int:
    return sum(_SPARSE in op.type for op in one.operators)
