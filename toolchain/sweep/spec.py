"""A sweep: what is tried and what is done with it, in one TOML file.

See ``docs/reference/sweeps.md`` for every key. Unknown keys are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from toolchain.convert.calibration import DEFAULT_SAMPLES
from toolchain.errors import RecipeError
from toolchain.formats.text_file import read_text
from toolchain.formats.toml_file import parse_toml, validate
from toolchain.formats.validation import faults
from toolchain.hints import did_you_mean
from toolchain.sweep.axes import (
    NetworkChoice,
    NetworkType,
    Seed,
    Value,
    check_policies,
    check_settings,
)
from toolchain.sweep.search_spec import Search
from toolchain.train.recipe import Count, Recipe, Sparsity, place

KEYS_HINT = "docs/reference/sweeps.md lists every key of a sweep"


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Grid(_Table):
    """``[[grid]]``: trainings, one for each combination of what its lists hold."""

    name: str
    """What the others call it."""
    start: str | None = None
    """The name of a grid above. Each training starts from that one's network of the same model and
    seed, so that grid has to have one training for each of them."""
    models: tuple[str | NetworkChoice, ...] = ()
    """Networks, as in a recipe's ``[model]``. Without it, the recipe's."""
    policies: tuple[str, ...] = ()
    """Policies of masks. Without it, the recipe's."""
    sparsities: tuple[Sparsity, ...] = ()
    """Shares of pixels to mask. 0 trains without masks, once for all policies and layers. Without
    it, the recipe's."""
    layers: tuple[tuple[str, ...], ...] = ()
    """Lists of name patterns of the convolutions to mask. Without it, the recipe's."""
    pruning: tuple[Sparsity, ...] = ()
    """Shares of channels to remove before training; 0 removes none. Without it, the recipe's."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] | None = None
    """Seeds of the trainings. Without it, the recipe's."""
    settings: dict[str, Annotated[tuple[Value, ...], Field(min_length=1)]] = {}
    """Other keys of the recipe, each with the values to try:
    ``"optimizer.learning_rate" = [0.05, 0.1]``."""

    @field_validator("policies")
    @classmethod
    def _policies_are_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return check_policies(names)

    @field_validator("settings")
    @classmethod
    def _settings_are_no_axes(cls, settings: dict[str, Any]) -> dict[str, Any]:
        return check_settings(settings, _AXES)


_AXES = {
    "model.factory": "models",
    "model.arguments": "models",
    "model.weights": "start",
    "masks.policy": "policies",
    "masks.sparsity": "sparsities",
    "masks.layers": "layers",
    "pruning.ratio": "pruning",
    "training.seed": "seeds",
    "training.threads": "threads, under [tasks]",
    "training.device": "gpus, under [tasks]",
}
"""Keys of a recipe, and what takes their place."""


class Conversion(_Table):
    """``[convert]``: the files that trained networks become; without it there are none."""

    types: Annotated[tuple[NetworkType, ...], Field(min_length=1)] = ("float32",)
    """What each network is converted to."""
    calibration: str | None = None
    """For ``int8``: the data that ranges are measured on, as ``deploy convert`` takes it."""
    calibration_samples: Count = DEFAULT_SAMPLES
    """Inferences of it to take at most."""

    @model_validator(mode="after")
    def _calibrated(self) -> Self:
        if "int8" in self.types and self.calibration is None:
            raise ValueError("int8 needs calibration: the data that ranges are measured on")
        return self


class Evaluation(_Table):
    """``[evaluate]``: accuracy of the converted files; without it, the training's counts."""

    images: Count | None = None
    """Test images, the first ones. Without it, all."""


class Estimates(_Table):
    """``[[estimate]]``: times on a board that is not there, as ``deploy estimate`` has them."""

    board: str
    """Name or file."""
    bundle: Path | None = None
    """Bundle folder. Without it, ``build/BOARD``."""
    threads: Annotated[int, Field(ge=1, le=64)] | None = None
    """Of the runner. Without it, as the board's file says."""
    seeds: Literal["first", "all"] = "first"
    """Of which seeds of a configuration. Its time hardly depends on the seed."""


class Measurements(Estimates):
    """``[[measure]]``: times on a board, as ``deploy profile`` has them."""

    host: str | None = None
    """A real board: what is given to ssh."""
    identity: Path | None = None
    """Private key to log in with."""
    max_time: Annotated[float, Field(gt=0)] = 60.0
    """Seconds of timed runs, at most, of each file."""


class Tasks(_Table):
    """``[tasks]``: what one task may take."""

    threads: Annotated[int, Field(ge=1, le=64)] = 1
    """CPU threads of a task. Another number gives slightly other weights."""
    gpus: Annotated[float, Field(ge=0, le=64)] = 0
    """GPUs of a training; a share such as 0.5 lets two trainings share one. 0 trains on the CPU."""
    epoch: Literal["last", "best"] = "last"
    """Which network of a training is kept. The test images choose the best one, which flatters."""
    retries: Annotated[int, Field(ge=0, le=100)] = 5
    """How often a task is begun again after the process or the machine that ran it has died."""


class Sweep(_Table):
    """One sweep."""

    recipe: Path
    """File of the recipe that all trainings begin with."""
    grid: tuple[Grid, ...] = ()
    search: Search | None = None
    convert: Conversion | None = None
    evaluate: Evaluation | None = None
    estimate: tuple[Estimates, ...] = ()
    measure: tuple[Measurements, ...] = ()
    tasks: Tasks = Tasks()

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        known: list[str] = []
        for grid in self.grid:
            if grid.name in known:
                raise ValueError(f"two grids are called '{grid.name}'")
            if grid.start is not None and grid.start not in known:
                meant = did_you_mean(grid.start, known)
                raise ValueError(
                    f"grid '{grid.name}': no grid above it is called '{grid.start}'"
                    + (f"; {meant}" if meant else "")
                )
            known.append(grid.name)
        if not self.grid and self.search is None:
            raise ValueError("there is nothing to train: add a [[grid]], or a [search]")
        if self.convert is None and (self.evaluate or self.estimate or self.measure):
            raise ValueError("[evaluate], [[estimate]] and [[measure]] are of files: add [convert]")
        boards = [("estimate", one.board) for one in self.estimate]
        boards += [("measure", one.board) for one in self.measure]
        for kind, board in boards:
            if boards.count((kind, board)) > 1:
                raise ValueError(f"board '{board}' stands twice under [[{kind}]]")
        if self.search is not None:
            self._check_search(self.search, known)
        return self

    def _check_search(self, search: Search, grids: Sequence[str]) -> None:
        if search.name in grids:
            raise ValueError(f"search: a grid is called '{search.name}', too")
        if search.start is not None and search.start not in grids:
            meant = did_you_mean(search.start, grids)
            raise ValueError(
                f"search: no grid is called '{search.start}'" + (f"; {meant}" if meant else "")
            )
        types = self.convert.types if self.convert else ()
        if search.type is not None and search.type not in types:
            raise ValueError(f"search: type '{search.type}' is none of [convert] types")
        boards = list(dict.fromkeys(one.board for one in (*self.measure, *self.estimate)))
        if search.board is not None and search.board not in boards:
            meant = did_you_mean(search.board, boards)
            raise ValueError(
                f"search: board '{search.board}' stands neither under [[measure]] nor under "
                "[[estimate]]" + (f"; {meant}" if meant else "")
            )
        if search.timed and search.board is None and len(boards) != 1:
            raise ValueError(
                f"search: there are {len(boards)} boards under [[measure]] and [[estimate]]: say "
                "whose milliseconds count (board)"
                if boards
                else "search: milliseconds need a board: add [convert], and [[estimate]] or "
                "[[measure]]"
            )

    @property
    def search_time(self) -> tuple[Literal["measured", "estimated"], str] | None:
        """Whose milliseconds count in the search, and how they come about; measured go first."""
        if self.search is None or not self.search.timed:
            return None
        board = self.search.board or (*self.measure, *self.estimate)[0].board
        measured = any(one.board == board for one in self.measure)
        return ("measured" if measured else "estimated", board)


def load_sweep(path: Path) -> Sweep:
    """Read a sweep.

    Raises:
        RecipeError: not there, not TOML, an unknown key, or a wrong value; each fault on a line of
            its own, with the file's line.
    """
    text = read_text(path, RecipeError, kind="TOML")
    tables = parse_toml(text, path, RecipeError)
    return validate(Sweep, tables, path, RecipeError, hint=KEYS_HINT, text=text)


def recipe_of(
    base: Recipe,
    grid: Grid,
    *,
    model: str | NetworkChoice | None,
    policy: str | None,
    sparsity: float | None,
    layers: Sequence[str] | None,
    pruning: float | None,
    seed: int,
    settings: Mapping[str, Value],
    tasks: Tasks,
    path: Path,
    targets: Mapping[str, float] | None = None,
    what: str | None = None,
) -> Recipe:
    """The recipe of one combination; ``None`` leaves what ``base`` has.

    Args:
        base: the sweep's recipe.
        grid: that it is of, for messages.
        model: the network.
        policy: of masks.
        sparsity: of masks; 0 for none.
        layers: patterns.
        pruning: share of channels; 0 for none.
        seed: of the training.
        settings: other keys with their values.
        tasks: what a training may take.
        path: of the sweep, for messages.
        targets: name pattern to sparsity, for layers with a sparsity of their own.
        what: it is of, for messages; by default the grid.

    Raises:
        RecipeError: it is no recipe: a setting is unknown or out of range, or masks have no
            sparsity.
    """
    tables: dict[str, Any] = base.model_dump(exclude_unset=True)
    if isinstance(model, NetworkChoice):
        tables["model"] = model.model_dump()
    elif model is not None:
        tables["model"] = {"factory": model}
    masks = dict(tables.get("masks") or {})
    masks |= {} if policy is None else {"policy": policy}
    masks |= {} if sparsity is None else {"sparsity": sparsity}
    masks |= {} if layers is None else {"layers": tuple(layers)}
    masks |= {"targets": dict(targets)} if targets else {}
    dense = not masks or (masks.get("sparsity") == 0 and not targets)
    tables["masks"] = None if dense else masks
    if pruning is not None:
        tables["pruning"] = {**(tables.get("pruning") or {}), "ratio": pruning} if pruning else None
    training = dict(tables.get("training") or {})
    # Said here and not left to the machine, so that all machines compute the same.
    training |= {"seed": seed, "threads": training.get("threads") or tasks.threads}
    training["device"] = "cuda" if tasks.gpus else "cpu"
    tables["training"] = training
    for key, value in settings.items():
        if not (dense and key.startswith("masks.")):
            _set(tables, key, value)
    try:
        return Recipe.model_validate(tables)
    except ValidationError as error:
        of = what or f"grid '{grid.name}'"
        lines = [f"{path}: {of}: {found}" for found in faults(error, Recipe)]
        raise RecipeError(
            "\n".join(lines), hint="docs/reference/recipes.md lists every key of a recipe"
        ) from error


def located(path: Path | None, base: Path) -> Path | None:
    """Where a file is that a sweep names; a relative path starts from the sweep's folder."""
    return None if path is None else place(path, base).absolute()


def _set(tables: dict[str, Any], key: str, value: Value) -> None:
    *folders, last = key.split(".")
    for name in folders:
        inner = tables.get(name)
        tables[name] = tables = dict(inner) if isinstance(inner, dict) else {}
    tables[last] = value
