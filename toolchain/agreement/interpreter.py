"""The stock interpreter: pip's ``ai-edge-litert``, in this process, on one thread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from toolchain.agreement.differences import Array
from toolchain.agreement.inputs import Batch
from toolchain.agreement.silence import quiet
from toolchain.errors import DeployError, ModelError, VerificationError
from toolchain.tflite_file.graph import Model, read_model

Kernels = Literal["xnnpack", "builtin"]
"""With the XNNPACK delegate, as an interpreter starts unless told otherwise; or without."""


@contextmanager
def refusals(fault: type[DeployError], said: str) -> Iterator[None]:
    """Run the interpreter in silence, and tell what it refuses as ``<said>: <its reason>``.

    Raises:
        DeployError: of class ``fault``.
    """
    try:
        with quiet():
            yield
    except (ValueError, RuntimeError) as error:
        raise fault(f"{said}: {error}") from error


def load(
    model: Path | bytes, kernels: Kernels = "xnnpack", *, threads: int = 1, keep: bool = False
) -> Any:
    """An interpreter with a file, its tensors allocated.

    Args:
        model: a ``.tflite`` file, or what is in it.
        kernels: which it takes.
        threads: of XNNPACK.
        keep: whether the tensors between operators can be looked at after a run.

    Raises:
        ValueError, RuntimeError: it cannot load the file.
    """
    from ai_edge_litert import interpreter as litert

    kinds = litert.OpResolverType
    plain = kernels == "builtin"
    source = {"model_content": model} if isinstance(model, bytes) else {"model_path": str(model)}
    runner: Any = litert.Interpreter(
        **source,
        experimental_op_resolver_type=kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        if plain
        else kinds.AUTO,
        experimental_preserve_all_tensors=keep,
        num_threads=threads,
    )
    runner.allocate_tensors()
    return runner


def run_here(model: Model, batch: Batch, kernels: Kernels = "xnnpack") -> list[Array]:
    """Outputs ``[count, *shape]`` of each inference, in the graph's order.

    Args:
        model: the file.
        batch: the inputs.
        kernels: ``builtin`` are TFLite's plain ones.

    Raises:
        ModelError: it cannot load or run the model.
    """
    collected: list[list[Array]] = []
    said = f"{model.path}: the stock interpreter on this machine cannot run it"
    with refusals(ModelError, said):
        interpreter = load(Path(model.path), kernels)
        details = interpreter.get_input_details(), interpreter.get_output_details()
        for index in range(batch.count):
            for detail, array in zip(details[0], batch.arrays, strict=True):
                interpreter.set_tensor(detail["index"], array[index])
            interpreter.invoke()
            collected.append([interpreter.get_tensor(item["index"]) for item in details[1]])
    return [np.stack(arrays) for arrays in zip(*collected, strict=True)]


# --- by the names of a converted file's signature, whose order the graph need not have -----------


def feed(signature: Any, arrays: Sequence[Array]) -> list[Array]:
    """Outputs of one inference, in the signature's order.

    Args:
        signature: ``get_signature_runner()`` of an interpreter, with inputs ``args_0`` ... and
            outputs ``output_0`` ...
        arrays: the inputs.
    """
    found = signature(**{f"args_{i}": array for i, array in enumerate(arrays)})
    return [found[f"output_{i}"] for i in range(len(found))]


@dataclass(frozen=True)
class Order:
    """How a file's signature and its graph, which may order them otherwise, go together."""

    inputs: list[int]
    """For each input of the graph its place in the signature."""
    outputs: list[int]
    """For each output of the signature its place in the graph."""


def signature_order(path: Path) -> Order:
    """How to feed a converted file through its graph.

    Raises:
        VerificationError: the interpreter cannot load it.
    """
    graph = read_model(path).graph
    inputs, outputs = ([one["index"] for one in details] for details in signature_details(path))
    return Order(
        [inputs.index(index) for index in graph.inputs],
        [graph.outputs.index(index) for index in outputs],
    )


def signature_details(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What the interpreter says of inputs and outputs, in the signature's order.

    Raises:
        VerificationError: it cannot load the file.
    """
    with refusals(VerificationError, "ai-edge-litert cannot load the converted file"):
        signature = load(path, "builtin").get_signature_runner()
        inputs, outputs = signature.get_input_details(), signature.get_output_details()
    return (
        [inputs[f"args_{i}"] for i in range(len(inputs))],
        [outputs[f"output_{i}"] for i in range(len(outputs))],
    )
