"""``deploy sweep``: many trainings, conversions and times."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolchain.cli.command_help import App
from toolchain.cli.options import JsonOption, check_alone, wrong_use
from toolchain.cli.output import note, show
from toolchain.console import INTERRUPTED, err

if TYPE_CHECKING:
    import rich.live

    from toolchain.sweep.document import SweepResults
    from toolchain.sweep.driver import State, Watch
    from toolchain.sweep.plan import Plan
    from toolchain.sweep.pools import Ended, Pool
    from toolchain.sweep.search import Tried
    from toolchain.sweep.store import Store
    from toolchain.sweep.tasks import Task

commands = App()
_RESULTS = "sweep.json"


@commands.example(
    "deploy sweep sweep.toml --dry-run",
    "deploy sweep sweep.toml",
    "deploy sweep sweep.toml --address 192.168.1.10:6379 --folder /shared/sweep",
)
def sweep(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="SWEEP.toml", help="A sweep; docs/reference/sweeps.md has its keys."
        ),
    ],
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder",
            help="Where finished tasks and sweep.json are kept.",
            show_default="SWEEP.sweep",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the results here, too; - for standard output."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the tasks and how many are done, and stop.")
    ] = False,
    local: Annotated[
        bool, typer.Option("--local", help="One task after the other, without Ray.")
    ] = False,
    address: Annotated[
        str | None,
        typer.Option(
            "--address", metavar="HOST:PORT", help="A cluster of Ray, as ray start tells it."
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            min=1,
            max=4096,
            metavar="N",
            help="CPUs of this machine to fill with tasks.",
            show_default="all",
        ),
    ] = None,
    ship: Annotated[
        bool,
        typer.Option(
            "--ship", help="Let Ray carry files, for machines that do not see the folder."
        ),
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Train, convert, evaluate and time all that a sweep names, each task once.

    Tasks run on Ray: on one of this machine, or with `--address` on a cluster. Without Ray they run
    one after the other, with the same results. A sweep that was stopped, with **Ctrl-C** or by
    force, goes on when the same command is given again.

    A recipe may name Python code of yours (`package.module:function`), which is run.
    """  # fmt: skip
    from toolchain import extras
    from toolchain.errors import OutputError, RecipeError
    from toolchain.formats.input_file import check_readable
    from toolchain.storage.files import STDOUT, check_name, check_writable

    check_alone(output, json_output)
    _check_pool(local, address, jobs, ship)
    check_readable(file, RecipeError)
    check_name(file, RecipeError)
    place = folder or Path(f"{file.stem}.sweep")
    check_name(place, OutputError)
    if output is not None and output != STDOUT:
        check_writable(output, inputs=[file])
    extras.require("deploy sweep", "train", *(["sweep"] if address or jobs or ship else []))
    from toolchain.sweep.driver import state_of
    from toolchain.sweep.plan import Planning
    from toolchain.sweep.search import Search
    from toolchain.sweep.spec import load_sweep
    from toolchain.sweep.store import Store

    chosen = load_sweep(file)
    if chosen.convert is not None:
        extras.require("[convert] of deploy sweep", "convert")
    if chosen.search is not None:
        extras.require("[search] of deploy sweep", "sweep")
    planning, store = Planning.of(chosen, file), Store(place)
    plan = planning.plan
    search = Search(planning, chosen.search) if chosen.search is not None else None
    state = state_of(plan, store, search)
    if dry_run:
        _show_plan(state, json_output=json_output)
        return
    store.check()
    if not state.finished:
        _do(state, store, lambda: _pool(plan, store, local, address, jobs, ship), quiet=json_output)
    _finish(state, store, output, json_output=json_output)


def _check_pool(local: bool, address: str | None, jobs: int | None, ship: bool) -> None:
    for option, given in (("--address", address), ("--jobs", jobs), ("--ship", ship)):
        if local and given:
            raise wrong_use("--local", f"does one task after the other: leave {option} away")
    if address and jobs:
        raise wrong_use("--jobs", "is of this machine's own Ray: leave --address away")


def _pool(
    plan: Plan, store: Store, local: bool, address: str | None, jobs: int | None, ship: bool
) -> Pool:
    from toolchain import extras
    from toolchain.sweep import cluster
    from toolchain.sweep.pools import Here

    wanted = bool(address or jobs or ship)
    if local or not (wanted or cluster.is_there()):
        if not local:
            note(
                "note: Ray is not installed, so tasks run one after the other; to run them beside "
                f"each other: {extras.install_line('sweep')}"
            )
        return Here(store)
    return cluster.RayPool(
        store, address=address, jobs=jobs, boards=plan.boards, gpus=plan.gpus,
        ranked_cpus=plan.ranked_cpus, ship=ship, retries=plan.retries,
    )  # fmt: skip


def _do(state: State, store: Store, pool: Callable[[], Pool], *, quiet: bool) -> None:
    """Bring a sweep to its end; what is known is written wherever it is stopped."""
    from toolchain.sweep.driver import run
    from toolchain.train.interrupt import Stopped

    made = pool()
    try:
        with _watch(state, made, quiet=quiet) as watch:
            run(state, store, made, watch)
    except (KeyboardInterrupt, Stopped) as stopped:
        _write(state, store)
        err.print(
            f"stopped with {len(state.done)} of {len(state.plan.tasks)} tasks done: the same "
            "command goes on from there",
            markup=False,
        )
        number = getattr(stopped, "signal_number", None)
        raise typer.Exit(128 + number if number else INTERRUPTED) from None


def _write(state: State, store: Store) -> SweepResults:
    from toolchain.formats.json_text import to_json
    from toolchain.storage.files import make_folder, write_whole
    from toolchain.sweep.results import results_of

    found = results_of(state, store)
    make_folder(store.folder)
    write_whole(store.folder / _RESULTS, to_json(found).encode() + b"\n")
    return found


def _finish(state: State, store: Store, output: Path | None, *, json_output: bool) -> None:
    from toolchain.failures import Failures
    from toolchain.formats.json_text import to_json
    from toolchain.report.sweep_table import results_table
    from toolchain.storage.files import write_or_keep

    found, failures = _write(state, store), Failures()
    failures.items += [(state.plan.tasks[key].name, error) for key, error in state.failed.items()]
    if output is not None:
        with failures.of_output(output):
            write_or_keep(output, to_json(found).encode() + b"\n")
    show(
        found,
        functools.partial(results_table, found),
        json_output=json_output,
        output=output,
    )
    if not json_output:
        note(f"results: {store.folder / _RESULTS}")
    failures.require()


def _show_plan(state: State, *, json_output: bool) -> None:
    from toolchain.report.sweep_table import counts_table

    counts = state.counts()
    search = state.search.results().model_dump(mode="json") if state.search else None
    tasks = [
        {"kind": task.kind, "name": task.name, "key": key, "needs": list(task.needs),
         "done": key in state.done}
        for key, task in state.plan.tasks.items()
    ]  # fmt: skip
    show(
        {"counts": counts, "tasks": tasks, **({"search": search} if search else {})},
        lambda width: counts_table(counts, width),
        json_output=json_output,
    )
    if state.search is not None and not json_output:
        note(f"search: {state.search.said}; the tasks of the others follow from these")


# --- what is told on the way -----------------------------------------------------------------


@contextmanager
def _watch(state: State, pool: Pool, *, quiet: bool) -> Iterator[Watch]:
    if quiet:
        yield _Quiet()
    elif not err.is_terminal:
        note(f"{len(state.plan.tasks)} tasks, {len(state.done)} of them done; {pool.said}")
        yield _Lines()
    else:
        import rich.live

        with rich.live.Live(console=err, auto_refresh=False, transient=True) as live:
            yield _Live(live, pool)


class _Quiet:
    """Says nothing: a program reads what the command prints."""

    def begun(self, state: State, task: Task) -> None: ...

    def ended(self, state: State, ended: Ended) -> None: ...

    def tried(self, state: State, tried: Tried) -> None: ...

    def looked(self, state: State) -> None: ...


class _Lines(_Quiet):
    """A line for each task that has ended, for a log."""

    def ended(self, state: State, ended: Ended) -> None:
        note(f"{state.settled}/{len(state.plan.tasks)} {_line(state, ended)}")

    def tried(self, state: State, tried: Tried) -> None:
        note(_trial(state, tried))


class _Live(_Quiet):
    """The table on a terminal."""

    def __init__(self, live: rich.live.Live, pool: Pool) -> None:
        self._live, self._pool = live, pool
        self._latest: list[str] = []

    def begun(self, state: State, task: Task) -> None:  # noqa: ARG002
        self.looked(state)

    def ended(self, state: State, ended: Ended) -> None:
        self._latest = [*self._latest[-20:], _line(state, ended)]
        self.looked(state)

    def tried(self, state: State, tried: Tried) -> None:
        self._latest = [*self._latest[-20:], _trial(state, tried)]

    def looked(self, state: State) -> None:
        from toolchain.report.sweep_table import live_table

        said = self._pool.said + (f"; {state.search.said}" if state.search else "")
        table = live_table(state.counts(), said, self._latest, err.width)
        self._live.update(table, refresh=True)


def _trial(state: State, tried: Tried) -> str:
    from toolchain.report.sweep_table import trial_line

    assert state.search is not None  # noqa: S101 (it has tried)
    return f"trial {tried.number} of {state.search.spec.trials}: {trial_line(tried.result(()))}"


def _line(state: State, ended: Ended) -> str:
    task, record = ended.task, state.done.get(ended.task.key)
    what = f"{task.kind} {task.name}"
    if record is not None:
        return f"{what}: {_result(record.result)}{record.seconds:.1f} s on {record.host}"
    if ended.error is not None:
        return f"{what}: failed: {ended.error.what}"
    if (error := state.failed.get(task.key)) is not None:
        return f"{what}: failed: {error.what}"
    return f"{what}: lost ({ended.lost}); begun again"


def _result(result: dict[str, object]) -> str:
    accuracy, ms = result.get("accuracy"), result.get("ms")
    if isinstance(accuracy, float):
        return f"accuracy {accuracy:.2%}, "
    return f"{ms:.3f} ms, " if isinstance(ms, float) else ""
