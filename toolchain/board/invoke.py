"""Run a model on a board with the bundle's runner, inputs and outputs included.

The runner's command line and its exit codes are the contract of docs/reference/runner.md.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from toolchain.agreement.differences import Array
from toolchain.agreement.inputs import Batch, model_outputs
from toolchain.board import endings, push, requirements, unchanged
from toolchain.board.arrays import raw
from toolchain.board.connection import Connection, Result, TimeUp, remedy
from toolchain.board.pmic import Sampler
from toolchain.build.bundle import MANIFEST, Bundle, bundle_path
from toolchain.errors import BoardError, BundleError, DeployError, ModelError
from toolchain.failures import Failures
from toolchain.foreign_text import last_line
from toolchain.formats import json_text
from toolchain.hardware.board_file import Board
from toolchain.hints import command
from toolchain.progress import Progress
from toolchain.storage.scratch import temporary_folder
from toolchain.tflite_file.graph import Model

STDERR_PREFIX = "tileskip-run: error: "
"""What a message of the runner's begins with."""
_DELEGATE_NOTE = "delegate: "
_OUT_OF_MEMORY = "needs more memory than there is"


def last_words(stderr: str) -> str:
    """What the runner said last, for a message."""
    return last_line(stderr).removeprefix(STDERR_PREFIX) or "no reason given"


@dataclass(frozen=True)
class Settings:
    """How the runner is to run a model."""

    threads: int = 1
    runs: int = 0
    """Timed runs; 0 times nothing."""
    warmup: int = 0
    per_op: bool = False
    delegate: bool = True
    """Whether XNNPACK is used."""

    @classmethod
    def measuring(
        cls,
        board: Board,
        *,
        threads: int | None = None,
        runs: int | None = None,
        warmup: int | None = None,
        per_op: bool = False,
    ) -> Settings:
        """Settings to measure with on a board; ``None`` is what suits it.

        Args:
            board: its file.
            threads: of the runner.
            runs: timed runs; 0 for as many as it takes, see ``toolchain.profile.turns``.
            warmup: untimed runs of each process, beside its first one.
            per_op: whether operators are timed as well.
        """
        return cls(
            threads=threads or board.threads,
            runs=runs or 0,
            warmup=1 if warmup is None else warmup,
            per_op=per_op,
        )


@dataclass(frozen=True)
class Outcome:
    """What came back from the board."""

    outputs: list[Array]
    """``[count, *shape]`` of each output; empty without inputs."""
    report: str
    """The runner's JSON."""


def load_bundle(board: Board, path: Path | None = None, *, stock: bool = False) -> Bundle:
    """A board's bundle: ``build/<board>`` unless ``path`` is given.

    Args:
        board: whose.
        path: another folder.
        stock: whether it is to be the unpatched one.

    Raises:
        BundleError: it is not there or not whole; the hint is the line that builds it.
    """
    place = path or bundle_path(board, stock=stock)
    try:
        return Bundle.load(place)
    except BundleError as error:
        raise BundleError(error.what, hint=_mended(board, place, stock=stock)) from error


def build_command(board: Board, place: Path, *, stock: bool = False) -> str:
    """The line that builds a board's bundle in a folder."""
    words = ["build", "--board", board.given, *(["--stock"] if stock else [])]
    return command(*words, *([] if place == bundle_path(board, stock=stock) else ["--out", place]))


def _mended(board: Board, place: Path, *, stock: bool) -> str:
    own = bundle_path(board, stock=stock)
    other = place.exists() and not (place / MANIFEST).is_file()
    if other and not (place.is_dir() and not any(place.iterdir())):
        # What is no bundle is never replaced, so building into it would fail as well.
        where = "move it away" if place == own else f"give {own} instead"
        return f"{where}, and run: {build_command(board, own, stock=stock)}"
    return f"run: {build_command(board, place, stock=stock)}"


TIMEOUT_S = 3600.0
"""Seconds that one call of the runner may take, unless told otherwise."""
_ROOM = 1 << 20
"""Bytes that an output may have too many; then its size is told."""
_TRIES = 3
"""So often a run is begun whose files are changed on the board meanwhile."""


class BoardRunner:
    """A bundle on a board, ready to run models; whatever is missing there is pushed.

    Args:
        connection: to the board.
        board: its file.
        bundle: the runtime.
        report: is told what is done.
        timeout: seconds that one call of the runner may take.
        still: is called before each call of the runner, and raises where there is to be none: the
            board's lease is lost.

    Raises:
        BoardError: the bundle is not for this board, or does not fit on its disk.
    """

    def __init__(
        self,
        connection: Connection,
        board: Board,
        bundle: Bundle,
        report: Progress,
        *,
        timeout: float = TIMEOUT_S,
        still: Callable[[], None] | None = None,
    ) -> None:
        self._connection, self._board, self._report = connection, board, report
        self._timeout, self._still = timeout, still
        self.bundle = bundle
        uploads = push.bundle_uploads(board, bundle)
        build = build_command(board, bundle.path, stock=bundle.manifest.stock)
        names = [item.local.name for item in uploads]
        requirements.require(connection, bundle, names, report, build=build)
        self._oom_kills = push.sweep(connection, board)
        self.pushed = push.push(connection, board, uploads, report)
        self._runner = self.pushed[0].remote
        self._models: dict[Path, push.Pushed] = {}
        self._marks = {item.remote: item.mark for item in self.pushed}
        self._told: set[str] = set()

    def beside(self, bundle: Bundle) -> BoardRunner:
        """Another bundle on the same board, with the same models.

        Raises:
            BoardError: the bundle is not for this board, or does not fit on its disk.
        """
        other = BoardRunner(
            self._connection, self._board, bundle, self._report, timeout=self._timeout,
            still=self._still,
        )  # fmt: skip
        other._models = self._models
        self._marks |= other._marks
        other._marks = self._marks
        return other

    def push_models(self, models: Sequence[Path]) -> list[push.Pushed]:
        """Bring models to the board.

        Raises:
            ModelError: one cannot be read.
            BoardError: they do not fit on the disk.
        """
        missing = [model for model in dict.fromkeys(models) if model not in self._models]
        uploads = [push.model_upload(self._board, model) for model in missing]
        pushed = push.push(self._connection, self._board, uploads, self._report) if uploads else []
        self._models.update({item.local: item for item in pushed})
        self._marks |= {item.remote: item.mark for item in pushed}
        return [self._models[model] for model in models]

    def push_each(self, models: Sequence[Path], failures: Failures) -> list[push.Pushed]:
        """Bring models to the board; one that cannot be read or does not fit holds up no other.

        Args:
            models: the files.
            failures: is told of those that could not be brought.

        Raises:
            ConnectionFailed: the board went away.
        """
        with suppress(ModelError, BoardError):
            return self.push_models(models)
        pushed = []
        for model in models:
            with failures.of(str(model)):
                pushed += self.push_models([model])
        return pushed

    def remove_model(self, model: Path) -> None:
        """Take a model away that :meth:`run` or :meth:`push_models` brought to the board."""
        if pushed := self._models.pop(model, None):
            self._connection.remove(pushed.remote)
            # Another name of the same content may lie there.
            self._connection.run(["rmdir", posixpath.dirname(pushed.remote)], check=False)

    def run(
        self,
        model: Model,
        settings: Settings,
        batch: Batch | None = None,
        *,
        sampler: Sampler | None = None,
    ) -> Outcome:
        """Run a model once for each of the inputs, or on the runner's own without any.

        Args:
            model: a model whose ``path`` is a file here.
            settings: what to time, and with how many threads.
            batch: the inputs.
            sampler: reads the board's power meanwhile; for runs without inputs.

        Raises:
            ModelError: the board cannot load or run the model.
            BoardError: the runner crashed, or its outputs are not what the model says.
        """
        (pushed,) = self.push_models([Path(model.path)])
        command = [
            self._runner, "--model", pushed.remote, "--json", "-",
            "--threads", str(settings.threads),
            "--runs", str(settings.runs), "--warmup", str(settings.warmup),
        ]  # fmt: skip
        if settings.per_op:
            command.append("--per-op")
        if not settings.delegate:
            command.append("--no-delegate")
        if batch is None:
            text = self._invoke(command, pushed, sampler).text
            self._tell(model, text)
            return Outcome([], text)
        with self._scratch() as folder:
            for index, array in enumerate(batch.arrays):
                remote = posixpath.join(folder, f"input{index}.bin")
                self._put(raw(array), remote)
                command += ["--input", remote]
            result = self._invoke([*command, "--output-dir", folder], pushed)
            outputs = self._outputs(model, folder, batch.count)
        self._tell(model, result.text)
        return Outcome(outputs, result.text)

    def _tell(self, model: Model, report: str) -> None:
        """Say what XNNPACK left to other kernels, once a model."""
        if model.path in self._told:
            return
        self._told.add(model.path)
        with suppress(ValueError, AttributeError, TypeError):  # whoever reads it all will say so
            for note in json_text.loads(report).get("notes", ()):
                if note.startswith(_DELEGATE_NOTE):
                    self._report.note(f"{self._connection.name}: {Path(model.path).name}: {note}")

    def _invoke(
        self, command: Sequence[str], model: push.Pushed, sampler: Sampler | None = None
    ) -> Result:
        if sampler:
            command = sampler.wrapped(command)
        result = self._unchanged(command, [*self.pushed, model])
        if sampler:
            result = replace(result, stderr=sampler.take(result.stderr))
        if result.exit_code:
            raise self._failed(result, model.remote)
        return result

    def _unchanged(self, command: Sequence[str], files: Sequence[push.Pushed]) -> Result:
        """Run a program whose files are as they were pushed; the last of them is the model."""
        model = files[-1].remote
        for _ in range(_TRIES):
            if self._still:
                self._still()
            if any(self._marks[item.remote] is None for item in files):
                self._look_again(files)
            # What has no mark even so was hashed a moment ago.
            marks = {
                item.remote: mark
                for item in files
                if (mark := self._marks[item.remote]) is not None
            }
            try:
                argv = unchanged.guarded(command, marks)
                result = self._connection.run(argv, check=False, timeout=self._timeout)
            except TimeUp as error:
                raise BoardError(
                    f"{self._connection.name}: {model}: the runner did not end in "
                    f"{self._timeout:g} s",
                    hint="it may be stopped, or the board be busy; --timeout gives it more",
                ) from error
            if not unchanged.has_changed(result):
                return result
            self._look_again(files)
        raise unchanged.changes_again(self._connection, model)

    def _look_again(self, files: Sequence[push.Pushed]) -> None:
        """Hash files on the board once more; what was changed there is sent anew."""
        uploads = [item.upload for item in files]
        for item in push.push(self._connection, self._board, uploads, self._report):
            self._marks[item.remote] = item.mark
            if item.sent:
                self._report.note(
                    f"{self._connection.name}: {item.remote}: was changed or removed there since "
                    "it was pushed, and is sent anew"
                )

    def _failed(self, result: Result, model: str) -> DeployError:
        name = self._connection.name
        last = last_words(result.stderr)
        if result.exit_code == 3:
            hint = endings.LESS_MEMORY if _OUT_OF_MEMORY in last else None
            return ModelError(f"{name}: {model}: {last}", hint=hint)
        if result.exit_code == 126:
            return self._connection.starts_nothing(posixpath.dirname(self._runner), result)
        if result.exit_code > 128:
            number = result.exit_code - 128
            how, hint = endings.told(self._connection, number, self._oom_kills)
            return BoardError(f"{name}: {model}: the runner was ended by {how}", hint=hint)
        return BoardError(
            f"{name}: {model}: the runner ended with {result.exit_code}: {last}",
            hint=remedy(result.stderr),
        )

    @contextmanager
    def _scratch(self) -> Iterator[str]:
        folder = push.run_folder(self._board)
        self._connection.make_directory(folder)
        try:
            yield folder
        finally:
            with suppress(Exception):  # the connection may be what failed
                self._connection.remove(folder)

    def _put(self, data: bytes, remote: str) -> None:
        with temporary_folder() as here:
            local = here / "data"
            local.write_bytes(data)
            self._connection.put(local, remote)

    def _outputs(self, model: Model, folder: str, count: int) -> list[Array]:
        arrays: list[Array] = []
        with temporary_folder() as here:
            for index, tensor in enumerate(model_outputs(model)):
                local = here / f"output{index}.bin"
                dtype = np.dtype(tensor.dtype).newbyteorder("<")
                wanted = count * tensor.elements * dtype.itemsize
                remote = posixpath.join(folder, local.name)
                self._connection.get(remote, local, most=wanted + _ROOM)
                data = local.read_bytes()
                if len(data) != wanted:
                    raise BoardError(
                        f"{self._connection.name}: output {index} of {model.path} has "
                        f"{len(data):,} bytes, {wanted:,} were expected",
                        hint="another program may write there, or the disk be full: see what lies "
                        "there (ls -la, df), then try again",
                    )
                array = np.frombuffer(data, dtype).reshape(count, *tensor.shape)
                arrays.append(array.astype(tensor.dtype))
        return arrays
