"""From a sweep to its tasks: the grids are multiplied out, and each network gets what follows."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolchain.board.invoke import load_bundle
from toolchain.convert.calibration import RANDOM
from toolchain.errors import RecipeError
from toolchain.hardware.board_file import Board, known_clock, load_board
from toolchain.profile.estimator import timed_core
from toolchain.storage.cache import digest
from toolchain.sweep.axes import NetworkType
from toolchain.sweep.spec import Estimates, Grid, Measurements, Sweep, located, recipe_of
from toolchain.sweep.tasks import (
    Resources,
    Task,
    code_identity,
    combinations,
    data_identity,
    file_identity,
    make_task,
)
from toolchain.train.data import FASHION_MNIST
from toolchain.train.recipe import Recipe, load_recipe, place

MOST_TRAININGS = 100_000
_LONGEST = 120
"""Characters of a configuration's name: files are called by it."""


@dataclass(frozen=True)
class FileTasks:
    """The tasks of one converted file, by their keys."""

    type: NetworkType
    convert: str
    evaluate: str | None
    estimates: Mapping[str, str]
    """By the board."""
    measurements: Mapping[str, str]


@dataclass(frozen=True)
class Labels:
    """What a network is."""

    model: str
    policy: str | None
    """``None`` without masks."""
    sparsity: float
    layers: str | None
    """Patterns of those that may be masked."""
    pruned: float
    """The share of channels that is removed."""

    @classmethod
    def of(cls, recipe: Recipe, shared: Container[str]) -> Labels:
        """Those of a recipe's network.

        Args:
            recipe: of it.
            shared: last parts of factories by which other networks would be called, too.
        """
        masks, factory = recipe.masks, recipe.model.factory
        last = factory.rpartition(":")[2]
        return cls(
            model=factory if last in shared else last,
            policy=masks.policy if masks else None,
            sparsity=masks.sparsity if masks else 0.0,
            layers=", ".join(masks.layers) if masks else None,
            pruned=recipe.pruning.ratio if recipe.pruning else 0.0,
        )


@dataclass(frozen=True)
class Network:
    """One training of a sweep with what follows of it."""

    name: str
    configuration: str
    """The name without the seed: networks that differ in their seed alone have the same."""
    grid: str
    recipe: Recipe
    """Of a network that starts from another one, without its weights."""
    labels: Labels
    train: str
    """The key of its training."""
    files: tuple[FileTasks, ...] = ()


@dataclass
class Plan:
    """All tasks of a sweep."""

    name: str
    networks: list[Network] = field(default_factory=list)
    tasks: dict[str, Task] = field(default_factory=dict)
    """By their keys; each stands behind those that it needs."""
    retries: int = 5

    def add(self, task: Task) -> str:
        """Add a task, unless it is there; returns its key."""
        self.tasks.setdefault(task.key, task)
        return task.key

    @property
    def boards(self) -> set[str]:
        """The boards that tasks hold."""
        return {task.resources.board for task in self.tasks.values() if task.resources.board}

    @property
    def gpus(self) -> float:
        """The most GPUs that one task holds, on all of its ranks."""
        held = (task.resources for task in self.tasks.values())
        return max((one.gpus * one.ranks for one in held), default=0)

    @property
    def ranked_cpus(self) -> int:
        """The most CPUs that a training of several ranks holds."""
        held = (task.resources for task in self.tasks.values())
        return max((one.cpus * one.ranks for one in held if one.ranks > 1), default=0)


def plan_sweep(sweep: Sweep, path: Path, recipe: Recipe | None = None) -> Plan:
    """Multiply out the grids of a sweep.

    Args:
        sweep: what the file says.
        path: of the file; its folder is what paths count from.
        recipe: in place of the one in the file that the sweep names.

    Raises:
        RecipeError: a grid does not go together with the recipe or with the grid it starts from.
        BoardConfigError, BundleError: a board is unknown, or has no bundle here.
    """
    return Planning.of(sweep, path, recipe).plan


@dataclass
class Planning:
    """A plan, and what it takes to add trainings to it: a search does so on its way."""

    sweep: Sweep
    path: Path
    """Of the sweep's file."""
    recipe: Recipe
    """That all trainings begin with."""
    plan: Plan
    _boards: _Boards
    _sources: _Sources
    _known: dict[str, list[Network]] = field(default_factory=dict)
    _names: set[str] = field(default_factory=set)
    """Of the configurations of all grids."""
    _shared: set[str] = field(default_factory=set)
    """Last parts that several factories of models have in common."""

    @classmethod
    def of(cls, sweep: Sweep, path: Path, recipe: Recipe | None = None) -> Planning:
        """That of a sweep, with its grids multiplied out; see :func:`plan_sweep`."""
        base = path.absolute().parent
        recipe = recipe or load_recipe(place(sweep.recipe, base))
        home = place(sweep.recipe, base).absolute().parent
        plan = Plan(path.stem, retries=sweep.tasks.retries)
        boards = _Boards.of(sweep, base)
        if (timed := sweep.search_time) is not None:
            boards.check_time(*timed, path)
        planning = cls(sweep, path, recipe, plan, boards, _Sources(home, base))
        planning._shared = _shared(sweep, recipe)
        planning._add_grids()
        return planning

    def _add_grids(self) -> None:
        found: list[tuple[Grid, Recipe, str]] = []
        wanted: dict[str, list[str]] = {}
        for grid in self.sweep.grid:
            points = list(_points(grid, self.recipe))
            if len(points) + len(found) > MOST_TRAININGS:
                said = f"{self.path}: more than {MOST_TRAININGS:,} trainings"
                raise RecipeError(said, hint="try fewer")
            for point in points:
                varied = point.pop("varied")
                recipe = recipe_of(
                    self.recipe, grid, tasks=self.sweep.tasks, path=self.path, **point
                )
                combination = _combination(grid, recipe)
                wanted[combination] = _wanted(grid, varied, recipe, combination)
                found.append((grid, recipe, combination))
        names = _distinct(wanted)
        self._names = set(names.values())
        firsts: set[str] = set()
        for grid, recipe, combination in found:
            self.add(grid, recipe, names[combination], first=combination not in firsts)
            firsts.add(combination)

    def unused(self, name: str) -> str:
        """A name of a configuration, or a longer one where a grid's has it."""
        while name in self._names:
            name += "-trial"
        return name

    def check_start(self, grid: Grid, recipe: Recipe) -> None:
        """Make sure that there is what a training starts from.

        Raises:
            RecipeError: the grid that it starts from has not one training of its model and seed.
        """
        if grid.start is not None:
            _start(self._known[grid.start], grid, recipe, self.path)

    def add(self, grid: Grid, recipe: Recipe, configuration: str, *, first: bool) -> Network:
        """Add a training with what follows of it, unless it is there already.

        Args:
            grid: that it is of.
            recipe: of it.
            configuration: its name without the seed.
            first: whether it is the first seed of its configuration.

        Raises:
            RecipeError: the grid that it starts from has not one training of its model and seed.
        """
        plan = self.plan
        network = _network(
            plan, self.sweep, self._sources, grid, recipe, configuration, self._known, self.path,
            Labels.of(recipe, self._shared),
        )  # fmt: skip
        for one in plan.networks:
            if one.train == network.train:
                return one  # without masks, policies and layers are all one
        files = _files(plan, self.sweep, self._boards, self._sources, network, first=first)
        network = Network(**{**vars(network), "files": files})
        self._known.setdefault(grid.name, []).append(network)
        plan.networks.append(network)
        return network


def _points(grid: Grid, recipe: Recipe) -> Iterator[dict[str, Any]]:
    """Each combination, as arguments of :func:`recipe_of`, and the names of what varies."""
    axes: dict[str, tuple[Any, ...]] = {
        "model": grid.models or (None,),
        "policy": grid.policies or (None,),
        "sparsity": grid.sparsities or (None,),
        "layers": grid.layers or (None,),
        "pruning": grid.pruning or (None,),
    }
    axes |= {f"settings {key}": values for key, values in grid.settings.items()}
    axes["seed"] = grid.seeds if grid.seeds is not None else (recipe.training.seed,)
    varied = [name for name, values in axes.items() if len(values) > 1 and name != "seed"]
    for found in combinations(axes):
        if found["sparsity"] == 0:
            found |= {"policy": None, "layers": None}
        settings = {name.partition(" ")[2]: found.pop(name) for name in list(found) if " " in name}
        yield {**found, "settings": settings, "varied": varied}


def _shared(sweep: Sweep, recipe: Recipe) -> set[str]:
    """Last parts that several factories of a sweep's models have in common."""
    models = [
        model
        for one in (*sweep.grid, sweep.search)
        if one is not None
        for model in one.models or (recipe.model.factory,)
    ]
    factories = {one if isinstance(one, str) else one.factory for one in models}
    counts = Counter(one.rpartition(":")[2] for one in factories)
    return {last for last, count in counts.items() if count > 1}


def _combination(grid: Grid, recipe: Recipe) -> str:
    """What trainings that differ in their seed alone have in common, and no others: hex."""
    return digest(grid.name, recipe.model_dump_json(exclude={"training": {"seed"}}))


def _distinct(wanted: Mapping[str, list[str]]) -> dict[str, str]:
    """The name of each combination: the first one of its names that no other might have.

    Of two that would have the same name neither gets it, so that their order is all one.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for rank in range(max(map(len, wanted.values()), default=0)):
        left = {one: each[rank] for one, each in wanted.items() if one not in names}
        counts = Counter(left.values())
        names |= {
            one: name for one, name in left.items() if counts[name] == 1 and name not in taken
        }
        taken.update(counts)
    return names


def _wanted(grid: Grid, varied: list[str], recipe: Recipe, combination: str) -> list[str]:
    """Names of a configuration, the best first; the last ones are its own whatever others are."""
    name, whole = (_name(grid, varied, recipe, whole=one) for one in (False, True))
    return [
        name,
        whole,
        *(f"{name[: _LONGEST - 1 - size]}-{combination[:size]}" for size in (8, len(combination))),
    ]


def _name(grid: Grid, varied: list[str], recipe: Recipe, *, whole: bool) -> str:
    """The grid's name and what varies in it; ``whole`` has no part of a factory left away."""
    masks, parts = recipe.masks, [grid.name]
    for axis in varied:
        if axis == "model":
            factory = recipe.model.factory
            said = [factory if whole else factory.rpartition(":")[2]]
            parts += said + [f"{key}={value}" for key, value in recipe.model.arguments.items()]
        elif axis == "policy":
            parts += [masks.policy] if masks else []
        elif axis == "sparsity":
            parts.append(f"s{masks.sparsity:g}" if masks else "dense")
        elif axis == "layers":
            parts += ["+".join(masks.layers)] if masks else []
        elif axis == "pruning":
            parts += [f"p{recipe.pruning.ratio:g}"] if recipe.pruning else []
        else:
            key = axis.partition(" ")[2]
            parts.append(f"{key.rpartition('.')[2]}={_at(recipe, key)}")
    return re.sub(r"[^\w.=+-]+", "_", "-".join(parts), flags=re.ASCII)[:_LONGEST]


def _at(recipe: Recipe, key: str) -> Any:
    found: Any = recipe.model_dump(mode="json")
    for part in key.split("."):
        found = found.get(part, "") if isinstance(found, dict) else ""
    return found


@dataclass
class _Sources:
    """What tasks read, by what is in it; each is looked at once."""

    base: Path
    """The folder of the recipe."""
    sweep: Path
    """That of the sweep's file."""
    seen: dict[tuple[str, str], str] = field(default_factory=dict)

    def of(self, recipe: Recipe) -> dict[str, str]:
        """Part of a training's key."""
        found = {
            "code": self._once("code", recipe.model.factory),
            "data": self._once("data", recipe.data.source),
        }
        teacher = recipe.distillation.weights if recipe.distillation else None
        for role, path in (("weights", recipe.model.weights), ("teacher weights", teacher)):
            if path is not None:
                found[role] = self._once("file", str(place(path, self.base)))
        if recipe.distillation and recipe.distillation.factory:
            found["teacher"] = self._once("code", recipe.distillation.factory)
        if recipe.masks and recipe.masks.board:
            found["board"] = self._once("board", recipe.masks.board)
        return found

    def calibration(self, source: str) -> tuple[str, str]:
        """Where calibration data is, as ``deploy convert`` takes it, and what tells it from other.

        The sweep's file names it, so it counts from there.
        """
        there = place(Path(source), self.sweep)
        ours = source in (RANDOM, FASHION_MNIST) and not there.exists()
        return source if ours else str(there), self._once("calibration", source)

    def _once(self, kind: str, what: str) -> str:
        if (known := self.seen.get((kind, what))) is None:
            if kind == "board":
                known = _board_identity(_board(what, self.base), None)
            elif kind == "file":
                known = file_identity(Path(what))
            elif kind == "calibration":
                known = data_identity(what, self.sweep)
            else:
                known = (code_identity if kind == "code" else data_identity)(what, self.base)
            self.seen[kind, what] = known
        return known


def _network(
    plan: Plan,
    sweep: Sweep,
    sources: _Sources,
    grid: Grid,
    recipe: Recipe,
    configuration: str,
    known: Mapping[str, list[Network]],
    path: Path,
    labels: Labels,
) -> Network:
    """A network with its training; files come later."""
    name = f"{configuration}-seed{recipe.training.seed}"
    needs: list[str] = []
    if grid.start is not None:
        needs = [_start(known[grid.start], grid, recipe, path).train]
    said = recipe.model_dump(mode="json")
    said["model"].pop("weights")
    if said["distillation"]:
        said["distillation"].pop("weights")
    settings = {"recipe": said, "sources": sources.of(recipe), "epoch": sweep.tasks.epoch}
    places = {"base": str(sources.base), "cwd": str(Path.cwd())}
    task = make_task(
        "train",
        name,
        settings,
        Resources(cpus=recipe.training.threads, gpus=sweep.tasks.gpus, ranks=recipe.training.ranks),
        needs=needs,
        places={**places, "recipe": recipe.model_dump_json()},
    )
    return Network(name, configuration, grid.name, recipe, labels, plan.add(task))


def _start(candidates: list[Network], grid: Grid, recipe: Recipe, path: Path) -> Network:
    alike = [
        one
        for one in candidates
        if one.recipe.model == recipe.model and one.recipe.training.seed == recipe.training.seed
    ]
    if len(alike) != 1:
        said = f"{recipe.model.factory} with seed {recipe.training.seed}"
        raise RecipeError(
            f"{path}: grid '{grid.name}' starts from '{grid.start}', which has {len(alike)} "
            f"trainings of {said}",
            hint=f"have one of each model and seed in grid '{grid.start}'",
        )
    return alike[0]


# --- what follows of a training --------------------------------------------------------------


@dataclass(frozen=True)
class _Boards:
    """Boards of estimates and measurements, with what their times depend on."""

    found: Mapping[tuple[str, str], tuple[Board, dict[str, Any], dict[str, str]]]

    @classmethod
    def of(cls, sweep: Sweep, base: Path) -> _Boards:
        found = {}
        for kind, chosen in (
            *(("estimate", one) for one in sweep.estimate),
            *(("measure", one) for one in sweep.measure),
        ):
            board = _board(chosen.board, base)
            if kind == "estimate":
                timed_core(board)
                known_clock(board)
            bundle = located(chosen.bundle, base)
            settings: dict[str, Any] = {
                "board": _board_identity(board, bundle),
                "threads": chosen.threads or board.threads,
            }
            places = {"board": str(_board_place(chosen.board, base)), "cwd": str(Path.cwd())}
            places |= {"bundle": str(bundle)} if bundle else {}
            if isinstance(chosen, Measurements):
                settings |= {"max_time": chosen.max_time, "host": chosen.host}
                key = located(chosen.identity, base)
                places |= {"identity": str(key)} if key else {}
            found[kind, chosen.board] = (board, settings, places)
        return cls(found)

    def check_time(self, kind: str, name: str, path: Path) -> None:
        """Make sure that a board has milliseconds.

        Raises:
            RecipeError: it is an emulated one, whose instructions are counted.
        """
        board, _, _ = self.found["measure" if kind == "measured" else "estimate", name]
        if kind == "measured" and board.connection == "emulator":
            raise RecipeError(
                f"{path}: search: board '{name}' is emulated, and has no milliseconds",
                hint="put a board under [[estimate]], and name it as board of [search]",
            )


def _board_place(text: str, base: Path) -> str | Path:
    return place(Path(text), base).absolute() if text.endswith(".toml") else text


def _board(text: str, base: Path) -> Board:
    return load_board(str(_board_place(text, base)))


def _board_identity(board: Board, bundle: Path | None) -> str:
    said = json.dumps(board.model_dump(mode="json", exclude={"given"}), sort_keys=True)
    return f"{said} {load_bundle(board, bundle).manifest.key}"


def _files(
    plan: Plan, sweep: Sweep, boards: _Boards, sources: _Sources, network: Network, *, first: bool
) -> tuple[FileTasks, ...]:
    found = []
    several = sweep.convert is not None and len(sweep.convert.types) > 1
    cpus = Resources(cpus=sweep.tasks.threads)
    for kind in dict.fromkeys(sweep.convert.types) if sweep.convert else ():
        name = f"{network.name}-{kind}" if several else network.name
        convert = plan.add(_conversion(sweep, sources, network, kind, name))
        evaluate = None
        if sweep.evaluate is not None:
            data = network.recipe.data.model_dump(mode="json")
            settings = {
                "data": data,
                "identity": sources.of(network.recipe)["data"],
                "seed": network.recipe.training.seed,
                "images": sweep.evaluate.images,
            }
            places = {"base": str(sources.base), "cwd": str(Path.cwd())}
            evaluate = plan.add(
                make_task("evaluate", name, settings, cpus, needs=[convert], places=places)
            )
        found.append(
            FileTasks(
                kind,
                convert,
                evaluate,
                _times(plan, boards, "estimate", sweep.estimate, convert, name, first=first),
                _times(plan, boards, "measure", sweep.measure, convert, name, first=first),
            )
        )
    return tuple(found)


def _conversion(
    sweep: Sweep, sources: _Sources, network: Network, kind: NetworkType, name: str
) -> Task:
    chosen = sweep.convert
    assert chosen is not None  # noqa: S101 (there are files of conversions alone)
    settings: dict[str, Any] = {"type": kind}
    places = {
        "base": str(sources.base),
        "cwd": str(Path.cwd()),
        "factory": network.recipe.model.factory,
    }
    if kind == "int8":
        assert chosen.calibration is not None  # noqa: S101 (the reader has seen to it)
        places["calibration"], identity = sources.calibration(chosen.calibration)
        settings |= {
            "calibration": chosen.calibration,
            "identity": identity,
            "samples": chosen.calibration_samples,
        }
    return make_task(
        "convert",
        name,
        settings,
        Resources(cpus=sweep.tasks.threads),
        needs=[network.train],
        places=places,
    )


def _times(
    plan: Plan,
    boards: _Boards,
    kind: str,
    chosen: tuple[Estimates, ...] | tuple[Measurements, ...],
    convert: str,
    name: str,
    *,
    first: bool,
) -> dict[str, str]:
    """The keys of a file's times, by the board."""
    found = {}
    for one in chosen:
        if not first and one.seeds == "first":
            continue
        board, settings, places = boards.found[kind, one.board]
        if kind == "estimate":
            task = make_task(
                "estimate", name, settings, Resources(cpus=1), needs=[convert], places=places
            )
        else:
            held = Resources(cpus=1, board=board.name)
            task = make_task("measure", name, settings, held, needs=[convert], places=places)
        found[one.board] = plan.add(task)
    return found
