"""What ``deploy recipe new`` found and wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from toolchain.report.fitting import NAME, Column, fitted_table
from toolchain.report.layers import count

if TYPE_CHECKING:  # torch is slow to import
    from toolchain.train.new_recipe import NewRecipes


def new_recipes_table(done: NewRecipes, width: int = 200) -> RenderableType:
    """The recipes, why they are as they are, and what to run next."""
    rows = done.recipes
    advice = [row.advice for row in rows]
    table = fitted_table(
        [
            Column("recipe", [str(row.path) for row in rows], NAME, right=False),
            Column("network", [row.role for row in rows], 1, right=False),
            Column(
                "starts from", [_start(row.role, row.advice.start) for row in rows], 6, right=False
            ),
            Column("epochs", [str(one.epochs) for one in advice], 2),
            Column("steps", [str(one.steps) for one in advice], 4),
            Column("batch", [str(one.batch_size) for one in advice], 3),
            Column("learning rate", [f"{one.learning_rate:g}" for one in advice], 3),
            Column("MACs", [count(row.macs_kept) for row in rows], 5),
        ],
        width,
        boxed=False,
    )
    return Group(
        Text(_data(done)),
        Text(_network(done)),
        *_chosen(done),
        Text(),
        table,
        Text(),
        *(Text(f"note: {note}") for note in done.notes),
        Text("next:"),
        *(Text(f"  {line}") for line in done.commands),
    )


def _chosen(done: NewRecipes) -> list[Text]:
    estimated = "estimated" in done.sparsity_why
    return [Text(f"sparsity {done.sparsity:g}: {done.sparsity_why}")] if estimated else []


def _start(role: str, start: str) -> str:
    if start == "nothing":
        return "random weights"
    if start == "other data":
        return "weights of other data"
    return "the dense network" if role == "masked" else "weights of this data"


def _data(done: NewRecipes) -> str:
    data = done.data
    classes = f"{len(data.classes)} classes"
    if data.fewest is not None and data.most is not None:
        each = f"{data.fewest}" if data.fewest == data.most else f"{data.fewest} to {data.most}"
        classes += f" of {each} training images"
    sizes = f", {data.short_side} pixels on the shorter side" if data.short_side else ""
    return (
        f"{data.source}: {data.training_images} training and {data.test_images} test images, "
        f"{classes}{sizes}"
    )


def _network(done: NewRecipes) -> str:
    network = done.network
    size = f" at {network.image_size}x{network.image_size} pixels" if network.image_size else ""
    said = (
        f"{network.name}: {count(network.parameters)} parameters, {count(network.macs)} MACs an "
        f"image{size}"
    )
    masked = [row for row in done.recipes if row.role == "masked"]
    if masked:
        (row,) = masked
        said += (
            f"; {row.masked_layers} layers masked (kernels: {done.kernels}), "
            f"{1 - row.macs_kept / row.macs:.0%} of the MACs gone"
        )
    return said
