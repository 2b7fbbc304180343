"""What ``tileskip-run --json`` and ``--version`` print, as strict models.

The C++ side is ``runtime_patch/runner/report.cc``; ``docs/reference/runner.md`` has each figure.
Times are microseconds. A figure that is not to be had is ``None`` and its reason is in ``notes``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from toolchain.errors import BoardError
from toolchain.formats.json_text import parse_json
from toolchain.tflite_file.plan import Layout, Path
from toolchain.tflite_file.runner_facts import (
    PUSH_AGAIN,
    Count,
    Delegation,
    ModelFile,
    RunnerObject,
    RunnerVersions,
)

Microseconds = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]

REMAINDER = "other"
"""The ``type`` of the last entry of ``ops``: time that no operator accounts for."""


class TensorFacts(RunnerObject):
    """An input or output tensor."""

    name: str
    dtype: str
    """As numpy names it."""
    shape: list[Count]


class Timing(RunnerObject):
    """The timed runs; no profiling disturbs them."""

    runs: Annotated[int, Field(ge=1)]
    warmup: Count
    min_us: Microseconds
    median_us: Microseconds
    mean_us: Microseconds
    p95_us: Microseconds
    max_us: Microseconds
    mad_us: Microseconds
    """Median absolute deviation from the median, not scaled."""
    samples_us: list[Microseconds]

    @model_validator(mode="after")
    def _one_sample_a_run(self) -> Self:
        if len(self.samples_us) != self.runs:
            raise ValueError(f"{self.runs} runs and {len(self.samples_us)} samples")
        return self


class Instructions(RunnerObject):
    """Instructions executed in user space, all threads together."""

    per_run: list[Count]
    """One figure a timed run."""
    median: Annotated[float, Field(ge=0)] | None
    init: Count


class PerOp(RunnerObject):
    """The runs of their own in which operators were timed."""

    runs: Count
    total_us: Microseconds | None
    """Sum of ``median_us`` over all operators and the remainder."""
    input_copy_us: Microseconds | None = None
    """What an application's copy into the input tensors takes; no part of ``total_us``."""
    output_copy_us: Microseconds | None = None
    """The same out of the output tensors."""


class Op(RunnerObject):
    """An operator, in the order of execution; the last one is the remainder."""

    index: Count
    type: str
    delegated: bool
    """Whether XNNPACK runs it."""
    why_not_delegated: str | None = None
    """Why it does not, in its words; ``None`` where it does not say, or was not asked."""
    path: Path | None = None
    """Which way it is computed; ``None`` in a ``--stock`` bundle, and of the remainder."""
    reads: Layout | None = None
    """The layout of its first input."""
    writes: Layout | None = None
    """That of its output."""
    median_us: Microseconds | None
    share: Share | None
    """Of ``per_op.total_us``."""
    ukernel: str | None
    """Convolutions in the patched runtime: the micro-kernel that computes it."""
    mr: Count | None
    nr: Count | None
    """The micro-kernel's tile: output pixels by output channels."""
    pixels: Count | None
    """Output pixels of one image."""
    kept: Count | None
    """How many of them are computed; ``pixels`` when the convolution is dense."""
    skipped_share: Share | None
    dead_tap_share: Share | None = None
    """Of the kept pixels' taps, those that are constants and are not computed."""
    macs_computed: Count | None = None
    """Multiply-accumulates, with those of rows of a tile that nobody wants."""

    @model_validator(mode="after")
    def _keeps_no_more_than_there_is(self) -> Self:
        if (self.kept is None) != (self.pixels is None):
            raise ValueError("kept and pixels go together")
        if self.kept is not None and self.pixels is not None and self.kept > self.pixels:
            raise ValueError(f"{self.kept} of {self.pixels} pixels kept")
        return self


class Versus(RunnerObject):
    """A model of ``--versus``, whose runs took turns with those of the first one."""

    path: str
    partitions: Count
    timing: Timing | None


class RunnerOutput(RunnerObject):
    """One run of the runner, whole."""

    schema_version: Annotated[Literal[1], Field(alias="schema")]
    runner: RunnerVersions
    model: ModelFile
    threads: Annotated[int, Field(ge=1)]
    delegate: Delegation
    inputs: list[TensorFacts]
    outputs: list[TensorFacts]
    examples: Annotated[int, Field(ge=1)]
    """How many inputs the input files held."""
    seed: int | None
    """What the generated input was seeded with; None when inputs came from files."""
    init_us: Microseconds
    """Load, delegate, allocate."""
    load_us: Microseconds | None = None
    """The part of ``init_us`` until the file was read and checked."""
    first_run_us: Microseconds
    timing: Timing | None
    """None with ``--runs 0``."""
    peak_rss_kib: Count | None
    instructions: Instructions | None
    per_op: PerOp | None
    ops: list[Op] | None
    """None without ``--per-op``."""
    versus: list[Versus] = Field(default_factory=list)
    """In the order of the options; run i of each came after run i of the one before it. Without
    ``--versus`` the JSON does not have it."""
    notes: list[str]

    @model_serializer(mode="wrap")
    def _versus_only_where_asked_for(
        self, to_dict: SerializerFunctionWrapHandler
    ) -> dict[str, Any]:
        # As the runner writes it; profiles keep this JSON, and none of them has other models.
        values: dict[str, Any] = to_dict(self)
        if not self.versus:
            values.pop("versus", None)
        return values

    @model_validator(mode="after")
    def _ops_are_numbered(self) -> Self:
        if (self.per_op is None) != (self.ops is None):
            raise ValueError("per_op and ops go together")
        if self.ops is not None:
            if [op.index for op in self.ops] != list(range(len(self.ops))):
                raise ValueError("ops are not numbered in order")
            if not self.ops or self.ops[-1].type != REMAINDER:
                raise ValueError("ops do not end with the remainder")
        return self


def computes_any_rows(ukernel: str | None) -> bool:
    """Whether a micro-kernel is one of those for live taps, which waste no row of a tile.

    They exist for every number of rows (``live-igemm.h`` of the patch); the one that the runner
    names is the largest.
    """
    return "_live_igemm_" in (ukernel or "")


def parse_output(text: str | bytes) -> RunnerOutput:
    """Read the JSON of ``tileskip-run --json``.

    Raises:
        BoardError: the text is no such JSON; names the first fault.
    """
    return parse_json(
        RunnerOutput, text, BoardError, "tileskip-run's JSON cannot be read", hint=PUSH_AGAIN
    )


def parse_versions(text: str | bytes) -> RunnerVersions:
    """Read the line that ``tileskip-run --version`` prints.

    Raises:
        BoardError: the text is no such JSON; names the first fault.
    """
    return parse_json(
        RunnerVersions, text, BoardError, "tileskip-run's version cannot be read", hint=PUSH_AGAIN
    )
