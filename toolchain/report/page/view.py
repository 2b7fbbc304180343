"""What a report shows, as numbers: the one form into which every kind of result is brought.

A tool whose results are to be shown makes a :class:`Result` of them, and nothing else here changes:
``measured.py`` does so for profiles, ``estimated.py`` for estimates. Charts, tables and the page
read these types alone. ``deploy report --json`` prints them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from toolchain.profile.timed_operators import TimedRow

Kind = Literal["measured", "counted", "estimated"]
"""Times of a board; instructions of an emulated one; times of a board that is not there."""
Unit = Literal["us", "instructions"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Span(_Part):
    """From the least to the most."""

    low: float
    high: float


class Turn(_Part):
    """One process that took turns with others, or one run where there were no turns."""

    number: int
    """From 1, in the order of time."""
    median: float
    span: Span
    """Between which nine of ten of its runs lie."""


class Model(_Part):
    """One model on one board."""

    name: str
    """With the runtime, where that is the unpatched one."""
    sha256: str
    cost: float | None
    """Of one inference, in the result's unit: the median."""
    mad: float | None
    """Median absolute deviation of ``cost``."""
    interval: Span | None
    """Where the median is likely to lie; of an estimate, where nine of ten times are expected."""
    ratio: float | None
    """Cost of the first model over this one's: above 1 is faster."""
    ratio_interval: Span | None
    in_doubt: bool
    """Whether the ratio is not to be relied on."""
    by_pixels: float | None
    """The ratio if cost were proportional to the pixels that masks keep."""
    by_plan: float | None
    """The ratio of the multiply-accumulates that the runtime computes."""
    macs: int
    """Multiply-accumulates if nothing is skipped."""
    macs_left: int
    """Those of the pixels that are kept."""
    dead_tap_share: float | None
    instructions: float | None
    peak_rss_kib: int | None
    accuracy: float | None = None
    """0 to 1, of ``--accuracy``."""
    energy_j: float | None = None
    """Joules of an inference."""
    power_w: float | None = None
    """Watts while it runs."""
    turns: list[Turn] = []

    @property
    def share_left(self) -> float:
        """Of the multiply-accumulates, those that masks leave: 0 to 1."""
        return self.macs_left / self.macs if self.macs else 1.0


class Layers(_Part):
    """The operators of one model, in the order of the network; microseconds."""

    model: str
    beside: str | None
    """The model that they stand beside; ``None`` where it has other layers, or is the only one."""
    rows: list[TimedRow]


class LayerRate(_Part):
    """One layer under the roofs of a core."""

    model: str
    layer: str
    intensity: float
    """Multiply-accumulates a byte: computed ones over bytes of input, weights and kept output."""
    rate: float
    """Computed multiply-accumulates a second."""


class Roofline(_Part):
    """What a core can do at most, and what the layers do."""

    core: str
    clock_mhz: int
    threads: int
    peak: float
    """Multiply-accumulates a second."""
    arithmetic: str
    """Of what type: ``fp32`` ..."""
    bandwidth: float
    """Bytes a second, from memory."""
    sources: list[str]
    """Where the two are from."""
    points: list[LayerRate]


class Fact(_Part):
    """Something that a board said of itself."""

    name: str
    before: str | None
    after: str | None = None
    """When all was measured; ``None`` where it does not change, or was not told."""


class Doubt(_Part):
    """Why figures may not be relied on."""

    models: list[str]
    what: str
    to_do: str | None


class Headline(_Part):
    """What came out, in one sentence."""

    text: str
    in_doubt: bool


class Again(_Part):
    """What is needed to get the same again."""

    commands: list[str]
    versions: dict[str, str]


class Result(_Part):
    """Models on one board: what one document says, or one part of it."""

    file: str
    """The document's name, without its folder."""
    kind: Kind
    unit: Unit
    board: str
    title: str
    threads: int
    core: str | None
    clock_mhz: int | None
    created: datetime | None
    headline: Headline
    models: list[Model] = Field(min_length=1)
    layers: list[Layers]
    no_layers: str | None
    """Why there are none."""
    roofline: Roofline | None
    no_roofline: str | None
    """Why there is none."""
    facts: list[Fact]
    doubts: list[Doubt]
    failed: dict[str, str]
    """Models that were to be measured, too: the file and the error."""
    again: Again

    @property
    def first(self) -> Model:
        """The model that the others are compared with."""
        return self.models[0]

    @property
    def fastest(self) -> Model | None:
        """The model of the largest ratio; ``None`` where there is nothing to compare."""
        compared = [model for model in self.models[1:] if model.ratio is not None]
        return max(compared, key=lambda model: model.ratio or 0.0, default=None)


class Source(_Part):
    """A document that the report was made from."""

    file: str
    sha256: str
    """Of its text, in UTF-8."""
    schema_version: int = Field(alias="schema")
    text: str = Field(exclude=True, repr=False)
    """All of it."""


class MaskPicture(_Part):
    """The mask of one layer, or of several that have the same."""

    layers: list[str]
    height: int
    width: int
    kept: int
    png: bytes = Field(exclude=True, repr=False)
    """One pixel a pixel: kept ones have a colour, others are transparent."""


class Masks(_Part):
    """The masks of one model."""

    model: str
    pictures: list[MaskPicture]


class PublishedRow(_Part):
    """A time that others published."""

    model: str
    ms: float = Field(gt=0)
    source: str
    """Who says so, and where."""
    board: str = ""
    threads: str = ""
    type: str = ""


class Report(_Part):
    """What ``deploy report --json`` prints: the numbers of the tables and charts."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    tool: str
    """Version of this toolchain."""
    title: str
    results: list[Result] = Field(min_length=1)
    sources: list[Source]
    masks: list[Masks] = []
    published: list[PublishedRow] = []
    notes: list[str] = []
    """What was given and could not be shown, and why."""
    mask_notes: list[str] = []
    """The same of models."""

    @property
    def titled(self) -> bool:
        """Whether its title says more than the names of its boards."""
        return self.title != boards_of(self.results)

    @property
    def leading(self) -> Result:
        """What the headline is of: the first result with times, measured ones before others."""
        order: list[Kind] = ["measured", "estimated", "counted"]
        return min(self.results, key=lambda result: order.index(result.kind))


def boards_of(results: Sequence[Result]) -> str:
    """The titles of boards, each once."""
    return ", ".join(dict.fromkeys(result.title for result in results))
