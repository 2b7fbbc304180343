"""``deploy push``, ``verify``, ``profile`` and ``estimate`` on several boards at once."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from toolchain.cli.fleet_display import audience
from toolchain.cli.options import wrong_use
from toolchain.cli.output import note, show
from toolchain.cli.profile_files import Kept

if TYPE_CHECKING:
    from toolchain.errors import DeployError
    from toolchain.failures import Failures
    from toolchain.hardware.board_file import Board
    from toolchain.operations.estimate import EstimateOptions
    from toolchain.operations.fleet import Fleet, Task
    from toolchain.operations.profile import ProfileOptions
    from toolchain.operations.push import PushOptions
    from toolchain.operations.session import Access, BoardSession
    from toolchain.operations.verify import VerifyOptions
    from toolchain.profile.document import Profile
    from toolchain.profile.estimate_document import Estimate

Result = TypeVar("Result")


def chosen(
    words: Sequence[str] | None, *, default: str = "qemu", of_one: Mapping[str, object]
) -> Board | dict[str, Board]:
    """The board that ``--board`` names; or, where that stands for several, those by their names.

    Args:
        words: what was given.
        default: the board that is taken where nothing was.
        of_one: options that only go with one board, and their values.

    Raises:
        BoardConfigError: there is no such board.
        typer.BadParameter: several do not go with one of the options.
    """
    from toolchain.hardware.board_file import boards_named, stands_for_several

    words = words or [default]
    boards = boards_named(words)
    if not stands_for_several(words):
        return boards[0]
    for option, value in of_one.items():
        if value is not None:
            raise wrong_use(option, f"{_WHY_ONE[option]}, and --board stands for several")
    from toolchain.operations.fleet import names_of

    return names_of(boards)


_WHY_ONE = {
    "--host": "is the address of one board; write each one's into your boards (deploy boards "
    "add), or into its file as [ssh] host",
    "--meter": "measures one board; give it with one",
    "--calibrate": "is a profile of one board; give it with one",
    "--calibrated": "is an estimate of one board; give it with one",
}


def push(
    boards: Mapping[str, Board],
    options: PushOptions,
    access: Access,
    unread: Failures,
    *,
    json_output: bool,
) -> None:
    """Push to all of them.

    Args:
        boards: by their names.
        options: of the command.
        access: to each of them.
        unread: the models that cannot be read.
        json_output: whether one document is printed.
    """
    from toolchain.operations.fleet import document
    from toolchain.operations.push import PushResult
    from toolchain.operations.push import push as push_one
    from toolchain.report.fleet_table import pushed_table

    def work(task: Task[PushResult]) -> None:
        with _session(task, access) as session:
            task.result = push_one(session, options, task.failures)

    fleet = _worked(boards, work, unread)
    found = document(fleet.tasks, PushResult.document)
    show(found, functools.partial(pushed_table, fleet.tasks), json_output=json_output)
    fleet.require(_errors(unread))


def verify(
    boards: Mapping[str, Board],
    options: VerifyOptions,
    access: Access,
    unread: Failures,
    *,
    json_output: bool,
) -> None:
    """Verify all of them; arguments as of :func:`push`."""
    from toolchain.board.verify import ComputedOnce
    from toolchain.operations.fleet import document, named
    from toolchain.operations.verify import VerifyResult
    from toolchain.operations.verify import verify as verify_one
    from toolchain.report.fleet_table import verified_table

    here = ComputedOnce()

    def work(task: Task[VerifyResult]) -> None:
        with _session(task, access) as session, task.progress.stage("verify"):
            task.result = verify_one(session, options, task.failures, here)

    fleet = _worked(boards, work, unread)
    found = document(fleet.tasks, VerifyResult.document)
    show(found, functools.partial(verified_table, fleet.tasks), json_output=json_output)
    for task in fleet.tasks if not json_output else ():
        for line in task.result.notes() if task.result else ():
            note(named(task.name, line), style="yellow")
    fleet.require(_errors(unread))


def profile(
    boards: Mapping[str, Board],
    options: Callable[[], ProfileOptions],
    access: Access,
    unread: Failures,
    files: ProfileFiles,
    *,
    wide: bool,
    json_output: bool,
) -> None:
    """Profile all of them; other arguments as of :func:`push`.

    Args:
        boards: by their names.
        options: makes those of a board: what reads its power knows of it.
        access: to each of them.
        unread: the models that cannot be read.
        files: that are written.
        wide: whether operators are told with their micro-kernels.
        json_output: whether one document is printed.
    """
    from toolchain.operations.fleet import document
    from toolchain.operations.profile import profile as profile_one
    from toolchain.profile.estimator import EstimatedOnce
    from toolchain.report.estimate_table import estimate_table
    from toolchain.report.fleet_table import profiled_table
    from toolchain.report.operator_table import operator_tables

    estimating = EstimatedOnce()

    def work(task: Task[Profile]) -> None:
        with _session(task, access) as session:
            task.result = profile_one(session, options(), task.failures, estimating)

    fleet = _worked(boards, work, unread)
    found = document(fleet.tasks, lambda one: one.model_dump(mode="json", by_alias=True))
    unwritten = files.write(fleet, options().models, found)
    measured = [task.result for task in fleet.tasks if task.result is not None]
    timed = [one for one in measured if any(item.operators for item in one.measurements)]
    # Emulated boards play few cores: what is estimated of one is told once.
    estimates = {one.model_dump_json(): one for each in measured for one in each.estimates}
    show(
        found,
        functools.partial(profiled_table, fleet.tasks),
        *(functools.partial(operator_tables, one, wide=wide) for one in timed),
        *(functools.partial(estimate_table, one) for one in estimates.values()),
        json_output=json_output,
        output=files.output,
    )
    fleet.require([*_errors(unread), *unwritten])


def estimate(
    boards: Mapping[str, Board],
    options: EstimateOptions,
    unread: Failures,
    output: Path | None,
    *,
    per_op: bool,
    json_output: bool,
) -> None:
    """Estimate for all of them, as many at once as there are cores here; arguments likewise."""
    from toolchain.failures import Failures
    from toolchain.formats.json_text import to_json
    from toolchain.hardware.board_file import known_clock
    from toolchain.operations.estimate import estimate as estimate_one
    from toolchain.operations.fleet import document
    from toolchain.profile.estimator import timed_core
    from toolchain.report.estimate_table import estimated_operators
    from toolchain.report.fleet_table import estimated_table
    from toolchain.storage.files import write_or_keep

    def work(task: Task[Estimate]) -> None:
        timed_core(task.board)
        known_clock(task.board)
        task.result = estimate_one(task.board, options, task.progress, task.failures)

    fleet = _worked(boards, work, unread, at_once=os.cpu_count())
    found = document(fleet.tasks, lambda one: one.model_dump(mode="json", by_alias=True))
    unwritten = Failures()
    if output:
        with unwritten.of_output(output):
            write_or_keep(output, to_json(found).encode() + b"\n")
    done = [task.result for task in fleet.tasks if task.result is not None]
    show(
        found,
        functools.partial(estimated_table, fleet.tasks),
        *(functools.partial(estimated_operators, one) for one in done if per_op),
        json_output=json_output,
        output=output,
    )
    fleet.require([*_errors(unread), *_errors(unwritten)])


class ProfileFiles:
    """The files that ``deploy profile`` writes of several boards.

    Args:
        boards: by their names.
        output: gets the one document.
        plot: a picture each, named after it: ``p.png`` is ``p-kitchen.png``.
        save: a folder each, in this one.
        history: gets a line each.
        no_history: whether it gets none.
    """

    def __init__(
        self,
        boards: Mapping[str, Board],
        output: Path | None,
        plot: Path | None,
        save: Path | None,
        history: Path | None,
        no_history: bool,
    ) -> None:
        self.output = output
        names = {
            name: name.replace(os.sep, "_") for name in boards
        }  # of files: one that has a path
        self._plots = {
            name: plot.with_name(f"{plot.stem}-{own}{plot.suffix}") for name, own in names.items()
        } if plot else {}  # fmt: skip
        self._kept = {
            name: Kept(save / own if save else None, history, no_history)
            for name, own in names.items()
        }

    def check(self, *, inputs: Sequence[Path]) -> None:
        """Look at the places before anything is measured.

        Raises:
            OutputError: one cannot be written.
        """
        from toolchain.report.profile_plot import check_plot_path
        from toolchain.storage.files import check_writable

        outputs = [self.output] if self.output else []
        if self.output:
            check_writable(self.output, inputs=inputs)
        for path in self._plots.values():
            check_plot_path(path, others=outputs)
        for kept in self._kept.values():
            kept.check(inputs=inputs, outputs=[*outputs, *self._plots.values()])

    def write(
        self, fleet: Fleet[Profile], models: Sequence[Path], found: Mapping[str, Any]
    ) -> list[DeployError]:
        """Write what was measured.

        Args:
            fleet: that has ended; is told of Ctrl-C meanwhile.
            models: that were measured.
            found: the document.

        Returns:
            What could not be written, and why.
        """
        from toolchain.failures import Failures
        from toolchain.formats.json_text import to_json
        from toolchain.report.profile_plot import plot_profile
        from toolchain.storage.files import write_or_keep

        failures = Failures()
        if self.output:
            with failures.of_output(self.output):
                write_or_keep(self.output, to_json(found, indent=1).encode() + b"\n")
        for task in fleet.tasks:
            if task.result is None:
                continue
            if plot := self._plots.get(task.name):
                with failures.of_output(plot):
                    plot_profile(task.result, plot)
            ended = failures.stopped = task.failures.stopped
            self._kept[task.name].write(task.result, models, failures)
            if failures.stopped is not ended:
                fleet.stopped = failures.stopped
                break
        return _errors(failures)


def _worked(
    boards: Mapping[str, Board],
    work: Callable[[Task[Result]], object],
    unread: Failures,
    *,
    at_once: int | None = None,
) -> Fleet[Result]:
    """Work on all boards while it is shown how far they are; nothing is raised of a board's faults.

    Args:
        boards: by their names.
        work: on one of them.
        unread: models that cannot be read: they are among those that failed on each board.
        at_once: how many boards at the same time; all if ``None``.
    """
    from toolchain.operations.fleet import Fleet

    def on_one(task: Task[Result]) -> None:
        task.failures.items += unread.items
        work(task)
        del task.failures.items[: len(unread.items)]
        task.failures.require()

    with audience(list(boards)) as watching:
        fleet = Fleet(boards, on_one, watching, at_once=at_once)
        fleet.run()
    return fleet


@contextmanager
def _session(task: Task[Any], access: Access) -> Iterator[BoardSession]:
    """A board, connected."""
    from toolchain.operations.session import BoardSession

    session = BoardSession(task.board, access, task.progress)
    with ExitStack() as stack:
        with task.progress.stage("connect"):
            stack.enter_context(session)
        yield session


def _errors(failures: Failures) -> list[DeployError]:
    return [error for _, error in failures.items]
