"""What TensorFlow Lite's ``benchmark_model`` prints: a log, with tables of operators if asked for.

The words are those of tensorflow/lite/tools/benchmark/benchmark_model.cc, from TensorFlow 1.12
(``Average inference timings in us``) to LiteRT (``p5= median= p95=``).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from toolchain.errors import ModelError
from toolchain.formats.validation import faults
from toolchain.profile.foreign.benchmark_profile import SUMMED, OperatorTables
from toolchain.profile.foreign.log_text import (
    NONE_RAN,
    Line,
    Log,
    name_of,
    name_of_file,
    number,
    result_of_log,
    scaled,
    shown,
    tidy,
    whole_number,
)
from toolchain.profile.result_document import (
    FailedModel,
    ModelResult,
    Result,
    Summary,
)

MOST_MODELS = 10_000
"""Of a file, with those that failed."""
MOST_ROWS = 200_000
"""Operators of all models of a file."""
ENDS = "the output ends before a time of it"
_RUNTIME = "TensorFlow Lite"
_ONLY_OPERATORS = (
    "the file tells times of operators alone: that of an inference is in what the tool prints"
)

_KNOWN = re.compile(
    r"[Ii]nference timings in us: |Log parameter values verbosely: \["
    r"|count=\d+ (?:first|curr)=\d|Profiling Info for (?:Regular )?Benchmark"
    r"|\bnode type\]?,?\s{1,60}(?:\[?start\]?,?\s{1,60})?\[?first"
    r"|Graph: \[[^\]\n]{1,1000}\.tflite\]"
)
_STATS = re.compile(r"count=(\S{1,30})(?= |$)(.{0,1000})")
_STAT = re.compile(r"(\w{1,20})=(\S{1,60}?)(\(all)?(?=\s|$)")
_TIMINGS = re.compile(r"(Average )?[Ii]nference timings in us: (.{1,1000})")
_TIMING = re.compile(
    r"(?:^|, ?)([A-Za-z][A-Za-z ]{0,30}(?:\(\w{1,10}\))?): ?([^\s,]{1,40}?(?:,\d{1,9})?)"
    r"(?=Overall|\s|,|$)"
)
_PARAMETER = re.compile(r"([^\[\]:]{1,100}): \[(.*)\]\s*")
_PEAK = re.compile(r"Overall peak memory footprint \(MB\) via periodic monitoring: (\S{1,40})")
_BYTES = re.compile(r"The input model file size \(MB\): (\S{1,40})")
_INIT = re.compile(r"Initialized session in ([^\sm]{1,40})ms")
_DELEGATE = re.compile(
    r"(?:Explicitly applied|Applied) (\w{1,40}) delegate"
    r"|Created TensorFlow Lite (\w{1,40}) delegate for"
    r"|Created TensorFlow Lite delegate for (\w{1,40})"
    r"|with delegate \(TfLite(\w{1,40}?)Delegate(?:V2)?\) node"
)
_IDLE_DELEGATE = re.compile(r"Though (\w{1,40}) delegate is explicitly applied, .* will not be")
_CRASH = re.compile(
    r"Segmentation fault|Aborted|Killed|Illegal instruction|Bus error|not found|No such file"
    r"|Permission denied|CANNOT LINK|Benchmarking failed",
)
_THREADS = ("Num threads", "#threads used for CPU inference")
# Parameters that every process logs before it does anything.
_FIRST = {
    "Min num runs", "Num runs", "Min runs duration (seconds)", "Max runs duration (seconds)",
    "Inter-run delay (seconds)", "Number of prorated runs per second", "Num threads",
    "Use caching", "Benchmark name", "Output prefix", "Min warmup runs", "Warmup runs",
    "Min warmup runs duration (seconds)", "Run w/o invoking kernels",
    "Report the peak memory footprint", "Graph",
}  # fmt: skip
_INFERENCE = ("Inference (avg)", "Inference", "no stats")
_WARMUP = ("Warmup (avg)", "Warmup")


@dataclass(frozen=True)
class _Stats:
    line: Line
    phase: int
    """How often inferences were begun before it: 1 for those that warm up; 0: it is not told."""
    summary: Summary


@dataclass
class _Run:
    """What was read of one process."""

    tables: OperatorTables
    first_line: int
    graph: str | None = None
    threads: int | None = None
    delegates: dict[str, None] = field(default_factory=dict)
    phases: int = 0
    stats: list[_Stats] = field(default_factory=list)
    timings: dict[str, float] | None = None
    timings_line: int = 0
    init_us: float | None = None
    peak_kib: float | None = None
    model_bytes: int | None = None
    error: str | None = None
    failed: bool = False
    cut: bool = False
    told: bool = False
    """Whether anything of a process was read at all."""

    @property
    def measured(self) -> bool:
        """Whether it has come to its times, so that what begins a process begins another one."""
        return bool(self.stats or self.timings is not None or self.phases)


def recognises(text: str) -> bool:
    """Whether a text has what only ``benchmark_model`` writes."""
    return _KNOWN.search(text) is not None


def read(log: Log) -> Result:
    """The results of a log, or of a table of operators.

    Raises:
        ModelError: a figure is none, figures contradict each other, or nothing was measured.
    """
    return _Reader(log).result()


class _Reader:
    def __init__(self, log: Log) -> None:
        self._log = log
        self._run = _Run(OperatorTables(log), 1)
        self._models: list[ModelResult] = []
        self._failed: list[FailedModel] = []
        self._rows = 0

    def result(self) -> Result:
        for line in self._log.lines():
            self._take(line)
        cut = self._run.cut or self._run.tables.cut
        self._finish()
        if not self._models:
            raise _nothing(self._log.path, self._failed)
        return result_of_log("benchmark_model", self._log, self._models, self._failed, cut=cut)

    # --- lines ------------------------------------------------------------------------------

    def _take(self, line: Line) -> None:
        if self._run.tables.take(line):
            self._run.told = True
            return
        text = line.text.lstrip()
        if not text:
            return
        if "count=" in text and (stats := _STATS.match(text)):
            self._take_stats(line, stats)
        elif "timings in us" in text and (timings := _TIMINGS.match(text)):
            self._take_timings(line, timings[2])
        elif text.startswith("Running benchmark for "):
            self._behind_the_last(line)
            self._run.told = True
            self._run.phases += 1
        elif text.startswith(("STARTING!", "Log parameter values verbosely")):
            self._begin(line, always=text.startswith("STARTING"))
        elif parameter := _PARAMETER.fullmatch(text):
            self._take_parameter(line, parameter[1], parameter[2])
        elif text.startswith("Loaded model "):
            if line.ended:
                self._take_graph(line, text.removeprefix("Loaded model "))
        else:
            self._take_other(line, text)

    def _take_other(self, line: Line, text: str) -> None:
        run = self._run
        if found := _PEAK.match(text):
            if (value := self._figure(line, text, found)) is not None:
                run.peak_kib = round(value * 1024, 1)
        elif found := _BYTES.match(text):
            if (value := self._figure(line, text, found)) is not None:
                run.model_bytes = round(value * 1e6)
        elif found := _INIT.match(text):
            if run.init_us is None and (value := self._figure(line, text, found)) is not None:
                run.init_us = scaled(value, 1e3)
        elif found := _DELEGATE.search(text[:400]):
            run.delegates[_delegate(next(one for one in found.groups() if one))] = None
        elif found := _IDLE_DELEGATE.match(text[:400]):
            run.delegates.pop(_delegate(found[1]), None)
        elif line.error or _CRASH.search(text[:400]):
            run.failed |= "Benchmarking failed" in text
            if run.error is None:
                run.error = tidy(text)

    def _begin(self, line: Line, *, always: bool = False) -> None:
        """Another process begins here, unless the one at hand has only begun itself."""
        if self._run.measured or (always and self._run.told):
            self._finish()
            self._run = _Run(OperatorTables(self._log), line.number)
        self._run.told = True

    def _behind_the_last(self, line: Line) -> _Run:
        """The process that times are of: another one where that at hand has told all of them."""
        if self._run.timings is not None:
            self._finish()
            self._run = _Run(OperatorTables(self._log), line.number)
        return self._run

    def _take_parameter(self, line: Line, name: str, value: str) -> None:
        if name in _FIRST:
            self._begin(line)
        if name == "Graph":
            self._take_graph(line, value)
        elif name in _THREADS and re.fullmatch(r"[1-9]\d{0,5}", value):
            self._run.threads = int(value)

    def _take_graph(self, line: Line, graph: str) -> None:
        self._begin(line)
        if self._run.graph is not None and name_of(self._run.graph) != name_of(graph):
            self._finish()
            self._run = _Run(OperatorTables(self._log), line.number, told=True)
        self._run.graph = graph

    def _take_stats(self, line: Line, found: re.Match[str]) -> None:
        run = self._behind_the_last(line)
        run.told = True
        run.cut |= not line.ended
        summary = self._summary(line, found)
        if summary.count == 0 or summary.min_us is not None:
            run.stats.append(_Stats(line, run.phases, summary))

    def _take_timings(self, line: Line, text: str) -> None:
        run = self._behind_the_last(line)
        run.told = True
        figures = dict(_TIMING.findall(text))
        if bare := re.match(r"[^\s,]{1,40}(?= ?,)", text):  # "Average inference timings in us: 1 ,"
            figures.setdefault("Inference", bare[0])
        values = {}
        for name, figure in figures.items():
            value = number(figure)
            if value is None:
                raise self._log.fault(line.number, f"{name.strip()}: {shown(figure)} is no time")
            values[name.strip()] = value
        run.timings, run.timings_line = values, line.number
        if not line.ended and values:
            # The last figure may be cut; it counts where a line before says the same.
            last = list(values)[-1]
            if not any(_agree(values[last], one.summary.mean_us) for one in run.stats):
                del values[last]
                run.cut = True

    # --- figures ----------------------------------------------------------------------------

    def _figure(self, line: Line, text: str, found: re.Match[str]) -> float | None:
        """The number of a line; ``None`` where it may be cut."""
        if not line.ended and found.end(1) == len(text):
            self._run.cut = True
            return None
        value = number(found[1])
        if value is None:
            raise self._log.fault(line.number, f"{shown(found[1])} is no figure")
        self._run.told = True
        return value

    def _summary(self, line: Line, found: re.Match[str]) -> Summary:
        count = whole_number(found[1])
        if count is None:
            raise self._log.fault(line.number, f"count: {shown(found[1])} is no count")
        values: dict[str, float] = {}
        same = False
        told = list(_STAT.finditer(found[2]))
        if not line.ended and (not told or told[-1].end() == len(found[2])):
            if not told:  # the count itself may be cut
                return Summary()
            told.pop()
        for key, figure, all_same in (one.groups(default="") for one in told):
            value = number(figure)
            if value is None:
                raise self._log.fault(line.number, f"{key}: {shown(figure)} is no time")
            values[key] = value
            same |= bool(all_same)
        if not count:
            return Summary(count=0)
        named = {
            "mean_us": values.get("avg"),
            "std_us": values.get("std"),
            "min_us": values.get("min"),
            "max_us": values.get("max"),
            "median_us": values.get("median"),
            "p5_us": values.get("p5"),
            "p95_us": values.get("p95"),
        }
        if "avg" not in values and (same or count == 1) and "curr" in values:
            only = values["curr"]
            named |= {"mean_us": only, "min_us": only, "max_us": only, "median_us": only}
            named["std_us"] = 0.0 if same else None
        try:
            return Summary.model_validate({"count": count, **named})
        except ValidationError as error:
            raise self._log.fault(line.number, str(faults(error, Summary)[0])) from error

    # --- a whole process --------------------------------------------------------------------

    def _finish(self) -> None:
        run = self._run
        if not run.told:
            return
        name = name_of(run.graph) if run.graph is not None else name_of_file(self._log.path)
        summary = None if run.failed else self._of_inferences(run)
        if len(self._models) + len(self._failed) >= MOST_MODELS:
            raise self._log.fault(run.first_line, f"more than {MOST_MODELS} models")
        operators = run.tables.operators
        self._rows += len(operators)
        if self._rows > MOST_ROWS:
            raise self._log.fault(run.first_line, f"more than {MOST_ROWS} operators before it")
        if summary is None and (run.failed or run.measured or not operators):
            idle = any(not one.summary.count for one in run.stats if one.phase >= 2)
            said = run.error or (NONE_RAN if idle else ENDS)
            self._failed.append(FailedModel(name=name, error=said))
            return
        try:
            self._models.append(self._model(run, name, summary))
        except ValidationError as error:
            said = str(faults(error, ModelResult)[0])
            raise self._log.fault(run.timings_line or run.first_line, said) from error

    def _model(self, run: _Run, name: str, summary: Summary | None) -> ModelResult:
        timings = run.timings or {}
        notes = [_ONLY_OPERATORS] if summary is None else []
        if run.tables.summed:
            notes.append(SUMMED)
        warmup = next((timings[key] for key in _WARMUP if key in timings), None)
        first = timings.get("First inference")
        return ModelResult(
            name=name,
            runtime=", ".join([_RUNTIME, *run.delegates]),
            threads=run.threads,
            summary=summary or Summary(),
            init_us=timings.get("Init", run.init_us),
            # Where nothing warmed up, the tool writes 0.
            first_run_us=first or None,
            warmup_us=warmup or None,
            peak_memory_kib=run.peak_kib,
            operators=run.tables.operators,
            model_bytes=run.model_bytes,
            notes=notes,
        )

    def _of_inferences(self, run: _Run) -> Summary | None:
        """The summary of what does not warm up; ``None`` where nothing was timed."""
        timings = run.timings or {}
        mean = next((timings[key] for key in _INFERENCE if key in timings), None)
        later = [one for one in run.stats if one.phase >= 2]
        if mean is None:
            if run.stats and not run.phases:
                raise self._log.fault(
                    run.stats[-1].line.number,
                    "whether these are inferences that warm up is not told",
                    hint="keep all lines that the tool prints",
                )
            return later[-1].summary if later and later[-1].summary.count else None
        for one in reversed(run.stats):
            if _agree(mean, one.summary.mean_us):
                return one.summary
        if later and later[-1].summary.count:
            raise self._log.fault(
                run.timings_line,
                f"an inference of {mean:g} us is not what line {later[-1].line.number} says",
            )
        if later or not mean:  # the tool writes 0 where nothing ran
            return None
        return Summary(mean_us=mean)


def _delegate(name: str) -> str:
    return "XNNPACK" if name.upper() == "XNNPACK" else tidy(name)


def _agree(mean: float, other: float | None) -> bool:
    """Whether two means are one: six digits of it, or whole microseconds in old versions."""
    return other is not None and (math.isclose(mean, other, rel_tol=1e-4) or abs(mean - other) < 1)


def _nothing(path: Path, failed: list[FailedModel]) -> ModelError:
    if not failed:
        return ModelError(f"{path}: tells no time of a model")
    why = "; ".join(f"{one.name}: {one.error}" for one in failed[:3])
    return ModelError(f"{path}: no model was measured: {why}")
