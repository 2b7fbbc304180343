"""Find a model's weights in what a checkpoint holds.

A file may hold several state_dicts, in wrappers of any depth (``{"model": {"state_dict": ...}}``),
and each may have its names behind a prefix (``module.``, ``_orig_mod.``, ``model.``). Which of
them fits is not guessed from lists of names: it is asked of the model's own names.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

from toolchain.errors import ModelError
from toolchain.sparsity.checkpoint_file import StandIn
from toolchain.sparsity.masked_conv import MASK_SUFFIX, mask_entries

Versions = Mapping[str, Mapping[str, Any]]
"""Module name -> what torch keeps of it beside its tensors, as its ``version``."""

Keys = tuple[str | int, ...]

EMA = "ema"
"""Chooses averaged weights, whatever they are called."""
_USUAL = ("state_dict", "model_state_dict", "model_state", "model", "weights", "model_weights",
          "net", "network", "module", "params")  # fmt: skip
"""Keys of the weights of a training, where others are beside them."""
_AVERAGED = {"ema", "swa", "avg", "average", "averaged", "averaging", "shadow", "polyak"}
_COUNTERS = ("total_ops", "total_params", "n_averaged")  # of profilers, and of averaged models
_WRAPPERS = {"module", "_orig_mod"}  # prefixes that say nothing about the network
_ANCHORS = 8
_DEEPEST = 8
_SHOWN = 5


@dataclass(frozen=True, eq=False)
class StateDict:
    """One state_dict of a file."""

    path: tuple[str, ...]
    """The keys that lead to it; none at the top."""
    tensors: Mapping[str, Any]
    """By name; what is not a tensor is a module's extra state."""
    versions: Versions | None
    averaged: bool
    """Whether it is an average over the training."""
    aside: bool = False
    """Whether the file says itself that another is the one to take."""

    @property
    def name(self) -> str:
        """By which ``weights`` chooses it."""
        return ".".join(self.path)


class Checkpoint(dict[str, Any]):
    """The tensors of a checkpoint by name, and whatever else could be meant.

    As a dict it is the state_dict that comes first; :func:`match` finds the one that fits a model.

    Args:
        found: every state_dict of the file.
        weights: which one was asked for; ``None`` for what fits.
    """

    def __init__(self, found: Collection[StateDict], weights: str | None = None) -> None:
        self.found, self.weights = tuple(found), weights
        super().__init__(min(self.found, key=_rank).tensors)


class Matched(dict[str, Any]):
    """The weights that fit a model, under the model's own names.

    Args:
        tensors: by name.
        versions: ``None`` where the file does not tell.
        notes: which weights were taken and what was passed over, where that is not plain.
    """

    def __init__(
        self,
        tensors: Mapping[str, Any],
        versions: Versions | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(tensors)
        self.versions, self.notes = versions, notes

    def with_tensors(self, added: Mapping[str, Any]) -> Matched:
        """The same and some more."""
        return Matched({**self, **added}, self.versions, self.notes)

    def without(self, drops: Callable[[str], bool]) -> Matched:
        """The same but for some names."""
        left = {name: value for name, value in self.items() if not drops(name)}
        return Matched(left, self.versions, self.notes)


def find_state_dicts(content: object) -> list[StateDict]:
    """Every mapping from names to tensors in a file's content, in its order."""
    return list(_search(content, (), averaged=False, aside=False))


def find_modules(content: object, deepest: int = _DEEPEST) -> list[tuple[Keys, StandIn]]:
    """Every whole model in a file's content, and the keys and indices that lead to it."""
    if isinstance(content, StandIn):
        return [((), content)] if content.is_module else []
    parts: list[tuple[str | int, Any]] = [*_items(content)]
    if isinstance(content, list | tuple):
        parts = [*enumerate(content)]
    return [
        ((key, *path), module)
        for key, value in (parts if deepest else [])
        for path, module in find_modules(value, deepest - 1)
    ]


def match(model: nn.Module, state_dict: Mapping[str, Any]) -> Matched:
    """Choose among a checkpoint's state_dicts, and give its tensors the model's names.

    A state_dict fits if all of the model's tensors are in it, behind one prefix (or the model's
    own names have one). Where none fits, the nearest is given, and loading tells what is missing.

    Args:
        model: the network to load; ``unneeded`` names of it may be missing.
        state_dict: a :class:`Checkpoint`, or names and tensors; what was matched stays as it is.

    Raises:
        ModelError: several fit and nothing says which one is meant, or the file does not have the
            weights that were asked for.
    """
    if isinstance(state_dict, Matched):
        return state_dict
    if not isinstance(state_dict, Checkpoint):
        versions = _versions(state_dict)
        state_dict = Checkpoint([StateDict((), dict(state_dict), versions, averaged=False)])
    wanted = _Wanted(model)
    fits = [fit for one in state_dict.found for fit in _fits(one, wanted)]
    chosen = _choose(state_dict, fits, wanted)
    return _matched(chosen, fits, wanted, asked=state_dict.weights is not None)


# --- what a file holds -----------------------------------------------------------------------


def _search(
    content: object, path: tuple[str, ...], *, averaged: bool, aside: bool
) -> Iterator[StateDict]:
    items = _items(content)
    tensors = {
        name: value
        for name, value in items
        if isinstance(value, Tensor) or name.endswith("_extra_state")
    }
    named = not isinstance(content, list | tuple)
    if named and any(isinstance(value, Tensor) for value in tensors.values()):
        counted = any(name.rpartition(".")[2] == "n_averaged" for name in tensors)
        yield StateDict(path, tensors, _versions(content), averaged or counted, aside)
    if len(path) < _DEEPEST:
        # Lightning puts averaged weights into the usual place, and the others beside it.
        swapped = {"current_model_state", "averaging_state"} <= {key for key, _ in items}
        for key, value in items:
            usual = swapped and key == "state_dict"
            yield from _search(
                value,
                (*path, key),
                averaged=averaged or usual or _says_averaged(key),
                aside=aside or (swapped and not usual),
            )


def _items(content: object) -> list[tuple[str, Any]]:
    """The named values of a dict, or of an object that has some; not of a whole model.

    Those of a list or a tuple are called by their numbers.
    """
    if isinstance(content, StandIn):
        content = {} if content.is_module else content.attributes
    if isinstance(content, list | tuple):
        return [(str(number), value) for number, value in enumerate(content)]
    if not isinstance(content, dict):
        return []
    # Not its own method: a file may have put something else into its place.
    return [(key, value) for key, value in dict.items(content) if isinstance(key, str)]


def _versions(content: object) -> Versions | None:
    found = getattr(content, "_metadata", None)
    if not isinstance(found, dict):
        return None
    return {
        name: {key: value for key, value in dict.items(kept) if isinstance(key, str)}
        for name, kept in dict.items(found)
        if isinstance(name, str) and isinstance(kept, dict)
    }


def _says_averaged(key: str) -> bool:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", key).lower()
    return bool(_AVERAGED & set(re.split(r"[^a-z]+", words)))


# --- what fits -------------------------------------------------------------------------------


class _Wanted:
    """What a model has to be given."""

    def __init__(self, model: nn.Module) -> None:
        state = model.state_dict()
        self.names = set(state)
        self.shapes = {n: value.shape for n, value in state.items() if isinstance(value, Tensor)}
        unneeded: Collection[str] = getattr(model, "unneeded", ())
        masks = mask_entries(model)
        self.required = [
            name
            for name in self.shapes
            if name not in unneeded
            and name not in masks
            and not name.endswith(("num_batches_tracked", "_extra_state"))
        ]


class _Fit(NamedTuple):
    """A state_dict, and how its names become the model's."""

    one: StateDict
    strip: str
    add: str

    @property
    def averaged(self) -> bool:
        return self.one.averaged or any(map(_says_averaged, self.strip.split(".")))

    @property
    def parts(self) -> list[str]:
        return [part for part in self.strip.split(".") if part]

    @property
    def label(self) -> str:
        """By which ``weights`` chooses it; empty at the top of the file."""
        return ".".join([*self.one.path, *(p for p in self.parts if p not in _WRAPPERS)])

    def renamed(self, name: str) -> str | None:
        """A name of the file as the model has it; ``None`` where it is another's."""
        return self.add + name[len(self.strip) :] if name.startswith(self.strip) else None

    def given(self, wanted: str) -> Any:
        """What the file has for a name of the model."""
        if not wanted.startswith(self.add):
            return None
        return self.one.tensors.get(self.strip + wanted[len(self.add) :])

    def is_called(self, weights: str) -> bool:
        return weights in (self.label, self.one.name, *self.one.path[-1:], *self.parts)


def _fits(one: StateDict, wanted: _Wanted) -> list[_Fit]:
    """Every way in which all that is required is in a state_dict."""
    if not wanted.required:
        return [_Fit(one, "", "")]
    anchor = max(wanted.required, key=len)
    return [
        fit
        for fit in _ways(one, [anchor])
        if all(fit.given(name) is not None for name in wanted.required)
    ]


def _ways(one: StateDict, anchors: Collection[str]) -> list[_Fit]:
    """The pairs of prefixes by which a name of the file becomes one of these of the model."""
    ways = {("", ""): None}
    for anchor in anchors:
        theirs = anchor.split(".")
        for name in one.tensors:
            ours = name.split(".")
            same = 0
            while same < min(len(ours), len(theirs)) and ours[-1 - same] == theirs[-1 - same]:
                same += 1
            if same:
                ways[_prefix(ours[: len(ours) - same]), _prefix(theirs[: len(theirs) - same])] = (
                    None
                )
    return [_Fit(one, strip, add) for strip, add in ways]


def _prefix(parts: list[str]) -> str:
    return "".join(f"{part}." for part in parts)


def _nearest(found: Collection[StateDict], wanted: _Wanted) -> _Fit:
    """What has the most of the model's names; of several the one that comes first."""
    anchors = wanted.required[:: max(1, len(wanted.required) // _ANCHORS)]
    ways = [fit for one in sorted(found, key=_rank) for fit in _ways(one, anchors)]
    return max(ways, key=lambda fit: sum(fit.given(n) is not None for n in wanted.required))


# --- which is meant --------------------------------------------------------------------------


def _rank(one: StateDict) -> tuple[int, bool, int]:
    """Sorts what is more likely meant before the rest: what is not averaged, and in its place."""
    kind = 2 if one.aside else int(one.averaged)
    return kind, bool(one.path) and one.path[-1] not in _USUAL, len(one.path)


def _fit_rank(fit: _Fit) -> tuple[int, bool, int, bool]:
    kind, unusual, depth = _rank(fit.one)
    unusual = unusual or not {*_USUAL, *_WRAPPERS}.issuperset(fit.parts)
    return max(kind, int(fit.averaged)), unusual, depth, bool(fit.strip or fit.add)


def _choose(given: Checkpoint, fits: list[_Fit], wanted: _Wanted) -> _Fit:
    if given.weights is not None:
        called = [fit for fit in fits if fit.is_called(given.weights)]
        if not called and given.weights == EMA:
            called = [fit for fit in fits if fit.averaged]
        if not called:
            named = [one for one in given.found if given.weights in (one.name, *one.path[-1:])]
            if not named:
                raise _no_such(given, fits)
            return _nearest(named, wanted)
        fits = called
    if not fits:
        return _nearest(given.found, wanted)
    first = min(map(_fit_rank, fits))
    likely = _different([fit for fit in fits if _fit_rank(fit) == first], wanted)
    if len(likely) > 1:
        likely = [fit for fit in likely if _has_shapes(fit, wanted)] or likely
    if len(likely) > 1:
        labels = [fit.label for fit in likely]
        raise ModelError(
            f"the checkpoint holds {len(labels)} sets of weights that fit: {_listed(labels)}",
            hint=f"choose one, as with --weights {shlex.quote(labels[0])} (in a recipe: "
            f'weights_key = "{labels[0]}")',
        )
    return likely[0]


def _different(fits: list[_Fit], wanted: _Wanted) -> list[_Fit]:
    """Without those that hold the same values as an earlier one."""
    kept: list[_Fit] = []
    for fit in fits:
        if not any(
            all(_equal(fit.given(name), other.given(name)) for name in wanted.required)
            for other in kept
        ):
            kept.append(fit)
    return kept


def _equal(one: Tensor, other: Tensor) -> bool:
    return one is other or (one.shape == other.shape and bool((one == other).all()))


def _has_shapes(fit: _Fit, wanted: _Wanted) -> bool:
    return all(fit.given(name).shape == wanted.shapes[name] for name in wanted.required)


def _no_such(given: Checkpoint, fits: list[_Fit]) -> ModelError:
    averaged = given.weights == EMA
    asked = "averaged weights" if averaged else f"weights called '{given.weights}'"
    labels = [fit.label for fit in fits if fit.label]
    return ModelError(
        f"the checkpoint holds no {asked} that fit the model",
        hint=f"it holds {_listed(labels)}" if labels else "leave --weights (weights_key) away",
    )


def _matched(chosen: _Fit, fits: list[_Fit], wanted: _Wanted, *, asked: bool) -> Matched:
    strip, one = chosen.strip, chosen.one
    beside = [fit for fit in fits if fit != chosen]
    apart = tuple(
        fit.strip for fit in beside if fit.one is one and len(fit.strip) > len(strip)
    )  # other weights in the same state_dict
    tensors: dict[str, Any] = {}
    outside: list[str] = []
    for name, value in one.tensors.items():
        new = chosen.renamed(name)
        counter = name.rpartition(".")[2] in _COUNTERS and new not in wanted.names
        if counter or (apart and name.startswith(apart)):
            continue
        if new is not None and _is_copy(new, wanted):
            outside.append(name)
        elif new is not None:
            tensors[new] = value
        elif not any(fit.one is one and name.startswith(fit.strip) for fit in beside if fit.strip):
            outside.append(name)
    versions = None
    if one.versions is not None:
        renamed = (
            (chosen.renamed(f"{name}." if name else ""), v) for name, v in one.versions.items()
        )
        versions = {name.removesuffix("."): kept for name, kept in renamed if name is not None}
    return Matched(tensors, versions, tuple(_notes(chosen, beside, outside, asked=asked)))


def _is_copy(name: str, wanted: _Wanted) -> bool:
    """Whether a name is of averaged weights without dots in it, as ``ema_layer1_conv_weight``."""
    mask = name.endswith(MASK_SUFFIX)
    return name not in wanted.names and not mask and _says_averaged(name.partition(".")[0])


def _notes(chosen: _Fit, beside: list[_Fit], outside: list[str], *, asked: bool) -> Iterator[str]:
    label = f"'{chosen.label}'" if chosen.label else "at the top of the file"
    count = next(
        (v for n, v in chosen.one.tensors.items() if n.rpartition(".")[2] == "n_averaged"), None
    )
    models = int(count) if isinstance(count, Tensor) and count.numel() == 1 else 0
    several = f" of {models} models" if models > 1 else ""
    kind = f", an average{several}," if chosen.averaged else ""
    others = list(dict.fromkeys(fit.label or "(top)" for fit in beside))
    unusual = not {*_USUAL, *_WRAPPERS}.issuperset([*chosen.one.path, *chosen.parts])
    if others or kind or asked or unusual:
        told = f"the weights {label}{kind} are taken"
        if others:
            told += f"; the file also holds {_listed(others)}"
            if (first := next((fit for fit in beside if fit.label), None)) is not None:
                told += f" (--weights {shlex.quote(first.label)} takes them)"
        yield told
    if outside:
        yield f"passed over in the file, as not of the model: {_listed(outside)}"


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in list(names)[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
