"""Every block of figures in the README and in ``docs/``, from the results that are kept there."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Final

from rich.console import Console
from safetensors import safe_open

from toolchain.demo import NETWORKS
from toolchain.dev.bench.boards import BoardResults, load_boards
from toolchain.dev.bench.models import Dtype
from toolchain.dev.bench.peers import OURS, PeerResults, load_peers
from toolchain.dev.bench.results import BenchResults, load_results
from toolchain.dev.blocks import Writer
from toolchain.dev.experiment.page import grouped, percent
from toolchain.dev.experiment.runs import CaseResult as Training
from toolchain.dev.experiment.runs import load_trainings
from toolchain.dev.figures.measured import Measured, load_measured
from toolchain.profile.document import Profile, load_profile
from toolchain.report.demo_table import network_table
from toolchain.report.estimate_table import milliseconds

_MASKED = (0.1, 0.2, 0.3)
_ROWS: Final[tuple[tuple[str, Dtype, str], ...]] = (
    ("resnet18", "fp32", "ResNet18"),
    ("resnet18", "int8", "ResNet18"),
    ("resnet18_lattice", "fp32", "ResNet18, lattice masks"),
    ("resnet50", "fp32", "ResNet50"),
    ("mobilenet_v2", "fp32", "MobileNetV2"),
    ("mobilenet_v2", "int8", "MobileNetV2"),
    ("yolov5n", "fp32", "YOLOv5n, 640x640"),
)
_GAINS = tuple(row for row in _ROWS if row[0] in ("resnet18", "resnet18_lattice", "mobilenet_v2"))
_TITLES = {"resnet18_all_s20": "ResNet18", "mobilenet_v2_s20": "MobileNetV2"}
_BOARD = "rpi4"
_WIDTH = 100


def writers(docs: Path) -> dict[str, Writer]:
    """Block to what writes it.

    Args:
        docs: folder of ``figures.json``, ``bench.json``, ``bench-boards.json``,
            ``bench-peers.json`` and ``experiment.json``; each is read when a block needs it.
    """

    def bench() -> BenchResults:
        return load_results(docs / "bench.json")

    def kept() -> Measured:
        return load_measured(docs / "figures.json")

    def trainings() -> list[Training]:
        return load_trainings(docs / "experiment.json")

    def peers() -> PeerResults:
        return load_peers(docs / "bench-peers.json")

    return {
        "demo": lambda: demo(kept()),
        "demo-instructions": lambda: demo_instructions(kept()),
        "gains": lambda: gains(bench()),
        "gains-on-a-board": lambda: board_times(load_boards(docs / "bench-boards.json")),
        "gains-in-time": lambda: times(bench()),
        "instructions": lambda: instructions(bench()),
        "losses": lambda: losses(peers()),
        "costs": lambda: costs(trainings()),
        "checkpoints": checkpoints,
        "pruned": lambda: pruned(load_profile(docs / "experiment-profile.json")),
        "tiles": lambda: tiles(kept()),
    }


def demo(kept: Measured) -> str:
    """The table of ``deploy demo``, as a terminal shows it, and what its accuracy is worth."""
    stream = io.StringIO()
    console = Console(file=stream, width=_WIDTH, color_system=None, legacy_windows=False)
    console.print(network_table(kept.demo_result(), _WIDTH))
    shown = "\n".join(line.rstrip() for line in stream.getvalue().splitlines())
    accuracies = [f"{100 * float(_metadata(name)['test_accuracy']):.1f}" for name in NETWORKS]
    return (
        f"```text\n{shown}\n```\n"
        f"({kept.images} images, so accuracy is within {_points(kept)} points; on all 10,000 it is "
        f"{', '.join(accuracies[:-1])} and {accuracies[-1]} %.)"
    )


def demo_instructions(kept: Measured) -> str:
    """Instructions of the networks that ship, on the emulated board."""
    return _table(
        ("network", "board against host, of the largest output", "instructions", "ratio",
         "by pixels"),
        (
            (f"`{one.name}`", f"{one.relative_diff:.0e}", f"{one.instructions:,.0f}",
             f"{one.ratio:.3f}", f"{one.ratio_by_pixels:.3f}")
            for one in kept.demo
        ),
    )  # fmt: skip


def board_times(results: BoardResults) -> str:
    """Estimated milliseconds on one board, one thread, and how many times as fast masks are."""
    head = next(one for one in results.boards if one.name == _BOARD)
    rows = []
    for network, dtype, title in _GAINS:
        dense = results.case(_BOARD, network, dtype, 0)
        assert dense is not None  # noqa: S101 - docs/bench-boards.json has these networks
        cells = [milliseconds(dense.ms)]
        cells.append(f"{milliseconds(dense.low_ms)} to {milliseconds(dense.high_ms)}")
        for s in _MASKED:
            case = results.case(_BOARD, network, dtype, s)
            cells.append(f"{milliseconds(case.ms)} ({dense.ms / case.ms:.2f})" if case else "")
        rows.append((title, dtype, *cells))
    heading = f"{head.title}, {head.clock_mhz} MHz, estimated ms"
    return _table((heading, "type", "dense", "nine of ten between", *_headings(_MASKED)), rows)


def gains(results: BenchResults) -> str:
    """Instructions of an emulated Cortex-A72, one thread, dense over masked."""
    rows = [
        (title, dtype, *(_ratio(_speedup(results, network, dtype, s)) for s in _MASKED))
        for network, dtype, title in _GAINS
    ]
    by_pixels = ["skipped pixels alone could give, `1/(1-s)`", ""]
    by_pixels += [f"{1 / (1 - s):.2f}" for s in _MASKED]
    return _table(("network, 224x224, every convolution masked", "type", *_headings(_MASKED)),
                  [by_pixels, *rows])  # fmt: skip


def times(results: BenchResults) -> str:
    """Times of this machine, one thread, dense over masked."""
    assert results.machine is not None  # noqa: S101 - docs/bench.json was measured with times
    rows = []
    for network, dtype, title in _GAINS:
        cells = []
        for s in _MASKED:
            case = results.case(network, dtype, s, 1)
            cells.append("" if case is None or case.timed is None
                         else f"{case.timed.speedup.median:.2f}")  # fmt: skip
        rows.append((title, dtype, *cells))
    heading = f"in time, {results.machine.cpu} (x86-64), one thread"
    return _table((heading, "type", *_headings(_MASKED)), rows)


def instructions(results: BenchResults) -> str:
    """All networks of the bench, with what pixels alone could give in brackets."""
    sparsities = (*_MASKED, 0.5)
    rows = []
    for network, dtype, title in _ROWS:
        cells = []
        for s in sparsities:
            case = results.case(network, dtype, s, 1)
            ratio = _ratio(_speedup(results, network, dtype, s))
            cells.append(f"{ratio} ({case.ideal:.3f})" if case and ratio else "")
        rows.append((title, dtype, *cells))
    return _table(("network", "type", *_headings(sparsities)), rows)


_NEARLY = 0.995
"""A share of time that rounds to 1 is none that is lost."""


def losses(results: PeerResults) -> str:
    """What share of our time other runtimes take, both dense, where that is less than ours."""
    boards = [one.board for one in results.groups[0].results[0].estimates]
    lines = []
    for group in results.groups:
        ours = next(one for one in group.results if one.runtime == OURS and not one.sparsity)
        for one in group.results:
            if one.runtime == OURS:
                continue
            host = one.over_ours if one.over_ours and one.over_ours.high < 1 else None
            there = [
                theirs.ms / mine.ms
                for theirs, mine in zip(one.estimates, ours.estimates, strict=True)
            ]
            cells = [f"{share:.2f}" if share < _NEARLY else "" for share in there]
            if host or any(cells):
                first = f"{host.median:.2f}" if host else ""
                lines.append((f"{group.network} {group.dtype}", one.runtime, first, *cells))
    heads = ("dense network", "less time than ours", "x86-64", *(f"{b}, est." for b in boards))
    return _table(heads, lines)


def costs(results: Sequence[Training]) -> str:
    """Accuracy of two policies beside the dense network's."""
    groups = grouped(results)
    dense = next(g for g in groups if g.policy is None and not g.fine_tuned)
    masked = [g for g in groups if g.policy and not g.fine_tuned]
    sparsities = sorted({g.sparsity for g in masked})
    rows = [
        (label, *(percent(next(g for g in masked if g.policy == policy and g.sparsity == s))
                  for s in sparsities))
        for policy, label in (("pooled", "`pooled`, the paper's"),
                              ("lattice", "`lattice`, made for fast kernels"))
    ]  # fmt: skip
    return _table((f"masks (dense: {percent(dense)})", *_headings(sparsities)), rows)


def checkpoints() -> str:
    """What the committed checkpoints say of themselves."""
    rows = []
    for name in NETWORKS:
        said = _metadata(name)
        accuracy = f"{100 * float(said['test_accuracy']):.2f} %"
        rows.append((f"`{name}.safetensors`", said["sparsity"], accuracy))
    return _table(("checkpoint", "sparsity", "test accuracy"), rows)


def pruned(profile: Profile) -> str:
    """Networks of the experiment on the emulated board: channels pruned, pixels masked, both."""
    rows = []
    for one in profile.measurements:
        ratio, by_pixels = profile.ratio(one), profile.ratio_by_pixels(one)
        remaining = (one.macs - one.macs_saved) / 1e6
        rows.append(
            (f"`{one.name}`", f"{remaining:.2f} M", f"{one.instructions:,.0f}", _ratio(ratio),
             _ratio(by_pixels))
        )  # fmt: skip
    return _table(("network", "MACs", "instructions", "ratio", "by pixels"), rows)


def tiles(kept: Measured) -> str:
    """What the last tile of a layer wastes."""
    rows = []
    for one in kept.tiles:
        tiling, cut = one.tiling, one.tiling.retraining
        assert cut is not None  # noqa: S101 - each of these networks has masks and known tiles
        wasted = tiling.rows_wasted / tiling.rows_computed
        rows.append(
            (
                f"`{one.network}`",
                f"`{tiling.board}`",
                f"{tiling.rows_wasted} of {tiling.rows_computed:,} ({wasted:.2%})",
                f"{tiling.speedup_by_pixels:.3f}",
                f"{tiling.speedup_by_tiles:.3f}",
                f"{cut.speedup_by_tiles:.3f}: {cut.rows_saved} rows for {cut.pixels_lost} pixels "
                f"of {cut.layers} layers",
            )
        )
    return _table(
        ("network", "board", "wasted rows", "by pixels", "by tiles", "with masks cut to tiles"),
        rows,
    )


def _points(kept: Measured) -> int:
    """Two standard errors of the accuracy, in points."""
    share = kept.demo[0].accuracy_host
    return round(200 * math.sqrt(share * (1 - share) / kept.images))


def _speedup(results: BenchResults, network: str, dtype: Dtype, s: float) -> float | None:
    case = results.case(network, dtype, s, 1)
    return results.speedup(case) if case else None


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _headings(sparsities: Sequence[float]) -> list[str]:
    return [f"s = {s:g}" for s in sparsities]


def _metadata(name: str) -> Mapping[str, str]:
    resource = resources.files("toolchain.zoo") / "checkpoints" / f"{name}.safetensors"
    with resources.as_file(resource) as path, safe_open(path, framework="numpy") as opened:
        found: Mapping[str, str] = opened.metadata()
    return found


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(line.replace("|  |", "| |").replace("|  |", "| |") for line in lines)
