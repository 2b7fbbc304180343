"""A recipe: everything about a training run, in one TOML file.

See ``docs/reference/recipes.md`` for every key. Unknown keys are refused.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from toolchain.errors import RecipeError
from toolchain.formats.toml_file import read_toml, validate
from toolchain.hints import did_you_mean
from toolchain.sparsity.policies import POLICIES
from toolchain.sparsity.tiles import TILE_SHARE

Share = Annotated[float, Field(ge=0, le=1)]
Sparsity = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


def _is_argument(value: Any) -> Any:
    if not isinstance(value, str | int | float):
        raise ValueError("is not a text, a number, true or false")  # noqa: TRY004 (pydantic's way)
    # A checkpoint names the arguments too, and `deploy convert` believes it no larger numbers.
    if not isinstance(value, str) and not abs(value) < _MOST:
        raise ValueError(f"{value} is not less than a million")
    return value


_MOST = 1e6
Argument = Annotated[str | int | float | bool, BeforeValidator(_is_argument)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Model(_Table):
    """``[model]``: the network that is trained."""

    factory: str
    """``package.module:function``, ``timm:NAME``, ``torchvision:NAME``, or the name of a network of
    the zoo."""
    arguments: dict[str, Argument] = {}
    """Arguments of the factory, by name. Numbers are below a million."""
    weights: Path | None = None
    """A checkpoint to start from. Masks in it are dropped."""
    weights_key: str | None = None
    """Which weights of a checkpoint that holds several: their key, or ``ema`` for averaged
    ones."""
    new_head: bool = False
    """Whether the one layer whose weights are of other classes begins anew."""


class DataSet(_Table):
    """``[data]``: what it is trained on."""

    source: str
    """``fashion-mnist``, a folder of images, or ``package.module:function``."""
    image_size: Count | None = None
    """Height and width that images of a folder are scaled to. A folder needs it."""
    augment: tuple[Literal["mirror", "shift"], ...] = ()
    """What happens to training images: mirrored half of the time, moved by some pixels."""
    test_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the images that are put aside, of a folder that has no test images of its own."""
    limit: Count | None = None
    """Train on so many images only, for a quick try."""


class Training(_Table):
    """``[training]``: how long, and on what."""

    epochs: Count = 10
    """How often each image is seen."""
    batch_size: Count = 128
    """Images of one step."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the first weights, of the order of the images, of augmentation and of masks."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """The arithmetic. ``bf16`` is automatic mixed precision. Weights are always fp32."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where it computes. ``auto`` takes a GPU that is there."""
    threads: Annotated[int, Field(ge=0)] = 0
    """Threads of a CPU. 0 leaves it to torch. Another number gives slightly other weights."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes that load data. 0 loads it in the training's own process."""
    compile: bool = False
    """Whether the model goes through ``torch.compile``."""
    checkpoint_every: Count | None = None
    """Steps between two saved states. Without it, one epoch."""
    ranks: Annotated[int, Field(ge=1, le=1024)] = 1
    """Processes that train the network together (DDP), each on its share of every batch. Another
    number gives other weights."""

    @model_validator(mode="after")
    def _batch_is_shared(self) -> Self:
        if self.batch_size % self.ranks:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of ranks {self.ranks}, which "
                "share it"
            )
        return self


class Optimizer(_Table):
    """``[optimizer]``: how weights are changed."""

    kind: Literal["sgd", "adamw"] = "sgd"
    """``sgd`` has Nesterov's momentum."""
    learning_rate: Positive = 0.1
    """The peak of the learning rate."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum of ``sgd``."""
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    """Weight decay."""
    cycle: Literal["one-cycle", "cosine", "constant"] = "one-cycle"
    """How the learning rate goes over the run."""


class Masks(_Table):
    """``[masks]``: which layers are masked, and how; without it the network is trained dense."""

    policy: str = "pooled"
    """Which pixels are masked; ``docs/explanation/masks.md`` compares the policies."""
    sparsity: Sparsity
    """Share of each layer's pixels to mask."""
    kernels: Literal["all", "not-1x1", "3x3"] = "not-1x1"
    """Kernels of the convolutions to mask."""
    layers: tuple[str, ...] = ("*",)
    """Name patterns of the convolutions to mask."""
    exclude: tuple[str, ...] = ()
    """Name patterns of convolutions to leave alone."""
    targets: dict[str, Sparsity] = {}
    """Name pattern to sparsity, for layers with a sparsity of their own. The first match counts."""
    tile_rows: Count | None = None
    """Round kept pixels down to a multiple of this (MR), in every masked layer."""
    rounded: dict[str, Count] = {}
    """Name pattern to such a number, for these layers alone. The first match counts."""
    board: str | None = None
    """Round the layers that gain by it as the runtime of this board plans them: its name or
    file."""
    tile_share: Share = TILE_SHARE
    """Round a layer only where that masks at most this share of its pixels more."""
    block: Count = 2
    """Side of the ``tile`` policy's blocks."""
    modulus: Annotated[int, Field(ge=2, le=64)] | None = None
    """Modulus of the ``lattice`` policy. Without it, the smallest that comes near the sparsity."""
    data_batches: Count = 8
    """Batches that the ``magnitude`` policy looks at."""

    @field_validator("policy")
    @classmethod
    def _policy_is_known(cls, name: str) -> str:
        if name not in POLICIES:
            said = [f"there is no policy '{name}'", f"use {', '.join(POLICIES)}"]
            raise ValueError("; ".join(filter(None, [*said, did_you_mean(name, POLICIES)])))
        return name

    @model_validator(mode="after")
    def _rounded_once(self) -> Self:
        said = {"tile_rows": self.tile_rows, "rounded": self.rounded, "board": self.board}
        given = [name for name, value in said.items() if value]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} say what is rounded: give one of them")
        return self


class Schedule(_Table):
    """``[schedule]``: how sparsity grows over the run."""

    begin: Share = 0.1
    """Where masks begin to grow, as a share of all steps."""
    end: Share = 0.9
    """Where masks are final, as a share of all steps."""
    frequency: Count = 100
    """Steps between two draws of masks."""
    power: Positive = 2.0
    """Power of the polynomial by which sparsity grows."""
    settle: Annotated[int, Field(ge=0)] = 200
    """Least number of steps with final masks, whatever ``end`` says; half of a shorter run."""
    begin_step: Annotated[int, Field(ge=0)] | None = None
    """In place of ``begin``: the step itself, whatever the length of the run."""
    end_step: Annotated[int, Field(ge=0)] | None = None
    """In place of ``end``, likewise."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        begin, end = self.begin_step, self.end_step
        if begin is not None and end is not None and begin > end:
            raise ValueError(f"begin_step {begin} comes after end_step {end}")
        if begin is None and end is None and self.begin > self.end:
            raise ValueError(f"begin {self.begin:g} comes after end {self.end:g}")
        return self


class Distillation(_Table):
    """``[distillation]``: learn from a dense teacher as well."""

    weights: Path | None = None
    """The teacher's checkpoint. Without it, and without ``factory``, the teacher is the network
    that training starts from, before masks and pruning."""
    weights_key: str | None = None
    """Which weights of it, as in ``[model]``."""
    factory: str | None = None
    """The teacher's network. Without it, the student's. Without ``weights`` it has those that it is
    made with, or that ship with it; random ones are refused."""
    arguments: dict[str, Argument] = {}
    """Arguments of that factory, by name."""
    weight: Annotated[float, Field(ge=0)] = 5.0
    """Weight of the divergence from the teacher, beside the cross entropy."""
    temperature: Positive = 1.0
    """Temperature of the softmax."""

    @model_validator(mode="after")
    def _key_of_something(self) -> Self:
        if self.weights_key is not None and self.weights is None:
            raise ValueError("weights_key chooses among weights that are not given")
        if self.arguments and self.factory is None:
            raise ValueError("arguments are of a factory that is not given")
        return self


class Pruning(_Table):
    """``[pruning]``: channels are pruned before training, masks are laid on what is left."""

    ratio: Annotated[float, Field(gt=0, lt=1)]
    """Share of the channels of each layer to remove."""
    round_to: Count = 8
    """Channels that are left are a multiple of this (NR)."""


class Recipe(_Table):
    """One training run."""

    model: Model
    data: DataSet
    training: Training = Training()
    optimizer: Optimizer = Optimizer()
    masks: Masks | None = None
    schedule: Schedule = Schedule()
    distillation: Distillation | None = None
    pruning: Pruning | None = None

    def checkpoints(self, base: Path | None) -> list[Path]:
        """The files of weights that are read; relative ones start from ``base``."""
        first, teacher = self.model.weights, self.distillation
        named = [first, teacher.weights if teacher else None]
        return [place(path, base) for path in named if path is not None]


def place(path: Path, base: Path | None) -> Path:
    """Where a file is that a recipe names; a relative path starts from ``base``."""
    return (base or Path()) / os.path.expanduser(path)  # noqa: PTH111 (never fails)


def with_ranks(recipe: Recipe, ranks: int, path: Path) -> Recipe:
    """The recipe for another number of ranks.

    Args:
        recipe: that is changed.
        ranks: how many.
        path: of the recipe, for messages.

    Raises:
        RecipeError: they cannot share its batches.
    """
    tables = recipe.model_dump(exclude_unset=True)
    tables["training"] = {**tables.get("training", {}), "ranks": ranks}
    hint = f"set batch_size under [training] to a multiple of {ranks}"
    return validate(Recipe, tables, path, RecipeError, hint=hint)


def load_recipe(path: Path) -> Recipe:
    """Read a recipe; paths in it are relative to its own folder.

    Raises:
        RecipeError: not there, not TOML, an unknown key, or a value out of range; each fault on a
            line of its own.
    """
    return validate(
        Recipe,
        read_toml(path, RecipeError),
        path,
        RecipeError,
        hint="docs/reference/recipes.md lists every key of a recipe",
    )
