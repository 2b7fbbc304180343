"""Limits that a comparison may not go past: ``median > +3%``, on the command line or in a file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from toolchain.errors import GateError, RecipeError
from toolchain.formats.toml_file import read_toml, validate
from toolchain.profile.compare import Change, Comparison
from toolchain.profile.figures import written

FIGURES = ("median", "mean", "p95", "instructions", "memory", "size", "energy", "estimate")
Outcome = Literal["passes", "fails", "unclear"]

_NUMBER = r"[0-9]{1,15}(?:\.[0-9]{1,9})?"
_RULE = re.compile(
    rf"\s*(?:(?P<model>[^\s:@>]+):)?(?P<figure>[a-z0-9]+)(?:@(?P<operator>[^>]+?))?\s*>\s*"
    rf"(?P<plus>\+?)\s*(?P<number>{_NUMBER})\s*(?P<unit>[%A-Za-zµ]*)\s*"
)
_TIMES = {"us": 1.0, "µs": 1.0, "ms": 1e3, "s": 1e6}
_BYTES = {"B": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20,
          "GiB": 2.0**30}  # fmt: skip
_ENERGIES = {"uJ": 1e-6, "µJ": 1e-6, "mJ": 1e-3, "J": 1.0}
_EXAMPLE = "write as 'median > +3%', 's20*:memory > +1MiB', 'median@conv1 > +10%', 'size > 500kB'"


@dataclass(frozen=True)
class Rule:
    """One limit."""

    text: str
    """As it was written."""
    figure: str
    limit: float
    """A part of the figure before (0.03), or a number in the base unit: microseconds, bytes,
    joules."""
    relative: bool
    """Whether ``limit`` is a part of the figure before."""
    growth: bool
    """Whether what is limited is the growth; else it is the figure itself."""
    model: str = "*"
    """A pattern of names, as a shell's."""
    operator: str | None = None
    """The same of operators; ``None``: the whole model."""

    def is_of(self, model: str) -> bool:
        """Whether figures of a model of that name are limited."""
        return fnmatchcase(model, self.model)

    def concerns(self, change: Change) -> bool:
        """Whether a change is one of those that are limited."""
        figure, _, _ = change.figure.partition(" ")  # estimates tell the board, energies the source
        if figure != self.figure or not self.is_of(change.model):
            return False
        if self.operator is None or change.operator is None:
            return self.operator is None and change.operator is None
        return fnmatchcase(change.operator, self.operator)

    def judge(self, change: Change) -> Judgement:
        """What becomes of a change that is concerned."""
        base = {"us": 1.0, "ms": 1e3, "KiB": 1024.0, "B": 1.0, "J": 1.0, "": 1.0}[change.unit]
        before, after = change.before * base, change.after * base
        if not self.growth:
            # Whatever the figure before was like: it takes no part.
            least = after if change.after_low is None else change.after_low * base
            return self._told(change, past=after > self.limit, sure=least > self.limit)
        if self.relative:
            ratio = change.ratio if change.ratio is not None else float("inf" if after else 1)
            return self._told(change, past=ratio - 1 > self.limit, sure=change.verdict == "worse")
        return self._told(change, past=after - before > self.limit, sure=change.verdict == "worse")

    def _told(self, change: Change, *, past: bool, sure: bool) -> Judgement:
        if not past:
            return Judgement(self, change, "passes")
        return Judgement(self, change, "fails" if sure else "unclear")


@dataclass(frozen=True)
class Judgement:
    """What a limit says of one figure."""

    rule: Rule
    change: Change
    outcome: Outcome
    """``unclear`` where the figure is past the limit, and may be so by chance alone."""

    @property
    def what(self) -> str:
        """The figure in words: ``s20: median: 1.20 ms to 1.31 ms (+9.2%)``."""
        change = self.change
        name = f"{change.model}: {change.figure}"
        name += f" of {change.operator}" if change.operator else ""
        grown = "" if change.ratio is None else f" ({change.ratio - 1:+.2%})"
        before, after = (written(one, change.unit) for one in (change.before, change.after))
        return f"{name}: {before} to {after}{grown}"


@dataclass(frozen=True)
class Idle:
    """A limit that concerns no figure of a comparison, so that it could not fail."""

    rule: Rule
    measured: tuple[str, ...]
    """The figures that both results have."""

    @property
    def what(self) -> str:
        """The fault in words."""
        return f"'{self.rule.text}' limits nothing that both results have"

    @property
    def they_have(self) -> str:
        """The figures in words."""
        return ", ".join(self.measured) or "no figure in common"


class Policy(BaseModel):
    """A policy file, ``tileskip-gate.toml``."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    version: Literal[1]
    """Of the form of this file."""
    fail_if: list[str] = Field(alias="fail-if", min_length=1)
    """Limits, as ``--fail-if`` takes them."""
    strict: bool = False
    """Whether what is unclear fails, too."""


def read_policy(path: Path) -> tuple[list[Rule], bool]:
    """The limits of a policy file, and whether what is unclear fails.

    Raises:
        RecipeError: it cannot be read, or has a fault; names the key.
    """
    hint = 'a policy has: version = 1, and fail-if = ["median > +3%"]'
    policy = validate(Policy, read_toml(path, RecipeError), path, RecipeError, hint=hint)
    rules = []
    for text in policy.fail_if:
        try:
            rules.append(parse_rule(text))
        except ValueError as error:
            raise RecipeError(f"{path}: fail-if: {error}", hint=_EXAMPLE) from error
    return rules, policy.strict


def parse_rule(text: str) -> Rule:
    """Read a limit: ``[MODEL:]FIGURE[@OPERATOR] > [+]NUMBER[UNIT]``.

    Raises:
        ValueError: it is none; the message goes on from the place where it stands.
    """
    found = _RULE.fullmatch(text)
    if not found:
        raise ValueError(f"'{text}' is no limit: {_EXAMPLE}")
    figure, unit = found["figure"], found["unit"]
    if figure not in FIGURES:
        raise ValueError(f"'{text}': there is no figure '{figure}': {', '.join(FIGURES)}")
    if found["operator"] and figure != "median":
        raise ValueError(f"'{text}': of operators there is the median alone")
    growth, relative = bool(found["plus"]), unit == "%"
    if relative and not growth:
        raise ValueError(f"'{text}': a part is one of the figure before: write +{found['number']}%")
    units = _units(figure)
    if not relative and unit not in units:
        known = ", ".join(["%", *(name for name in units if name)])
        raise ValueError(f"'{text}': {figure} is limited in one of: {known}")
    factor = 0.01 if relative else units[unit]
    return Rule(
        text=text.strip(),
        figure=figure,
        limit=float(found["number"]) * factor,
        relative=relative,
        growth=growth,
        model=found["model"] or "*",
        operator=found["operator"] and found["operator"].strip(),
    )


def _units(figure: str) -> dict[str, float]:
    if figure == "instructions":
        return {"": 1.0}
    if figure == "energy":
        return _ENERGIES
    return _BYTES if figure in ("memory", "size") else _TIMES


def judge(rules: Sequence[Rule], found: Comparison) -> Iterator[Judgement]:
    """What each limit says of each figure that it concerns; :func:`idle` has the other limits."""
    for rule in rules:
        yield from (rule.judge(one) for one in _all(found) if rule.concerns(one))


def idle(rules: Sequence[Rule], comparisons: Sequence[Comparison]) -> Iterator[Idle]:
    """The limits that concern no figure of a comparison that has models of theirs.

    A limit of models that no comparison has is one, too.
    """
    for rule in rules:
        mine = [
            found
            for found in comparisons
            if rule.model == "*" or any(rule.is_of(one.model) for one in _all(found))
        ]
        for found in mine or comparisons:
            if not any(rule.concerns(one) for one in _all(found)):
                measured = dict.fromkeys(
                    f"{one.figure}@{one.operator}" if one.operator else one.figure
                    for one in _all(found)
                )
                yield Idle(rule, tuple(measured))


def _all(found: Comparison) -> Iterator[Change]:
    yield from found.changes
    yield from found.operators


def failed(judgements: Sequence[Judgement], *, strict: bool = False) -> list[Judgement]:
    """Those that end the command.

    Args:
        judgements: of all limits.
        strict: whether one that may be so by chance is among them.
    """
    wrong = ("fails", "unclear") if strict else ("fails",)
    return [one for one in judgements if one.outcome in wrong]


def require(
    judgements: Sequence[Judgement], without: Sequence[Idle] = (), *, strict: bool = False
) -> None:
    """Check that no figure is past its limit, and that each limit has a figure.

    Args:
        judgements: of all limits.
        without: the limits that concern nothing.
        strict: whether one that may be so by chance counts.

    Raises:
        GateError: one is, or one has none; names all of them.
    """
    lines = [f"{one.what}: past '{one.rule.text}'" for one in failed(judgements, strict=strict)]
    lines += dict.fromkeys(one.what for one in without)
    if lines:
        hint = f"they have: {without[0].they_have}" if without else "the table has all figures"
        raise GateError("; ".join(lines), hint=hint)
