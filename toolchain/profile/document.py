"""A profile as a document: everything that was measured, with all samples, in one JSON file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from toolchain.errors import ModelError
from toolchain.formats.json_text import loads, parse_json, to_json
from toolchain.formats.text_file import read_text
from toolchain.profile.energy import Energy
from toolchain.profile.estimate_document import Estimate
from toolchain.profile.facts import BoardFacts, Vitals
from toolchain.profile.operators import LayerTrace
from toolchain.profile.protocol import Limits
from toolchain.profile.runner_output import RunnerOutput
from toolchain.profile.significance import Shift, paired_shift
from toolchain.profile.stability import MAX_SPREAD
from toolchain.profile.timed_operators import TimedRow
from toolchain.profile.turns import CONFIDENCE, Interval, Turn, ratios, time_interval
from toolchain.storage.files import write_or_keep
from toolchain.tflite_file.untrained import MARK

OUTLIER = 5.0
"""Standard deviations, as the median absolute deviation tells them, above the median."""
_LEAST_DEVIATION = 0.002


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class BoardRecord(_Part):
    """Which board it was."""

    name: str
    title: str
    facts: BoardFacts
    after: Vitals
    """The board's vitals when all was measured; ``facts.vitals`` are those of before."""


class Spread(_Part):
    """How far the times of one model are from each other; in microseconds."""

    interval: Interval | None
    """Where the median lies, by drawing turns anew; ``None`` for too few turns."""
    p90_us: float
    p95_us: float
    p99_us: float
    mad_us: float
    """Median absolute deviation from the median, not scaled."""
    outliers: int
    """Runs that took longer than the median by more than ``OUTLIER`` deviations. All are kept."""

    @classmethod
    def of(cls, samples_us: Sequence[float], turns: Sequence[Turn]) -> Spread:
        """The spread of runs that were taken in turns, one at least."""
        samples = np.asarray(samples_us)
        median = float(np.median(samples))
        mad = float(np.median(np.abs(samples - median)))
        p90, p95, p99 = (float(one) for one in np.percentile(samples, [90, 95, 99]))
        # Runs that are all alike have a deviation of 0: then what is shown alike is no outlier.
        far = median + OUTLIER * max(1.4826 * mad, _LEAST_DEVIATION * median)
        return cls(
            interval=time_interval(samples_us, turns),
            p90_us=p90,
            p95_us=p95,
            p99_us=p99,
            mad_us=mad,
            outliers=int((samples > far).sum()),
        )


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
    threads: int | None = None
    """``None`` in profiles of schema 1: those of the profile."""
    output: RunnerOutput
    spread: Spread | None = None
    """Of the times; ``None`` in profiles of schema 1, and under emulation."""
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
    energy: Energy | None = None
    """Of an inference, with ``--energy`` or ``--meter``."""
    no_energy: str | None = None
    """Why it was asked for and is not there."""
    untrained: bool = False
    """Whether the file says that its masks are for measuring: no training knew of them."""

    @property
    def label(self) -> str:
        """The name; with the runtime, where that is the unpatched one, and what masks are not."""
        marks = [MARK] if self.untrained else []
        marks += ["stock runtime"] if self.stock else []
        return f"{self.name} ({', '.join(marks)})" if marks else self.name

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

    schema_version: Literal[1, 2] = Field(default=2, alias="schema")
    """2 has, beside what 1 has, the spread of times, the board's state between turns, and several
    numbers of threads."""
    tool: str
    """Version of this toolchain."""
    created: datetime
    board: BoardRecord
    runs: int
    """Timed runs of each model; 0: as many as it took."""
    warmup: int | None
    """Untimed runs of each process, beside its first one; ``None``: until times had settled, see
    the ``warmup`` of each measurement's timing."""
    threads: int
    """Of the first measurement."""
    limits: Limits | None = None
    """What ended the waiting and the measuring, where ``runs`` is 0."""
    seed: int | None = None
    """Of the order of the models in each round."""
    not_calm: str | None = None
    """What the board was like when it had been waited for in vain."""
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

    def threads_of(self, measurement: Measurement) -> int:
        """How many threads a measurement had."""
        return measurement.threads or self.threads

    @property
    def thread_counts(self) -> list[int]:
        """The numbers of threads of all measurements, each once, in their order."""
        return list(dict.fromkeys(self.threads_of(one) for one in self.measurements))

    def label(self, measurement: Measurement) -> str:
        """A measurement's name, with what sets it apart from others of the same model."""
        own = self.threads_of(measurement)
        if self.thread_counts == [own]:
            return measurement.label
        return f"{measurement.label}, {own} thread{'s'[: own > 1]}"

    def first(self, measurement: Measurement) -> Measurement:
        """What a measurement is compared with: the first one with as many threads."""
        threads = self.threads_of(measurement)
        return next(one for one in self.measurements if self.threads_of(one) == threads)

    def by_threads(self) -> list[Profile]:
        """A profile for each number of threads: what is compared with each other, and no more."""
        return [
            self.model_copy(
                update={
                    "threads": count,
                    "measurements": [
                        one for one in self.measurements if self.threads_of(one) == count
                    ],
                }
            )
            for count in self.thread_counts
        ]

    def ratio(self, measurement: Measurement) -> float | None:
        """Cost of the first measurement over this one's: above 1 is faster than the first.

        Of times that were taken in turns it is the estimate of Hodges and Lehmann, see
        :mod:`toolchain.profile.significance`.
        """
        if self.reference_failed:
            return None
        if shift := self._shift(measurement):
            return shift.ratio
        own_us, first_us = self._pairs(measurement)
        if each := ratios(first_us, own_us):
            return float(np.median(each))
        first, own = self.cost(self.first(measurement)), self.cost(measurement)
        return first / own if first and own else None

    def ratio_interval(self, measurement: Measurement) -> Interval | None:
        """Where the ratio of times is likely to lie; ``None`` for counts and for too few turns."""
        shift = None if self.reference_failed else self._shift(measurement)
        return Interval(low=shift.low, high=shift.high) if shift else None

    def ratio_in_doubt(self, measurement: Measurement) -> bool:
        """Whether a ratio of times is not to be relied on; counts of an emulated board are."""
        first = self.first(measurement)
        if self.by_instructions or measurement is first:
            return False
        interval = self.ratio_interval(measurement)
        uncertain = interval is None or interval.width > MAX_SPREAD
        return uncertain or bool(first.doubts or measurement.doubts)

    def _shift(self, measurement: Measurement) -> Shift | None:
        return paired_shift(*self._pairs(measurement), CONFIDENCE)

    def _pairs(self, measurement: Measurement) -> tuple[list[float], list[float]]:
        """Times of this one and of the first, a turn each; empty for counts."""
        if self.by_instructions:
            return [], []
        both = zip(measurement.turns, self.first(measurement).turns, strict=False)
        known = [(a.median_us, b.median_us) for a, b in both if a.median_us > 0 < b.median_us]
        return [own for own, _ in known], [first for _, first in known]

    def ratio_by_pixels(self, measurement: Measurement) -> float | None:
        """The ratio if cost were proportional to the pixels that are kept.

        The first model's multiply-accumulates that remain, over this one's; on the stock runtime
        none are saved. A runtime that skips dead taps, too, goes past it.
        """
        return self._ratio_of([_remaining(item) for item in (self.first(measurement), measurement)])

    def ratio_by_taps(self, measurement: Measurement) -> float | None:
        """The same of pixels and live taps; ``None`` where one of the two is not known."""
        both = [self.first(measurement), measurement]
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
        both = [item.macs_computed for item in (self.first(measurement), measurement)]
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
    try:
        return parse_json(
            Profile,
            text,
            ModelError,
            f"{path}: is no profile",
            hint="it is what deploy profile writes with --output",
        )
    except ModelError as error:
        if _is_of_several_boards(text):
            raise ModelError(
                f"{path}: has the profiles of several boards",
                hint="give that of one: with --save FOLDER, deploy profile writes "
                "FOLDER/BOARD/profile.json for each",
            ) from error
        raise


def _is_of_several_boards(text: str) -> bool:
    try:
        found = loads(text)
    except ValueError:
        return False
    return isinstance(found, dict) and list(found) == ["boards"]


def _remaining(measurement: Measurement) -> int:
    return measurement.macs - (0 if measurement.stock else measurement.macs_saved)
