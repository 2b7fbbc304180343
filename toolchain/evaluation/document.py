"""What ``deploy evaluate`` finds, as a document."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from toolchain.evaluation.metrics import CONFIDENCE, Interval
from toolchain.evaluation.places import Where


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True)


class Share(_Table):
    """A share of the images, 0 to 1, with its interval."""

    value: float
    low: float
    """Between this ..."""
    high: float
    """... and this it lies with the document's confidence."""

    @classmethod
    def of(cls, found: Interval) -> Share:
        """From an interval."""
        return cls(value=found.value, low=found.low, high=found.high)


class Preparation(_Table):
    """How pixels became the values of an input: ``(pixel / 255 - mean) / std``."""

    mean: tuple[float, ...] | None
    """One for all channels, or one each; ``None`` where nothing was normalised here."""
    std: tuple[float, ...] | None
    said_by: str
    """``the file``, ``the checkpoint``, ``given`` on the command line, or that there was nothing to
    do."""


class Row(_Table):
    """One network in one place."""

    model: str
    """Its file, or its checkpoint in torch."""
    name: str
    """Of the file, without folder and suffix."""
    where: Where
    """``torch``, ``host`` or ``board``."""
    runtime: str
    """With its version."""
    images: int
    kept: int
    """Of these, images whose outputs an earlier run had left."""
    top1: Share
    """Right: the label has the highest score."""
    top5: Share | None
    """The label is among the five highest scores; ``None`` for fewer than ten classes."""
    preparation: Preparation


class Pair(_Table):
    """Two rows on the same images."""

    first: int
    """The number of the first in ``rows``, from 0."""
    second: int
    """What it is compared with."""
    kind: str
    """``place``: one network in two places; ``network``: two networks in one place."""
    agreement: Share
    """Images to which both give the same class, be it right or wrong."""
    difference: Share
    """Of the shares that are right, first less second: -1 to 1."""
    only_first: int
    """Images that only the first has right."""
    only_second: int
    p_value: float
    """McNemar's test: how likely they seem to differ so much, or more, where they do not."""
    max_abs_diff: float
    """The largest difference of a score."""
    relative_diff: float
    """The same over the largest score of the second."""


class Doubt(_Table):
    """A sign that images are not prepared, or not labelled, as the network was trained."""

    model: str
    what: str
    """In words."""
    hint: str
    """What to do."""


class Evaluation(_Table):
    """Networks on labelled images: how often they are right, and where they differ."""

    data: str
    of: int
    """Images that the data holds."""
    images: int
    """Those that were taken."""
    seed: int
    """Of the draw, and of the order in which they were taken."""
    classes: int
    confidence: float = CONFIDENCE
    """Of all intervals."""
    rows: list[Row]
    pairs: list[Pair]
    doubts: list[Doubt]
    failed: list[dict[str, str]] = []
    """Models that could not be evaluated, and why."""


class BoxRow(_Table):
    """One detector in one place."""

    model: str
    """Its file."""
    name: str
    """Of the file, without folder and suffix."""
    where: Where
    """``host`` or ``board``."""
    runtime: str
    """With its version."""
    images: int
    kept: int
    """Of these, images whose boxes an earlier run had left."""
    found: int
    """Boxes that it gives, right and wrong."""
    ap: Share
    """COCO's average precision, a mean over overlaps of 0.5 to 0.95."""
    ap50: Share
    """The same at an overlap of 0.5."""
    preparation: Preparation


class BoxPair(_Table):
    """Two rows on the same pictures."""

    first: int
    """The number of the first in ``rows``, from 0."""
    second: int
    """What it is compared with."""
    kind: str
    """``place``: one detector in two places; ``network``: two detectors in one place."""
    difference: Share
    """Of the average precision, first less second: -1 to 1."""


class Detection(_Table):
    """Detectors on pictures with labelled boxes: their average precision."""

    data: str
    of: int
    """Pictures that the data holds."""
    images: int
    """Those that were taken."""
    seed: int
    """Of the draw, and of those that intervals are made of."""
    classes: int
    boxes: int
    """Labelled boxes of the pictures that were taken."""
    confidence: float = CONFIDENCE
    """Of all intervals."""
    rows: list[BoxRow]
    pairs: list[BoxPair]
    failed: list[dict[str, str]] = []
    """Detectors that could not be evaluated, and why."""
