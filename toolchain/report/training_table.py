"""The tables of ``deploy train``."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from toolchain.report.fitting import NAME, Column, fitted_table
from toolchain.report.layers import count
from toolchain.storage.files import STDOUT

if TYPE_CHECKING:  # torch is slow to import
    from toolchain.train.run import (
        NetworkReport,
        PlanReport,
        ScheduleReport,
        TrainingReport,
    )


def plan_table(plan: PlanReport, width: int = 200) -> RenderableType:
    """What a recipe would train."""
    return Group(
        network_table(plan.network, width),
        Text(
            f"{plan.dataset}: {plan.training_images} training and {plan.test_images} test images, "
            f"{plan.classes} classes; {plan.epochs} epochs, {plan.steps} steps"
        ),
        *_schedule(plan.schedule),
        *_notes(plan.notes),
        Text("the recipe is good; nothing was trained"),
    )


def training_table(report: TrainingReport, width: int = 200) -> RenderableType:
    """What was trained, and what to do with it."""
    written = "what is on standard output" if report.path == STDOUT else report.path
    return Group(
        network_table(report.network, width),
        *_schedule(report.schedule),
        Text(),
        _epochs_kept(report, width),
        Text(),
        *_notes(report.notes),
        Text(f"{written} is written; next: {report.convert_command}"),
        Text(f"curves: {shlex.join(['tensorboard', '--logdir', str(report.run_folder)])}"),
    )


def _epochs_kept(report: TrainingReport, width: int) -> RenderableType:
    """The two networks that were written."""
    kept = (report, report.last)
    return fitted_table(
        [
            Column("kept", ["best", "last"], 1, right=False),
            Column("epoch", [f"{one.epoch} of {len(report.epochs)}" for one in kept], 3),
            Column("test accuracy", [f"{one.accuracy:.2%}" for one in kept], 2),
            Column("training loss", [f"{one.loss:.3f}" for one in kept], 4),
            Column("in", [str(one.path) for one in kept], NAME, right=False),
        ],
        width,
        boxed=False,
    )


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


def network_table(network: NetworkReport, width: int = 200) -> RenderableType:
    """A line a masked layer, and the sums of the whole network."""
    kept, macs = network.macs_kept, network.macs
    total = Text(
        f"{network.factory}: {count(network.parameters)} parameters, {count(macs)} MACs an image"
        + (
            f", {count(kept)} with its masks (speed-up by pixels {macs / kept:.3f})"
            if kept < macs
            else ""
        )
    )
    if not network.layers:
        return Group(Text("masked layers: none"), total)
    rows = network.layers
    tiled = [layer for layer in rows if layer.tile_rows > 1]
    columns = [
        Column("layer", [layer.name for layer in rows], NAME, right=False),
        Column("pixels", [str(layer.pixels) for layer in rows], 5),
        Column("kept", [str(layer.kept) for layer in rows], 3),
        Column("sparsity", [f"{1 - layer.kept / layer.pixels:.1%}" for layer in rows], 1),
        Column("MACs", [count(layer.macs) for layer in rows], 4),
        Column("MACs kept", [count(layer.macs_kept) for layer in rows], 2),
    ]
    if tiled:
        saved = [
            f"{layer.tiles - layer.tiles_kept} of {layer.tiles}" if layer.tile_rows > 1 else ""
            for layer in rows
        ]
        columns.append(Column("tiles saved", saved, 3))
    table = fitted_table(columns, width, boxed=False)
    lines: list[RenderableType] = [table, Text(), total]
    if tiled:
        tiles = sum(layer.tiles for layer in tiled)
        saved_tiles = tiles - sum(layer.tiles_kept for layer in tiled)
        sides = " or ".join(str(side) for side in sorted({layer.tile_rows for layer in tiled}))
        lines.append(Text(f"tiles of {sides} pixels: {saved_tiles} of {tiles} saved"))
    if network.rounding is not None and network.rounding.reason is None:
        lines.append(Text(str(network.rounding)))
    return Group(*lines)
