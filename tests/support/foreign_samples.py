"""Real output of other benchmark tools, and changes to it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from support.places import REPOSITORY
from toolchain.profile.results import ModelResult, read_result

SAMPLES = REPOSITORY / "tests/unit/profile/foreign/samples"

Change = Callable[[str], str]


def sample(name: str) -> str:
    """The text of ``benchmark_model/xnnpack.txt``, say."""
    return (SAMPLES / name).read_text(encoding="utf-8")


def told(text: str, before: str) -> float:
    """The first number of a text that stands behind these words."""
    found = re.search(re.escape(before) + r"\s*([\d.]+(?:e[+-]?\d+)?)", text)
    assert found, before
    return float(found[1])


def reading(folder: Path, text: str, name: str = "given.txt") -> list[ModelResult]:
    """The models of a file with this text."""
    path = folder / name
    path.write_bytes(text.encode(errors="surrogateescape"))
    return read_result(path).models


TERMINALS: dict[str, Change] = {
    "as it is": lambda text: text,
    "adb shell": lambda text: text.replace("\n", "\r\n"),
    "old adb shell": lambda text: text.replace("\n", "\r\r\n"),
    "colours": lambda text: re.sub(r"(?m)^(.+)$", "\x1b[1;32m\\1\x1b[0m", text),
    "a window's title": lambda text: "\x1b]0;user@board: ~\x07" + text,
    "ts": lambda text: re.sub(r"(?m)^", "Nov 30 12:01:59 ", text),
    "ts -s": lambda text: re.sub(r"(?m)^", "00:01:59 ", text),
    "dates": lambda text: re.sub(r"(?m)^", "2024-05-01T12:00:01.123Z ", text),
    "brackets": lambda text: re.sub(r"(?m)^", "[   12.345678] ", text),
    "journal": lambda text: re.sub(r"(?m)^", "Nov 30 12:01:59 raspberrypi sh[1234]: ", text),
    "containers": lambda text: re.sub(r"(?m)^", "bench-1  | ", text),
    "a mark of bytes' order": lambda text: "\ufeff" + text,
    "a prompt before it": lambda text: "user@board:~$ ./tool 10 2\n" + text,
    "an empty line at its end": lambda text: text + "\n\n",
}
"""What stands between a tool and a file."""
