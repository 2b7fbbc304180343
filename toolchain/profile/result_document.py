"""What any benchmark tool says of models, in one form: times, memory, operators.

Times are microseconds. What a tool does not tell is ``None``, never 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

Tool = Literal["tileskip", "benchmark_model", "benchncnn", "executorch"]

LONGEST_US = 1e13
"""A time above this, four months, is none."""
_ROUNDED = 1e-4
"""By this part figures may contradict each other: tools round to six digits, some to fewer."""

Microseconds = Annotated[float, Field(ge=0, le=LONGEST_US, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=0, lt=1 << 63)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KnownBoard(_Part):
    """What is known of the board that was measured on; of other tools' files mostly nothing."""

    name: str | None = None
    """As its board file is called."""
    model: str | None = None
    """As it calls itself."""
    machine: str | None = None
    """As ``uname -m``."""
    core: str | None = None
    """``Cortex-A76``; several kinds as ``Cortex-A53 + Cortex-A72``."""
    clock_mhz: float | None = None
    """The first core's clock before models were measured."""
    governor: str | None = None
    """Of its frequency, before models were measured."""
    temperature_c: float | None = None
    """Before models were measured."""
    emulated: bool | None = None
    """Whether it was emulated, so that times mean nothing."""


class Summary(_Part):
    """The time of an inference, over all timed ones."""

    count: _Count | None = None
    """Timed inferences."""
    mean_us: Microseconds | None = None
    std_us: Microseconds | None = None
    """Standard deviation, of the inferences themselves (divided by their count)."""
    min_us: Microseconds | None = None
    max_us: Microseconds | None = None
    median_us: Microseconds | None = None
    p5_us: Microseconds | None = None
    p90_us: Microseconds | None = None
    p95_us: Microseconds | None = None
    p99_us: Microseconds | None = None

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        order = ("min_us", "p5_us", "median_us", "p90_us", "p95_us", "p99_us", "max_us")
        low, high = "", ""
        for high in order:
            if getattr(self, high) is None:
                continue
            if low and _less(getattr(self, high), getattr(self, low)):
                raise ValueError(f"{high} is less than {low}")
            low = high
        if self.mean_us is None:
            return self
        if self.min_us is not None and _less(self.mean_us, self.min_us):
            raise ValueError("mean_us is less than min_us")
        if self.max_us is not None and _less(self.max_us, self.mean_us):
            raise ValueError("max_us is less than mean_us")
        return self


class OperatorResult(_Part):
    """One operator of a model."""

    index: _Count
    """Its place in the order that the tool lists them in: that of execution, unless the model's
    ``notes`` say that operators are summed by type."""
    name: str | None = None
    """What the tool calls it: a layer, the tensors that it makes, a delegate's operator."""
    type: str | None = None
    """What it does, in the words of the tool: ``CONV_2D``, ``Convolution (NHWC, F32) IGEMM``."""
    median_us: Microseconds | None = None
    """Of all its calls in an inference together."""
    mean_us: Microseconds | None = None
    """The same."""
    share: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Of all operators' time, 0 to 1, as the tool says it."""
    calls: _Count | None = None
    """In an inference."""


class ModelResult(_Part):
    """One model, measured in one go."""

    name: str
    """The model's file name without folders and suffix; the file that was read where the tool
    does not tell the model."""
    sha256: str | None = None
    """Of the model's file."""
    runtime: str
    """What computed it, in words: ``TensorFlow Lite, XNNPACK``."""
    threads: Annotated[int, Field(ge=1)] | None = None
    turns: list[list[Microseconds]] = []
    """Every timed inference of each process that took turns with others', in order; empty where
    the tool kept none."""
    summary: Summary = Summary()
    init_us: Microseconds | None = None
    """To load the model and make it ready."""
    first_run_us: Microseconds | None = None
    """The first inference, which is not among the timed ones."""
    warmup_us: Microseconds | None = None
    """The mean of the inferences before the timed ones."""
    peak_memory_kib: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """The most that the process had in memory (its resident set); what a tool says of growth alone
    is not taken for it."""
    instructions: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Median of the user instructions of an inference."""
    operators: list[OperatorResult] = []
    """Empty where they were not timed."""
    model_bytes: _Count | None = None
    """Of the model's file; benchmark_model tells six digits of it."""
    notes: list[str] = []
    """What to know when reading this, such as figures that were left out."""


class FailedModel(_Part):
    """A model that was to be measured, too."""

    name: str
    """As of a model that was measured."""
    error: str
    """What the tool said, or where its output ends."""


class Result(_Part):
    """What one file of one tool says."""

    tool: Tool
    """Which one wrote it."""
    file: str | None
    """That was read; ``None`` where none was."""
    created: datetime | None = None
    """When it was measured; other tools do not tell."""
    board: KnownBoard = KnownBoard()
    """That was measured on."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """Of all models; ``None`` where it is not told, or models had different numbers of them."""
    models: list[ModelResult] = Field(min_length=1)
    """In the order of the file; a model that was measured again stands there again."""
    failed: list[FailedModel] = []
    """Models that were to be measured, too."""
    notes: list[str] = []
    """What to know of the file, such as that it was cut."""


def summary_of(samples_us: Sequence[float]) -> Summary:
    """The summary of every timed inference; percentiles are linear between ranks.

    Args:
        samples_us: microseconds, in any order; none make an empty summary.
    """
    if not samples_us:
        return Summary()
    samples = np.asarray(samples_us, dtype=np.float64)
    p5, median, p90, p95, p99 = (float(one) for one in np.percentile(samples, [5, 50, 90, 95, 99]))
    low, high = float(samples.min()), float(samples.max())
    return Summary(
        count=len(samples),
        mean_us=min(max(float(samples.mean()), low), high),  # rounding may take it past the two
        std_us=float(samples.std()),
        min_us=low,
        max_us=high,
        median_us=median,
        p5_us=p5,
        p90_us=p90,
        p95_us=p95,
        p99_us=p99,
    )


def common_threads(models: Sequence[ModelResult]) -> int | None:
    """The number of threads, if all models had the same."""
    found = {model.threads for model in models}
    return found.pop() if len(found) == 1 else None


def _less(one: float, other: float) -> bool:
    return one < other - _ROUNDED * max(abs(other), 1.0)
