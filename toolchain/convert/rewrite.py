"""Rewrite masked convolutions of an exported program into the form that survives lowering.

Training multiplies a convolution's output by its mask before BatchNorm:

    conv -> mul(mask) -> batch_norm -> relu

Lowered like that, BatchNorm cannot be folded. A masked pixel is, after BatchNorm and the
activation, one constant for each channel, ``fill = act(BN(0))``; so the same function is

    conv -> batch_norm -> relu -> where(mask[1, 1, H, W], ., fill[1, C, 1, 1])

which becomes ``CONV_2D(RELU) -> SELECT_V2`` in the file. Only activations that TFLite fuses into
a convolution move in front of the ``where``; any other stays behind it, because the ``SELECT_V2``
has to follow the convolution directly for a runtime to skip its masked pixels.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from toolchain.convert.silence import quiet
from toolchain.errors import ModelError
from toolchain.sparsity.masked_conv import clean_mask

_aten = torch.ops.aten
_CONVOLUTIONS = (_aten.conv2d.default, _aten.conv2d.padding, _aten.convolution.default)
_NAMED = (*_CONVOLUTIONS, _aten.linear.default, _aten.conv_transpose2d.input)
_TRAINING_OPS = (
    "_native_batch_norm_legit_functional",
    "native_dropout",
    "_native_batch_norm_legit.default",
)


@dataclass(frozen=True, eq=False)
class MaskedLayer:
    """A masked convolution that was found in a program."""

    name: str
    mask: Tensor
    """bool ``[H, W]``, True = kept."""
    fill: Tensor
    """float32 ``[C]``: what a masked pixel holds at the place of the mask in the file."""
    rewritten: bool
    """False where the multiplication was left as it is."""
    reason: str | None = None
    """Why it was left."""


def rewrite(program: torch.export.ExportedProgram) -> tuple[fx.GraphModule, list[MaskedLayer]]:
    """Give masked convolutions the form ``where(mask, act(bn(conv)), fill)``.

    Args:
        program: exported in eval mode, any of its masks a constant of shape ``[H, W]`` or
            ``[1, 1, H, W]`` that a convolution's output is multiplied with.

    Returns:
        A module that computes the same, and the masked layers in the order of the graph. Each
        convolution and linear layer in it is a submodule named after the layer, so that the name
        reaches the file.

    Raises:
        ModelError: a mask of a wrong size or with values other than 0 and 1 (names the layer), or
            a program that was exported in training mode.
    """
    with quiet():
        flat = program.run_decompositions({})
        module = cast(fx.GraphModule, flat.module(check_guards=False))
    for node in module.graph.nodes:
        if any(name in str(node.target) for name in _TRAINING_OPS):
            raise ModelError(
                "the program was exported in training mode",
                hint="call model.eval() before torch.export.export()",
            )
    rewriter = _Rewriter(module)
    rewriter.run()
    return module, rewriter.layers


class _Rewriter:
    def __init__(self, module: fx.GraphModule) -> None:
        self._module, self._graph = module, module.graph
        self._constants: dict[fx.Node, Tensor | None] = {}
        self.layers: list[MaskedLayer] = []

    def run(self) -> None:
        for node in list(self._graph.nodes):
            if node.op == "call_function" and node.target in (_aten.mul.Tensor, operator.mul):
                self._visit(node)
        for index, node in enumerate(list(self._graph.nodes)):
            if node.op == "call_function" and node.target is _aten.view.default:
                # Lowering makes tensors channel-last, and a view of such a tensor is none.
                node.target = _aten.reshape.default
            if node.op == "call_function" and node.target in _NAMED:
                self._name(node, index)
        self._graph.eliminate_dead_code()
        self._graph.lint()
        self._module.recompile()

    def _visit(self, mul: fx.Node) -> None:
        for conv, factor in (mul.args[:2], mul.args[1::-1]):
            if not isinstance(conv, fx.Node) or not isinstance(factor, fx.Node):
                continue
            if conv.op == "call_function" and conv.target in _CONVOLUTIONS:
                mask = self._mask(conv, factor)
                if mask is not None:
                    self.layers.append(self._lay(mul, conv, mask))
                return

    def _mask(self, conv: fx.Node, factor: fx.Node) -> Tensor | None:
        value = self._constant(factor)
        if value is None:
            return None
        size = tuple(conv.meta["val"].shape[-2:])
        name = layer_name(conv)
        if any(str(root.target).rpartition(".")[2] == "mask" for root in _roots(factor)):
            mask = clean_mask(value, name)
            if tuple(mask.shape) != size:
                raise ModelError(
                    f"mask of layer '{name}' is {mask.shape[0]}x{mask.shape[1]}, but the layer's "
                    f"output is {size[0]}x{size[1]} (height x width)",
                    hint="a mask fits one input size only: use the size it was made for",
                )
            return mask
        # Not called a mask: a constant that is one by its shape and values, or some other factor.
        plane = value.reshape((1,) * (4 - value.dim()) + tuple(value.shape))
        if tuple(plane.shape) != (1, 1, *size) or not ((plane == 0) | (plane == 1)).all():
            return None
        return plane[0, 0] != 0

    def _lay(self, mul: fx.Node, conv: fx.Node, mask: Tensor) -> MaskedLayer:
        """Replace ``mul`` and what follows it; the layer as it now is."""
        name = layer_name(conv)
        value = torch.zeros(1, int(conv.meta["val"].shape[1]), 1, 1)
        if len(conv.users) > 1:
            return MaskedLayer(
                name, mask, value.flatten(), False, "the convolution's output is used elsewhere"
            )
        end = conv
        norm = self._batch_norm(mul)
        if norm is not None:
            value, norm_end = norm
            next(iter(mul.users)).replace_input_with(mul, conv)
            end = norm_end
        else:
            mul.replace_all_uses_with(conv)
            self._graph.erase_node(mul)
        if len(end.users) == 1:
            user = next(iter(end.users))
            if _fusable(user):
                value = self._apply(user, end, value)
                end = user
        if not mask.any():
            self._insert_constant(end, value)
        elif not mask.all():
            self._insert_where(end, mask, value)
        return MaskedLayer(name, mask, value.flatten(), True)

    def _batch_norm(self, mul: fx.Node) -> tuple[Tensor, fx.Node] | None:
        """BN(0) and the node of BN's result, where BatchNorm is all that reads ``mul``."""
        if len(mul.users) != 1:
            return None
        norm = next(iter(mul.users))
        legit = norm.target is _aten._native_batch_norm_legit_no_training.default
        plain = norm.target is _aten.batch_norm.default and not norm.args[5]
        if not (legit or plain) or norm.args[0] is not mul:
            return None
        if any(self._constant(a) is None for a in norm.args[1:] if isinstance(a, fx.Node)):
            return None
        numbers = [self._constant(a) if isinstance(a, fx.Node) else a for a in norm.args[1:]]
        zero = torch.zeros(1, int(mul.meta["val"].shape[1]), 1, 1)
        with torch.no_grad():
            result = cast(Callable[..., Any], norm.target)(zero, *numbers, **norm.kwargs)
        if plain:
            return result, norm
        ends = [u for u in norm.users if u.target is operator.getitem and u.args[1] == 0]
        return (result[0], ends[0]) if len(ends) == 1 == len(norm.users) else None

    def _apply(self, node: fx.Node, source: fx.Node, value: Tensor) -> Tensor:
        args = [value if arg is source else arg for arg in node.args]
        with torch.no_grad():
            return cast(Tensor, cast(Callable[..., Any], node.target)(*args, **node.kwargs))

    def _insert_where(self, end: fx.Node, mask: Tensor, fill: Tensor) -> None:
        number = len(self.layers)
        self._module.register_buffer(f"tileskip_mask_{number}", mask[None, None].clone())
        self._module.register_buffer(f"tileskip_fill_{number}", fill.to(torch.float32).clone())
        users = list(end.users)
        with self._graph.inserting_after(end):
            # Last first: each node goes right behind `end`.
            where = self._graph.call_function(_aten.where.self)
            fill_node = self._graph.get_attr(f"tileskip_fill_{number}")
            mask_node = self._graph.get_attr(f"tileskip_mask_{number}")
        where.args = (mask_node, end, fill_node)
        where.meta = {key: end.meta[key] for key in ("val", "nn_module_stack") if key in end.meta}
        for user in users:
            user.replace_input_with(end, where)

    def _insert_constant(self, end: fx.Node, fill: Tensor) -> None:
        # Left to itself, the converter folds an empty mask to a BROADCAST_TO that cannot be loaded.
        path = f"tileskip_constant_{len(self.layers)}"
        value = fill.to(torch.float32).expand(end.meta["val"].shape).contiguous()
        self._module.register_buffer(path, value)
        with self._graph.inserting_after(end):
            constant = self._graph.get_attr(path)
        end.replace_all_uses_with(constant)

    def _name(self, node: fx.Node, index: int) -> None:
        path = f"tileskip_layer_{index}"
        self._module.add_module(
            path, _named(layer_name(node), cast(Callable[..., Any], node.target))
        )
        with self._graph.inserting_before(node):
            call = self._graph.call_module(path, node.args, node.kwargs)
        call.meta = dict(node.meta)
        node.replace_all_uses_with(call)
        self._graph.erase_node(node)

    def _constant(self, node: fx.Node) -> Tensor | None:
        """The value of a node that depends on no input; ``None`` for others."""
        if node not in self._constants:
            self._constants[node] = self._evaluate(node)
        return self._constants[node]

    def _evaluate(self, node: fx.Node) -> Tensor | None:
        if node.op == "get_attr":
            value: Any = self._module
            for part in str(node.target).split("."):
                value = getattr(value, part)
            return value.detach() if isinstance(value, Tensor) else None
        target = node.target
        if node.op != "call_function" or not isinstance(target, torch._ops.OpOverload):
            return None
        if torch.Tag.nondeterministic_seeded in target.tags:
            return None
        if any(self._constant(source) is None for source in node.all_input_nodes):
            return None
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: self._constant(n))
        with torch.no_grad():
            result = target(*args, **kwargs)
        return result if isinstance(result, Tensor) else None


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


def _roots(node: fx.Node) -> list[fx.Node]:
    """The stored tensors that a constant is made from."""
    if node.op == "get_attr":
        return [node]
    return [root for source in node.all_input_nodes for root in _roots(source)]


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


class _Layer(nn.Module):
    """One operator as a module: the lowering names tensors after modules' classes."""

    def __init__(self, operation: Callable[..., Any]) -> None:
        super().__init__()
        self._operation = operation

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._operation(*args, **kwargs)


def _named(name: str, operation: Callable[..., Any]) -> nn.Module:
    # toolchain.model.layers.layer_name() finds the name again by this mark.
    kind = type(f"tileskip[{name}]", (_Layer,), {})
    return cast(nn.Module, kind(operation))
