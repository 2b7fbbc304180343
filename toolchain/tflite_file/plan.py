"""How a core computes a file: what ``tileskip-run --plan`` tells, and what it makes of each layer.

The runtime decides what is skipped, and this is what it says; nothing here decides it again. The
C++ side is ``runtime_patch/runner/plan_report.cc``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, computed_field, model_validator

from toolchain.errors import BoardError
from toolchain.formats.json_text import parse_json
from toolchain.tflite_file.layers import Layer
from toolchain.tflite_file.runner_facts import (
    PUSH_AGAIN,
    Count,
    Delegation,
    ModelFile,
    RunnerObject,
    RunnerVersions,
)

Path = Literal[
    "fill",
    "live-taps",
    "masked-igemm",
    "masked-gemm",
    "masked-dwconv",
    "gathered-igemm",
    "gathered-dwconv",
    "igemm",
    "gemm",
    "dwconv",
    "vmulcaddc",
    "expand",
    "operator",
    "tflite",
]
"""Which way an operator is computed; ``docs/reference/runner.md`` says what each is."""
Layout = Literal["dense", "compact"]


class PlannedOperator(RunnerObject):
    """An operator, in the order of execution."""

    index: Count
    type: str
    """XNNPACK's or TensorFlow Lite's name for it."""
    node: Count | None
    """The operator of the graph that it is: of those with multiply-accumulates, and of those that
    TensorFlow Lite's own kernels compute."""
    delegated: bool
    """Whether XNNPACK computes it."""
    why_not_delegated: str | None = None
    """Why it does not, in its words; ``None`` where it does not say, or was not asked."""
    path: Path
    ukernel: str | None
    """The micro-kernel, of a convolution or a matrix."""
    mr: Count | None
    nr: Count | None
    """The micro-kernel's tile: output pixels by output channels."""
    pixels: Count | None
    """Output pixels of one image, of a convolution."""
    kept: Count | None
    """How many of them are computed."""
    rows: Count | None
    """Rows of the matrix that are computed for all images, with those of a tile that nobody
    wants."""
    dense_rows: Count | None
    """How many that would be if nothing were masked."""
    taps: Count | None
    """Of the computed pixels."""
    live_taps: Count | None
    """How many of them are computed; the others are constants."""
    macs: Count | None
    """Multiply-accumulates, as if nothing were masked."""
    macs_computed: Count | None
    """Those of the rows that are computed, and of their live taps."""
    reads: Layout
    writes: Layout
    why_all_pixels: str | None
    """Why all pixels are computed though there is a mask."""
    why_all_taps: str | None
    """Why all taps of the kept pixels are, though the convolution is masked."""
    why_dense: str | None
    """Why the output is dense though it is masked."""

    @model_validator(mode="after")
    def _computes_no_more_than_there_is(self) -> Self:
        for part, whole in ((self.kept, self.pixels), (self.live_taps, self.taps)):
            if (part is None) != (whole is None):
                raise ValueError("kept and pixels go together, as do live_taps and taps")
            if part is not None and whole is not None and part > whole:
                raise ValueError(f"{part} of {whole} pixels or taps are computed")
        return self


class RunnerPlan(RunnerObject):
    """What ``tileskip-run --plan --json -`` prints."""

    schema_version: Annotated[Literal[1], Field(alias="schema")]
    runner: RunnerVersions
    model: ModelFile
    threads: Annotated[int, Field(ge=1)]
    delegate: Delegation
    plan: list[PlannedOperator] | None
    """``None`` in a ``--stock`` bundle, whose XNNPACK cannot tell."""
    notes: list[str]


class _Report(BaseModel):
    model_config = ConfigDict(frozen=True)


class LayerPlan(_Report):
    """What becomes of a layer; :class:`toolchain.tflite_file.layers.Layer` has the rest."""

    index: int
    name: str
    operator: PlannedOperator | None
    """``None`` where the runtime does not tell which operator it is."""
    macs_dense: int
    """Multiply-accumulates that are computed without masks, with those of rows that nobody
    wants."""
    macs_computed: int
    """Those that are computed, likewise."""

    @property
    def skipped(self) -> bool | None:
        """Whether pixels of it are skipped; ``None`` where that is not told."""
        told = self.operator
        if told is None or (told.kept is None and told.path != "tflite"):
            return None
        return told.kept is not None and told.kept != told.pixels

    @property
    def speedup(self) -> float | None:
        """Dense over computed multiply-accumulates: no time can be better; ``None``: none left."""
        return self.macs_dense / self.macs_computed if self.macs_computed else None

    @property
    def wasted_rows(self) -> int:
        """Rows of a masked layer that are computed and belong to no kept pixel."""
        told = self.operator
        if told is None or not self.skipped or not told.macs or not told.macs_computed:
            return 0
        if told.path == "live-taps" or told.rows is None:
            return 0  # a micro-kernel for every number of rows
        assert told.kept is not None and told.pixels is not None  # noqa: S101, PT018 (skipped)
        images = told.macs * told.rows // (told.macs_computed * told.pixels)
        return max(0, told.rows - told.kept * images)

    @property
    def reasons(self) -> list[str]:
        """Why something of it is not skipped, a sentence each."""
        told = self.operator
        if told is None:
            return []
        found = (
            ("XNNPACK does not run it", told.why_not_delegated),
            ("all pixels are computed", told.why_all_pixels),
            ("all taps are computed", told.why_all_taps),
            ("the output is dense", told.why_dense),
        )
        return [f"{what}: {why}" for what, why in found if why is not None]


class CorePlan(_Report):
    """How a file is computed on a core."""

    core: str
    """Whose micro-kernels these are: ``Cortex-A72, played by QEMU``, or ``this machine``."""
    runner: RunnerVersions
    layers: list[LayerPlan]
    """As in :attr:`toolchain.tflite_file.inspection.Inspection.layers`."""
    expansions: int
    """Operators that exist for a change of layout alone."""
    notes: list[str]
    """The runner's."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def macs_dense(self) -> int:
        """Of all layers."""
        return sum(layer.macs_dense for layer in self.layers)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def macs_computed(self) -> int:
        """Of all layers."""
        return sum(layer.macs_computed for layer in self.layers)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def speedup(self) -> float | None:
        """Dense over computed multiply-accumulates: the ideal; ``None`` if none are left."""
        return self.macs_dense / self.macs_computed if self.macs_computed else None


def parse_plan(text: str | bytes) -> RunnerPlan:
    """Read the JSON of ``tileskip-run --plan --json -``.

    Raises:
        BoardError: the text is no such JSON; names the first fault.
    """
    return parse_json(
        RunnerPlan, text, BoardError, "tileskip-run's plan cannot be read", hint=PUSH_AGAIN
    )


def plan_layers(layers: Sequence[Layer], told: RunnerPlan, core: str) -> CorePlan | None:
    """Each layer of a file with the operator that computes it.

    Args:
        layers: as :func:`toolchain.tflite_file.layers.find_layers` finds them.
        told: by the runner, of the same file.
        core: that it was asked on.

    Returns:
        ``None`` where the runner's XNNPACK cannot tell.
    """
    if told.plan is None:
        return None
    by_node = {each.node: each for each in told.plan if each.node is not None}
    return CorePlan(
        core=core,
        runner=told.runner,
        layers=[_layer(layer, by_node.get(layer.index)) for layer in layers],
        expansions=sum(each.path == "expand" for each in told.plan),
        notes=told.notes,
    )


def _layer(layer: Layer, told: PlannedOperator | None) -> LayerPlan:
    dense = computed = layer.macs
    if told is not None and told.macs_computed is not None and told.dense_rows is not None:
        computed = told.macs_computed
        # A matrix has no pixels, nor a mask.
        rows = (told.pixels or 0) * layer.output_shape[0]
        dense = (told.macs or 0) * told.dense_rows // rows if rows else computed
    return LayerPlan(
        index=layer.index,
        name=layer.name,
        operator=told,
        macs_dense=dense,
        macs_computed=computed,
    )
