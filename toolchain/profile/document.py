"""A profile as a document: everything that was measured, with all samples, in one JSON file."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from toolchain.errors import ModelError
from toolchain.files import write_whole
from toolchain.json_text import to_json
from toolchain.profile.facts import BoardFacts, Vitals
from toolchain.profile.runner_output import RunnerOutput
from toolchain.text_file import read_text


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


class Profile(_Part):
    """What ``deploy profile --output`` writes and ``deploy compare`` reads."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    tool: str
    """Version of this toolchain."""
    created: datetime
    board: BoardRecord
    runs: int
    warmup: int
    threads: int
    measurements: list[Measurement] = Field(min_length=1)

    @property
    def by_instructions(self) -> bool:
        """Whether instruction counts, not seconds, are the figures that mean something."""
        return self.board.facts.emulated

    def cost(self, measurement: Measurement) -> float | None:
        """The figure that measurements of this profile are compared by: lower is better."""
        return measurement.instructions if self.by_instructions else measurement.median_us

    def ratio(self, measurement: Measurement) -> float | None:
        """Cost of the first measurement over this one's: above 1 is faster than the first."""
        first, own = self.cost(self.measurements[0]), self.cost(measurement)
        return first / own if first and own else None

    def ideal_ratio(self, measurement: Measurement) -> float | None:
        """The ratio if cost were proportional to the multiply-accumulates that remain.

        The first model's that remain, over this one's; on the stock runtime none are saved.
        """
        first, own = _remaining(self.measurements[0]), _remaining(measurement)
        return first / own if first and own else None

    def to_json(self) -> str:
        """The document, indented."""
        return to_json(self, indent=1)

    def save(self, path: Path) -> None:
        """Write the document; the file is whole or as it was.

        Raises:
            OutputError: it cannot be written.
        """
        write_whole(path, self.to_json().encode() + b"\n")


def load_profile(path: Path) -> Profile:
    """Read a document.

    Raises:
        ModelError: no such file, or it is no profile; names the first fault.
    """
    text = read_text(path, ModelError)
    try:
        return Profile.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelError(
            f"{path}: is no profile: {where + ': ' if where else ''}{first['msg']}",
            hint="it is what deploy profile writes with --output",
        ) from error


def _remaining(measurement: Measurement) -> int:
    return measurement.macs - (0 if measurement.stock else measurement.macs_saved)
