"""A profile as a trace for Perfetto and other viewers: JSON of Chrome's Trace Event Format.

A profile keeps how long runs took, and not when they began. So the trace is laid out anew: turn
after turn, in each turn model after model, and a model's runs end to end. Each model is a process
with two tracks:

- ``runs``: a slice for each timed run.
- ``operators``: where operators were timed, for each turn a slice of a run with those of its
  operators in it, end to end. They are medians of the turn, of runs of their own.

The board is a process, too: the turns, and the cores that other programs kept busy.

Times are whole nanoseconds, and are not rounded one by one. On a track the ends of slices are
rounded, each of them the exact sum of what the profile has up to there. So the slices of a track
add up to the profile's times to the nanosecond, and none is more than one away from its own.

The format: "Trace Event Format" of the Chromium project, which ui.perfetto.dev and
chrome://tracing read.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from toolchain.foreign_text import harmless
from toolchain.formats.json_text import without_lone_bytes
from toolchain.profile.document import Measurement, Profile
from toolchain.profile.export.profiled_models import (
    operators_by_turn,
    samples_by_turn,
    told_operators,
    unique_names,
)
from toolchain.profile.timed_operators import ToldRow

RUNS = "runs"
OPERATORS = "operators (medians of a turn)"
RUN = "run"
"""The name of a run's slices."""
_PS_PER_US = 1_000_000
_PS_PER_NS = 1000
_BOARD = 1
"""The board's number as a process; models follow."""


def perfetto_trace(profile: Profile) -> str:
    """The trace as one JSON document, a line for each event, in ASCII."""
    events = ",\n".join(_Layout(profile).events())
    about = {
        "tool": f"tileskip {profile.tool}",
        "created": profile.created.isoformat(),
        "board": _text(profile.board.title),
        "times": "a layout of measured times; when a run began is not known",
    }
    return f'{{"otherData":{json.dumps(about)},\n"traceEvents":[\n{events}\n]}}\n'


@dataclass
class _Track:
    """Slices of one thread, end to end within a turn."""

    process: int
    thread: int
    exact_ps: int = 0
    """The sum of all slices so far."""
    end_ns: int = 0
    """The same, rounded."""

    def take(self, time_us: float) -> int:
        """The length of the next slice, in nanoseconds."""
        # A profile's times are whole nanoseconds, or halves of such sums: no picosecond is lost.
        self.exact_ps += round(time_us * _PS_PER_US)
        before = self.end_ns
        self.end_ns = (self.exact_ps + _PS_PER_NS // 2) // _PS_PER_NS
        return self.end_ns - before


@dataclass
class _Process:
    """A model."""

    name: str
    number: int
    samples: list[list[float]]
    operators: list[list[float] | None]
    told: list[tuple[str, dict[str, Any]]]
    """Name and arguments of each operator."""
    runs: _Track = field(init=False)
    ops: _Track = field(init=False)

    def __post_init__(self) -> None:
        self.runs = _Track(self.number, 10 * self.number + 1)
        self.ops = _Track(self.number, 10 * self.number + 2)


class _Layout:
    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._models = [
            _Process(
                name,
                _BOARD + number,
                samples_by_turn(item),
                operators_by_turn(item),
                _told(profile, item),
            )
            for number, (name, item) in enumerate(
                zip(unique_names(profile), profile.measurements, strict=True), 1
            )
        ]

    def events(self) -> Iterator[str]:
        """All events, in order."""
        yield from self._names()
        turns = max(max(len(one.samples), len(one.operators)) for one in self._models)
        now = 0
        for turn in range(turns):
            yield _event("i", _BOARD, 10 * _BOARD, now, f"turn {turn + 1}", {}, s="p")
            if turn < len(self._profile.load):
                load = {"cores": self._profile.load[turn]}
                yield _event("C", _BOARD, 10 * _BOARD, now, "cores kept busy by others", load)
            for model in self._models:
                ends = [now]
                if turn < len(model.samples):
                    ends.append((yield from _runs(model, turn, now)))
                if turn < len(model.operators) and (times := model.operators[turn]) is not None:
                    ends.append((yield from _operators(model, times, turn, now)))
                now = max(ends)

    def _names(self) -> Iterator[str]:
        board = self._profile.board
        emulated = " (emulated: times mean nothing)" if self._profile.by_instructions else ""
        title = f"board: {_text(board.title)}{emulated}"
        yield _meta("process_name", _BOARD, 10 * _BOARD, {"name": title})
        yield _meta("process_sort_index", _BOARD, 10 * _BOARD, {"sort_index": _BOARD})
        yield _meta("thread_name", _BOARD, 10 * _BOARD, {"name": "turns"})
        for model in self._models:
            name = {"name": f"{_text(model.name)}{emulated}"}
            yield _meta("process_name", model.number, model.runs.thread, name)
            index = {"sort_index": model.number}
            yield _meta("process_sort_index", model.number, model.runs.thread, index)
            yield _meta("thread_name", model.number, model.runs.thread, {"name": RUNS})
            if any(times is not None for times in model.operators):
                yield _meta("thread_name", model.number, model.ops.thread, {"name": OPERATORS})


def _runs(model: _Process, turn: int, start: int) -> Generator[str, None, int]:
    """Slices of a turn's runs; returns where they end."""
    for run, sample in enumerate(model.samples[turn], 1):
        end = start + model.runs.take(sample)
        yield from _slice(model.runs, RUN, start, end, {"turn": turn + 1, "run": run})
        start = end
    return start


def _operators(
    model: _Process, times: Sequence[float], turn: int, start: int
) -> Generator[str, None, int]:
    """A slice of a run with one for each operator in it; returns where it ends."""
    edges = [start]
    for time in times:
        edges.append(edges[-1] + model.ops.take(time))
    yield _begin(model.ops, RUN, start, {"turn": turn + 1})
    for (name, about), begin, end in zip(model.told, edges, edges[1:], strict=False):
        yield from _slice(model.ops, name, begin, end, about)
    yield _end(model.ops, edges[-1])
    return edges[-1]


def _told(profile: Profile, item: Measurement) -> list[tuple[str, dict[str, Any]]]:
    return [_about(each) for each in told_operators(profile, item) if each.own is not None]


def _about(each: ToldRow) -> tuple[str, dict[str, Any]]:
    row, own = each.row, each.own
    assert own is not None  # noqa: S101 (the caller looked)
    about = {
        "layer": row.name if row.shape else None,
        "kind": row.kind,
        "shape": row.shape or None,
        "type": own.type,
        "micro-kernel": own.ukernel,
        "pixels": row.pixels,
        "kept pixels": row.kept,
        "computed pixels": own.kept,
        "dead taps": own.dead_tap_share,
        "macs": row.macs or None,
        "macs computed": own.macs_computed,
        "by XNNPACK": own.delegated,
    }
    known = {name: value for name, value in about.items() if value is not None}
    return _text(row.name), {
        name: _text(value) if isinstance(value, str) else value for name, value in known.items()
    }


def _slice(
    track: _Track, name: str, begin: int, end: int, about: Mapping[str, Any]
) -> Iterator[str]:
    # Begin and end, not one "complete" event: of two such that begin at once a viewer puts the
    # shorter one into the other, and XNNPACK tells many operators as 0.
    yield _begin(track, name, begin, about)
    yield _end(track, end)


def _begin(track: _Track, name: str, at: int, about: Mapping[str, Any]) -> str:
    return _event("B", track.process, track.thread, at, name, about)


def _end(track: _Track, at: int) -> str:
    return _event("E", track.process, track.thread, at)


def _event(
    phase: str,
    process: int,
    thread: int,
    at: int,
    name: str | None = None,
    about: Mapping[str, Any] | None = None,
    **more: str,
) -> str:
    """An event; ``at`` is in nanoseconds, the format's unit is a microsecond."""
    parts: dict[str, Any] = {"ph": phase, "pid": process, "tid": thread, **more}
    if name is not None:
        parts["name"] = name
    if about:
        parts["args"] = about
    # Digits, and no float: it is read as exactly this number.
    return f'{json.dumps(parts)[:-1]}, "ts": {at // 1000}.{at % 1000:03d}}}'


def _meta(kind: str, process: int, thread: int, about: Mapping[str, Any]) -> str:
    return _event("M", process, thread, 0, kind, about)


def _text(value: str) -> str:
    return harmless(without_lone_bytes(value))
