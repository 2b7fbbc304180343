"""The demo's result as a table, and how long each stage took."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table

from toolchain.demo import DemoResult, NetworkResult
from toolchain.report.estimate_table import milliseconds
from toolchain.report.fitting import NAME, Column, fitted_table, note


def network_table(result: DemoResult, width: int = 200) -> RenderableType:
    """The networks, a row each.

    Args:
        result: of the demo.
        width: columns that there are.
    """
    rows = result.networks
    taps = [item.ratio_by_taps for item in rows]
    names = [item.name.removeprefix("fashion_resnet_") for item in rows]
    columns = [
        Column("network", names, NAME, right=False),
        Column("accuracy\nboard", [f"{item.accuracy_board:.1%}" for item in rows], 1),
        Column("accuracy\nhost", [f"{item.accuracy_host:.1%}" for item in rows], 4),
        Column("largest\ndiff.", [f"{item.relative_diff:.0e}" for item in rows], 5),
        Column(
            "instructions\nan inference" if result.emulated else "median time\nan inference",
            [_cost(item, emulated=result.emulated) for item in rows],
            3,
        ),
        Column("ratio", [_ratio(item.ratio) for item in rows], 1),
        *(
            Column(
                f"estimated\nms, {board.board}",
                [milliseconds(item.estimates[index].ms) for item in rows],
                1,
            )
            for index, board in enumerate(rows[0].estimates)
        ),
        Column("by\npixels", [_ratio(item.ratio_by_pixels) for item in rows], 2),
    ]
    if _taps_known(result):
        columns.append(Column("by pixels\nand taps", [_ratio(value) for value in taps], 3))
    return fitted_table(columns, width, title=f"Fashion-MNIST on: {result.board}")


def demo_table(result: DemoResult, width: int = 200) -> Group:
    """The networks, a row each, with what the figures mean below, and the stages.

    Args:
        result: of the demo.
        width: columns that there are.
    """
    images = result.networks[0].images
    notes = [
        f"Accuracy: the first {images} test images; on the host, the stock interpreter.",
        "Largest difference: board and host, of a logit, over the largest of its class.",
        "Ratio: dense over masked. By pixels: the same of the multiply-accumulates of pixels kept.",
    ]
    if _taps_known(result):
        notes.append(
            "And taps: without those of kept pixels that read skipped pixels or padding alone, "
            "which the runtime skips, too."
        )
    if result.emulated:
        notes.append(
            "Instructions are counted by the emulated core and repeat exactly; "
            "seconds under emulation say nothing about a real board and are left out."
        )
    notes += [
        f"Estimated, not measured: on a {board.title} of {board.clock_mhz} MHz, from a trace. Nine "
        f"of ten such times are expected within {board.high_ms / board.ms - 1:.0%}."
        for board in result.networks[0].estimates
    ]
    stages = Table(title="Where the time went", title_justify="left", show_header=False)
    stages.add_column()
    stages.add_column(justify="right")
    for name, seconds in result.stages.items():
        stages.add_row(name, f"{seconds:,.1f} s")
    stages.add_row("total", f"{sum(result.stages.values()):,.1f} s", style="bold")
    return Group(stages, network_table(result, width), *map(note, notes))


def _taps_known(result: DemoResult) -> bool:
    """Whether dead taps make a difference in a network."""
    return any(
        item.ratio_by_taps and item.ratio_by_taps != item.ratio_by_pixels
        for item in result.networks
    )


def _cost(item: NetworkResult, *, emulated: bool) -> str:
    if emulated:
        return "?" if item.instructions is None else f"{item.instructions:,.0f}"
    return "?" if item.median_us is None else f"{item.median_us / 1000:.2f} ms"


def _ratio(value: float | None) -> str:
    return "?" if value is None else f"{value:.3f}"
