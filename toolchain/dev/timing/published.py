"""Times of inferences on Raspberry Pis that others published, read from a folder that is given.

The folder has ``pi_times.tsv``, a row a time, and ``ncnn_networks/*.param``, the networks that
ncnn's benchmark runs. Neither is part of this project.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

from toolchain.errors import DataError
from toolchain.formats.text_file import read_text
from toolchain.hardware.facts import Core

Precision = Literal["fp32", "fp16", "int8"]
Runtime = Literal["ncnn", "xnnpack", "executorch", "tflite", "tileskip"]

_COLUMNS = ("source", "board", "core", "clock_MHz", "threads", "runtime", "version", "precision",
            "network", "input", "ms")  # fmt: skip
_CORES: Mapping[str, Core] = {
    "Cortex-A53": "cortex-a53",
    "Cortex-A72": "cortex-a72",
    "Cortex-A76": "cortex-a76",
}
_BOARDS = (
    ("Raspberry Pi 3B+", "rpi3"),
    ("Raspberry Pi Zero 2 W", "zero2w"),
    ("Raspberry Pi 4B", "rpi4"),
    ("Raspberry Pi 5", "rpi5"),
)
"""How a board's name begins, and the board file that it has here."""
_RUNTIMES: tuple[tuple[str, Runtime], ...] = (
    ("XNNPACK end2end-bench", "xnnpack"),
    ("ExecuTorch XNNPACK", "executorch"),
    ("TFLite (ruy", "tflite"),
)
_NCNN = "Tencent/ncnn benchmark"
"""How the source of ncnn's own rows begins. Others ran other networks with it."""
_CORES_OF_A_BOARD = 4
_DATE = re.compile(r"(?<!\d)(\d{4})-(\d{2})-(\d{2})(?!\d)")
_SIZE = re.compile(r"(\d+)x(\d+)")

# The same network for another task, in another type or of nearly the same layers: what is learned
# from one is known of the other.
_FAMILIES: Mapping[str, str] = {
    "mobilenet_v1": "mobilenet",
    "mobilenet_ssd": "mobilenet",
    "mobilenet_yolo": "mobilenet",
    "ssd_mobilenet_v1": "mobilenet",
    "mnasnet": "mobilenet_v2",  # inverted bottlenecks of the same widths
    "mobilenetv2_yolov3": "mobilenet_v2",
    "ssd_mobilenet_v2": "mobilenet_v2",
    "squeezenet1_0": "squeezenet",
    "squeezenet_ssd": "squeezenet",
    "shufflenet_v2": "shufflenet",
    "shufflenet_v2_x1_0": "shufflenet",
}
_NOT_CONVOLUTIONAL = ("vision_transformer", "deit_tiny")
_SIZED = re.compile(r"^(efficientnet|(?:ssd_)?mobilenet_v[123])_(?:lite|b)?[\d.]+(?:_.+)?$")


@dataclass(frozen=True)
class Row:
    """One published time."""

    source: str
    board: str
    """The board's file here: ``rpi4``."""
    core: Core | None
    """``None``: this machine's."""
    clock_mhz: int
    threads: int
    runtime: Runtime
    published: date
    """Of the program that ran, as near as the row tells it."""
    precision: Precision
    network: str
    width: int
    """Of the input, in pixels."""
    height: int
    ms: float
    threads_said: bool = True
    """False: the source does not say the threads; all cores of the board are taken."""

    @property
    def family(self) -> str:
        """Networks of one family are never on both sides of a cross-validation."""
        return family(self.network)

    @property
    def is_convolutional(self) -> bool:
        """Whether the network is of the kind that models are fitted for."""
        return self.network not in _NOT_CONVOLUTIONAL

    @property
    def cycles(self) -> float:
        """The time in cycles of the core."""
        return self.ms * 1e3 * self.clock_mhz

    @property
    def title(self) -> str:
        """The network, with its type where ncnn has a network of its own for it."""
        return f"{self.network}_int8" if self.precision == "int8" else self.network


@dataclass(frozen=True)
class LeftOut:
    """A row that is not used."""

    line: int
    """In the file; the first one has the columns' names."""
    network: str
    reason: str


@dataclass(frozen=True)
class Published:
    """What the folder holds."""

    rows: Sequence[Row]
    left_out: Sequence[LeftOut]


def family(network: str) -> str:
    """The family of a network, whatever its type."""
    plain = network.replace("-", "_").removesuffix("_int8")
    if plain in _FAMILIES:
        return _FAMILIES[plain]
    if match := _SIZED.match(plain):
        return _FAMILIES.get(match[1], match[1])
    return plain


def read_published(folder: Path) -> Published:
    """Read all rows.

    Args:
        folder: with ``pi_times.tsv``.

    Raises:
        DataError: the file is not there, or is not such a table.
    """
    path = folder / "pi_times.tsv"
    lines = read_text(path, DataError).splitlines()
    reader = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    if tuple(reader.fieldnames or ()) != _COLUMNS:
        raise DataError(f"{path}: its columns are not {', '.join(_COLUMNS)}")
    rows: list[Row] = []
    left_out: list[LeftOut] = []
    for number, fields in enumerate(reader, start=2):
        if None in fields or None in fields.values():
            raise DataError(f"{path}: line {number} does not have {len(_COLUMNS)} columns")
        read = _row(fields, f"{path}: line {number}")
        if isinstance(read, Row):
            rows.append(read)
        else:
            left_out.append(LeftOut(number, fields["network"], read))
    return Published(tuple(rows), tuple(left_out))


def _row(fields: Mapping[str, str], where: str) -> Row | str:
    """A row, or why it is left out."""
    try:
        ms = float(fields["ms"])
    except ValueError as error:
        raise DataError(f"{where}: ms is no number") from error
    if not ms > 0:
        raise DataError(f"{where}: ms is not above 0")
    if "32-bit" in fields["board"] or "32-bit" in fields["source"]:
        return "a 32-bit program"
    if not fields["clock_MHz"].isdecimal():
        return "the clock is not said"
    runtime = _runtime(fields)
    if runtime is None:
        return f"{fields['runtime']}: its program is not run here"
    board = next((name for title, name in _BOARDS if fields["board"].startswith(title)), None)
    core = _CORES.get(fields["core"])
    if board is None or core is None:
        return f"{fields['board']} with {fields['core']}: not a board of ours"
    precision = _precision(fields["precision"])
    if precision is None:
        return f"type '{fields['precision']}'"
    if fields["network"] == "not said":
        return "the network is not said"
    size, dated = _SIZE.match(fields["input"]), _DATE.search(fields["version"])
    if size is None:
        return "the input is not said"
    if "issue #814" in fields["source"]:
        return "an outlier by its own account: more than twice the times of the project itself"
    said = fields["threads"].isdecimal()
    return Row(
        source=fields["source"],
        board=board,
        core=core,
        clock_mhz=int(fields["clock_MHz"]),
        threads=int(fields["threads"]) if said else _CORES_OF_A_BOARD,
        runtime=runtime,
        published=date(*map(int, dated.groups())) if dated else _year(fields["version"]),
        precision=precision,
        # ncnn's older tables say mobilenet-ssd for mobilenet_ssd.
        network=fields["network"].replace("mobilenet-", "mobilenet_"),
        width=int(size[1]),
        height=int(size[2]),
        ms=ms,
        threads_said=said,
    )


def _runtime(fields: Mapping[str, str]) -> Runtime | None:
    if fields["source"].startswith(_NCNN):
        return "ncnn"
    return next((name for title, name in _RUNTIMES if fields["runtime"].startswith(title)), None)


def _precision(text: str) -> Precision | None:
    """``int8 (qnnpack)`` is int8, ``fp16 arithmetic (...)`` fp16; what names two is neither."""
    if "/" in text:
        return None
    return next((known for known in ("fp32", "fp16", "int8") if text.startswith(known)), None)


def _year(version: str) -> date:
    """The middle of the year that a version names; TensorFlow Lite 2.4.1 is of January 2021."""
    if version.startswith("2.4.1"):
        return date(2021, 1, 1)
    return date(int(version), 7, 1) if re.fullmatch(r"20\d\d", version) else date.min
