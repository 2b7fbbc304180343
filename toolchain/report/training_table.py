"""The tables of ``deploy train``."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from toolchain.report.layers import count

if TYPE_CHECKING:  # torch is slow to import
    from toolchain.train.run import (
        NetworkReport,
        PlanReport,
        ScheduleReport,
        TrainingReport,
    )


def plan_table(plan: PlanReport) -> RenderableType:
    """What a recipe would train."""
    return Group(
        network_table(plan.network),
        Text(
            f"{plan.dataset}: {plan.training_images} training and {plan.test_images} test images, "
            f"{plan.classes} classes; {plan.epochs} epochs, {plan.steps} steps"
        ),
        *_schedule(plan.schedule),
        *_notes(plan.notes),
        Text("the recipe is good; nothing was trained"),
    )


def training_table(report: TrainingReport) -> RenderableType:
    """What was trained, and what to do with it."""
    return Group(
        network_table(report.network),
        *_schedule(report.schedule),
        Text(),
        _epochs_kept(report),
        Text(),
        *_notes(report.notes),
        Text(f"{report.path} is written; next: {report.convert_command}"),
        Text(f"curves: {shlex.join(['tensorboard', '--logdir', str(report.run_folder)])}"),
    )


def _epochs_kept(report: TrainingReport) -> Table:
    """The two networks that were written."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("kept", no_wrap=True)
    for name in ("epoch", "test accuracy", "training loss"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("in", overflow="fold")
    for name, one in (("best", report), ("last", report.last)):
        table.add_row(
            name,
            f"{one.epoch} of {len(report.epochs)}",
            f"{one.accuracy:.2%}",
            f"{one.loss:.3f}",
            Text(str(one.path)),
        )
    return table


def _schedule(schedule: ScheduleReport | None) -> list[Text]:
    if schedule is None:
        return []
    return [
        Text(
            f"masks grow from step {schedule.first_step} on and are final from step "
            f"{schedule.final_step} on: {schedule.steps_left} of {schedule.steps} steps are left"
        )
    ]


def _notes(notes: list[str]) -> list[Text]:
    return [Text(f"note: {note}") for note in notes]


def network_table(network: NetworkReport) -> RenderableType:
    """A line a masked layer, and the sums of the whole network."""
    kept, macs = network.macs_kept, network.macs
    total = Text(
        f"{network.factory}: {count(network.parameters)} parameters, {count(macs)} MACs an image"
        + (
            f", {count(kept)} with its masks (ideal speed-up {macs / kept:.3f})"
            if kept < macs
            else ""
        )
    )
    if not network.layers:
        return Group(Text("masked layers: none"), total)
    tiled = network.tile_rows > 1
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("layer", overflow="fold")
    for name in ("pixels", "kept", "sparsity", "MACs", "MACs kept", *(["tiles saved"] * tiled)):
        table.add_column(name, justify="right", no_wrap=True)
    for layer in network.layers:
        saved = f"{layer.tiles - layer.tiles_kept} of {layer.tiles}"
        table.add_row(
            Text(layer.name),
            str(layer.pixels),
            str(layer.kept),
            f"{1 - layer.kept / layer.pixels:.1%}",
            count(layer.macs),
            count(layer.macs_kept),
            *([saved] * tiled),
        )
    lines: list[RenderableType] = [table, Text(), total]
    if tiled:
        tiles = sum(layer.tiles for layer in network.layers)
        saved_tiles = tiles - sum(layer.tiles_kept for layer in network.layers)
        lines.append(Text(f"tiles of {network.tile_rows} pixels: {saved_tiles} of {tiles} saved"))
    return Group(*lines)
