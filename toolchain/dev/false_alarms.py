"""``python -m toolchain.dev.false_alarms``: how often a verdict is wrong, where the truth is known.

Times are made up, from seeds: a board's noise of several kinds, and models that are alike or not.
The verdicts of ``deploy compare`` stand beside those of other tools on the very same series.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from math import sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from toolchain import console
from toolchain.dev.reference.tables import table
from toolchain.dev.results_page import write_results
from toolchain.profile.comparable import Figure, Setup, Subject
from toolchain.profile.compare import compare
from toolchain.profile.protocol import TURNS, rounds
from toolchain.profile.significance import ERROR

NAME = "false-alarms"
RUNS = 5
"""Of a process."""
SLOWER = 0.05
"""By this part the second model is slower where the truth is a change."""

_Times = NDArray[np.float64]
"""``[processes, RUNS]``, microseconds."""
_Verdict = Callable[[_Times, _Times, bool], bool]
"""Whether a tool calls two models different: their times, and whether they took turns."""


def _calm(random: np.random.Generator, turns: int) -> _Times:
    return random.normal(0, 0.01, turns)


def _two_modes(random: np.random.Generator, turns: int) -> _Times:
    return 0.3 * _calm(random, turns) + np.where(random.random(turns) < 0.35, 0.05, 0.0)


def _drift(random: np.random.Generator, turns: int) -> _Times:
    return _calm(random, turns) + np.linspace(0, 0.1, turns)


def _waves(random: np.random.Generator, turns: int) -> _Times:
    steps = _calm(random, turns)
    for turn in range(1, turns):
        steps[turn] += 0.7 * steps[turn - 1]
    return steps


def _outliers(random: np.random.Generator, turns: int) -> _Times:
    return _calm(random, turns) + np.where(
        random.random(turns) < 0.08, random.exponential(0.3, turns), 0.0
    )


NOISES: dict[str, tuple[str, Callable[[np.random.Generator, int], _Times]]] = {
    "calm": ("processes differ by chance, 1%", _calm),
    "outliers": ("one process in twelve is slower, by 30% on average", _outliers),
    "two modes": ("one process in three is slower by 5%", _two_modes),
    "drift": ("the board gets slower all the while, by 10%", _drift),
    "waves": ("neighbouring processes resemble each other (correlation 0.7)", _waves),
}


def _ours(first: _Times, second: _Times, together: bool) -> bool:
    sides = []
    for name, times in (("m", first), ("m", second)):
        each = tuple(float(one) for one in np.median(times, axis=1))
        figure = Figure(float(np.median(times)), "us", each)
        sides.append([Subject(name, Setup(), {"median": figure})])
    (change,) = compare(*sides, together=together).changes
    # The noise band would hide false alarms: what counts here is the test.
    return change.p_value is not None and change.p_value <= ERROR


def _pyperf(first: _Times, second: _Times, together: bool) -> bool:
    from pyperf._utils import is_significant  # what `pyperf compare_to` calls

    del together
    return bool(is_significant(first.ravel().tolist(), second.ravel().tolist())[0])


def _hyperfine(first: _Times, second: _Times, together: bool) -> bool:
    """No test, but a ratio with its deviation: read as a verdict where 1 lies outside."""
    del together
    ratio = float(second.mean() / first.mean())
    parts = [float(one.std(ddof=1) / one.mean()) for one in (first, second)]
    return abs(ratio - 1) > ratio * sqrt(sum(part**2 for part in parts))


TOOLS: dict[str, _Verdict] = {
    "deploy compare": _ours,
    "pyperf": _pyperf,
    "hyperfine": _hyperfine,
}


class Rate(BaseModel):
    """How often a tool calls two models different."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    noise: str
    together: bool
    """Whether the two took turns in one session."""
    slower: float
    """By how much the second is slower, in truth."""
    tool: str
    told: int
    """Of ``FalseAlarms.sessions``."""


class FalseAlarms(BaseModel):
    """The document."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    created: datetime
    pyperf: str
    sessions: int
    turns: int
    runs: int
    rates: list[Rate]


def measure(sessions: int, seed: int = 1) -> list[Rate]:
    """All rates.

    Args:
        sessions: for each noise.
        seed: of the noise.
    """
    found = []
    for noise in NOISES:
        for together in (True, False):
            for slower in (0.0, SLOWER):
                told = dict.fromkeys(TOOLS, 0)
                random = np.random.default_rng(seed)
                for session in range(sessions):
                    pair = _pair(noise, random, session, slower=slower, together=together)
                    for tool, verdict in TOOLS.items():
                        told[tool] += verdict(*pair, together)
                found += [
                    Rate(noise=noise, together=together, slower=slower, tool=tool, told=count)
                    for tool, count in told.items()
                ]
    return found


def _pair(
    noise: str, random: np.random.Generator, seed: int, *, slower: float, together: bool
) -> tuple[_Times, _Times]:
    """Times of two models: in turns of one session, or each in a session of its own."""
    make = NOISES[noise][1]
    if together:
        slots = make(random, 2 * TURNS)
        places: tuple[list[int], list[int]] = ([], [])
        order = rounds(2, seed)
        for at in range(0, 2 * TURNS, 2):
            for place, model in enumerate(next(order)):
                places[model].append(at + place)
        logs = [slots[one] for one in places]
    else:
        logs = [make(random, TURNS), make(random, TURNS)]
    first, second = (
        1000.0 * np.exp(one[:, None] + random.normal(0, 0.003, (TURNS, RUNS))) for one in logs
    )
    return first, second * (1 + slower)


def page(results: FalseAlarms) -> str:
    """The page, in Markdown."""
    count = results.sessions
    error = 1.96 * sqrt(ERROR * (1 - ERROR) / count)
    lines = [
        "# False alarms",
        "",
        "How often is a change told that is none? No board can say, because nobody knows the truth "
        "there. So times are made up here, of models that are alike and of one that is 5% slower. "
        "Written by `python -m toolchain.dev.false_alarms` on "
        f"{results.created:%Y-%m-%d}: {count:,} comparisons a row, each of two models in "
        f"{results.turns} turns of {results.runs} runs.",
        "",
        "| noise | |",
        "| --- | --- |",
        *(f"| {name} | {what} |" for name, (what, _) in NOISES.items()),
        "",
        f"The stated error is {ERROR:.0%}. By chance {count:,} comparisons show "
        f"{ERROR - error:.1%} to {ERROR + error:.1%} where that is the true rate.",
    ]
    for together, title in (
        (True, "Two models that took turns in one session"),
        (False, "Two sessions"),
    ):
        lines += ["", f"## {title}"]
        for slower, what in (
            (0.0, "Alike, and called different:"),
            (SLOWER, "5% slower, and found:"),
        ):
            rows = [
                (noise, *(_told(results, noise, together, slower, tool) for tool in TOOLS))
                for noise in NOISES
            ]
            lines += ["", what, "", table(("noise", *TOOLS), rows).rstrip()]
    lines += [
        "",
        "The tables are of the bare tests. What `deploy compare` adds keeps alarms down: the noise "
        "band, and no verdict on times that `deploy profile` found doubtful, such as those of a "
        "board that drifts. Two sessions whose waves last longer than a session cannot be told "
        "from a change by anyone.",
        "",
        f"pyperf {results.pyperf} takes all runs for independent: Student's t-test of two samples. "
        "hyperfine has no test. It gives a ratio and its deviation, which is read here as a "
        "verdict where the ratio is farther from 1 than that. Its deviation is that of single "
        "runs, so it does not shrink as runs are added.",
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def _told(results: FalseAlarms, noise: str, together: bool, slower: float, tool: str) -> str:
    (rate,) = (
        one for one in results.rates
        if (one.noise, one.together, one.slower, one.tool) == (noise, together, slower, tool)
    )  # fmt: skip
    return f"{rate.told / results.sessions:.1%}"


@console.telling
def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and run; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m toolchain.dev.false_alarms", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--sessions", type=int, default=2000, help="a row [2000]")
    parser.add_argument(
        "--out", type=Path, default=Path("docs/explanation"), help="[docs/explanation]"
    )
    options = parser.parse_args(arguments)
    results = FalseAlarms(
        created=datetime.now(UTC),
        pyperf=version("pyperf"),
        sessions=options.sessions,
        turns=TURNS,
        runs=RUNS,
        rates=measure(options.sessions),
    )
    for path in write_results(NAME, page(results), results, options.out):
        print(path)
    return 0


if __name__ == "__main__":
    console.run(lambda: sys.exit(main()))
