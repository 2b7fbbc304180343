"""A board as a program has it: :class:`Board`, and a :class:`ConnectedBoard` to work on."""

from __future__ import annotations

import copy
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from toolchain.board import emulator
from toolchain.board.arrays import Inputs, batch_of
from toolchain.board.verify import DEFAULT_STEPS
from toolchain.errors import DeployError, ModelError
from toolchain.failures import Failures
from toolchain.hardware.board_file import DEFAULT_BOARD, load_board
from toolchain.hardware.board_file import Board as BoardDescription
from toolchain.operations.models import runnable, runnable_ones
from toolchain.operations.profile import ProfileOptions
from toolchain.operations.profile import profile as profile_models
from toolchain.operations.push import PushOptions, PushResult
from toolchain.operations.push import push as push_models
from toolchain.operations.run import RunOptions, RunResult
from toolchain.operations.run import run as run_model
from toolchain.operations.session import Access, BoardSession
from toolchain.operations.verify import VerifyOptions, VerifyResult
from toolchain.operations.verify import verify as verify_models
from toolchain.profile.document import Profile
from toolchain.profile.power_sources import MeterSource, Pmic, PowerSource
from toolchain.profile.protocol import Limits
from toolchain.progress import Progress, Silent, Told

FilePath = str | os.PathLike[str]
"""Of a file on this machine."""
Watcher = Progress | Callable[[str], object] | None
"""What is told how far work is: a :class:`~toolchain.progress.Progress`, a function that is given
lines, or nobody."""


class Board:
    """A board, and how it is reached. Nothing is connected to before :meth:`connect`.

    Args:
        name: of a board that ships or one of the inventory, the path of a board file, or what
            :func:`toolchain.hardware.board_file.load_board` has read.
        host: a real board, as one gives it to ``ssh``; goes before what the board's file says.
        identity: the only key to log in with.
        bundle: the folder of the runtime; ``build/<board>`` in the current folder if ``None``.
        timeout: seconds that one run of a model's program may take; 3600 if ``None``.
        queue: seconds to wait for others who use the board; 3600 if ``None``.
        force: end what the same user does there in other programs, rather than wait.
        progress: is told what is done.

    Raises:
        BoardConfigError: there is no such board, or its file has a fault.
    """

    def __init__(
        self,
        name: FilePath | BoardDescription = DEFAULT_BOARD,
        *,
        host: str | None = None,
        identity: FilePath | None = None,
        bundle: FilePath | None = None,
        timeout: float | None = None,
        queue: float | None = None,
        force: bool = False,
        progress: Watcher = None,
    ) -> None:
        if not isinstance(name, BoardDescription):
            name = load_board(os.fspath(name))
        self._description: BoardDescription = name
        self._access = Access(
            host,
            None if identity is None else Path(identity),
            None if bundle is None else Path(bundle),
            timeout,
            queue,
            force,
        )
        self._progress = watched(progress)

    def __repr__(self) -> str:
        host = "" if self._access.host is None else f", host={self._access.host!r}"
        return f"Board({self.description.given!r}{host})"

    @property
    def name(self) -> str:
        """What results call it."""
        return self._description.name

    @property
    def description(self) -> BoardDescription:
        """What its file says: its core, its caches, how it is built for."""
        return self._description

    @property
    def access(self) -> Access:
        """How it is reached and had."""
        return self._access

    @property
    def progress(self) -> Progress:
        """What is told what is done."""
        return self._progress

    @property
    def emulated(self) -> bool:
        """Whether it is an emulated board of this machine."""
        return self._access.host is None and self._description.connection == "emulator"

    @property
    def running(self) -> bool:
        """Whether the emulated board is booted; of a real one nothing is known."""
        state = emulator.status(self._description) if self.emulated else None
        return state is not None and state.ready

    def start(self) -> None:
        """Boot the emulated board unless it runs, as ``deploy emulator start`` does.

        Raises:
            BoardConfigError: it is no emulated one.
            MissingToolError: QEMU is not installed.
            EmulatorError: it does not boot.
        """
        emulator.require_emulated(self._description)
        emulator.start(self._description, self._progress)

    def stop(self) -> bool:
        """Shut the emulated board down; whether it ran.

        Raises:
            BoardConfigError: it is no emulated one.
        """
        emulator.require_emulated(self._description)
        return emulator.stop(self._description, self._progress)

    def connect(self) -> ConnectedBoard:
        """Connect to the board; the result is closed at the end of a ``with``.

        The board is not reserved by it: each use waits for others, and they for it.

        Raises:
            BundleError: its runtime is not built.
            ConnectionFailed: the board is not reached, or refuses the user.
            HostKeyError: its host key is unknown or not the one on record.
            EmulatorError: the emulated board does not run.
        """
        session = BoardSession(self._description, self._access, self._progress)
        return ConnectedBoard(self, session.__enter__())


class ConnectedBoard:
    """A board that :meth:`Board.connect` has reached; a context manager.

    What a method returns is frozen, and has the names of the command's JSON. A model that fails
    does not hold up the others: what was done is the ``result`` of the error that is raised.
    """

    def __init__(self, board: Board, session: BoardSession) -> None:
        self._board, self._session = board, session

    def __repr__(self) -> str:
        return f"<{self._board!r}, connected>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._session.__exit__(kind, value, trace)

    def close(self) -> None:
        """Close the connection; whatever is done afterwards makes one for itself."""
        self.__exit__(None, None, None)

    @property
    def board(self) -> Board:
        """What was connected to."""
        return self._board

    def push(self, *models: FilePath) -> PushResult:
        """Bring the runtime and models to the board; what is there already stays.

        Args:
            models: ``.tflite`` files.

        Raises:
            ModelError: one cannot be read, or the runtime cannot run it.
            BoardError: the disk is full, or the bundle is not for this board.
        """
        failures = Failures()
        good = self._runnable(models, failures) if models else ()
        done = push_models(self._session, PushOptions(good), failures)
        with told(done):
            failures.require()
        return done

    def run(self, model: FilePath, inputs: Inputs, *, threads: int | None = None) -> RunResult:
        """Run a model: one inference for each input.

        Args:
            model: a ``.tflite`` file.
            inputs: an array, for a model with one input; a list with one for each input, or a
                dictionary with one for each input's name. Each is in the model's shape (images are
                ``[N, height, width, channels]``), or has one more axis in front for several
                inferences.
            threads: as the board's file says if ``None``.

        Returns:
            The outputs' arrays, in the graph's order, shaped as the inputs are.

        Raises:
            ModelError: the model cannot be run, or the inputs do not fit it.
            BoardError: its program crashed.
            LeaseError: others measure on the board.
        """
        parsed = runnable(_path(model), self._session.progress.note)
        return run_model(self._session, RunOptions(parsed, batch_of(parsed, inputs), threads))

    def verify(
        self,
        *models: FilePath,
        inputs: int = 3,
        tolerance: float = 1e-5,
        steps: float = DEFAULT_STEPS,
        seed: int = 0,
        threads: int | None = None,
    ) -> VerifyResult:
        """Compare the board's outputs with the stock TFLite interpreter's on this machine.

        Args:
            models: ``.tflite`` files.
            inputs: how many random ones.
            tolerance: difference that is borne, as a part of each output's and channel's scale.
            steps: the same for quantised outputs, in quantisation steps.
            seed: of the random inputs.
            threads: as the board's file says if ``None``.

        Raises:
            VerificationError: outputs differ by more; ``result`` says by how much.
            ModelError: one cannot be read or run.
            BoardError: something failed on the board.
            LeaseError: others measure on the board.
        """
        failures = Failures()
        good = self._runnable(models, failures)
        options = VerifyOptions(good, inputs, tolerance, steps, seed, threads)
        done = verify_models(self._session, options, failures)
        with told(done):
            failures.require()
        return done

    def profile(
        self,
        *models: FilePath,
        runs: int | None = None,
        warmup: int | None = None,
        threads: int | Sequence[int] | None = None,
        per_op: bool = False,
        precision: float = 1.0,
        max_time: float = 60.0,
        max_temp: float = 65.0,
        max_wait: float = 30.0,
        energy: bool = False,
        meter: str | Sequence[str] | None = None,
        stock_bundle: FilePath | None = None,
        estimate: bool = True,
    ) -> Profile:
        """Measure models; the first is the one that the others are compared with.

        Args:
            models: ``.tflite`` files.
            runs: timed ones; as many as it takes if ``None``, under emulation 3.
            warmup: runs before them, in each turn; until times have settled if ``None``.
            threads: one number or several; as the board's file says if ``None``.
            per_op: time every layer.
            precision: measure until a median is known as well as this, in percent.
            max_time: but no longer, in seconds, each model.
            max_temp: wait for a board that is warmer, in degrees Celsius.
            max_wait: but no longer, in seconds; nor for one that is busy.
            energy: measure the energy of an inference, too, by the board's own sensor.
            meter: the same by a program here that prints a line of watts a reading.
            stock_bundle: measure on this unpatched runtime, too.
            estimate: on an emulated board, estimate times of the boards whose core it plays.

        Raises:
            ModelError: one cannot be read or run.
            BoardError: something failed on the board, or nothing could be measured.
            LeaseError: others use the board.
        """
        failures = Failures()
        good = self._runnable(models, failures)
        options = ProfileOptions(
            good,
            reference=_path(models[0]),
            stock_bundle=None if stock_bundle is None else _path(stock_bundle),
            runs=runs,
            warmup=warmup,
            threads=(threads,) if isinstance(threads, int) else tuple(threads or ()),
            per_op=per_op,
            limits=Limits(
                precision=precision / 100,
                max_time_s=max_time,
                max_temp_c=max_temp,
                max_wait_s=max_wait,
            ),
            power=_power_source(meter, energy=energy),
            estimate=estimate,
        )
        measured = profile_models(self._session, options, failures)
        with told(measured):
            failures.require()
        assert measured is not None  # noqa: S101 (else something has failed)
        return measured

    def _runnable(self, models: Sequence[FilePath], failures: Failures) -> tuple[Path, ...]:
        if not models:
            raise ModelError("no model was given", hint="give the path of a .tflite file")
        return runnable_ones([*map(_path, models)], failures, self._session.progress.note)


def watched(progress: Watcher) -> Progress:
    """A :class:`~toolchain.progress.Progress` of what a caller gave for one."""
    if progress is None:
        return Silent()
    return Told(progress) if callable(progress) else progress


def as_board(
    board: FilePath | BoardDescription | Board,
    progress: Watcher = None,
    *,
    host: str | None = None,
) -> Board:
    """The board that a caller means.

    Args:
        board: it, or what :class:`Board` takes.
        progress: is told what is done, in the place of whoever the board tells.
        host: as :class:`Board` takes it.

    Raises:
        BoardConfigError: there is no such board, or its file has a fault.
        ValueError: a host is given beside a board that knows its own.
    """
    if not isinstance(board, Board):
        return Board(board, host=host, progress=progress)
    if host is not None:
        raise ValueError("give the host to Board, where it is made")
    if progress is None:
        return board
    other = copy.copy(board)
    other._progress = watched(progress)
    return other


@contextmanager
def told(result: object) -> Iterator[None]:
    """Let an error tell what was done all the same."""
    try:
        yield
    except DeployError as error:
        error.result = result
        raise


def _path(path: FilePath) -> Path:
    return Path(path)


def _power_source(meter: str | Sequence[str] | None, *, energy: bool) -> PowerSource | None:
    if meter is None:
        return Pmic() if energy else None
    return MeterSource(shlex.split(meter) if isinstance(meter, str) else list(meter))
