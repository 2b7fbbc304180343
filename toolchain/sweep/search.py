"""The search of a sweep: Optuna chooses trials, and is told what came out of them.

Nothing of it is kept on disk. The trials that it chooses are a function of its settings and of the
results before them, which are in the store: so a search that was killed is played again from the
start, finds the finished tasks of each trial, and goes on. Trial number ``n`` is chosen when the
results of the numbers up to ``n - at_once`` are told, in the order of their numbers, and no others,
whatever has ended by then. So neither the number of workers nor their speed changes a trial.

Sources: Akiba et al., Optuna (KDD 2019); Watanabe, Tree-Structured Parzen Estimator (2023); Deb et
al., NSGA-II (2002), with their constraint domination for the limits.
"""

from __future__ import annotations

import json
import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from toolchain.errors import RecipeError
from toolchain.sweep.document import SearchResults, TrialResult
from toolchain.sweep.driver import State, take_up
from toolchain.sweep.plan import Network, Planning
from toolchain.sweep.search_spec import Search as SearchSpec
from toolchain.sweep.search_spec import Span
from toolchain.sweep.spec import Grid, recipe_of
from toolchain.sweep.store import Store
from toolchain.train.recipe import Recipe

if TYPE_CHECKING:
    import optuna

_EXCESS = "excess"
"""The attribute of a trial that says by how much it exceeds its limits."""


@dataclass(eq=False)
class Tried:
    """A trial."""

    number: int
    """From 0."""
    parameters: Mapping[str, Any]
    """What was chosen, by its name."""
    trial: optuna.trial.Trial
    networks: tuple[Network, ...] = ()
    """One for each seed; those of an earlier trial for which the same was chosen."""
    error: str | None = None
    """Why it has no values."""
    values: dict[str, float] = field(default_factory=dict)
    """What came out, by the name of the objective; empty until all of it is done."""
    within: bool = False
    """Whether it keeps to the limits."""

    @property
    def said(self) -> str:
        """What was chosen, as a text."""
        return json.dumps(sorted(self.parameters.items()))

    @property
    def configuration(self) -> str | None:
        """Of its networks."""
        return self.networks[0].configuration if self.networks else None

    def result(self, best: Sequence[Tried]) -> TrialResult:
        """As a sweep's results have it.

        Args:
            best: the best trials until now.
        """
        return TrialResult(
            number=self.number,
            configuration=self.configuration,
            parameters=dict(self.parameters),
            values=self.values,
            within_limits=self.within,
            best=any(one is self for one in best),
            error=self.error,
        )


class Search:
    """A search on its way.

    Args:
        planning: of the sweep; trials are added to its plan.
        spec: ``[search]``.

    Raises:
        RecipeError: a value that may be chosen does not go with the recipe.
    """

    def __init__(self, planning: Planning, spec: SearchSpec) -> None:
        self.spec, self.tried = spec, list[Tried]()
        self._planning = planning
        self._grid = Grid(name=spec.name, start=spec.start)
        self._choices = dict(spec.choices())
        self._told = 0
        self._alike: dict[str, Tried] = {}
        self._best: tuple[int, list[Tried]] | None = None
        self._check()
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # constraints are called experimental
            self._study = optuna.create_study(
                sampler=_sampler(spec),
                directions=[
                    "maximize" if one == "accuracy" else "minimize" for one in spec.objectives
                ],
            )
            self._distributions = {
                name: _distribution(choice) for name, choice in self._choices.items()
            }

    @property
    def finished(self) -> bool:
        """Whether all trials have ended."""
        return self._told == self.spec.trials

    @property
    def said(self) -> str:
        """How far it is, for the user."""
        found = self.best()
        said = f"{self._told} of {self.spec.trials} trials"
        if not found:
            return said
        return f"{said}; best: " + ", ".join(f"number {one.number}" for one in found[:3])

    def grow(self, state: State, store: Store) -> list[Tried]:
        """Take the results of trials that have ended, and choose as many new ones.

        Args:
            state: how far the sweep is; new tasks are added to its plan.
            store: where those may be done already.

        Returns:
            The trials whose results were taken.
        """
        told = []
        while True:
            # In this order, whatever has ended: see the top of this module.
            if len(self.tried) < min(self.spec.trials, self._told + self.spec.at_once):
                self._ask()
                take_up(state, store)
            elif self._told < len(self.tried) and _settled(self.tried[self._told], state):
                told.append(self._tell(state))
            else:
                return told

    def best(self) -> list[Tried]:
        """The trials within the limits that no other one beats, each choice once."""
        if self._best is None or self._best[0] != self._told:
            good = {one.said: one for one in reversed(self.tried[: self._told]) if one.within}
            found = sorted(good.values(), key=lambda one: one.number)
            points = [self._point(one) for one in found]
            best = [
                one
                for one, point in zip(found, points, strict=True)
                if not any(_beats(other, point) for other in points)
            ]
            self._best = (self._told, best if len(self.spec.objectives) > 1 else best[:1])
        return self._best[1]

    def _point(self, one: Tried) -> list[float]:
        """Its values, of which more is better."""
        return [
            one.values[name] if name == "accuracy" else -one.values[name]
            for name in self.spec.objectives
        ]

    def results(self) -> SearchResults:
        """What is known so far."""
        timed, spec, best = self._planning.sweep.search_time, self.spec, self.best()
        return SearchResults(
            sampler=spec.sampler,
            seed=spec.seed,
            at_once=spec.at_once,
            trials=spec.trials,
            objectives=list(spec.objectives),
            most_ms=spec.most_ms,
            most_macs=spec.most_macs,
            board=timed[1] if timed else None,
            time=timed[0] if timed else None,
            type=self._type,
            tried=[one.result(best) for one in self.tried[: self._told]],
        )

    @property
    def _type(self) -> str | None:
        convert = self._planning.sweep.convert
        return (self.spec.type or convert.types[0]) if convert else None

    def _ask(self) -> None:
        number = len(self.tried)
        trial = self._study.ask(self._distributions)
        parameters = dict(trial.params)
        one = Tried(number, parameters, trial)
        before = self._alike.setdefault(one.said, one)
        if before is not one:
            one.networks, one.error = before.networks, before.error
        else:
            try:
                recipes = [self._recipe(parameters, seed) for seed in self._seeds]
            except RecipeError as error:
                one.error = error.what
            else:
                one.networks = self._networks(number, recipes)
        self.tried.append(one)

    @property
    def _seeds(self) -> tuple[int, ...]:
        seeds = self.spec.seeds
        return seeds if seeds is not None else (self._planning.recipe.training.seed,)

    def _networks(self, number: int, recipes: Sequence[Recipe]) -> tuple[Network, ...]:
        name = self._planning.unused(f"{self.spec.name}-{number}")
        return tuple(
            self._planning.add(self._grid, recipe, name, first=index == 0)
            for index, recipe in enumerate(recipes)
        )

    def _recipe(self, parameters: Mapping[str, Any], seed: int) -> Recipe:
        chosen = {name: self._value(name, said) for name, said in parameters.items()}
        before = "sparsity of "
        targets = {
            name.removeprefix(before): chosen.pop(name)
            for name in list(chosen)
            if name.startswith(before)
        }
        axes = {
            name: chosen.pop(name, None)
            for name in ("model", "policy", "sparsity", "layers", "pruning")
        }
        return recipe_of(
            self._planning.recipe,
            self._grid,
            seed=seed,
            settings=chosen,
            tasks=self._planning.sweep.tasks,
            path=self._planning.path,
            targets=targets,
            what="search",
            **axes,
        )

    def _value(self, name: str, said: Any) -> Any:
        choice = self._choices[name]
        return said if isinstance(choice, Span) else choice[said]

    def _check(self) -> None:
        """Try every value that may be chosen, once, among the first ones of the others."""
        tries = {
            name: [choice.low, choice.high] if isinstance(choice, Span) else list(choice)
            for name, choice in self._choices.items()
        }
        first = {name: values[0] for name, values in tries.items()}
        for name, values in tries.items():
            for value in values:
                for seed in self._seeds:
                    recipe = self._recipe({**first, name: value}, seed)
                    self._planning.check_start(self._grid, recipe)

    def _tell(self, state: State) -> Tried:
        import optuna

        one = self.tried[self._told]
        self._told += 1
        given = {"ms": self.spec.most_ms, "macs": self.spec.most_macs}
        limits = {name: most for name, most in given.items() if most is not None}
        if one.error is None:
            one.error = _fault(one, state)
        if one.error is None:
            one.values = self._values(one, state)
            if missing := {*self.spec.objectives, *limits} - set(one.values):
                one.error = f"there is no {' and no '.join(sorted(missing))} of it"
        if one.error is not None:
            self._study.tell(one.trial, state=optuna.trial.TrialState.FAIL)
            return one
        excess = [one.values[name] / most - 1 for name, most in limits.items()]
        one.within = all(each <= 0 for each in excess)
        one.trial.set_user_attr(_EXCESS, excess)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._study.tell(one.trial, [one.values[name] for name in self.spec.objectives])
        return one

    def _values(self, one: Tried, state: State) -> dict[str, float]:
        """Means over the seeds."""
        found: dict[str, list[float]] = {"accuracy": [], "macs": [], "ms": []}
        timed = self._planning.sweep.search_time
        for network in one.networks:
            trained = state.done[network.train].result
            found["macs"].append(trained["macs_kept"])
            files = next((each for each in network.files if each.type == self._type), None)
            key = files.evaluate if files is not None and files.evaluate else network.train
            found["accuracy"].append(state.done[key].result["accuracy"])
            if files is not None and timed is not None:
                keys = files.measurements if timed[0] == "measured" else files.estimates
                if timed[1] in keys:
                    ms = state.done[keys[timed[1]]].result["ms"]
                    found["ms"] += [] if ms is None else [ms]
        return {name: statistics.fmean(values) for name, values in found.items() if values}


def _settled(one: Tried, state: State) -> bool:
    return all(
        key in state.done or key in state.failed or key in state.left_out for key in _keys(one)
    )


def _keys(one: Tried) -> list[str]:
    """Of all its tasks."""
    keys = []
    for network in one.networks:
        keys.append(network.train)
        for files in network.files:
            keys += [files.convert, *([files.evaluate] if files.evaluate else [])]
            keys += [*files.estimates.values(), *files.measurements.values()]
    return keys


def _fault(one: Tried, state: State) -> str | None:
    """Why a trial cannot be done; ``None`` where it is."""
    missing = [key for key in _keys(one) if key not in state.done]
    failed = [state.failed[key].what for key in missing if key in state.failed]
    if failed:
        return failed[0]
    return "what its trainings start from cannot be done" if missing else None


def _beats(one: list[float], other: list[float]) -> bool:
    """Whether values are no worse in anything, and better in something."""
    pairs = list(zip(one, other, strict=True))
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


def _sampler(spec: SearchSpec) -> optuna.samplers.BaseSampler:
    from optuna import samplers

    if spec.sampler == "random":
        return samplers.RandomSampler(seed=spec.seed)
    limited = spec.most_ms is not None or spec.most_macs is not None
    constraints = _excess if limited else None
    if spec.sampler == "nsga2":
        return samplers.NSGAIISampler(
            population_size=max(2, spec.startup), seed=spec.seed, constraints_func=constraints
        )
    return samplers.TPESampler(
        n_startup_trials=spec.startup,
        seed=spec.seed,
        constant_liar=spec.at_once > 1,  # or trials at the same time would be near each other
        constraints_func=constraints,
    )


def _excess(trial: optuna.trial.FrozenTrial) -> list[float]:
    found: list[float] = trial.user_attrs[_EXCESS]
    return found


def _distribution(
    choice: Span | Mapping[str, object],
) -> optuna.distributions.BaseDistribution:
    from optuna import distributions

    if not isinstance(choice, Span):
        return distributions.CategoricalDistribution(list(choice))
    if choice.whole:
        step = int(choice.step) if choice.step is not None else 1
        return distributions.IntDistribution(int(choice.low), int(choice.high), choice.log, step)
    return distributions.FloatDistribution(choice.low, choice.high, choice.log, choice.step)
