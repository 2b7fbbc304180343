"""What ncnn's ``benchncnn`` prints: a header, then a line for each model, in milliseconds.

The words are those of ncnn's benchmark/benchncnn.cpp. Times have two decimals.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from toolchain.errors import ModelError
from toolchain.profile.foreign.log_text import (
    NONE_RAN,
    Line,
    Log,
    name_of,
    number,
    result_of_log,
    scaled,
    shown,
    tidy,
)
from toolchain.profile.result_document import (
    LONGEST_US,
    FailedModel,
    ModelResult,
    Result,
    Summary,
)

MOST_MODELS = 50_000
"""Of a file, with those that failed."""
NOT_TOLD = "0.00 ms: it was not computed, or takes too little to be told"
_SLACK_US = 10.0
"""Of the last digit that is printed."""

_MIN = " min ="
_FIGURES = re.compile(
    r"\s{0,20}(\S{1,400})\s{1,20}max =\s{0,20}(\S{1,400})\s{1,20}avg =\s{0,20}(\S{1,400})\s*"
)
_HEADER = re.compile(
    r"(loop_count|num_threads|powersave|gpu_device|cooling_down)\s{0,9}=\s{0,9}(-?\d{1,9})\s*"
)
_GPU = re.compile(r"\[(\d{1,3}) (.{1,100}?)\]\s{1,4}queueC=")
_FAULT = re.compile(
    r"\bfail|not exist|not ready|not registered|Segmentation fault|Aborted|Killed"
    r"|Illegal instruction|out of memory|while model has|unsupported",
    re.I,
)
_KNOWN = re.compile(
    r" min =\s{0,20}\S{1,400}\s{1,20}max =\s{0,20}\S|\bloop_count = -?\d",
)
_CORES = {1: "little cores", 2: "big cores"}


@dataclass
class _Header:
    """What stands before the models of one process."""

    values: dict[str, int] = field(default_factory=dict)
    gpus: dict[int, str] = field(default_factory=dict)
    """What Vulkan names, before the header or behind it."""
    used: bool = False
    """Whether a model followed it."""


def recognises(text: str) -> bool:
    """Whether a text has what only ``benchncnn`` prints."""
    return _KNOWN.search(text) is not None


def read(log: Log) -> Result:
    """The results of what was printed, of one process or several.

    Raises:
        ModelError: a figure is none, figures contradict each other, or nothing was measured.
    """
    return _Reader(log).result()


class _Reader:
    def __init__(self, log: Log) -> None:
        self._log = log
        self._header = _Header()
        self._fault: str | None = None
        self._models: list[ModelResult] = []
        self._failed: list[FailedModel] = []
        self._cut = False

    def result(self) -> Result:
        for line in self._log.lines():
            self._take(line)
        if not self._models:
            why = "; ".join(f"{one.name}: {one.error}" for one in self._failed[:3])
            why = why or self._fault or "no row of a model follows the header"
            raise ModelError(f"{self._log.path}: no model was measured: {why}")
        return result_of_log("benchncnn", self._log, self._models, self._failed, cut=self._cut)

    def _take(self, line: Line) -> None:
        text = line.text.strip()
        if _MIN in line.text:
            name, _, figures = line.text.partition(_MIN)
            self._take_row(line, name, figures)
        elif "=" in text and (header := _HEADER.fullmatch(text)):
            if self._header.used or header[1] in self._header.values:
                self._header = _Header()
            self._header.values[header[1]] = int(header[2])
            self._fault = None
        elif "queueC" in text and (gpu := _GPU.match(text)):
            if self._header.used:
                self._header = _Header()
            self._header.gpus[int(gpu[1])] = tidy(gpu[2])
        elif self._fault is None and _FAULT.search(text[:400]):
            self._fault = tidy(text)

    def _take_row(self, line: Line, before: str, after: str) -> None:
        figures = _FIGURES.fullmatch(after)
        # Times end in two decimals; one that is cut does not.
        if not line.ended and (figures is None or not re.search(r"[.,]\d\d\s*$", after)):
            self._cut = True
            return
        if figures is None:
            raise self._log.fault(
                line.number, f"{shown(line.text.strip())} is no row of min, max and avg"
            )
        if len(self._models) + len(self._failed) >= MOST_MODELS:
            raise self._log.fault(line.number, f"more than {MOST_MODELS} models")
        self._header.used = True
        name, fault, self._fault = name_of(before), self._fault, None
        if fault is None and self._header.values.get("loop_count", 1) < 1:
            fault = NONE_RAN
        if fault is not None:
            self._failed.append(FailedModel(name=name, error=fault))
            return
        low, high, mean = (
            self._time(line, key, text)
            for key, text in zip(("min", "max", "avg"), figures.groups(), strict=True)
        )
        if mean == 0:  # as of a model that could not be loaded: it has a row, too
            self._failed.append(FailedModel(name=name, error=NOT_TOLD))
            return
        if not low - _SLACK_US <= mean <= high + _SLACK_US:
            raise self._log.fault(line.number, "avg is not between min and max")
        self._models.append(self._model(name, low, high, min(max(mean, low), high)))

    def _model(self, name: str, low: float, high: float, mean: float) -> ModelResult:
        told = self._header.values
        threads = told.get("num_threads", 0)
        count = told.get("loop_count", 0)
        return ModelResult(
            name=name,
            runtime=self._runtime(),
            threads=threads if threads > 0 else None,
            summary=Summary(
                count=count if count > 0 else None, min_us=low, max_us=high, mean_us=mean
            ),
        )

    def _runtime(self) -> str:
        gpu = self._header.values.get("gpu_device", -1)
        if gpu >= 0:
            # An ncnn without Vulkan takes the CPU then, and says nothing.
            name = self._header.gpus.get(gpu)
            return f"ncnn, GPU {gpu} ({name})" if name else f"ncnn (GPU {gpu} was asked for)"
        cores = _CORES.get(self._header.values.get("powersave", 0))
        return f"ncnn, {cores}" if cores else "ncnn"

    def _time(self, line: Line, key: str, text: str) -> float:
        """Microseconds of a figure in milliseconds."""
        value = number(text)
        if value is None or value * 1e3 > LONGEST_US:
            raise self._log.fault(line.number, f"{key}: {shown(text)} is no time")
        return scaled(value, 1e3)
