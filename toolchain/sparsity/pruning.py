"""Remove whole channels of a network, beside the pixels that masks skip.

The library torch-pruning finds which channels hang together (through residual additions,
concatenations and depthwise convolutions) and scores them; how many of them go is decided here.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from toolchain.errors import ModelError, first_line
from toolchain.hints import did_you_mean
from toolchain.sparsity.cost import ModelCost, model_cost
from toolchain.sparsity.modes import evaluating
from toolchain.sparsity.resize import resize_to

Importance = Literal["magnitude", "taylor"]


@dataclass(frozen=True)
class PrunedLayer:
    """The output channels of one convolution or linear layer."""

    name: str
    before: int
    after: int


@dataclass(frozen=True)
class PruningReport:
    """What :func:`prune_channels` did."""

    before: ModelCost
    after: ModelCost
    layers: tuple[PrunedLayer, ...]
    """Every convolution and linear layer, in the order of the model's modules."""


@dataclass(frozen=True)
class _Plan:
    ratio: float
    importance: Importance
    round_to: int
    across_layers: bool

    def kept(self, channels: int, share: float) -> int:
        """How many channels stay: the multiple of ``round_to`` next to ``share`` of them."""
        rounded = int(share * channels / self.round_to + 0.5) * self.round_to
        return min(max(rounded, self.round_to), channels)


def prune_channels(
    model: nn.Module,
    example_input: Tensor,
    ratio: float,
    *,
    importance: Importance = "magnitude",
    round_to: int = 8,
    ignored: Sequence[str] = (),
    across_layers: bool = False,
) -> PruningReport:
    """Remove the least important channels of each convolution and hidden linear layer, in place.

    Channels that an addition, a concatenation or a depthwise convolution ties together go together.
    Left as they are: the model's outputs and ``ignored`` layers, and whatever is tied to them or to
    another kind of layer than ``Conv2d`` (depthwise or of one group), ``BatchNorm2d`` and
    ``Linear``. Masks lie on pixels and stay as they are.

    Narrowed layers get new parameters, without gradients: make the optimiser afterwards. The same
    model and arguments give the same result.

    Args:
        model: any module that takes one tensor.
        example_input: ``[N, C, H, W]``, of the size that the model will be used with.
        ratio: the share of channels to remove, ``0 <= ratio < 1``; 0 changes nothing. The work of a
            layer shrinks with its inputs and its outputs, so 0.3 removes about half of all MACs.
        importance: ``magnitude`` takes the squares of a channel's weights, the mean over all layers
            that the channel passes (Fang and others, arXiv 2301.12900); ``taylor`` takes
            ``|weight * gradient|`` (Molchanov and others, 2019), for which a backward pass over
            some data has to have left gradients in the model.
        round_to: a layer that is pruned keeps a multiple of this, the one next to the share asked
            for. 8 is what micro-kernels compute at once (NR): other counts leave lanes idle.
        ignored: patterns (``layer4.*``) of the names of convolutions and linear layers.
        across_layers: rank the channels of all layers together, so that layers of little
            importance lose more; otherwise each layer loses the same share.

    Raises:
        ModelError: an argument is out of its range, a pattern matches no layer, gradients are
            missing, nothing can be pruned, or the model does not run with fewer channels. The model
            is then as it was.
    """
    if not 0 <= ratio < 1:
        raise ModelError(
            f"the share of channels to prune is {ratio:g}", hint="it is at least 0 and less than 1"
        )
    if round_to < 1:
        raise ModelError(f"channels cannot be rounded to a multiple of {round_to}")
    if importance not in get_args(Importance):
        raise ModelError(
            f"there is no importance called '{importance}'",
            hint=did_you_mean(
                importance, get_args(Importance), f"use one of {', '.join(get_args(Importance))}"
            ),
        )
    fixed = _matching(model, ignored)
    before, widths = model_cost(model, example_input), _widths(model)
    if ratio:
        # A copy is pruned and checked, and the model takes over its state in the way in which a
        # file is loaded: so a fault leaves the model whole, and what was pruned is sure to load.
        pruned = _copy(model, importance)
        _prune(pruned, example_input, _Plan(ratio, importance, round_to, across_layers), fixed)
        if _widths(pruned) == widths:
            raise ModelError(
                f"pruning {ratio:g} of the channels removes none: rounded to a multiple of "
                f"{round_to}, every layer keeps all of its own",
                hint="prune more, or round to a smaller multiple",
            )
        _check_outputs(model, pruned, example_input)
        resize_to(model, pruned.state_dict())
        model.load_state_dict(pruned.state_dict())
    after = _widths(model)
    return PruningReport(
        before,
        model_cost(model, example_input),
        tuple(PrunedLayer(name, width, after[name]) for name, width in widths.items()),
    )


def _prune(model: nn.Module, example_input: Tensor, plan: _Plan, fixed: Sequence[str]) -> None:
    import torch_pruning

    origins: set[Any] = set()

    def remember(outputs: Any) -> list[Tensor]:
        tensors = _tensors(outputs)
        origins.update(tensor.grad_fn for tensor in tensors)
        return tensors

    with torch.enable_grad():
        graph = torch_pruning.DependencyGraph().build_dependency(
            model, (example_input.clone(),), output_transform=remember, verbose=False
        )
    groups = [
        group
        for group in graph.get_all_groups(
            [model.get_submodule(name) for name in fixed], (nn.Conv2d, nn.Linear)
        )
        if _prunable(graph, group, origins)
    ]
    if not groups:
        raise ModelError(
            "there is nothing to prune: no layer's channels can be removed",
            hint="outputs of the model, ignored layers, and what is tied to them stay whole",
        )
    score = (
        torch_pruning.importance.GroupTaylorImportance()
        if plan.importance == "taylor"
        else torch_pruning.importance.GroupMagnitudeImportance()
    )
    all_scores = [score(group).nan_to_num() for group in groups]
    every = torch.cat(all_scores).sort().values
    threshold = every[int(plan.ratio * len(every))]
    for group, scores in zip(groups, all_scores, strict=True):
        share = 1 - plan.ratio
        if plan.across_layers:
            share = float((scores >= threshold).float().mean())
        gone = len(scores) - plan.kept(len(scores), share)
        if gone:
            group.prune(sorted(scores.argsort(stable=True)[:gone].tolist()))


def _prunable(graph: Any, group: Any, origins: set[Any]) -> bool:
    """Whether a group of channels is no output and passes only layers that can be resized."""
    for dep, _ in group:
        if graph.is_out_channel_pruning_fn(dep.handler) and dep.target.grad_fn in origins:
            return False
        layer = dep.layer
        if isinstance(layer, nn.Conv2d):
            if layer.groups > 1 and not layer.groups == layer.in_channels == layer.out_channels:
                return False
        elif not isinstance(layer, nn.BatchNorm2d | nn.Linear) and (
            dep.target.type.name not in ("ELEMENTWISE", "CONCAT", "RESHAPE")
        ):
            return False
    return True


def _copy(model: nn.Module, importance: Importance) -> nn.Module:
    """A copy that autograd can trace, with the gradients that the importance looks at."""
    copied = copy.deepcopy(model)
    for (name, old), new in zip(model.named_parameters(), copied.parameters(), strict=True):
        if importance == "taylor" and old.grad is None:
            raise ModelError(
                f"'{name}' has no gradient, which the importance 'taylor' looks at",
                hint="run a backward pass over some data first",
            )
        new.requires_grad_(True)
        new.grad = old.grad
    return copied


def _check_outputs(model: nn.Module, pruned: nn.Module, example_input: Tensor) -> None:
    hint = "leave the layers before the fault as they are: name them in 'ignored'"
    with evaluating(model), evaluating(pruned):
        wanted = [list(output.shape) for output in _tensors(model(example_input.clone()))]
        try:
            given = [list(output.shape) for output in _tensors(pruned(example_input.clone()))]
        except RuntimeError as error:
            raise ModelError(
                f"the model does not run with fewer channels: {first_line(error)}", hint=hint
            ) from error
    if given != wanted:
        raise ModelError(
            f"with fewer channels the model's outputs have shapes {given}, not {wanted}", hint=hint
        )


def _tensors(outputs: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor)]


def _widths(model: nn.Module) -> dict[str, int]:
    """The output channels of each convolution and linear layer by name."""
    return {
        name: len(layer.weight)
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    }


def _matching(model: nn.Module, patterns: Sequence[str]) -> list[str]:
    names = list(_widths(model))
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ModelError(
                f"layer pattern '{pattern}' matches none of the model's {len(names)} convolutions "
                "and linear layers",
                hint=f"they are {', '.join(names[:6])}{' and others' if len(names) > 6 else ''}",
            )
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
