"""Estimated times as a document: models on a board that is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from toolchain.errors import ModelError
from toolchain.formats.json_text import parse_json
from toolchain.formats.text_file import read_text
from toolchain.profile.operators import LayerTrace
from toolchain.profile.runner_output import REMAINDER, Op
from toolchain.profile.timed_operators import TimedRow
from toolchain.tflite_file.untrained import marked
from toolchain.timing.bounds import Limit
from toolchain.timing.model import Bound, TimingModel


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class EstimatedOperator(_Part):
    """One operator of a model."""

    index: int
    """In the order of execution."""
    name: str
    """The layer's; of others what they do, and after which layer."""
    type: str
    """XNNPACK's or TensorFlow Lite's name for it."""
    delegated: bool
    """Whether XNNPACK runs it."""
    ms: float
    share: float
    """Of the whole inference."""
    bound: Limit | Bound
    """What it waits for most: a unit of the core (``multiply``, ``load`` ...), the instructions
    that are taken each cycle (``issue``), results (``latency``), ``L2``, ``L3`` or ``memory``."""
    by_bound: dict[Bound, float]
    """Milliseconds by what they are spent on; what is hidden behind something else is not there."""
    instructions: int
    ukernel: str | None
    mr: int | None
    nr: int | None
    pixels: int | None
    kept: int | None
    dead_tap_share: float | None
    macs_computed: int | None
    peak_share: float | None
    """Multiply-accumulates a cycle, as a part of what the core could do at most with all of the
    threads. ``None`` where the runner does not tell the multiply-accumulates."""
    memory_lines: int
    """Lines of 64 bytes that come from memory or go there."""


class ModelEstimate(_Part):
    """One model."""

    name: str
    """Its file's name without suffix."""
    sha256: str
    ms: float
    """Of one inference, when others have gone before."""
    low_ms: float
    """Nine of ten times are expected between this ..."""
    high_ms: float
    """... and this."""
    instructions: int
    macs_computed: int
    """Of the operators that tell it."""
    peak_share: float | None
    by_bound: dict[Bound, float]
    operators: list[EstimatedOperator]
    outside_ms: float
    """Between operators."""
    layers: list[LayerTrace]
    """The layers of the file, in its order, by which operators are named."""
    beside: list[TimedRow] = []
    """Of all models but the first: operators beside those of the first one, where that has the same
    layers. Microseconds, estimated."""
    untrained: bool = False
    """Whether the file says that its masks are for measuring: no training knew of them."""

    @property
    def label(self) -> str:
        """The name, with what its masks are not."""
        return marked(self.name, untrained=self.untrained)

    def timed_ops(self) -> list[Op]:
        """The operators as the runner tells them, with estimated times."""
        told = [
            Op(
                index=one.index,
                type=one.type,
                delegated=one.delegated,
                median_us=one.ms * 1e3,
                share=one.share,
                ukernel=one.ukernel,
                mr=one.mr,
                nr=one.nr,
                pixels=one.pixels,
                kept=one.kept,
                skipped_share=None,
                dead_tap_share=one.dead_tap_share,
                macs_computed=one.macs_computed,
            )
            for one in self.operators
        ]
        return [*told, _remainder(len(told), self.outside_ms)]


class CalibrationRow(_Part):
    """A model that was measured on a board, beside estimates for it."""

    name: str
    measured_ms: float
    published_ms: float
    """By the coefficients of published times."""
    calibrated_ms: float
    """By those that were fitted to this board."""
    left_out_ms: float | None
    """By those that were fitted to the other models of this board; ``None`` where there is none."""


class Estimate(_Part):
    """Several models on one board."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    tool: str
    """Version of this toolchain."""
    board: str
    title: str
    core: str
    clock_mhz: int
    threads: int
    timing_model: TimingModel
    """What turned traces into times."""
    models: list[ModelEstimate] = Field(min_length=1)
    calibration: list[CalibrationRow] = []
    """Where ``timing_model`` was fitted to a profile of the board: the models that it was fitted
    to."""
    failed: list[dict[str, str]] = []
    """Models that were to be estimated, too: ``model``, the file, and ``error``."""

    def speedup(self, one: ModelEstimate) -> float:
        """How many times as fast as the first model it is."""
        return self.models[0].ms / one.ms


def load_estimate(path: Path) -> Estimate:
    """Read what ``deploy estimate --output`` wrote.

    Raises:
        ModelError: it is no such file.
    """
    return parse_json(Estimate, read_text(path, ModelError), ModelError, f"{path} is no estimate")


def _remainder(index: int, ms: float) -> Op:
    nothing = dict.fromkeys(
        ("share", "ukernel", "mr", "nr", "pixels", "kept", "skipped_share", "dead_tap_share"), None
    )
    return Op(index=index, type=REMAINDER, delegated=False, median_us=ms * 1e3, **nothing)
