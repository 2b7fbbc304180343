"""A history of measurements: a line of JSON for each run of ``deploy profile``, in one file.

A line is appended whole, or not at all: who writes holds a lock on the file, and takes back what a
full disk let in of it. What a loss of power leaves of a line is a line of its own afterwards, and
who reads leaves out what is no line of a history, and counts it.

The lock is on the file itself (flock(2)): it goes with the process, and leaves no file behind.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Literal, NamedTuple

import platformdirs
from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError

from toolchain.errors import DeployError, ModelError, OutputError
from toolchain.foreign_text import harmless_json
from toolchain.formats.input_file import check_readable
from toolchain.formats.json_text import without_lone_bytes
from toolchain.storage.files import STDOUT, check_writable, disk_full

if TYPE_CHECKING:  # numpy is slow to import, and who reads a history needs none of it
    from toolchain.profile.document import Measurement, Profile

_LONGEST = 4 << 20
"""Bytes of a line, at most; a model takes about a thousand."""
_PATIENCE_S = 20.0
"""Seconds to wait for another writer, who takes some milliseconds."""
Number = Annotated[float, Field(allow_inf_nan=False, gt=-(2.0**64), lt=2.0**64)]
"""What sums and ratios can be made of."""
Count = Annotated[int, Field(gt=-(1 << 64), lt=1 << 64)]
"""Likewise."""


@dataclass(frozen=True, slots=True)
class Board:
    """Which board it was, and how it was set."""

    name: str
    title: str
    emulated: bool
    """Then instructions are what means something, and times are not."""
    cores: dict[str, Count]
    """How many cores there are of each kind."""
    frequency_khz: Count | None
    """Of the first core, when the run began."""
    max_frequency_khz: Count | None
    governor: str | None


@dataclass(frozen=True, slots=True)
class Runtime:
    """What the models ran on, as the runner of the first one says."""

    version: str
    tflite: str
    xnnpack: str
    """The commit."""
    compiler: str


@dataclass(frozen=True, slots=True)
class Figures:
    """One model on one runtime."""

    name: str
    """The model's file name without suffix."""
    sha256: str
    stock: bool
    """Whether the runtime is the unpatched one."""
    bytes: Count | None
    """Of the model's file."""
    median_us: Number | None
    """Of all timed runs."""
    interval_us: tuple[Number, Number] | None
    """Where the median is likely to lie; ``None`` for too few turns."""
    p95_us: Number | None
    turns_us: list[Number]
    """The median of each turn, in order. Empty under emulation."""
    instructions: Number | None
    """Of an inference: the median."""
    peak_rss_kib: Count | None
    doubts: list[str]
    """Why its times may be unstable; empty if they seem sound."""
    threads: Count | None = None
    """``None``: those of the run."""
    energy_j: Number | None = None
    """Joules of an inference; ``None`` where that was not measured."""
    power_w: Number | None = None
    """Watts while it ran; likewise."""
    energy_source: Literal["pmic", "meter"] | None = None
    """What they were read from: figures of two sources are not of the same thing."""
    untrained: bool = False
    """Whether the file says that its masks are for measuring: no training knew of them."""


@dataclass(frozen=True, slots=True)
class Run:
    """A line of a history: one run of ``deploy profile``."""

    schema: Literal[1]
    id: str
    """The first 16 digits of the SHA-256 of the profile."""
    created: AwareDatetime
    """As in the profile."""
    tool: str
    """Version of this toolchain."""
    board: Board
    threads: Count
    """Of the first model."""
    runtime: Runtime
    models: Annotated[list[Figures], Field(min_length=1)]
    """In the order of the profile: the first is the one that others are compared with."""
    saved: str | None = None
    """The folder of ``--save``, where there is one."""


_LINE = TypeAdapter(Run)


@dataclass(frozen=True, slots=True)
class Found:
    """A model's figures, with the run that they are of."""

    run: Run
    figures: Figures


class History(Iterator[Run]):
    """The runs of a file, in its order, read as they are asked for."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.skipped = 0
        """Lines so far that are none of a history: torn, garbled, or of a later version."""

    def __next__(self) -> Run:
        while not self._stream.closed and (line := self._line()):
            if line.isspace():
                continue
            try:
                return _LINE.validate_json(line, strict=True)
            except ValidationError:
                self.skipped += 1
        self.close()
        raise StopIteration

    def close(self) -> None:
        """Close the file; it is closed at its end anyway."""
        self._stream.close()

    def _line(self) -> bytes:
        line = part = self._stream.readline(_LONGEST)
        while len(part) == _LONGEST and not part.endswith(b"\n"):
            part = self._stream.readline(_LONGEST)  # the rest of what is too long to be a run
        return line


def default_path() -> Path:
    """``history.jsonl`` in the user's data folder for ``tileskip``."""
    return platformdirs.user_data_path("tileskip") / "history.jsonl"


def check_path(path: Path, *, inputs: Iterable[Path] = ()) -> None:
    """Make sure that a history can be written, before the work whose result it gets.

    Args:
        path: of the history.
        inputs: files that the work reads.

    Raises:
        OutputError: it cannot.
    """
    if path == STDOUT:
        raise OutputError(
            "standard output (-) keeps no history", hint="for a file of that name give: ./-"
        )
    check_writable(path, inputs=inputs)
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(path.stat().st_mode):
            raise OutputError(f"{path}: is no regular file", hint="give the name of a file")


def append(path: Path, profile: Profile, saved: Path | None = None) -> Run:
    """Add a profile to a history, which is made if it is not there.

    Args:
        path: of the history; its folder is made, too.
        profile: what was measured.
        saved: the folder that its files were saved to.

    Returns:
        What was written.

    Raises:
        OutputError: it cannot be written; then the file is as it was.
    """
    run = run_of(profile, saved)
    line = harmless_json(_LINE.dump_json(run).decode()).encode() + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path) as number:
            _write(number, line)
    except OSError as error:
        raise disk_full(error, path) or _unwritable(path, error) from error
    return run


def run_of(profile: Profile, saved: Path | None = None) -> Run:
    """A profile as a line of a history has it."""
    board, facts = profile.board, profile.board.facts
    runner = profile.measurements[0].output.runner
    return Run(
        schema=1,
        id=hashlib.sha256(profile.to_json().encode()).hexdigest()[:16],
        created=profile.created,
        tool=_text(profile.tool),
        board=Board(
            name=_text(board.name),
            title=_text(board.title),
            emulated=facts.emulated,
            cores={_text(name): number for name, number in facts.cores.items()},
            frequency_khz=facts.vitals.frequency_khz,
            max_frequency_khz=facts.max_frequency_khz,
            governor=None if facts.vitals.governor is None else _text(facts.vitals.governor),
        ),
        threads=profile.threads,
        runtime=Runtime(
            *map(_text, (runner.version, runner.tflite, runner.xnnpack, runner.compiler))
        ),
        models=[_figures(item) for item in profile.measurements],
        saved=None if saved is None else _text(str(saved.absolute())),
    )


def read(path: Path) -> History:
    """The runs of a history, in its order.

    Raises:
        ModelError: no such file, or it cannot be read.
    """
    check_readable(path, ModelError)
    try:
        return History(path.open("rb", buffering=1 << 20))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error


def latest(
    path: Path,
    *,
    board: str,
    model: str | None = None,
    sha256: str | None = None,
    stock: bool | None = None,
    threads: int | None = None,
    before: str | None = None,
) -> Found | None:
    """The newest figures of a model on a board: those furthest down in the file.

    Args:
        path: of the history.
        board: its name.
        model: its name; any where this is ``None``, as with the others.
        sha256: of its file.
        stock: whether they are of the unpatched runtime.
        threads: that it ran with.
        before: the ``id`` of a run; what stands from there on is left out.

    Returns:
        ``None`` where there are none.

    Raises:
        ModelError: no such file, or it cannot be read.
    """
    found = None
    with closing(read(path)) as runs:
        for run in runs:
            if before is not None and run.id == before:
                break
            if run.board.name != board:
                continue
            for figures in run.models:
                wanted = (
                    (model, figures.name),
                    (sha256, figures.sha256),
                    (stock, figures.stock),
                    (threads, figures.threads or run.threads),
                )
                if all(asked in (None, own) for asked, own in wanted):
                    found = Found(run, figures)
    return found


class Kind(NamedTuple):
    """What makes figures of two runs those of one model."""

    name: str
    stock: bool
    """Whether the runtime is the unpatched one."""
    threads: int
    untrained: bool
    number: int
    """From 1, of those of a run that have all else in common."""


def kinds(run: Run) -> list[Kind]:
    """Of each model of a run, in order."""
    found: list[Kind] = []
    for one in run.models:
        kind = Kind(one.name, one.stock, one.threads or run.threads, one.untrained, 1)
        while kind in found:
            kind = kind._replace(number=kind.number + 1)
        found.append(kind)
    return found


def latest_of_each(path: Path, *, board: str, before: str | None = None) -> dict[Kind, Found]:
    """The newest figures of every model on a board, as :func:`latest` has those of one.

    Args:
        path: of the history, which is read once.
        board: its name.
        before: the ``id`` of a run; what stands from there on is left out.

    Raises:
        ModelError: no such file, or it cannot be read.
    """
    found = {}
    with closing(read(path)) as runs:
        for run in runs:
            if before is not None and run.id == before:
                break
            if run.board.name == board:
                for kind, figures in zip(kinds(run), run.models, strict=True):
                    found[kind] = Found(run, figures)
    return found


def _figures(item: Measurement) -> Figures:
    interval = item.spread.interval if item.spread else None
    return Figures(
        name=_text(item.name),
        sha256=_text(item.sha256),
        stock=item.stock,
        bytes=item.output.model.bytes,
        median_us=item.median_us,
        interval_us=None if interval is None else (interval.low, interval.high),
        p95_us=item.output.timing.p95_us if item.output.timing else None,
        turns_us=[turn.median_us for turn in item.turns],
        instructions=item.instructions,
        peak_rss_kib=item.output.peak_rss_kib,
        doubts=[_text(doubt) for doubt in item.doubts],
        threads=item.threads,
        energy_j=item.energy.energy_j if item.energy else None,
        power_w=item.energy.power_w if item.energy else None,
        energy_source=item.energy.source if item.energy else None,
        untrained=item.untrained,
    )


def _text(value: str) -> str:
    return without_lone_bytes(value)


# --- writing ---------------------------------------------------------------------------------


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The file, open to be appended to, while no other writer has it."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    number = os.open(path, flags, 0o666)
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise OSError(errno.EINVAL, "is no regular file")
        deadline = time.monotonic() + _PATIENCE_S
        while not _lock(number):
            if time.monotonic() > deadline:
                raise OSError(errno.EAGAIN, "another program has it locked")
            time.sleep(0.02)
        yield number
    finally:
        os.close(number)  # and with it the lock


def _lock(number: int) -> bool:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise  # else a file system without locks: one write is whole there more often than not
    return True


def _write(number: int, line: bytes) -> None:
    """Append a line; whatever goes wrong, nothing of it stays."""
    size = os.fstat(number).st_size
    if size and os.pread(number, 1, size - 1) != b"\n":
        line = b"\n" + line  # of what a crash has torn off
    try:
        left = memoryview(line)
        while left:
            left = left[os.write(number, left) :]
        os.fsync(number)
    except BaseException:
        with suppress(OSError):
            os.ftruncate(number, size)
        raise


def _unwritable(path: Path, error: OSError) -> DeployError:
    return OutputError(
        f"{path}: cannot be written: {error.strerror or error}",
        hint="name another file with --history, or give --no-history",
    )
