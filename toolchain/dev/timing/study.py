"""The whole comparison: fits on one table a core, and what they say of all other rows.

A core's coefficients are fitted on the rows of one table: those of one thread on rows with one, and
what a line of memory takes with several on the others. Rows of that table are estimated by a fit
without their family; rows of other tables by the fit on all. Nothing is fitted to them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

from toolchain.dev.bench.counts import qemu_version
from toolchain.dev.timing.cross_validation import (
    Errors,
    Estimate,
    applied,
    errors,
    leave_one_family_out,
    order,
)
from toolchain.dev.timing.fit import Fit, Shape, WindowModel, fit_constant_cycles, fit_windows
from toolchain.dev.timing.page import Results, Section, Summary, row_estimate, summaries, summary
from toolchain.dev.timing.programs import program_of
from toolchain.dev.timing.published import Row, Runtime, read_published
from toolchain.dev.timing.rows import traced_samples, with_programs
from toolchain.dev.timing.sample import Sample
from toolchain.progress import Progress
from toolchain.timing.core_table import TimedCore, core_table


@dataclass(frozen=True)
class Table:
    """The rows of one board at one clock, of one runtime, published together."""

    board: str
    clock_mhz: int
    published: date | None
    """None: whenever."""
    runtime: Runtime = "ncnn"

    def holds(self, row: Row) -> bool:
        """Whether a row is of it."""
        return (
            (row.board, row.clock_mhz, row.runtime) == (self.board, self.clock_mhz, self.runtime)
            and self.published in (None, row.published)
        )  # fmt: skip


@dataclass(frozen=True)
class CoreStudy:
    """What is fitted for a core, and which tables it is held against."""

    core: TimedCore
    fitted: Table
    others: tuple[Table, ...]
    shape: Shape


def _shape(core: TimedCore) -> Shape:
    # In order or not: prefetchers fetch lines while the core is at work. The A72's simulated
    # pipeline is the one that cross-validation wants slower.
    return Shape(
        overlap="max",
        refill=core_table(core).refill,
        l3=core == "cortex-a76",
        core=core == "cortex-a72",
    )


def studies() -> tuple[CoreStudy, ...]:
    """One a core: the newest table at the board's own clock is fitted on."""
    return (
        CoreStudy(
            "cortex-a72",
            Table("rpi4", 1800, date(2023, 6, 15)),
            (
                Table("rpi4", 1500, date(2022, 1, 17)),
                Table("rpi4", 1500, None, "xnnpack"),
                Table("rpi4", 1500, None, "tflite"),
            ),
            _shape("cortex-a72"),
        ),
        CoreStudy(
            "cortex-a53",
            Table("rpi3", 1400, date(2023, 6, 23)),
            (Table("rpi3", 1400, date(2022, 1, 3)), Table("zero2w", 1000, date(2022, 1, 17))),
            _shape("cortex-a53"),
        ),
        CoreStudy(
            "cortex-a76",
            Table("rpi5", 2400, date(2023, 12, 12)),
            (
                Table("rpi5", 2400, date(2023, 9, 28)),
                Table("rpi5", 2900, date(2024, 7, 8)),
                Table("rpi5", 2400, None, "executorch"),
            ),
            _shape("cortex-a76"),
        ),
    )


def run_study(
    folder: Path,
    *,
    runner: Path | None = None,
    only_cached: bool = False,
    progress: Progress | None = None,
) -> Results:
    """Fit, validate and apply.

    Args:
        folder: of the published times.
        runner: for rows of XNNPACK, one that is not patched.
        only_cached: leave out rows whose programs were not traced yet.
        progress: where downloads are announced.

    Raises:
        BoardError: a program failed.
        SourceError: a program cannot be had.
        DataError: the folder holds no such times.
    """
    published = read_published(folder)
    sections: list[Section] = []
    estimates: list[Estimate] = []
    for one in studies():
        for section, found in _study(
            one,
            lambda table: list(
                traced_samples(
                    folder,
                    [row for row in published.rows if table.holds(row)],
                    runner=runner,
                    only_cached=only_cached,
                    progress=progress,
                )
            ),
        ):
            sections.append(section)
            estimates += found
    judged = order(estimates)
    reasons = Counter(one.reason for one in published.left_out)
    programs = (program_of(row, folder, runner) for row in published.rows)
    reasons.update(program for program in programs if isinstance(program, str))
    tables = [table for one in studies() for table in (one.fitted, *one.others)]
    held = [row for row in published.rows if any(table.holds(row) for table in tables)]
    if untraced := len(with_programs(folder, held, runner)) - len(estimates):
        reasons["no trace: none was made yet, or QEMU cannot run the program"] = untraced
    return Results(
        created=datetime.now(UTC),
        qemu=qemu_version(),
        sections=sections,
        pairs=judged.pairs,
        pairs_right=judged.right,
        left_out=dict(reasons.most_common()),
    )


def _study(
    study: CoreStudy, samples_of: Callable[[Table], list[Sample]]
) -> list[tuple[Section, list[Estimate]]]:
    own = samples_of(study.fitted)
    base = [one for one in own if one.row.threads == 1]
    if len({one.row.family for one in base}) < 2:
        return []
    fit = fit_windows(study.shape)
    estimates = leave_one_family_out(own, fit)
    whole = fit(own)
    found = [(_section(study.fitted, study, whole, own, estimates, fitted=True), estimates)]
    for table in study.others:
        if others := samples_of(table):
            judged = applied(others, whole)
            found.append((_section(table, study, whole, others, judged, fitted=False), judged))
    return found


def _one_thread(samples: Sequence[Sample]) -> list[Sample]:
    return [one for one in samples if one.row.threads == 1]


def _section(
    table: Table,
    study: CoreStudy,
    model: WindowModel,
    samples: Sequence[Sample],
    estimates: Sequence[Estimate],
    *,
    fitted: bool,
) -> Section:
    return Section(
        board=table.board,
        core=study.core,
        clock_mhz=table.clock_mhz,
        published=table.published,
        runtime=table.runtime,
        fitted=fitted,
        coefficients=model.fitted,
        summaries=summaries(estimates),
        ablations=ablations(study.shape, _one_thread(samples)) if fitted else [],
        rows=[row_estimate(one) for one in estimates],
    )


def ablations(shape: Shape, samples: Sequence[Sample]) -> list[Summary]:
    """Other models on the same rows, each cross-validated over families."""
    models: Mapping[str, Fit] = {
        "constant cycles an instruction": fit_constant_cycles,
        "a run is one window": fit_windows(replace(shape, windows=False)),
        "memory after the core, not behind it": fit_windows(replace(shape, overlap="sum")),
        "the core takes in L2's lines alone": fit_windows(replace(shape, every_line=False)),
        "no mispredictions": fit_windows(replace(shape, mispredictions=False)),
        f"core cycles {'as they are' if shape.core else 'scaled, too'}": fit_windows(
            replace(shape, core=not shape.core)
        ),
    }
    found: list[Summary] = []
    for name, fit in models.items():
        judged: Errors = errors(leave_one_family_out(samples, fit))
        found.append(summary(name, judged))
    return found
