"""Give masked convolutions of a graph the form that a runtime skips: ``where`` right behind them.

A mask is found wherever it stands (:mod:`toolchain.convert.masking`), and with it the convolutions
whose masked pixels nobody reads (:mod:`toolchain.convert.reach`). Each of them gets a ``where`` of
its own, behind what TFLite fuses into it: BatchNorm, and one activation of some. The node that
masked goes where it changes nothing any more, and stays where it does:

    conv -> mul(mask) -> bn -> relu        conv -> bn -> relu -> where(fill = relu(bn(0)))
    conv -> bn -> relu -> mul(mask)        conv -> bn -> relu -> where(fill = 0)
    conv -> bn -> silu -> mul(mask)        conv -> bn -> where(fill = 0) -> silu
    conv -> bn -> add(x) -> mul(mask)      conv -> bn -> where(fill = 0) -> add(x) -> mul(mask)
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx

from toolchain.convert.constants import Constants
from toolchain.convert.masking import Masking, find_masking
from toolchain.convert.reach import (
    Done,
    Reached,
    evaluate,
    is_convolution,
    is_image_operator,
    reach,
)
from toolchain.errors import ModelError
from toolchain.sparsity.masked_conv import clean_mask

_aten = torch.ops.aten


@dataclass(frozen=True, eq=False)
class MaskedLayer:
    """A masked convolution that was found in a program."""

    name: str
    mask: Tensor
    """bool ``[H, W]``, True = kept."""
    fill: Tensor
    """float32 ``[C]``: what a masked pixel holds at the place of the mask in the file."""
    rewritten: bool
    """False where its masked pixels are computed all the same."""
    reason: str | None = None
    """Why they are."""
    again: bool = False
    """Whether its convolution has another mask besides, with a row of its own."""


@dataclass(frozen=True, eq=False)
class _Place:
    """Where a ``where`` goes, and what it puts there."""

    conv: fx.Node
    plane: Tensor
    end: fx.Node
    fill: Tensor
    """``[1, C, 1, 1]``."""


class MaskRewriter:
    """Finds the masks of a graph, and moves them.

    Args:
        module: whose graph is changed; nodes have ``meta["val"]``.
        constants: of that graph.
    """

    def __init__(self, module: fx.GraphModule, constants: Constants) -> None:
        self._module, self._graph, self._constants = module, module.graph, constants
        self._done: dict[fx.Node, Done] = {}
        self.layers: list[MaskedLayer] = []

    def run(self) -> None:
        """Rewrite every mask.

        Raises:
            ModelError: a mask of a wrong size or with values other than 0 and 1.
        """
        for node in list(self._graph.nodes):
            masking = find_masking(node, self._constants)
            if masking is not None:
                self._check_named(masking)
                if self._masked_again(masking):
                    masking.node.replace_all_uses_with(masking.data)
                    self._graph.erase_node(masking.node)
                    continue
                self._rewrite(self._behind_permutes(masking))

    # --- one mask ------------------------------------------------------------------------------

    def _check_named(self, masking: Masking) -> None:
        """What is called a mask and multiplied with a convolution has to be one."""
        conv, factor = masking.data, masking.factor
        if factor is None or not is_convolution(conv):
            return
        roots = self._constants.stored(factor)
        if not any(str(root.target).rpartition(".")[2] == "mask" for root in roots):
            return
        value, name = cast(Tensor, self._constants.value(factor)), layer_name(conv)
        channels, *size = conv.meta["val"].shape[-3:]
        if value.dim() >= 3 and tuple(value.shape[-2:]) == (1, 1):
            return  # of channels: a pruned network's
        if value.dim() >= 3 and value.shape[-3] == channels > 1:
            value = value[..., :1, :, :]  # how channels differ is told later
        mask = clean_mask(value, name)
        if list(mask.shape) != size:
            raise ModelError(
                f"mask of layer '{name}' is {mask.shape[0]}x{mask.shape[1]}, but the layer's "
                f"output is {size[0]}x{size[1]} (height x width)",
                hint="a mask fits one input size only: use the size it was made for",
            )

    def _masked_again(self, masking: Masking) -> bool:
        """Whether all that a node masks is masked by the one that reads it."""
        if len(masking.node.users) != 1 or not masking.exact:
            return False
        user = find_masking(next(iter(masking.node.users)), self._constants)
        if user is None or user.data is not masking.node:
            return False
        return not (user.kept & ~masking.kept).any()

    def _behind_permutes(self, masking: Masking) -> Masking:
        """The same in front of permutes to channels-last and back, which go if they are two."""
        while True:
            permute = masking.data
            if permute.target is not _aten.permute.default or len(permute.users) > 1:
                return masking
            if not masking.exact:
                return masking
            source = cast(fx.Node, permute.args[0])
            order = [axis % len(masking.kept.shape) for axis in cast(list[int], permute.args[1])]
            back = [order.index(axis) for axis in range(len(order))]
            fill = masking.fill.expand(masking.kept.shape).permute(back)
            kept = masking.kept.permute(back)
            with self._graph.inserting_before(masking.node):
                node = self._graph.call_function(
                    _aten.where.self,
                    (self._buffer("kept", kept), source, self._buffer("value", fill)),
                )
                node.meta = {**masking.node.meta, "val": source.meta["val"]}
                again = self._graph.call_function(_aten.permute.default, (node, order))
                again.meta = dict(masking.node.meta)
            masking.node.replace_all_uses_with(again)
            self._graph.erase_node(masking.node)
            self._graph.erase_node(permute)
            for user in list(again.users):
                if (
                    user.target is _aten.permute.default
                    and [axis % len(back) for axis in cast(list[int], user.args[1])] == back
                ):
                    user.replace_all_uses_with(node)
                    self._graph.erase_node(user)
            if not again.users:
                self._graph.erase_node(again)
            masking = Masking(node, source, kept, fill, None, True)

    def _rewrite(self, masking: Masking) -> None:
        order = {node: index for index, node in enumerate(self._graph.nodes)}
        reached = reach(masking, self._constants, self._done, order)
        if masking.kept.all():
            self._remove_full(masking, reached)
            return
        places: list[_Place] = []
        for item in reached:
            place = self._place(masking, item)
            if place is not None:
                places.append(place)
        if not places:
            return
        if len(places) == 1 and places[0].end is masking.data and masking.exact:
            self._move_back(masking, places[0])
            return
        places, gone = self._fills(masking, places)
        for place in places:
            self._insert(place)
        if gone:
            masking.node.replace_all_uses_with(masking.data)
            self._graph.erase_node(masking.node)

    def _remove_full(self, masking: Masking, reached: list[Reached]) -> None:
        if not masking.exact:
            return
        if masking.data is (reached[0].node if len(reached) == 1 else None):
            conv = reached[0].node
            mask = torch.ones(conv.meta["val"].shape[-2:], dtype=torch.bool)
            fill = torch.zeros(int(conv.meta["val"].shape[1]))
            self.layers.append(MaskedLayer(layer_name(conv), mask, fill, True))
        masking.node.replace_all_uses_with(masking.data)
        self._graph.erase_node(masking.node)

    def _place(self, masking: Masking, item: Reached) -> _Place | None:
        """Where the mask of one convolution goes; ``None``, and told, where it cannot."""
        conv = item.node
        if not is_convolution(conv) and not is_image_operator(conv):
            return None
        plane, reason = _plane(item.kept)
        if plane is None:
            return None
        if plane.all() and reason is None:
            return None  # the mask is of another branch
        reason = item.reason or reason
        if reason is not None:
            channels = int(conv.meta["val"].shape[1]) if is_convolution(conv) else 1
            self.layers.append(
                MaskedLayer(
                    layer_name(conv), plane, torch.zeros(channels), False, reason, item.again
                )
            )
            return None
        fill = torch.zeros(1, int(conv.meta["val"].shape[1]), 1, 1)
        end, fill, _ = self._fused(conv, fill, masking.node)
        return _Place(conv, plane, end, torch.zeros_like(fill))

    def _move_back(self, masking: Masking, place: _Place) -> None:
        """Put a mask that follows what is fused behind all else that may be."""
        fill = _per_channel(masking)
        if fill is None:  # another value in each pixel: they have to be put there
            self._insert(place)
            return
        _, _, activated = self._fused(place.conv, fill, masking.node)
        masking.node.replace_all_uses_with(masking.data)
        self._graph.erase_node(masking.node)
        end = place.end
        if not activated:
            end, fill, _ = self._fused(end, fill, None)
        self._insert(_Place(place.conv, place.plane, end, fill))

    def _fills(self, masking: Masking, places: list[_Place]) -> tuple[list[_Place], bool]:
        """Fills with which the masking node changes nothing, if there are any; and whether."""
        choices = [[place.fill for place in places]]
        value = _per_channel(masking)
        if len(places) == 1 and value is not None and value.shape[1] == places[0].fill.shape[1]:
            choices.insert(0, [value])
        if masking.exact:
            wanted = masking.fill.expand(masking.kept.shape)[~masking.kept]
            for fills in choices:
                known = {
                    place.end: fill.expand(place.end.meta["val"].shape)
                    for place, fill in zip(places, fills, strict=True)
                }
                result = evaluate(masking.data, known, self._constants)
                if result is not None and torch.equal(result[~masking.kept], wanted):
                    return [
                        _Place(place.conv, place.plane, place.end, fill)
                        for place, fill in zip(places, fills, strict=True)
                    ], True
        return places, False

    # --- what is fused ---------------------------------------------------------------------------

    def _fused(
        self, node: fx.Node, fill: Tensor, stop: fx.Node | None
    ) -> tuple[fx.Node, Tensor, bool]:
        """The last node of those behind a convolution that TFLite computes in it.

        Args:
            node: the convolution, or where to go on behind it.
            fill: ``[1, C, 1, 1]``, a value at ``node``.
            stop: a node that is not passed.

        Returns:
            The node, the value there, and whether it is an activation.
        """
        while len(node.users) == 1:
            user = next(iter(node.users))
            if user is stop or find_masking(user, self._constants) is not None:
                break
            norm = self._batch_norm(user, node, fill)
            if norm is not None:
                fill, node = norm
            elif (moved := self._affine(user, node, fill)) is not None:
                fill, node = moved, user
            elif _fusable(user):
                return user, self._apply(user, node, fill), True
            else:
                break
        return node, fill, False

    def _batch_norm(
        self, norm: fx.Node, source: fx.Node, value: Tensor
    ) -> tuple[Tensor, fx.Node] | None:
        """BN(value) and the node of BN's result."""
        legit = norm.target is _aten._native_batch_norm_legit_no_training.default
        plain = norm.target is _aten.batch_norm.default and not norm.args[5]
        if not (legit or plain) or norm.args[0] is not source:
            return None
        numbers = [self._constants.value(a) if isinstance(a, fx.Node) else a for a in norm.args[1:]]
        if any(
            number is None
            for number, a in zip(numbers, norm.args[1:], strict=True)
            if isinstance(a, fx.Node)
        ):
            return None
        with torch.no_grad():
            result = cast(Callable[..., Any], norm.target)(value, *numbers, **norm.kwargs)
        if plain:
            return result, norm
        ends = [u for u in norm.users if u.target is operator.getitem and u.args[1] == 0]
        return (result[0], ends[0]) if len(ends) == 1 == len(norm.users) else None

    def _affine(self, node: fx.Node, source: fx.Node, value: Tensor) -> Tensor | None:
        """A number, or one a channel, added or multiplied, which becomes bias or weight."""
        if node.target not in (_aten.add.Tensor, _aten.mul.Tensor, _aten.sub.Tensor):
            return None
        if node.kwargs.get("alpha", 1) != 1 or (
            node.target is _aten.sub.Tensor and node.args[0] is not source
        ):
            return None
        others = [argument for argument in node.args[:2] if argument is not source]
        if len(others) != 1:
            return None
        number = self._constants.value(others[0]) if isinstance(others[0], fx.Node) else others[0]
        if number is None:
            return None
        shape = tuple(torch.as_tensor(number).shape)
        if len(shape) > 4 or any(size != 1 for size in (*shape[:-3], *shape[-2:])):
            return None
        args = [value if argument is source else number for argument in node.args]
        with torch.no_grad():
            return cast(Tensor, cast(Callable[..., Any], node.target)(*args, **node.kwargs))

    def _apply(self, node: fx.Node, source: fx.Node, value: Tensor) -> Tensor:
        args = [value if arg is source else arg for arg in node.args]
        with torch.no_grad():
            return cast(Tensor, cast(Callable[..., Any], node.target)(*args, **node.kwargs))

    # --- the graph -------------------------------------------------------------------------------

    def _insert(self, place: _Place) -> None:
        if not place.plane.any():
            self._insert_constant(place.end, place.fill)
        else:
            self._insert_where(place)
        name = layer_name(place.conv)
        self.layers.append(MaskedLayer(name, place.plane, place.fill.flatten(), True))

    def _insert_where(self, place: _Place) -> None:
        end = place.end
        users = list(end.users)
        with self._graph.inserting_after(end):
            # Last first: each node goes right behind `end`.
            where = self._graph.call_function(_aten.where.self)
            fill_node = self._buffer("fill", place.fill)
            mask_node = self._buffer("mask", place.plane[None, None])
        where.args = (mask_node, end, fill_node)
        where.meta = {key: end.meta[key] for key in ("val", "nn_module_stack") if key in end.meta}
        for user in users:
            user.replace_input_with(end, where)
        self._done[where] = Done(place.conv, place.plane)

    def _insert_constant(self, end: fx.Node, fill: Tensor) -> None:
        # Left to itself, the converter folds an empty mask to a BROADCAST_TO that cannot be loaded.
        users = list(end.users)
        with self._graph.inserting_after(end):
            constant = self._buffer("constant", fill.expand(end.meta["val"].shape))
        constant.meta = {"val": end.meta["val"]}
        for user in users:
            user.replace_input_with(end, constant)

    def _buffer(self, kind: str, value: Tensor) -> fx.Node:
        number = 0
        while hasattr(self._module, f"tileskip_{kind}_{number}"):
            number += 1
        kept = value if value.dtype == torch.bool else value.to(torch.float32)
        path = f"tileskip_{kind}_{number}"
        self._module.register_buffer(path, kept.contiguous().clone())
        return self._graph.get_attr(path)


def layer_name(node: fx.Node) -> str:
    """The name of the layer that a node belongs to: of its weight, or of its module."""
    weight = node.args[1] if len(node.args) > 1 else None
    if isinstance(weight, fx.Node) and weight.op == "get_attr":
        name, _, leaf = str(weight.target).rpartition(".")
        if leaf == "weight" and name:
            return name
    stack = node.meta.get("nn_module_stack") or {}
    paths = [path for path, _ in stack.values() if path]
    return paths[-1] if paths else node.name


def _plane(kept: Tensor) -> tuple[Tensor | None, str | None]:
    """A mask as ``[H, W]``, and why it is none for a whole layer; no plane where it is no mask."""
    if kept.dim() == 3:
        kept = kept[:, :, None]  # of one axis: told, never skipped
    if kept.dim() != 4:
        return None, None
    any_kept = kept.any(0).any(0)
    if torch.equal(any_kept.expand_as(kept), kept):
        return any_kept.clone(), None
    if torch.equal(kept[..., :1, :1].expand_as(kept), kept):
        return None, None  # of channels or images: no pixel is masked
    return any_kept.clone(), "the mask differs between channels or images"


def _per_channel(masking: Masking) -> Tensor | None:
    """``[1, C, 1, 1]``: what a mask puts into masked pixels, if that is the same in all."""
    if masking.kept.dim() != 4:
        return None
    value = masking.fill.expand(masking.kept.shape)
    masked = ~masking.kept
    first = masked.flatten(2).int().argmax(-1)[..., None]
    fill = value.flatten(2).gather(-1, first)[..., None]
    same = torch.equal(fill.expand_as(value)[masked], value[masked])
    if not same or not torch.equal(fill, fill[:1].expand_as(fill)):
        return None
    return fill[:1].clone()


def _fusable(node: fx.Node) -> bool:
    """Whether a node is an activation that TFLite fuses into a convolution."""
    if node.op != "call_function":
        return False
    if node.target in (_aten.relu.default, _aten.relu6.default):
        return True
    if node.target is _aten.hardtanh.default:
        low, high = (*node.args[1:], -1.0, 1.0)[:2] if len(node.args) < 3 else node.args[1:3]
        return (low, high) in ((0, 6), (-1, 1))
    if node.target is _aten.clamp.default:
        low, high = (*node.args[1:], None, None)[:2]
        return (low, high) in ((0, 6), (-1, 1), (0, None))
    return node.target is _aten.clamp_min.default and bool(node.args[1] == 0)
