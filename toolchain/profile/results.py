"""Benchmark results of any tool, in one form: our own profiles, and files of other tools.

``docs/reference/results.md`` says what is taken from each, and what they do not tell.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from toolchain.errors import ModelError
from toolchain.formats.validation import faults
from toolchain.profile.document import Measurement, Profile, parse_profile
from toolchain.profile.foreign import benchmark_model, benchncnn, executorch
from toolchain.profile.foreign.log_text import Log, name_of, read_log, tidy
from toolchain.profile.result_document import (
    FailedModel,
    KnownBoard,
    ModelResult,
    OperatorResult,
    Result,
    Summary,
    Tool,
    summary_of,
)
from toolchain.profile.timed_operators import timed_rows
from toolchain.profile.turns import samples_of_turns

__all__ = [
    "KINDS",
    "FailedModel",
    "Kind",
    "KnownBoard",
    "ModelResult",
    "OperatorResult",
    "Result",
    "Summary",
    "Tool",
    "from_profile",
    "read_result",
    "summary_of",
]


class Kind(NamedTuple):
    """A kind of file that is read."""

    tool: Tool
    what: str
    """What it is, in words."""
    recognises: Callable[[str], bool]
    """Whether a text is of this kind, by what it says."""
    read: Callable[[Log], Result]


def _is_json(text: str) -> bool:
    return text.lstrip().startswith("{")


def _read_profile(log: Log) -> Result:
    return from_profile(parse_profile(log.text, log.path), log.path)


KINDS = (
    Kind("tileskip", "a profile of deploy profile --output", _is_json, _read_profile),
    Kind(
        "executorch",
        "the CSV or TSV of ExecuTorch's Inspector",
        executorch.recognises,
        executorch.read,
    ),
    Kind(
        "benchmark_model",
        "what TensorFlow Lite's benchmark_model prints, or its CSV of operators",
        benchmark_model.recognises,
        benchmark_model.read,
    ),
    Kind("benchncnn", "what ncnn's benchncnn prints", benchncnn.recognises, benchncnn.read),
)
"""All of them; each is told by what the file says, never by its name."""


def read_result(path: Path) -> Result:
    """The results that a file has, whichever tool wrote it.

    Args:
        path: of the file, or of a pipe.

    Raises:
        ModelError: it cannot be read, is of no kind that is known or of two, or has a fault; names
            the line.
    """
    return _result_of(read_log(path))


def read_profile_or_result(path: Path) -> Profile | Result:
    """The same, but a profile of our own as it is, with all that other tools do not tell.

    Args:
        path: of the file, or of a pipe.

    Raises:
        ModelError: as :func:`read_result`.
    """
    log = read_log(path)
    return parse_profile(log.text, log.path) if _is_json(log.text) else _result_of(log)


def _result_of(log: Log) -> Result:
    path = log.path
    found = [kind for kind in KINDS if kind.recognises(log.text)]
    if found and found[0].tool in ("tileskip", "executorch"):
        return found[0].read(log)  # the whole file is of this form
    if len(found) > 1:
        both = " and ".join(kind.tool for kind in found)
        raise ModelError(
            f"{path}: has results of several tools: {both}",
            hint="give what each tool printed in a file of its own",
        )
    if not found:
        known = "; ".join(kind.what for kind in KINDS)
        raise ModelError(
            f"{path}: {'is empty' if not log.text.strip() else 'is no benchmark result'}",
            hint=f"what is read: {known}",
        )
    return found[0].read(log)


def from_profile(profile: Profile, file: Path | None = None) -> Result:
    """A profile of our own, in the common form.

    Args:
        profile: of ``deploy profile``.
        file: that it was read from.

    Raises:
        ModelError: a figure of it is out of any range.
    """
    facts, vitals = profile.board.facts, profile.board.facts.vitals
    clock = vitals.frequency_khz
    try:
        return Result(
            tool="tileskip",
            file=None if file is None else str(file),
            created=profile.created,
            board=KnownBoard(
                name=profile.board.name,
                model=facts.model,
                machine=facts.machine,
                core=" + ".join(facts.cores) or None,
                clock_mhz=None if clock is None else clock / 1000,
                governor=vitals.governor,
                temperature_c=vitals.temperature_c,
                emulated=facts.emulated,
            ),
            threads=profile.threads,
            models=[_model(item) for item in profile.measurements],
            failed=[
                FailedModel(name=name_of(item.model), error=tidy(item.error))
                for item in profile.failed
            ],
        )
    except ValidationError as error:
        said = faults(error, Result)[0]
        raise ModelError(f"{file or 'the profile'}: cannot be set beside others: {said}") from error


def _model(item: Measurement) -> ModelResult:
    output = item.output
    turns = _turns(item)
    return ModelResult(
        name=tidy(item.name),
        sha256=item.sha256,
        runtime=_runtime(item),
        threads=output.threads,
        turns=turns,
        summary=summary_of([us for turn in turns for us in turn]),
        init_us=output.init_us,
        first_run_us=output.first_run_us,
        peak_memory_kib=output.peak_rss_kib,
        instructions=item.instructions,
        operators=_operators(item),
        model_bytes=output.model.bytes,
        notes=[tidy(note) for note in (*output.notes, *item.doubts)],
    )


def _runtime(item: Measurement) -> str:
    runner = item.output.runner
    own = f"Tileskip {runner.version}" if runner.patched else f"TensorFlow Lite {runner.tflite}"
    return f"{own}, XNNPACK {runner.xnnpack}" if item.output.delegate.used else own


def _turns(item: Measurement) -> list[list[float]]:
    """The samples of each process; as one where the profile does not say which are whose."""
    timing = item.output.timing
    if timing is None:
        return []
    samples, runs = timing.samples_us, [turn.runs for turn in item.turns]
    if min(runs, default=0) < 1 or sum(runs) != len(samples):
        return [samples]
    return samples_of_turns(samples, item.turns)


def _operators(item: Measurement) -> list[OperatorResult]:
    ops = item.output.ops
    if ops is None:
        return []
    rows = timed_rows(None, (ops, item.layers))
    names = [tidy(row.name) for row in rows] if len(rows) == len(ops) else [None] * len(ops)
    return [
        OperatorResult(
            index=op.index, name=name, type=tidy(op.type), median_us=op.median_us, share=op.share
        )
        for op, name in zip(ops, names, strict=True)
    ]
