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
from typing import Any, cast

import torch
from torch import fx, nn

from toolchain.agreement.silence import quiet
from toolchain.convert.constants import Constants
from toolchain.convert.masking import simplify
from toolchain.convert.masks import MaskedLayer, MaskRewriter, layer_name
from toolchain.convert.operators import ColumnProduct, Largest
from toolchain.convert.precision import to_float32
from toolchain.convert.reach import CONVOLUTIONS, OPERATOR, name_of
from toolchain.convert.replace import replacement
from toolchain.errors import ModelError

_aten = torch.ops.aten
_NAMED = (*CONVOLUTIONS, _aten.linear.default, _aten.conv_transpose2d.input)
_TRAINING_OPS = (
    "_native_batch_norm_legit_functional",
    "native_dropout",
    "_native_batch_norm_legit.default",
)


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
    to_float32(module)
    rewriter = _Rewriter(module)
    rewriter.run()
    return module, rewriter.layers


class _Rewriter:
    def __init__(self, module: fx.GraphModule) -> None:
        self._module, self._graph = module, module.graph
        self.layers: list[MaskedLayer] = []

    def run(self) -> None:
        constants = Constants(self._module)
        simplify(self._module, constants)
        masks = MaskRewriter(self._module, constants)
        masks.run()
        self.layers = masks.layers
        for index, node in enumerate(list(self._graph.nodes)):
            if node.op != "call_function":
                continue
            other = replacement(node, constants.value)
            if other is not None:
                self._replace(node, other, index)
            elif node.target in _NAMED:
                self._name(node, index)
        self._graph.eliminate_dead_code()
        self._graph.lint()
        self._module.recompile()

    def _replace(self, node: fx.Node, module: nn.Module, index: int) -> None:
        path = f"tileskip_layer_{index}"
        self._module.add_module(path, _named(layer_name(node), module))
        with self._graph.inserting_before(node):
            given = node.args[: 2 if isinstance(module, ColumnProduct) else 1]
            call = self._graph.call_module(path, given)
        call.meta = {**node.meta, OPERATOR: name_of(node)}
        several = isinstance(module, Largest)
        for user in list(node.users):
            if user.target is operator.getitem and not several:
                user.replace_all_uses_with(call)
                self._graph.erase_node(user)
        node.replace_all_uses_with(call)
        self._graph.erase_node(node)

    def _name(self, node: fx.Node, index: int) -> None:
        path = f"tileskip_layer_{index}"
        self._module.add_module(
            path, _named(layer_name(node), cast(Callable[..., Any], node.target))
        )
        with self._graph.inserting_before(node):
            call = self._graph.call_module(path, node.args, node.kwargs)
        call.meta = {**node.meta, OPERATOR: name_of(node)}
        node.replace_all_uses_with(call)
        self._graph.erase_node(node)


class _Layer(nn.Module):
    """One operator as a module: the lowering names tensors after modules' classes."""

    def __init__(self, operation: Callable[..., Any]) -> None:
        super().__init__()
        self._operation = operation

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._operation(*args, **kwargs)


def _named(name: str, operation: Callable[..., Any]) -> nn.Module:
    # toolchain.tflite_file.layers.layer_name() finds the name again by this mark.
    kind = type(f"tileskip[{name}]", (_Layer,), {})
    return cast(nn.Module, kind(operation))
