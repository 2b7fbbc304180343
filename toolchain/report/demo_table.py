"""The demo's result as a table, and how long each stage took."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from toolchain.demo import DemoResult, NetworkResult


def demo_table(result: DemoResult) -> Group:
    """The networks, a row each, with what the figures mean below, and the stages."""
    table = Table(title=f"Fashion-MNIST on: {result.board}", title_justify="left")
    table.add_column("network", no_wrap=True)
    for heading in (
        "accuracy\nboard",
        "accuracy\nhost",
        "largest\ndiff.",
        "instructions\nan inference" if result.emulated else "median time\nan inference",
        "ratio",
        "ideal",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for item in result.networks:
        table.add_row(
            item.name.removeprefix("fashion_resnet_"),
            f"{item.accuracy_board:.1%}",
            f"{item.accuracy_host:.1%}",
            f"{item.relative_diff:.0e}",
            _cost(item, emulated=result.emulated),
            _ratio(item.ratio),
            _ratio(item.ideal_ratio),
        )
    images = result.networks[0].images
    notes = [
        f"Accuracy: the first {images} test images; on the host, the stock interpreter.",
        "Largest difference: board and host, of the logits, over the largest of them.",
        "Ratio: dense over masked. Ideal: the same of multiply-accumulates that remain.",
    ]
    if result.emulated:
        notes.append(
            "Instructions are counted by the emulated core and repeat exactly; "
            "seconds under emulation say nothing about a real board and are left out."
        )
    stages = Table(title="Where the time went", title_justify="left", show_header=False)
    stages.add_column()
    stages.add_column(justify="right")
    for name, seconds in result.stages.items():
        stages.add_row(name, f"{seconds:,.1f} s")
    stages.add_row("total", f"{sum(result.stages.values()):,.1f} s", style="bold")
    return Group(stages, table, *(Text(note, style="dim") for note in notes))


def _cost(item: NetworkResult, *, emulated: bool) -> str:
    if emulated:
        return "?" if item.instructions is None else f"{item.instructions:,.0f}"
    return "?" if item.median_us is None else f"{item.median_us / 1000:.2f} ms"


def _ratio(value: float | None) -> str:
    return "?" if value is None else f"{value:.3f}"
