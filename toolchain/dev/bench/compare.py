"""What got worse, or better, between two benches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from toolchain.dev.bench.results import BenchResults, CaseResult
from toolchain.errors import ModelError
from toolchain.profile.operators import OperatorRow

# Relative; a count of one thread repeats exactly, so that any change of it is real, but layouts of
# memory and the compiler move a handful of instructions.
INSTRUCTIONS = 0.001
OPERATOR = 0.01
PREPARE = 0.02
TIME = 0.02
_OF_INFERENCE = 0.0005
"""An operator's change is told if it is this part of the inference."""


@dataclass(frozen=True)
class Change:
    """One figure of one case, before and after; less is better for all but speed-ups."""

    case: str
    figure: str
    before: float
    after: float
    worse: bool

    @property
    def relative(self) -> float:
        """After over before, less 1."""
        return self.after / self.before - 1 if self.before else 0.0


@dataclass(frozen=True)
class Comparison:
    """Every figure that changed beyond its threshold, and what only one side has."""

    changes: list[Change]
    compared: int
    """Figures that both sides have."""
    only_before: list[str]
    only_after: list[str]

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return {**asdict(self), "worse": [asdict(change) for change in self.worse]}

    @property
    def worse(self) -> list[Change]:
        """Those that got worse."""
        return [change for change in self.changes if change.worse]


def compare(
    before: BenchResults, after: BenchResults, *, instructions: float = INSTRUCTIONS
) -> Comparison:
    """Compare the cases that both benches have.

    Args:
        before: the older one.
        after: the newer one.
        instructions: the part that instructions of an inference may grow by.

    Raises:
        ModelError: they were taken on different cores, or have no case in common.
    """
    if before.core != after.core:
        raise ModelError(f"the benches are of different cores: {before.core} and {after.core}")
    old, new = ({case.key: case for case in bench.cases} for bench in (before, after))
    common = [key for key in old if key in new]
    if not common:
        raise ModelError("the two benches have no case in common")
    changes: list[Change] = []
    compared = 0
    for key in common:
        for change, limit, least in _figures(old[key], new[key], instructions):
            compared += 1
            if abs(change.after - change.before) > max(limit * change.before, least):
                changes.append(change)
    return Comparison(
        changes=sorted(changes, key=lambda change: -abs(change.relative)),
        compared=compared,
        only_before=[old[key].title for key in old if key not in new],
        only_after=[new[key].title for key in new if key not in old],
    )


def _figures(
    old: CaseResult, new: CaseResult, instructions: float
) -> Iterable[tuple[Change, float, float]]:
    """Each figure, the relative change that it may have, and the absolute one."""

    def figure(name: str, before: float, after: float, *, more_is_better: bool = False) -> Change:
        worse = after < before if more_is_better else after > before
        return Change(old.title, name, before, after, worse)

    if old.counted and new.counted:
        # With more threads, counts differ from run to run.
        noise = 3 * max(old.counted.spread, new.counted.spread)
        yield (
            figure("instructions", old.counted.instructions, new.counted.instructions),
            instructions + noise,
            0,
        )
        yield (
            figure("instructions to prepare", old.counted.prepare, new.counted.prepare),
            PREPARE + noise,
            0,
        )
        least = _OF_INFERENCE * old.counted.instructions
        rows = _by_name(new.operators)
        for name, row in _by_name(old.operators).items():
            if other := rows.get(name):
                change = figure(f"instructions of {name}", row.masked, other.masked)
                yield change, OPERATOR, least
    if old.timed and new.timed and old.sparsity:
        # Worse only where the middle halves do not touch.
        first, second = old.timed.speedup, new.timed.speedup
        apart = max(0.0, first.low - second.high, second.low - first.high)
        change = figure("speed-up in time", first.median, second.median, more_is_better=True)
        yield change, TIME, 0 if apart else float("inf")


def _by_name(rows: Iterable[OperatorRow]) -> dict[str, OperatorRow]:
    """Operators by name; those of one name are numbered."""
    found: dict[str, OperatorRow] = {}
    seen: dict[str, int] = {}
    for row in rows:
        seen[row.name] = count = seen.get(row.name, 0) + 1
        found[row.name if count == 1 else f"{row.name} #{count}"] = row
    return found
