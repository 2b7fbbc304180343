r"""Text that a benchmark tool printed, as it comes from a terminal, a serial line or a logger.

Lines may end in ``\r\n``, have colours, and stand behind a logger's words: a date, ``INFO:``, the
name of a container. The last one may be cut in the middle.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from toolchain.errors import ModelError
from toolchain.foreign_text import harmless
from toolchain.formats.input_file import LARGEST, read_limited
from toolchain.formats.text_file import encoding_of
from toolchain.profile.result_document import (
    LONGEST_US,
    FailedModel,
    ModelResult,
    Result,
    common_threads,
)

CUT_LINE = "the file ends in the middle of a line, which is left out"
NONE_RAN = "no inference was timed"
LONGEST_LINE = 20_000
"""Letters of a line that are looked at."""
_LONGEST_NAME, _SHOWN = 300, 60

# Control sequences of a terminal (ECMA-48): colours, cursor, and a window's title.
_COLOUR = re.compile(
    r"\x1b(?:\[[0-?]{0,64}[ -/]{0,8}[@-~]|\][^\x07\x1b]{0,500}(?:\x07|\x1b\\)|[@-Z\\^_])"
)
_LEVEL = "(?:VERBOSE|DEBUG|INFO|WARN|WARNING|ERROR|FATAL)"
# What loggers write in front of a line. Every branch ends in what it needs, so that none is tried
# twice; a tab behind it belongs to the line.
_BEFORE = re.compile(
    r"(?:"
    r"\[[ \d:.,/TZ+-]{1,40}\]:? {0,4}"  # [12:00:01.123], [   12.345678]
    r"|\d{1,4}[:./-][\d:./,TZ+-]{1,40}:? {1,8}"  # 2024-05-01T12:00:01.123Z
    r"|(?:\d{1,9} {1,8}\d{1,9} {1,8})?[VDIWEF] tflite {0,16}: ?"  # logcat -v threadtime
    r"|[VDIWEF]/tflite {0,16}\( {0,9}\d{1,9}\): ?"  # logcat -v brief
    r"|[VDIWEF] [^\s:]{1,100}:\d{1,6}\] "  # TensorFlow's logger
    r"|[IWEF]\d{4} [\d:.]{8,20} {1,8}\d{1,9} [^\s:]{1,100}:\d{1,6}\] "  # Abseil's
    r"|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d (?:[\w.-]{1,64} [\w./-]{1,64}(?:\[\d{1,9}\])?: )?"
    r"|[\w.-]{1,64} {1,8}\| "  # containers
    rf"|\[{_LEVEL}\]:? {{0,4}}|{_LEVEL}: ?"
    r"){1,8}"
)
_ERROR = re.compile(r"\b(?:ERROR|FATAL): |\[(?:ERROR|FATAL)\]|\b[EF] tflite {0,16}:|\bE/tflite")
_NUMBER = re.compile(r"\+?(?:\d{1,40}(?:[.,]\d{0,40})?|[.,]\d{1,40})(?:[eE][+-]?\d{1,3})?", re.A)


@dataclass(frozen=True, slots=True)
class Line:
    """One line, without colours and what a logger wrote in front of it."""

    number: int
    """In the file, from 1."""
    text: str
    error: bool
    """Whether the logger called it an error."""
    ended: bool
    """Whether a line end follows; else its last figure may be cut."""


@dataclass(frozen=True)
class Log:
    """A file's text."""

    path: Path
    text: str

    def lines(self) -> Iterator[Line]:
        """Its lines, one after the other."""
        last = self.text.count("\n") + 1
        for number, whole in enumerate(self.text.split("\n"), 1):
            for piece in whole.split("\r"):
                if piece:
                    yield _line(number, piece[:LONGEST_LINE], ended=number < last)
                elif whole == "":
                    yield Line(number, "", error=False, ended=True)

    def fault(self, line: int, what: str, *, hint: str | None = None) -> ModelError:
        """The error of a line; ``what`` may have words of the file."""
        return ModelError(f"{self.path}: line {line}: {harmless(what)}", hint=hint)


def result_of_log(
    tool: Literal["benchmark_model", "benchncnn"],
    log: Log,
    models: list[ModelResult],
    failed: list[FailedModel],
    *,
    cut: bool,
) -> Result:
    """What was read of a log.

    Args:
        tool: that printed it.
        log: the text.
        models: those that were measured, one at least.
        failed: those that were to be, too.
        cut: whether its last line is not whole, and was left out.
    """
    return Result(
        tool=tool,
        file=str(log.path),
        threads=common_threads(models),
        models=models,
        failed=failed,
        notes=[CUT_LINE] if cut else [],
    )


def read_log(path: Path) -> Log:
    """A file that a benchmark tool wrote, or what it printed.

    Bytes that are no text are kept as a sign of replacement: a model's name may have some.

    Raises:
        ModelError: it cannot be read, is too large, or is no text at all.
    """
    try:
        data = read_limited(path, LARGEST, pipe=True)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    text = data.decode(encoding_of(data), errors="replace")
    if "\0" in text:
        raise ModelError(
            f"{path}: is no text: line {1 + text[: text.index(chr(0))].count(chr(10))} has a "
            "character of value 0",
            hint="give what the tool printed, or the document that it wrote as text",
        )
    return Log(path, text)


def _line(number: int, text: str, *, ended: bool) -> Line:
    if "\x1b" in text:
        text = _COLOUR.sub("", text)
    before = _BEFORE.match(text)
    error = _ERROR.search(text, 0, 200) is not None
    return Line(number, text[before.end() :] if before else text, error=error, ended=ended)


def number(text: str) -> float | None:
    """A number that is not negative, with a point or a comma before its decimals.

    Returns:
        ``None`` where it is another text, not a number, negative, infinite or far too large.
    """
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text.replace(",", "."))
    return value if math.isfinite(value) and value <= LONGEST_US * 1e3 else None


def whole_number(text: str) -> int | None:
    """A count, of digits alone; ``None`` where it is another text or above 2^62."""
    value = int(text) if re.fullmatch(r"[0-9]{1,19}", text) else None
    return value if value is not None and value < 1 << 62 else None


def name_of(text: str) -> str:
    """A model's name: its file's, without folders and suffix, made harmless; never empty."""
    words = re.split(r"[/\\]", text.strip()[-4 * _LONGEST_NAME :])[-1]
    stem = re.sub(r"\.(?:tflite|lite|param|pte|etdp|bin)$", "", words)
    return tidy(stem or words or text.strip()) or "(no name)"


def name_of_file(path: Path) -> str:
    """The name of a model that its file does not tell: the file's own, without what it is."""
    return name_of(re.sub(r"\.(?:csv|tsv|txt|log|out)$", "", path.name))


def scaled(value: float, factor: float) -> float:
    """A figure in another unit, without the last digits, which the product makes up."""
    return round(value * factor, 6)


def tidy(text: str) -> str:
    """A text of the file's, made harmless, without spaces around it, and not too long."""
    found = harmless(" ".join(text.split()))
    return found if len(found) <= _LONGEST_NAME else f"{found[: _LONGEST_NAME - 3]}..."


def shown(text: str) -> str:
    """A text of the file's as it stands in a message."""
    short = text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
    return f"'{short}'"
