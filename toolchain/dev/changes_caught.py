"""``python -m toolchain.dev.changes_caught``: verdicts on this machine, where the truth is known.

A network is measured beside a copy of itself, and beside one whose masks leave 5% more pixels,
again and again. ``deploy profile`` measures, ``deploy compare`` judges: what is told is counted.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from toolchain import console
from toolchain.children import run
from toolchain.dev.reference.tables import table
from toolchain.dev.results_page import write_results
from toolchain.errors import BoardError
from toolchain.profile.comparable import subjects_of
from toolchain.profile.compare import Change, Side, Verdict, compare
from toolchain.profile.document import Profile, load_profile
from toolchain.storage.scratch import temporary_folder

if TYPE_CHECKING:
    from torch import nn

NAME = "changes-caught"
SPARSITY, SLOWER = 0.2, 0.16
"""Of the network, and of the one that keeps 5% more pixels."""
_LIMIT_S = 900.0
"""Seconds that one profile may take."""
_SHAPE = (1, 3, 224, 224)
Case = Literal["slower", "alike", "slower sessions", "sessions"]
_TITLES: dict[Case, str] = {
    "slower": "one session: masks that leave 5% more pixels",
    "alike": "one session: the network and a copy of its file",
    "slower sessions": "two sessions, one after the other: masks that leave 5% more pixels",
    "sessions": "two sessions of one file, one after the other",
}
_VERDICTS: tuple[Verdict, ...] = ("worse", "better", "no change", "no verdict")


class Told(BaseModel):
    """What was told of one pair."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    case: Case
    verdict: Verdict
    ratio: float | None
    """Median time after over before."""


class ChangesCaught(BaseModel):
    """The document."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    created: datetime
    machine: str
    load: float
    """Cores that other programs kept busy in pauses between turns, on average."""
    told: list[Told]


def measure(folder: Path, slower: int, alike: int, options: Sequence[str]) -> ChangesCaught:
    """Profile the pairs, and judge them.

    Args:
        folder: for models and profiles.
        slower: how often the network is measured beside the slower one.
        alike: how often it is measured beside its copy.
        options: of ``deploy profile``.

    Raises:
        DeployError: something cannot be converted or measured.
    """
    own, other = _converted(network, folder), _converted(slower_network, folder)
    copy = folder / "copy.tflite"
    shutil.copyfile(own, copy)
    profiles: list[tuple[Case, Profile]] = []
    tries: dict[Case, int] = {"slower": slower, "alike": alike}
    cases = [case for case, count in tries.items() for _ in range(count)]
    for number, case in enumerate(cases, 1):
        pair = [own, other if case == "slower" else copy]
        profiles.append((case, _profiled(pair, folder / f"{number}.json", options)))
        print(f"{number} of {len(cases)}: {case}", flush=True)
    told = [_told(case, _together(profile)) for case, profile in profiles]
    both = [one for case, one in profiles if case == "slower"]
    told += [_told("slower sessions", change) for change in _apart(both, 1)]
    told += [_told("sessions", change) for change in _apart([one for _, one in profiles], 0)]
    loads = [load for _, profile in profiles for load in profile.load]
    return ChangesCaught(
        created=datetime.now(UTC),
        machine=", ".join(f"{n} x {name}" for name, n in profiles[0][1].board.facts.cores.items())
        or platform.machine(),
        load=float(np.mean(loads)) if loads else 0.0,
        told=told,
    )


def network() -> nn.Module:
    """MobileNetV2 with random weights; every layer is masked."""
    from toolchain.zoo.mobilenet import mobilenet_v2

    return mobilenet_v2(sparsity=SPARSITY).eval()


def slower_network() -> nn.Module:
    """The same with masks that leave 5% more pixels."""
    from toolchain.zoo.mobilenet import mobilenet_v2

    return mobilenet_v2(sparsity=SLOWER).eval()


def _converted(factory: Callable[[], nn.Module], folder: Path) -> Path:
    from toolchain.convert.conversion import convert

    path = folder / f"{factory.__name__}.tflite"
    convert(None, path, model=f"{__spec__.name}:{factory.__name__}", input_shapes=[_SHAPE])
    return path


def _profiled(models: Sequence[Path], path: Path, options: Sequence[str]) -> Profile:
    words = [sys.executable, "deploy.py", "profile", *map(str, models), "--board", "host"]
    words += ["--no-history", "--output", str(path), *options]
    done = run(words, limit=_LIMIT_S, fault=BoardError)
    if done.returncode:
        raise BoardError(f"{shlex.join(words)}: exit code {done.returncode}: {done.stderr}")
    return load_profile(path)


def _together(profile: Profile) -> Change:
    first, second = subjects_of(profile)
    return _median([first], [second], together=True)


def _apart(profiles: Sequence[Profile], place: int) -> Iterator[Change]:
    """The first model of each session beside another one of the next session."""
    for one, other in itertools.pairwise(profiles):
        before = replace(subjects_of(one)[0], model="m")
        yield _median([before], [replace(subjects_of(other)[place], model="m")], together=False)


def _median(before: Side, after: Side, *, together: bool) -> Change:
    changes = compare(before, after, together=together).changes
    return next(change for change in changes if change.figure == "median")


def _told(case: Case, change: Change) -> Told:
    return Told(case=case, verdict=change.verdict, ratio=change.ratio)


def page(results: ChangesCaught) -> str:
    """The page, in Markdown."""
    rows = []
    for case, title in _TITLES.items():
        told = [one for one in results.told if one.case == case]
        count = Counter(one.verdict for one in told)
        ratios = [one.ratio for one in told if one.ratio is not None]
        ends = f"{min(ratios):.3f} to {max(ratios):.3f}" if ratios else "-"
        middle = f"{np.median(ratios):.3f}" if ratios else "-"
        counts = [str(count[each]) for each in _VERDICTS]
        rows.append((title, str(len(told)), *counts, middle, ends))
    return "\n".join(
        [
            "# Changes that are caught",
            "",
            "What does `deploy compare` tell of profiles of a real machine, where the truth is "
            "known? Written by `python -m toolchain.dev.changes_caught` on "
            f"{results.created:%Y-%m-%d}, on {results.machine}. Other programs kept "
            f"{results.load:.1f} cores busy.",
            "",
            "The network is MobileNetV2 in fp32, one thread, every layer masked at "
            f"{SPARSITY:.0%}. The slower one is masked at {SLOWER:.0%}: it keeps 5% more pixels.",
            "",
            table(("what is compared", "tries", *_VERDICTS, "median ratio", "ratios"), rows),
            "",
            "A ratio is the median time after over that before. [False alarms](false-alarms.md) "
            "has the rates on noise that is made up, in thousands of tries.",
            "",
        ]
    )


@console.telling
def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and run; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m toolchain.dev.changes_caught",
        description=(__doc__ or "").partition("\n")[0],
    )
    parser.add_argument("--slower", type=int, default=20, help="tries [20]")
    parser.add_argument("--alike", type=int, default=40, help="tries [40]")
    parser.add_argument("--max-time", default="5", help="seconds of a model, at most [5]")
    parser.add_argument("--warmup", default="10", help="runs before those of each turn [10]")
    parser.add_argument(
        "--out", type=Path, default=Path("docs/explanation"), help="[docs/explanation]"
    )
    options = parser.parse_args(arguments)
    with temporary_folder() as folder:
        results = measure(
            folder,
            options.slower,
            options.alike,
            ["--max-time", options.max_time, "--warmup", options.warmup],
        )
    for path in write_results(NAME, page(results), results, options.out):
        print(path)
    return 0


if __name__ == "__main__":
    console.run(lambda: sys.exit(main()))
