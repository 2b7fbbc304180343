"""``[search]`` of a sweep: trainings that are chosen by what earlier ones have reached."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from toolchain.sweep.axes import (
    NetworkChoice,
    NetworkType,
    Seed,
    Value,
    check_policies,
    check_settings,
)
from toolchain.train.recipe import Count, Sparsity

Objective = Literal["accuracy", "ms", "macs"]
MOST_TRIALS = 100_000


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Span(_Table):
    """``{ low = ..., high = ... }``: numbers between two others, both of which may be chosen."""

    low: int | float
    """The least number."""
    high: int | float
    """The largest one. Where both are whole numbers, whole ones are chosen."""
    log: bool = False
    """Whether each power of ten gets as many trials as the next one."""
    step: int | float | None = None
    """Between two numbers that may be chosen, from ``low`` on."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log goes with a low above 0, and without step")
        if self.step is not None and not 0 < self.step <= self.high - self.low:
            raise ValueError(f"step {self.step:g} is not within low and high")
        return self

    @property
    def whole(self) -> bool:
        """Whether whole numbers are chosen."""
        return all(isinstance(one, int) for one in (self.low, self.high, self.step or 1))


Values = Span | Annotated[tuple[Value, ...], Field(min_length=1)]
Sparsities = Span | Annotated[tuple[Sparsity, ...], Field(min_length=1)]


class Search(_Table):
    """``[search]``: trials, each with settings chosen by what earlier ones have reached."""

    trials: Annotated[int, Field(ge=1, le=MOST_TRIALS)]
    """How many."""
    name: str = "search"
    """What trials are called, before their numbers."""
    objectives: Annotated[tuple[Objective, ...], Field(min_length=1)] = ("accuracy",)
    """What is to be high (``accuracy``) and low (``ms``, ``macs``). Of several, the trials of the
    Pareto front are the best ones."""
    most_ms: Annotated[float, Field(gt=0)] | None = None
    """Only trials that take no longer than this many milliseconds count as good."""
    most_macs: Annotated[float, Field(gt=0)] | None = None
    """Only trials that keep no more than this many multiply-accumulates count as good."""
    board: str | None = None
    """Whose milliseconds count: a board of ``[[measure]]`` or ``[[estimate]]``. Without it, the one
    that there is."""
    type: NetworkType | None = None
    """Which type's accuracy and milliseconds count. Without it, the first of ``[convert]``."""
    sampler: Literal["tpe", "nsga2", "random"] = "tpe"
    """Who chooses: Optuna's tree of Parzen estimators, its genetic algorithm, or chance."""
    startup: Count = 10
    """Trials that chance chooses before ``tpe`` does. With ``nsga2`` the trials of a generation."""
    seed: Seed = 0
    """Of the choice."""
    at_once: Annotated[int, Field(ge=1, le=4096)] = 4
    """Trials that may be at work at the same time. Trial number ``n`` is chosen by the results up
    to number ``n - at_once``, so that another number gives other trials."""
    start: str | None = None
    """The name of a grid. Each training starts from its network of the same model and seed."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] | None = None
    """Seeds of each trial's trainings, whose mean counts. Without it, the recipe's."""
    models: tuple[str | NetworkChoice, ...] = ()
    """Networks to choose from, as in a recipe's ``[model]``."""
    policies: tuple[str, ...] = ()
    """Policies of masks to choose from."""
    layers: tuple[tuple[str, ...], ...] = ()
    """Lists of name patterns of the convolutions to mask, to choose from."""
    sparsity: Sparsities | None = None
    """Share of pixels to mask: ``{ low = 0.1, high = 0.4 }``, or a list to choose from. 0 trains
    without masks."""
    layer_sparsities: dict[str, Sparsities] = {}
    """Name pattern to the same, for layers with a sparsity of their own. The first match counts."""
    pruning: Sparsities | None = None
    """Share of channels to remove before training."""
    settings: dict[str, Values] = {}
    """Other keys of the recipe: ``"optimizer.learning_rate" = { low = 0.01, high = 0.3, log = true
    }``, or a list to choose from."""

    @field_validator("policies")
    @classmethod
    def _policies_are_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return check_policies(names)

    @field_validator("settings")
    @classmethod
    def _settings_are_no_axes(cls, settings: dict[str, Values]) -> dict[str, Values]:
        return check_settings(settings, _KEYS)

    @field_validator("sparsity", "pruning", "layer_sparsities")
    @classmethod
    def _spans_are_shares(cls, given: object) -> object:
        for one in given.values() if isinstance(given, dict) else (given,):
            if isinstance(one, Span) and not (one.low >= 0 and one.high < 1):
                raise ValueError(f"{one.low:g} to {one.high:g} is not from 0 and below 1")
        return given

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if "accuracy" not in self.objectives:
            raise ValueError(
                "objectives: accuracy is missing, and without it the most masked network is best"
            )
        if len(set(self.objectives)) < len(self.objectives):
            raise ValueError("objectives: one stands twice")
        if not dict(self.choices()):
            raise ValueError(
                "there is nothing to choose: give sparsity, policies, settings or the like"
            )
        return self

    @property
    def timed(self) -> bool:
        """Whether milliseconds count."""
        return "ms" in self.objectives or self.most_ms is not None

    def choices(self) -> Iterator[tuple[str, Span | Mapping[str, object]]]:
        """What is chosen, by its name: a span, or values by what they are called."""
        if self.models:
            yield "model", {_said(one): one for one in self.models}
        if self.policies:
            yield "policy", {one: one for one in self.policies}
        if self.layers:
            yield "layers", {"+".join(one): one for one in self.layers}
        shares = {"sparsity": self.sparsity, "pruning": self.pruning}
        shares |= {f"sparsity of {name}": one for name, one in self.layer_sparsities.items()}
        for name, share in shares.items():
            if isinstance(share, Span):
                yield name, share.model_copy(update={"low": float(share.low)})
            elif share is not None:
                yield name, {f"{one:g}": one for one in share}
        for name, values in self.settings.items():
            yield name, values if isinstance(values, Span) else {str(one): one for one in values}


_KEYS = {
    "model.factory": "models",
    "model.arguments": "models",
    "model.weights": "start",
    "masks.policy": "policies",
    "masks.sparsity": "sparsity",
    "masks.targets": "layer_sparsities",
    "masks.layers": "layers",
    "pruning.ratio": "pruning",
    "training.seed": "seeds",
    "training.ranks": "one number for all trials, in the recipe",
    "training.threads": "threads, under [tasks]",
    "training.device": "gpus, under [tasks]",
}
"""Keys of a recipe, and what takes their place."""


def _said(model: str | NetworkChoice) -> str:
    if isinstance(model, str):
        return model
    return " ".join([model.factory, *(f"{key}={value}" for key, value in model.arguments.items())])
