"""A profile as a document: everything that was measured, with all samples, in one JSON file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from toolchain.errors import ModelError
from toolchain.formats.json_text import parse_json, to_json
from toolchain.formats.text_file import read_text
from toolchain.profile.estimate_document import Estimate
from toolchain.profile.facts import BoardFacts, Vitals
from toolchain.profile.operators import LayerTrace, TimedRow
from toolchain.profile.runner_output import RunnerOutput
from toolchain.profile.stability import MAX_SPREAD
from toolchain.profile.turns import Interval, Turn, median_interval, ratios
from toolchain.storage.files import write_or_keep


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class BoardRecord(_Part):
    """Which board it was."""

    name: str
    title: str
    facts: BoardFacts
    after: Vitals
    """The board's vitals when all was measured; ``facts.vitals`` are those of before."""


class Measurement(_Part):
    """One model on one runtime."""

    name: str
    """The model's file name without suffix."""
    sha256: str
    macs: int
    """Multiply-accumulates of one inference if nothing is skipped."""
    macs_saved: int
    """Those that masks save."""
    stock: bool
    """Whether the runtime is the unpatched one."""
    output: RunnerOutput
    doubts: list[str]
    """Why its times may be unstable; empty if they seem sound."""
    turns: list[Turn] = []
    """The processes that took turns with other models'. Empty under emulation, and in profiles that
    an earlier version wrote."""
    layers: list[LayerTrace] = []
    """The layers of the file, in its order, by which operators are named."""
    operators: list[TimedRow] = []
    """With ``--per-op``: beside those of the first model, where that has the same layers."""
    live_share: float | None = None
    """Of the taps of the pixels that are kept, those that read no masked pixel: what a runtime
    that skips the others is left with, weighed by multiply-accumulates. ``None`` if not known."""
    macs_computed: int | None = None
    """Multiply-accumulates that the runtime computes, as it says itself: rows of tiles that nobody
    wants are among them. ``None`` where it does not tell."""

    @property
    def label(self) -> str:
        """The name with the runtime, where that is the unpatched one."""
        return f"{self.name} (stock runtime)" if self.stock else self.name

    @property
    def median_us(self) -> float | None:
        """Median time of an inference, in microseconds."""
        return self.output.timing.median_us if self.output.timing else None

    @property
    def instructions(self) -> float | None:
        """Median of the user instructions of an inference."""
        return self.output.instructions.median if self.output.instructions else None


class Failure(_Part):
    """A model that could not be measured."""

    model: str
    """The file."""
    error: str


class Profile(_Part):
    """What ``deploy profile --output`` writes and ``deploy compare`` reads."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    tool: str
    """Version of this toolchain."""
    created: datetime
    board: BoardRecord
    runs: int
    """Timed runs of each model; 0: as many as took three seconds."""
    warmup: int
    """Untimed runs of each process, beside its first one."""
    threads: int
    measurements: list[Measurement] = Field(min_length=1)
    failed: list[Failure] = []
    """Models that were to be measured, too."""
    reference_failed: bool = False
    """Whether the model that the others were to be compared with is among ``failed``."""
    load: list[float] = []
    """Cores that other programs kept busy in pauses between turns."""
    estimates: list[Estimate] = []
    """Of an emulated board: what the models would take on the boards whose core it plays. Nothing
    of it is measured."""

    @property
    def by_instructions(self) -> bool:
        """Whether instruction counts, not seconds, are the figures that mean something."""
        return self.board.facts.emulated

    def cost(self, measurement: Measurement) -> float | None:
        """The figure that measurements of this profile are compared by: lower is better."""
        return measurement.instructions if self.by_instructions else measurement.median_us

    def ratio(self, measurement: Measurement) -> float | None:
        """Cost of the first measurement over this one's: above 1 is faster than the first.

        Of times that were taken in turns it is the median of the ratios of neighbouring turns.
        """
        if self.reference_failed:
            return None
        if pairs := self._pairs(measurement):
            return float(np.median(pairs))
        first, own = self.cost(self.measurements[0]), self.cost(measurement)
        return first / own if first and own else None

    def ratio_interval(self, measurement: Measurement) -> Interval | None:
        """Where the ratio of times is likely to lie; ``None`` for counts and for too few turns."""
        return None if self.reference_failed else median_interval(self._pairs(measurement))

    def ratio_in_doubt(self, measurement: Measurement) -> bool:
        """Whether a ratio of times is not to be relied on; counts of an emulated board are."""
        first = self.measurements[0]
        if self.by_instructions or measurement is first:
            return False
        interval = self.ratio_interval(measurement)
        uncertain = interval is None or interval.width > MAX_SPREAD
        return uncertain or bool(first.doubts or measurement.doubts)

    def _pairs(self, measurement: Measurement) -> list[float]:
        if self.by_instructions:
            return []
        both = [[turn.median_us for turn in item.turns]
                for item in (self.measurements[0], measurement)]  # fmt: skip
        return ratios(*both)

    def ratio_by_pixels(self, measurement: Measurement) -> float | None:
        """The ratio if cost were proportional to the pixels that are kept.

        The first model's multiply-accumulates that remain, over this one's; on the stock runtime
        none are saved. A runtime that skips dead taps, too, goes past it.
        """
        return self._ratio_of([_remaining(item) for item in (self.measurements[0], measurement)])

    def ratio_by_taps(self, measurement: Measurement) -> float | None:
        """The same of pixels and live taps; ``None`` where one of the two is not known."""
        both = [self.measurements[0], measurement]
        if any(item.live_share is None for item in both):
            return None
        return self._ratio_of(
            [_remaining(item) * (1.0 if item.stock else item.live_share or 1.0) for item in both]
        )

    def ratio_by_plan(self, measurement: Measurement) -> float | None:
        """The first model's multiply-accumulates that are computed, over this one's.

        No ratio can be better but by caches or chance. Where the runtime does not tell:
        :meth:`ratio_by_taps`.
        """
        both = [item.macs_computed for item in (self.measurements[0], measurement)]
        known = [macs for macs in both if macs is not None]
        return self._ratio_of(known) if len(known) == 2 else self.ratio_by_taps(measurement)

    def _ratio_of(self, left: Sequence[float]) -> float | None:
        return left[0] / left[1] if not self.reference_failed and left[0] and left[1] else None

    def to_json(self) -> str:
        """The document, indented."""
        return to_json(self, indent=1)

    def save(self, path: Path) -> None:
        """Write the document; the file is whole or as it was.

        Raises:
            OutputError: it cannot be written; says where the document is kept instead.
        """
        write_or_keep(path, self.to_json().encode() + b"\n")


def load_profile(path: Path) -> Profile:
    """Read a document.

    Raises:
        ModelError: no such file, or it is no profile; names the first fault.
    """
    return parse_profile(read_text(path, ModelError), path)


def parse_profile(text: str, path: Path) -> Profile:
    """Read a document's text.

    Args:
        text: the JSON.
        path: that it is from, for messages.

    Raises:
        ModelError: it is no profile; names the first fault.
    """
    return parse_json(
        Profile,
        text,
        ModelError,
        f"{path}: is no profile",
        hint="it is what deploy profile writes with --output",
    )


def _remaining(measurement: Measurement) -> int:
    return measurement.macs - (0 if measurement.stock else measurement.macs_saved)
