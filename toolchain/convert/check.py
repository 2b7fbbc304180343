"""Check a converted file: its outputs against torch's, its masks against the model's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from toolchain.convert.rewrite import MaskedLayer
from toolchain.convert.silence import quiet
from toolchain.convert.source import Source
from toolchain.errors import VerificationError
from toolchain.model.layers import Layer

Array = npt.NDArray[np.float32]
Form = Literal["select", "dense", "constant", "changed"]

SAMPLES = 5
"""Random inputs: three of mean 0 and variance 1, two uniform in [0, 1) like an image."""


@dataclass(frozen=True)
class Agreement:
    """How far the file's outputs are from torch's."""

    max_abs_diff: float
    max_output: float
    """The largest absolute value of torch's outputs."""
    samples: int
    seed: int
    kernels: tuple[str, ...]
    """Which kernels of the interpreter were tried: ``xnnpack``, ``builtin``."""

    @property
    def relative_diff(self) -> float:
        """The difference over the largest output."""
        return self.max_abs_diff / self.max_output if self.max_output else self.max_abs_diff


@dataclass(frozen=True)
class LayerCheck:
    """What became of one masked layer."""

    name: str
    op: str | None
    pixels: int
    kept: int
    form: Form
    """``select``: the pair that a runtime skips, same mask and fill; ``dense``: the mask keeps
    every pixel, so there is none in the file; ``constant``: the mask keeps no pixel, so the
    convolution is gone; ``changed``: see ``detail``."""
    skipped: bool
    detail: str | None


def compare_outputs(
    source: Source, path: Path, *, seed: int, step: Callable[[], None]
) -> Agreement:
    """Run the file on the stock interpreter, and torch, on the same random inputs.

    Args:
        source: the original model.
        path: the file.
        seed: of the random inputs.
        step: called after each of ``SAMPLES + 2`` steps.

    Raises:
        VerificationError: the interpreter cannot run the file, its outputs have other shapes, or
            torch's outputs are not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    samples: list[list[Tensor]] = []
    for index in range(SAMPLES):
        make = torch.randn if index < SAMPLES - 2 else torch.rand
        samples.append([make(shape, generator=generator) for shape in source.inputs])
    with quiet():
        fast, plain = _interpreter(path, plain=False), _interpreter(path, plain=True)
    largest = difference = 0.0
    for index, inputs in enumerate(samples):
        with torch.no_grad():
            wanted = [_to_file(output) for output in source.reference(*inputs)]
        if not all(np.isfinite(array).all() for array in wanted):
            raise VerificationError(
                "torch's own outputs are not finite on random inputs, so nothing can be compared",
                hint="look for NaN or infinity in the weights and in BatchNorm's variances",
            )
        largest = max([largest, *(_largest(array) for array in wanted)])
        # The plain kernels are slow: once for each kind of input.
        runs = [fast, plain] if index in (0, SAMPLES - 1) else [fast]
        for run in runs:
            got = run([_to_file(tensor) for tensor in inputs])
            if [array.shape for array in got] != [array.shape for array in wanted]:
                raise VerificationError(
                    f"the file's outputs have shapes {[array.shape for array in got]}, "
                    f"torch's have {[array.shape for array in wanted]}"
                )
            for have, want in zip(got, wanted, strict=True):
                # A NaN in the file's output must count as a difference: max() would drop it.
                worst = _largest(have - want)
                difference = worst if worst > difference or np.isnan(worst) else difference
            step()
    return Agreement(difference, largest, SAMPLES, seed, ("xnnpack", "builtin"))


def require_agreement(agreement: Agreement, tolerance: float) -> None:
    """Raise unless the difference is within ``tolerance`` of the largest output.

    Raises:
        VerificationError: it is not.
    """
    if agreement.relative_diff <= tolerance:  # false for NaN too
        return
    raise VerificationError(
        f"the converted file differs from torch by {agreement.max_abs_diff:.3g}, "
        f"{agreement.relative_diff:.3g} of the largest output ({agreement.max_output:.3g}); "
        f"the tolerance is {tolerance:.3g}",
        hint=f"no file was written; --seed {agreement.seed} tries the same inputs again",
    )


def check_layers(masked: Sequence[MaskedLayer], found: Sequence[Layer]) -> list[LayerCheck]:
    """Find every masked layer of the model in the file, with its mask and fill."""
    checks: list[LayerCheck] = []
    taken: set[int] = set()
    for layer in masked:
        same = [item for item in found if item.name.partition("#")[0] == layer.name]
        # A layer that is called twice with one input is computed once in the file.
        chosen = next((item for item in same if item.index not in taken), same[0] if same else None)
        if chosen is not None:
            taken.add(chosen.index)
        checks.append(_check_layer(layer, chosen))
    return checks


def _check_layer(masked: MaskedLayer, layer: Layer | None) -> LayerCheck:
    kept = int(masked.mask.sum())
    op = layer.op if layer else None

    def result(form: Form, detail: str | None = None) -> LayerCheck:
        skipped = form == "select"
        return LayerCheck(masked.name, op, masked.mask.numel(), kept, form, skipped, detail)

    if not masked.rewritten:
        return result("changed", f"left as a multiplication: {masked.reason}")
    if kept == masked.mask.numel():
        return result("dense", "the mask keeps every pixel")
    if layer is None:
        if kept == 0:
            return result("constant", "the mask keeps no pixel")
        return result("changed", "the convolution is not in the file")
    if layer.mask is None:
        return result("changed", "the convolution has no mask in the file")
    if not np.array_equal(layer.mask.kept, masked.mask.numpy()):
        return result("changed", "the mask in the file is another one")
    fill = np.broadcast_to(layer.mask.fill, (masked.fill.numel(),))
    if not np.array_equal(fill, masked.fill.numpy()):
        return result("changed", "the fill in the file is another one")
    return result("select" if layer.mask.skipped else "changed", layer.mask.reason)


def _to_file(tensor: Tensor) -> Array:
    if tensor.dim() == 4:
        tensor = tensor.permute(0, 2, 3, 1)
    array: Array = tensor.contiguous().numpy()
    return array


def _largest(array: Array) -> float:
    return float(np.abs(array).max()) if array.size else 0.0


def _interpreter(path: Path, *, plain: bool) -> Callable[[list[Array]], list[Array]]:
    from ai_edge_litert import interpreter as litert

    kinds = litert.OpResolverType
    kind = kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES if plain else kinds.AUTO
    try:
        runner: Any = litert.Interpreter(
            model_path=str(path), experimental_op_resolver_type=kind, num_threads=1
        )
        runner.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise VerificationError(
            f"the stock TFLite interpreter cannot load the converted file: {error}"
        ) from error
    signature = runner.get_signature_runner()

    def run(arrays: list[Array]) -> list[Array]:
        # By the signature's names: the graph's own order of inputs and outputs may be another.
        results = signature(**{f"args_{i}": array for i, array in enumerate(arrays)})
        return [results[f"output_{i}"] for i in range(len(results))]

    return run
