"""The experiment's page: tables, a plot, and the figures behind them."""

from __future__ import annotations

import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from toolchain.dev.experiment.runs import CaseResult
from toolchain.sparsity.policies import POLICIES
from toolchain.storage.files import write_into

_NAME = "experiment"
_COLOURS = dict(zip(POLICIES, ("#8a8a8a", "#3b6ea5", "#c8553d", "#5a9367", "#8e6bb0"), strict=True))


@dataclass(frozen=True)
class Group:
    """The runs that differ in their seed only."""

    policy: str | None
    sparsity: float
    pruned: float
    fine_tuned: bool
    accuracies: tuple[float, ...]
    macs: float
    """Multiply-accumulates of one image; a mean, as pruning may differ by seed."""

    @property
    def mean(self) -> float:
        """Accuracy, 0 to 1."""
        return statistics.fmean(self.accuracies)

    @property
    def spread(self) -> float:
        """The sample standard deviation of the accuracy; 0 for one run."""
        return statistics.stdev(self.accuracies) if len(self.accuracies) > 1 else 0.0


def grouped(results: Sequence[CaseResult]) -> list[Group]:
    """Runs by what they train, in the order of their first one."""
    alike: dict[tuple[str | None, float, float, bool], list[CaseResult]] = {}
    for result in results:
        key = (result.policy, result.sparsity, result.pruned, result.fine_tuned)
        alike.setdefault(key, []).append(result)
    return [
        Group(
            *key,
            accuracies=tuple(one.accuracy for one in runs),
            macs=statistics.fmean(one.macs_kept for one in runs),
        )
        for key, runs in alike.items()
    ]


def write_page(results: Sequence[CaseResult], out: Path) -> list[Path]:
    """Write ``experiment.md``, ``experiment.svg`` and ``experiment.json``; returns their paths.

    Raises:
        OutputError: the folder cannot be written.
    """
    groups = grouped(results)
    contents = {
        f"{_NAME}.md": page(results).encode(),
        f"{_NAME}.svg": plot(groups),
        f"{_NAME}.json": TypeAdapter(list[CaseResult]).dump_json(list(results), indent=1) + b"\n",
    }
    return write_into(out, contents)


def page(results: Sequence[CaseResult]) -> str:
    """The page, in Markdown."""
    groups = grouped(results)
    dense = next(g for g in groups if g.policy is None and not g.fine_tuned)
    seeds, epochs = sorted({one.seed for one in results}), results[0].epochs
    masked = [g for g in groups if g.policy and not g.fine_tuned]
    sparsities = sorted({g.sparsity for g in masked})
    lines = [
        "# What masks cost in accuracy",
        "",
        "Written by `make experiment`; the figures of each run are in `experiment.json`.",
        "",
        "Fashion-MNIST, the residual network of `toolchain/zoo/fashion_resnet.py` "
        f"({dense.macs / 1e6:.2f} M multiply-accumulates, all seven 3x3 convolutions masked), "
        f"{epochs} epochs of SGD in bf16, batches of 128, images mirrored at random. Masks grow "
        "from a tenth of training on and are frozen at a fifth of it. "
        f"Accuracy on the 10,000 test images after the last epoch, in percent: mean and standard "
        f"deviation over {len(seeds)} seeds ({', '.join(map(str, seeds))}).",
        "",
        f"![accuracy against multiply-accumulates]({_NAME}.svg)",
        "",
        "## Policies, trained from nothing",
        "",
        f"Dense: **{percent(dense)}**. Below it, the mean's difference to dense in points.",
        "",
        "| policy | " + " | ".join(f"s = {s:g}" for s in sparsities) + " |",
        "|---|" + "---|" * len(sparsities),
    ]
    for policy in dict.fromkeys(g.policy for g in masked):
        cells = []
        for s in sparsities:
            one = next(g for g in masked if g.policy == policy and g.sparsity == s)
            cells.append(f"{percent(one)} ({100 * (one.mean - dense.mean):+.2f})")
        lines.append(f"| {policy} | " + " | ".join(cells) + " |")
    tuned = sorted((g for g in groups if g.fine_tuned), key=lambda g: -g.macs)
    lines += [
        "",
        "## Channels pruned, pixels masked, and both",
        "",
        "All start from the dense network of their seed, are pruned where it says so, and are "
        f"trained for {epochs} epochs more at half of the learning rate. Masks grow as above.",
        "",
        "| channels pruned | masks | MACs | of dense | accuracy |",
        "|---|---|---|---|---|",
    ]
    for g in tuned:
        lines.append(
            f"| {f'{g.pruned:.0%}' if g.pruned else '-'} | "
            f"{f'{g.policy}, s = {g.sparsity:g}' if g.policy else '-'} | "
            f"{g.macs / 1e6:.2f} M | {g.macs / dense.macs:.0%} | {percent(g)} |"
        )
    return "\n".join(lines) + "\n"


def plot(groups: Sequence[Group], file_format: str = "svg") -> bytes:
    """Accuracy against multiply-accumulates: policies left, pruning and masks right."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    dense = next(g for g in groups if g.policy is None and not g.fine_tuned)
    with mpl.rc_context({"svg.hashsalt": _NAME, "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(10, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        for axes, title in ((left, "masked from nothing"), (right, "fine-tuned from dense")):
            axes.set_title(title)
            axes.set_xlabel("multiply-accumulates of one image, millions")
            axes.set_ylabel("test accuracy, percent (mean, standard deviation)")
            axes.grid(color="0.9")
        for policy in dict.fromkeys(g.policy for g in groups if g.policy and not g.fine_tuned):
            line = [g for g in groups if g.policy == policy and not g.fine_tuned]
            # Beside each other, for points that would hide each other.
            shift = 0.025 * (list(POLICIES).index(policy) - 2)
            left.errorbar(
                [g.macs / 1e6 + shift for g in line],
                [100 * g.mean for g in line],
                [100 * g.spread for g in line],
                fmt="o-", markersize=4, linewidth=1, capsize=2,
                color=_COLOURS[policy], label=policy,
            )  # fmt: skip
        left.errorbar(
            [dense.macs / 1e6], [100 * dense.mean], [100 * dense.spread],
            fmt="ks", capsize=2, label="dense",
        )  # fmt: skip
        left.legend(frameon=False, loc="lower right")
        kinds = (
            ("dense", "ks", False, False),
            ("channels pruned", "o", True, False),
            ("masked (pooled)", "D", False, True),
            ("both", "^", True, True),
        )
        for label, style, pruned, masked in kinds:
            line = [
                g
                for g in groups
                if g.fine_tuned and bool(g.pruned) == pruned and bool(g.policy) == masked
            ]
            right.errorbar(
                [g.macs / 1e6 for g in line],
                [100 * g.mean for g in line],
                [100 * g.spread for g in line],
                fmt=style, capsize=2, label=label,
            )  # fmt: skip
        right.legend(frameon=False, loc="lower right")
        stream = io.BytesIO()
        figure.savefig(
            stream, format=file_format, metadata={"Date": None} if file_format == "svg" else None
        )
    return stream.getvalue()


def percent(group: Group) -> str:
    """Mean and standard deviation of the accuracy, in percent."""
    return f"{100 * group.mean:.2f} ± {100 * group.spread:.2f}"
