"""From data and a network to recipes that work: the dense network, and the masked one from it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from toolchain.errors import ModelError, OutputError
from toolchain.hints import command
from toolchain.progress import Progress, Silent
from toolchain.sparsity.cost import model_cost
from toolchain.sparsity.masked_conv import summary
from toolchain.storage.files import check_writable, write_whole
from toolchain.train.advice import Advice, MaskSteps, Start, advise, mask_steps
from toolchain.train.data import FASHION_MNIST, Data
from toolchain.train.draft import Choice, Draft
from toolchain.train.first_look import (
    PRETRAINED,
    DataLook,
    NetworkLook,
    look_at_data,
    look_at_network,
)
from toolchain.train.recipe import Recipe, Training
from toolchain.train.run import model_option
from toolchain.train.setup import build_student
from toolchain.zoo import catalog

OWN: Final = "own"
"""In place of a checkpoint: the weights that the network is made with."""
_MOSTLY = 0.6
"""Of the multiply-accumulates: where 3x3 convolutions have so many, they alone are masked."""
_FEW_IMAGES = 100
"""Of a class."""
_UNEVEN = 10


@dataclass(frozen=True)
class Wish:
    """What a new recipe is wanted for."""

    data: str
    model: str
    output: Path | None = None
    """The masked recipe's file; named after the network by default."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Of the factory."""
    weights: str | None = None
    """A checkpoint, or :data:`OWN`: of the dense network, trained on this data."""
    weights_key: str | None = None
    image_size: int | None = None
    sparsity: float = 0.2
    policy: str = "pooled"
    kernels: str | None = None
    """Which convolutions are masked; by what they compute unless given."""
    board: str | None = None
    """Its name or file."""
    epochs: int | None = None
    """Of each recipe; by the size of the data unless given."""
    replace: bool = False
    """Whether recipes that are there may be replaced."""


Chooser = Callable[[Callable[[float], nn.Module], Tensor], tuple[float, str]]
"""Chooses the sparsity: from a function that gives the network with masks of one, in eval mode, and
an image ``[1, C, H, W]``. Gives the sparsity, and why."""


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True)


class WrittenRecipe(_Result):
    """One of the recipes."""

    path: Path
    role: Literal["dense", "masked"]
    trains: Path
    """The checkpoint that ``deploy train`` leaves."""
    advice: Advice
    masks: MaskSteps | None
    """When masks change; ``None`` of the dense recipe."""
    macs: int
    macs_kept: int
    masked_layers: int


class NewRecipes(_Result):
    """What :func:`new_recipes` wrote."""

    data: DataLook
    network: NetworkLook
    sparsity: float
    sparsity_why: str
    kernels: str
    kernels_why: str
    recipes: list[WrittenRecipe]
    """In the order in which they are trained."""
    commands: list[str]
    """What comes next; lines that run as they stand."""
    notes: list[str]


def new_recipes(
    wish: Wish, progress: Progress | None = None, chooser: Chooser | None = None
) -> NewRecipes:
    """Look at data and network, and write what trains them.

    Without a checkpoint of the dense network that was trained on this data two recipes are written:
    one for it, and the masked one that starts from it and learns from it.

    Args:
        wish: what is wanted.
        progress: where stages are shown.
        chooser: of the sparsity, in place of the wish's.

    Raises:
        OutputError: a recipe is there already, or cannot be written; nothing is written then.
        DataError, ModelError, RecipeError: data, network, weights or a choice have a fault.
    """
    progress = progress or Silent()
    masked_path, dense_path = _places(wish)
    if chooser is None or wish.output is not None:
        _check_places([masked_path if wish.sparsity else dense_path], replace=wish.replace)
    folder = masked_path.resolve().parent
    source = _from_folder(wish.data, folder)
    data, look = look_at_data(source, base=folder, image_size=wish.image_size, progress=progress)
    name = _model_from_folder(wish.model, folder)
    with progress.stage("look at the network", 1) as stage:
        network, data = look_at_network(
            name, wish.arguments, data, look, base=folder, image_size=wish.image_size
        )
        stage.advance()
    why = ""
    if chooser is not None:
        first = _Writer(wish, folder, data, look, network)
        sparsity, why = chooser(first.network_at, torch.zeros(data.input_shape))
        wish = replace(wish, sparsity=sparsity)
        masked_path, dense_path = _places(wish)
    writer = _Writer(wish, folder, data, look, network, why)
    drafts = writer.drafts(masked_path, dense_path)
    _check_places([path for path, _, _ in drafts], replace=wish.replace)
    rows = [writer.checked(path, role, draft, progress) for path, role, draft in drafts]
    for path, _, draft in drafts:
        write_whole(path, draft.text().encode())
    return NewRecipes(
        data=look,
        network=network,
        sparsity=wish.sparsity,
        sparsity_why=writer.sparsity_why,
        kernels=writer.kernels[0],
        kernels_why=writer.kernels[1],
        recipes=rows,
        commands=_commands(rows, network, folder, wish.board),
        notes=_notes(look, network, rows),
    )


class _Writer:
    """Makes the drafts."""

    def __init__(
        self,
        wish: Wish,
        folder: Path,
        data: Data,
        look: DataLook,
        network: NetworkLook,
        sparsity_why: str = "",
    ) -> None:
        self.wish, self.folder, self.data = wish, folder, data
        self.look, self.network = look, network
        self.sparsity_why = sparsity_why or "share of each layer's pixels that is skipped"
        self.kernels = _kernels(wish, network)
        self.given = self._given_weights()
        self.advice: dict[str, Advice] = {}

    def network_at(self, sparsity: float) -> nn.Module:
        """The network with masks of one draw, or without at 0, in eval mode; nothing is trained."""
        tables = {"model": self._model_table(), "data": self._data_table()}
        if sparsity:
            masks = [one for one in self._masks() if one.key not in ("board", "sparsity")]
            tables["masks"] = [*masks, Choice("sparsity", sparsity)]
        recipe = Draft([], tables).recipe()
        alone = recipe.model_copy(update={"training": Training(batch_size=1)})
        student = build_student(alone, self.data, base=self.folder)
        if student.search is not None:
            student.search.freeze()
        return student.model.eval()

    def drafts(
        self, masked: Path, dense: Path
    ) -> list[tuple[Path, Literal["dense", "masked"], Draft]]:
        """The recipes to write, in the order in which they are trained."""
        knows_the_data = self.given in ("whole", OWN)
        found: list[tuple[Path, Literal["dense", "masked"], Draft]] = []
        if not self.wish.sparsity:
            return [(dense, "dense", self._dense())]
        if not knows_the_data:
            found.append((dense, "dense", self._dense()))
        return [*found, (masked, "masked", self._masked(None if knows_the_data else dense))]

    def checked(
        self, path: Path, role: Literal["dense", "masked"], draft: Draft, progress: Progress
    ) -> WrittenRecipe:
        """Try a draft as far as that is possible before what it starts from is trained."""
        recipe = draft.recipe()
        if role == "masked" and self.given not in ("whole", OWN):
            alone = recipe.model.model_copy(update={"weights": None, "weights_key": None})
            recipe = recipe.model_copy(update={"model": alone, "distillation": None})
        with progress.stage(f"try {path.name}", 1) as stage:
            report = _costs(recipe, self.data, self.folder)
            stage.advance()
        advice = self.advice[role]
        return WrittenRecipe(
            path=path,
            role=role,
            trains=path.with_suffix(".safetensors"),
            advice=advice,
            masks=mask_steps(advice.steps) if role == "masked" else None,
            macs=report[0],
            macs_kept=report[1],
            masked_layers=report[2],
        )

    def _given_weights(self) -> Literal["none", "own", "whole", "all but the head"]:
        """What of the user's weights fits the network on this data."""
        wish = self.wish
        if wish.weights is None:
            entry = catalog.ZOO.get(wish.model)
            fits = entry is not None and entry.weights == self.look.source
            return OWN if fits else "none"
        if wish.weights == OWN:
            if self.network.start == "random":
                raise ModelError(
                    f"the weights that {wish.model} is made with are random",
                    hint="leave --weights away: a recipe for the dense network is written, too",
                )
            return OWN
        tables = {"model": self._model_table(), "data": self._data_table()}
        first = Draft([], tables).recipe()
        named = {"weights": Path(self._weights_place()), "weights_key": wish.weights_key}
        try:
            self._try_weights(first, named)
        except ModelError as error:
            try:
                self._try_weights(first, {**named, "new_head": True})
            except ModelError:
                raise error from None
            return "all but the head"
        return "whole"

    def _try_weights(self, first: Recipe, update: Mapping[str, Any]) -> None:
        model = first.model.model_copy(update=update)
        tried = first.model_copy(update={"model": model, "training": Training(batch_size=1)})
        build_student(tried, self.data, base=self.folder)

    def _weights_place(self) -> str:
        return _from_folder(str(self.wish.weights), self.folder)

    def _dense(self) -> Draft:
        """Of the network without masks."""
        start: Start = "nothing"
        model = self._model_table()
        if self.given == "all but the head":
            start = "other data"
            model.append(Choice("weights", self._weights_place(), "of other data"))
            if self.wish.weights_key is not None:
                model.append(Choice("weights_key", self.wish.weights_key))
            model.append(Choice("new_head", True, "these weights tell other classes apart"))
        elif self.given == "whole":
            start = "this data"
            model.append(Choice("weights", self._weights_place(), "as given"))
        elif self.network.start in ("imagenet", "fashion-mnist"):
            start = "other data"
        return Draft(
            [
                f"The dense network: {self.network.name} on {self.look.source}, without masks.",
                *_of_what_it_is_made(self.look),
            ],
            {"model": model, "data": self._data_table(), **self._training("dense", start)},
        )

    def _masked(self, dense: Path | None) -> Draft:
        """Of the network with masks, from the dense one."""
        model = self._model_table(fetches=self.given == OWN)
        if dense is not None:
            place = dense.with_suffix(".safetensors").name
            model.append(Choice("weights", place, f"what deploy train {dense.name} leaves"))
        elif self.given == "whole":
            model.append(Choice("weights", self._weights_place(), "the dense network"))
            if self.wish.weights_key is not None:
                model.append(Choice("weights_key", self.wish.weights_key))
        training = self._training("masked", "this data")
        total = self.advice["masked"].steps
        steps = mask_steps(total)
        return Draft(
            [
                f"Masks on {self.network.name}: {self.wish.sparsity:.0%} of the pixels, from the "
                "dense network.",
                *_of_what_it_is_made(self.look),
                "Statistics of BatchNorm are measured anew when masks are final, and each epoch.",
            ],
            {
                "model": model,
                "data": self._data_table(),
                **training,
                "masks": self._masks(),
                "schedule": [
                    Choice("begin_step", steps.begin_step, "the network settles on the new rate"),
                    Choice(
                        "end_step",
                        steps.end_step,
                        f"masks are final; {total - steps.end_step} steps are left after it",
                    ),
                    Choice("frequency", steps.frequency, "steps by which each draw is judged"),
                    Choice("settle", steps.settle, "steps that are left in any case"),
                ],
                "distillation": [
                    Choice("weight", 5.0, "the dense network itself teaches; the paper's weight"),
                ],
            },
        )

    def _masks(self) -> list[Choice]:
        wish = self.wish
        chosen = [
            Choice("policy", wish.policy, "docs/explanation/masks.md compares them"),
            Choice("sparsity", wish.sparsity, self.sparsity_why),
            Choice("kernels", self.kernels[0], self.kernels[1]),
        ]
        if wish.board is not None:
            is_file = wish.board.endswith(".toml")
            board = _from_folder(wish.board, self.folder) if is_file else wish.board
            chosen.append(Choice("board", board, "masks that gain by it fill tiles of its core"))
        return chosen

    def _model_table(self, *, fetches: bool = True) -> list[Choice]:
        """The network; weights that a file replaces need not be fetched first."""
        network = self.network
        name, arguments = network.name, dict(network.arguments)
        if not fetches:
            name = name.removesuffix(PRETRAINED)
            if arguments.get("pretrained") is True:
                arguments["pretrained"] = False
        known = [Choice("factory", name)]
        if arguments:
            why = f"the data has {len(self.look.classes)} classes"
            known.append(Choice("arguments", arguments, why))
        return known

    def _data_table(self) -> list[Choice]:
        look, network = self.look, self.network
        known = [Choice("source", look.source)]
        if network.image_size is not None:
            known.append(Choice("image_size", network.image_size, network.size_why))
        if look.is_folder or look.source == FASHION_MNIST:
            augment = Choice("augment", ["mirror"], "leave it out where left is not right")
            known.append(augment)
        return known

    def _training(self, role: str, start: Start) -> dict[str, list[Choice]]:
        advice = advise(self.look.training_images, start, epochs=self.wish.epochs)
        self.advice[role] = advice
        return {
            "training": [
                Choice("epochs", advice.epochs, advice.epochs_why),
                Choice("batch_size", advice.batch_size, advice.batch_why),
            ],
            "optimizer": [
                Choice("learning_rate", advice.learning_rate, advice.rate_why),
                Choice("weight_decay", advice.weight_decay),
                Choice("cycle", "one-cycle", "up to the peak, then down to nothing"),
            ],
        }


def _kernels(wish: Wish, network: NetworkLook) -> tuple[str, str]:
    share = (
        f"3x3 convolutions have {network.share_3x3:.0%} of the work, 1x1 {network.share_1x1:.0%}"
    )
    if wish.kernels is not None:
        return wish.kernels, f"as asked for; {share}"
    return ("3x3" if network.share_3x3 >= _MOSTLY else "all"), share


def _costs(recipe: Recipe, data: Data, base: Path) -> tuple[int, int, int]:
    """Multiply-accumulates without and with masks of one draw, and how many layers have one."""
    # A board's plan takes long, and changes few pixels.
    masks = recipe.masks.model_copy(update={"board": None}) if recipe.masks else None
    student = build_student(recipe.model_copy(update={"masks": masks}), data, base=base)
    if student.search is not None:
        student.search.freeze()
    cost = model_cost(student.model, torch.zeros(data.input_shape))
    return cost.macs, cost.macs_kept, len(summary(student.model))


# --- places --------------------------------------------------------------------------------------


def _places(wish: Wish) -> tuple[Path, Path]:
    """The files of the masked recipe and of the dense one."""
    if wish.output is not None:
        if wish.output.suffix != ".toml":
            raise OutputError(
                f"{wish.output}: is to be a recipe, whose name ends in .toml",
                hint=f"write --output {wish.output.with_suffix('.toml')}",
            )
        output = wish.output
        stem = re.sub(r"_s\d+$", "", output.stem)
        return output, output.with_name(f"{stem}_dense.toml")
    short = wish.model.removesuffix(PRETRAINED).rpartition(":")[2]
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", short.removesuffix("_dense")) or "network"
    return Path(f"{stem}_s{round(100 * wish.sparsity)}.toml"), Path(f"{stem}_dense.toml")


def _check_places(paths: list[Path], *, replace: bool) -> None:
    for path in paths:
        if path.exists() and not replace:
            raise OutputError(
                f"{path}: is there already",
                hint="give another name with --output, or --replace to write it anew",
            )
        check_writable(path)


def _from_folder(place: str, folder: Path) -> str:
    """A path that counts from here, as one that counts from a recipe's folder; other names stay."""
    path = Path(os.path.expanduser(place))  # noqa: PTH111 (never fails)
    if path.is_absolute() or not path.exists():
        return place
    return os.path.relpath(path.resolve(), folder)


def _model_from_folder(name: str, folder: Path) -> str:
    place, slash, rest = name.rpartition("/")
    if not slash or ":" not in rest or not Path(place).is_dir():
        return name
    return f"{os.path.relpath(Path(place).resolve(), folder)}/{rest}"


# --- what is told --------------------------------------------------------------------------------


def _of_what_it_is_made(look: DataLook) -> list[str]:
    return [
        f"Made for {look.training_images} training and {look.test_images} test images of "
        f"{len(look.classes)} classes. Another number wants other epochs and batches.",
    ]


def _commands(
    rows: list[WrittenRecipe], network: NetworkLook, folder: Path, board: str | None
) -> list[str]:
    lines, models = [], []
    for row in rows:
        away = row.path.parent.resolve() != Path.cwd()
        named = ["--output", row.trains, "--run-dir", row.path.with_suffix(".run")] if away else []
        lines.append(command("train", row.path, *named))
    model = model_option(network.factory, folder)
    for row in rows:
        models.append(row.path.with_suffix(".tflite"))
        named = ["--output", models[-1]] if row.path.parent.resolve() != Path.cwd() else []
        lines.append(command("convert", row.trains, *model, *named))
    shown = ["--board", board] if board else []
    lines.append(command("inspect", *models[-1:], *shown))
    return lines


def _notes(look: DataLook, network: NetworkLook, rows: list[WrittenRecipe]) -> list[str]:
    notes = list(network.notes)
    first = rows[0].advice
    if first.start == "nothing" and look.fewest is not None and look.fewest < _FEW_IMAGES:
        notes.append(
            f"the smallest class has {look.fewest} training images, few to train on from random "
            "weights: weights of other data help, with --weights FILE"
        )
    if look.fewest and look.most and look.most >= _UNEVEN * look.fewest:
        notes.append(
            f"classes have {look.fewest} to {look.most} training images: accuracy is mostly that "
            "of the large ones"
        )
    # Half the width of a 95 % interval of a share near 90 %.
    width = 1.96 * (0.9 * 0.1 / look.test_images) ** 0.5
    if width > 0.01:
        notes.append(
            f"on {look.test_images} test images an accuracy near 90 % is known to "
            f"{100 * width:.1f} points: smaller differences say nothing"
        )
    return notes
