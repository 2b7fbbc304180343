"""An ONNX graph as a torch module: layers by their names, and all that is constant computed once.

Shapes are fixed in a file, so what an exporter wrote to compute them (``Shape``, ``Gather``,
``Concat`` ...) is computed here, and only what depends on the input's values is left. Tensors that
depend on it have shapes and no values while that is found out, so nothing is computed in vain.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from toolchain.convert.from_onnx.call import MOST_VALUES, Call, described
from toolchain.convert.from_onnx.file import Graph, Node
from toolchain.convert.from_onnx.operators import OPERATORS, REFUSED
from toolchain.convert.from_onnx.windows import convolution, padded, transposed_convolution
from toolchain.errors import DeployError, ModelError, first_line
from toolchain.hints import did_you_mean

Results = Tensor | Sequence[Tensor]
_Layer = tuple[nn.Module, Callable[[nn.Module, Tensor], Tensor]]


class Operator(nn.Module):
    """One operator that is no layer; a module, so that what is made of it carries its name.

    Args:
        node: the operator.
        opset: whose meaning it has.
        constants: its inputs that are known.
    """

    def __init__(self, node: Node, opset: int, constants: Mapping[int, Tensor]) -> None:
        super().__init__()
        self._node, self._opset, self._constants = node, opset, dict(constants)
        for number, value in constants.items():
            if value.is_floating_point() or value.numel() > 1:
                self.register_buffer(f"constant_{number}", value, persistent=False)

    def forward(self, *tensors: Tensor | None) -> Results:
        """The inputs that are no constants, each at its place, to the outputs."""
        given = [
            self._constant(number) if number in self._constants else tensor
            for number, tensor in enumerate(tensors)
        ]
        call = Call(self._node, self._opset, given, self._constants)
        return OPERATORS[self._node.op](call)

    def _constant(self, number: int) -> Tensor:
        name = f"constant_{number}"
        value = self._constants[number]
        return self.get_buffer(name) if name in self._buffers else value.clone()


class OnnxNetwork(nn.Module):
    """What an ONNX file computes, of inputs of one shape each.

    Args:
        graph: what was read.
        shapes: of the inputs, as the file has them.
        path: of the file, for messages.

    Raises:
        ModelError: an operator is not known, or cannot be computed; names it.
    """

    def __init__(self, graph: Graph, shapes: Sequence[tuple[int, ...]], path: Path) -> None:
        super().__init__()
        self._inputs, self._outputs = tuple(graph.inputs), graph.outputs
        self._steps: list[tuple[Node, Callable[..., Results]]] = []
        self._opset, self._path = graph.opset, path
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)
        self._constants: dict[str, Tensor] = dict(graph.constants)
        self._values: dict[str, Tensor] = {}
        with torch.no_grad(), self._fake:
            for name, shape in zip(self._inputs, shapes, strict=True):
                self._values[name] = torch.zeros(shape)
        with torch.no_grad():
            self._add(graph.nodes)
        for number, name in enumerate(self._outputs):
            if name not in self._constants and name not in self._values:
                raise ModelError(f"{path}: nothing gives its output {number}")
            if name in self._constants:
                raise ModelError(
                    f"{path}: the output {number} is the same for every input",
                    hint="leave it out of the model",
                )
        del self._fake, self._constants, self._values

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Inputs and outputs as the file has them, in its order."""
        values: dict[str, Tensor] = dict(zip(self._inputs, inputs, strict=True))
        for node, step in self._steps:
            results = step(*(values.get(name) for name in node.inputs))
            values.update(_by_name(node, results))
        found = tuple(values[name] for name in self._outputs)
        return found[0] if len(found) == 1 else found

    # --- while it is made ---------------------------------------------------------------------

    def _add(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            try:
                self._node(node)
            except DeployError as error:
                if error.what.startswith(str(self._path)):
                    raise
                raise type(error)(f"{self._path}: {error.what}", hint=error.hint) from error
            except Exception as error:
                raise ModelError(
                    f"{self._path}: the operator {described(node)} cannot be computed: "
                    f"{first_line(error)[:300]}",
                    hint="does it run in onnxruntime, on an input of this shape?",
                ) from error

    def _node(self, node: Node) -> None:
        if node.op == "If":
            self._branch(node)
            return
        _check_known(node)
        for name in filter(None, node.inputs):
            if name not in self._constants and name not in self._values:
                raise ModelError(f"the operator {described(node)}: nothing gives its inputs")
        constants = {
            number: self._constants[name]
            for number, name in enumerate(node.inputs)
            if name in self._constants
        }
        given = [self._values.get(name) for name in node.inputs]
        if node.op in ("Shape", "Size") and given[0] is not None:
            shape = tuple(given[0].shape)
            constants, given = {0: torch.empty(shape, device="meta")}, [None]
        if all(value is None for value in given):
            self._fold(node, constants)
            return
        step = self._step(node, constants, given)
        with self._fake:
            results = step(*given)
        self._check_sizes(node, results)
        self._values.update(_by_name(node, results))
        self._steps.append((node, step))

    def _fold(self, node: Node, constants: Mapping[int, Tensor]) -> None:
        call = Call(
            node,
            self._opset,
            [constants.get(number) for number in range(len(node.inputs))],
            constants,
        )
        function = OPERATORS[node.op]
        if not any(value.device.type == "meta" for value in constants.values()):
            with self._fake:  # how large it is, before it is made
                fakes = [
                    None if value is None else self._fake.from_tensor(value)
                    for value in call.tensors
                ]
                self._check_sizes(node, function(Call(node, self._opset, fakes, constants)))
        self._constants.update(_by_name(node, function(call)))

    def _branch(self, node: Node) -> None:
        chosen = self._constants.get(node.inputs[0])
        if chosen is None:
            raise ModelError(
                f"the operator {described(node)}: which branch is taken depends on values, so "
                "there is no one graph to convert",
                hint="export the model for one input shape, or decide outside of the network",
            )
        branch: Graph = node.attributes["then_branch" if bool(chosen) else "else_branch"]
        self._constants.update(branch.constants)
        self._add(branch.nodes)
        for inner, outer in zip(branch.outputs, node.outputs, strict=True):
            identity = Node("Identity", node.name, (inner,), (outer,))
            self._add([identity])

    def _check_sizes(self, node: Node, results: Results) -> None:
        for value in [results] if isinstance(results, Tensor) else results:
            if value.numel() > MOST_VALUES:
                shape = "x".join(map(str, value.shape))
                raise ModelError(f"the operator {described(node)}: it makes a tensor of {shape}")

    def _step(
        self, node: Node, constants: Mapping[int, Tensor], given: Sequence[Tensor | None]
    ) -> Callable[..., Results]:
        tensors = [constants.get(n) if n in constants else value for n, value in enumerate(given)]
        call = Call(node, self._opset, tensors, constants)
        layer = _layer(call) if given[0] is not None else None
        if layer is not None:
            module, run = layer
            self._place(node, module)
            return lambda x, *_: run(module, x)
        operator = Operator(node, self._opset, constants)
        self._place(node, operator)
        return operator

    def _place(self, node: Node, module: nn.Module) -> None:
        """Add a layer under the name that it had where the file came from."""
        *folders, last = _layer_path(node)
        place: nn.Module = self
        for folder in folders:
            name = (
                folder if folder in place._modules or not hasattr(place, folder) else f"{folder}_"
            )
            if name not in place._modules:
                place.add_module(name, nn.Module())
            place = place.get_submodule(name)
        earlier = place._modules.get(last)
        if type(earlier) is nn.Module:  # what else is computed in that layer, so far
            for name, inner in earlier.named_children():
                module.add_module(name, inner)
            place.add_module(last, module)
            return
        free, count = last, 2
        while hasattr(place, free):
            free, count = f"{last}_{count}", count + 1
        place.add_module(free, module)


def _check_known(node: Node) -> None:
    if node.op not in OPERATORS:
        raise ModelError(
            f"the operator {described(node)} is not known here",
            hint=REFUSED.get(node.op)
            or did_you_mean(
                node.op, OPERATORS, "write it with other operators, or compute it outside"
            ),
        )
    for name, value in node.attributes.items():
        if isinstance(value, Graph):
            raise ModelError(f"the operator {described(node)}: its attribute {name} is a graph")


def _layer(call: Call) -> _Layer | None:
    """An operator with constant weights as torch's layer, and how it is called."""
    if call.node.op == "Conv":
        module, pads = convolution(call)
        return module, lambda layer, x: layer(padded(x, pads))
    if call.node.op == "ConvTranspose":
        module, cut = transposed_convolution(call)
        return module, lambda layer, x: cut(layer(x))
    if call.node.op == "Gemm":
        return _linear(call)
    if call.node.op == "MatMul" and 1 in call.constants and call.constants[1].dim() == 2:
        return _filled(call.constants[1].T, None), lambda layer, x: layer(x)
    if call.node.op == "BatchNormalization":
        return _batch_norm(call)
    return None


def _linear(call: Call) -> _Layer | None:
    weight, bias = call.constants.get(1), call.constants.get(2)
    plain = all(call.attribute(name, 1.0) == 1.0 for name in ("alpha", "beta"))
    if weight is None or call.attribute("transA", 0) or not plain:
        return None
    weight = weight if call.attribute("transB", 0) else weight.T
    if call.has(2) and (bias is None or bias.numel() not in (1, weight.shape[0])):
        return None
    if bias is not None:
        bias = bias.flatten().expand(weight.shape[0])
    return _filled(weight, bias), lambda layer, x: layer(x)


def _filled(weight: Tensor, bias: Tensor | None) -> nn.Module:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
    layer.load_state_dict({"weight": weight} if bias is None else {"weight": weight, "bias": bias})
    return layer.eval()


def _batch_norm(call: Call) -> _Layer | None:
    if call.attribute("training_mode", 0):
        raise call.fault("is in training mode", "call model.eval() before it is exported")
    values = [call.constants.get(number) for number in range(1, 5)]
    kinds = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
    if any(value is None for value in values) or call[0].dim() not in kinds:
        return None
    layer = kinds[call[0].dim()](call[0].shape[1], eps=call.attribute("epsilon", 1e-5))
    names = ("weight", "bias", "running_mean", "running_var")
    layer.load_state_dict(dict(zip(names, values, strict=True)), strict=False)
    return layer.eval(), lambda module, x: module(x)


def _by_name(node: Node, results: Results) -> dict[str, Tensor]:
    several = [results] if isinstance(results, Tensor) else results
    return {name: value for name, value in zip(node.outputs, several, strict=False) if name}


_ODD = re.compile(r"\W+", re.ASCII)


def _layer_path(node: Node) -> list[str]:
    """``['layer1', '0', 'conv1']``, by what torch's exporters and others leave of it.

    They write it into the weight's name, ``layer1.0.conv1.weight``, or, where BatchNorm was folded
    into the weight, into the operator's: ``/layer1/layer1.0/conv1/Conv``.
    """
    weight = node.inputs[1] if len(node.inputs) > 1 else ""
    if weight.endswith(".weight"):
        parts = weight.split(".")[:-1]
    else:
        parts = []
        for scope in node.name.strip("/").split("/")[:-1]:
            if parts and scope.startswith(parts[-1] + "."):
                parts[-1] = scope
            else:
                parts.append(scope)
        parts = [part for scope in parts for part in scope.split(".")]
        if not parts or node.op not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            parts.append((node.name.rpartition("/")[2] or node.op).replace(".", "_"))
    clean = [_ODD.sub("_", part)[:80] or "_" for part in parts]
    # What torch's modules have of their own is not to be had as a name.
    return [f"{part}_" if hasattr(nn.Module, part) else part for part in clean[:40]]
