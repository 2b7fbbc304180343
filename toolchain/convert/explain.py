"""Say what of a user's code cannot be exported or lowered: the operator, its line, what to do.

Converters fail with a text of their own kind, MLIR or a traceback, about what they made of the
model. What a user can act on is the operator and the line of the model that asked for it.
"""

from __future__ import annotations

import re
import traceback
from pathlib import Path

import torch
from torch import fx

from toolchain import zoo
from toolchain.convert.culprit import depends_on_values
from toolchain.convert.masks import layer_name
from toolchain.convert.reach import name_of
from toolchain.errors import ModelError, first_line

_FRAME = re.compile(
    r'File "(?P<file>[^"]+)", line (?P<line>\d+), in [^\n]*(?:\n\s+(?P<code>[^\n]+))?'
)
_FOREIGN = ("/torch/", "/litert_torch/", "/litert_converter/", "/jax/", "/jaxlib/", "/torchax/")
_OURS = Path(__file__).resolve().parent.parent
_ZOO = Path(zoo.__path__[0]).resolve()
"""Networks, of which lines are told as of the user's own."""

_ADVICE = {
    "fft": "TFLite has no Fourier transform of this kind: compute it outside of the network",
    "grid_sampler": "a fixed grid can be a resize or a crop; another cannot be a TFLite operator",
    "item": "leave the value a tensor of one element: y * y.max() instead of y * y.max().item()",
    "_local_scalar_dense": "leave the value a tensor of one element: y * y.max() instead of "
    "y * y.max().item()",
    "nonzero": "how many there are depends on values: give the mask or the scores, and choose "
    "outside of the network",
    "nms": "non-maximum suppression belongs behind the network: give boxes and scores as outputs",
    "unique": "how many there are depends on values: give the tensor, and choose outside",
    "max_pool2d_with_indices": "where a maximum stands is not to be had: use its value alone",
    "max_unpool": "use a resize or a transposed convolution",
    "one_hot": "compare with numbers: (x[..., None] == torch.arange(classes)).float()",
    "median": "take the value of topk at the middle",
    "kthvalue": "take the last value of topk(k, largest=False)",
    "adaptive_max_pool": "where a maximum stands is not to be had: use its value alone",
    "conv_transpose3d": "TFLite 2.14 has transposed convolutions of one and two axes",
    "linalg": "compute it once, and keep the result as a buffer",
}
_ANY = "write it with other operators, or compute it outside of the network"


def export_failure(name: str, error: Exception) -> ModelError:
    """What ``torch.export`` cannot follow.

    Args:
        name: the model.
        error: what it raised.
    """
    place = where_raised(error)
    at = f"{place}: " if place else ""
    text = str(error)
    kind = type(error).__name__
    if "data-dependent" in text or "DataDependent" in kind or "item()" in text:
        return ModelError(
            f"{name}: {at}what is computed depends on a tensor's values, so there is no one graph "
            "to convert",
            hint="choose with torch.where, which computes both sides, or take this out of the "
            "network: give the tensor as an output, and decide on it outside",
        )
    return ModelError(
        f"{name}: {at}torch.export cannot follow this: {_plain(first_line(error))}",
        hint="what forward does has to be operators on tensors whose shapes are known; anything "
        "else belongs outside of the network",
    )


def lowering_failure(node: fx.Node | None, stage: str = "lowered to TFLite") -> ModelError:
    """What cannot be converted of a graph.

    Args:
        node: the operator that is at fault, where one alone is.
        stage: what was done with it.
    """
    if node is None:
        return ModelError(
            f"the model cannot be {stage}, and no operator alone is at fault",
            hint="convert parts of it to find the layers that do not go together; --model takes "
            "any factory",
        )
    place, layer = where_written(node), layer_name(node)
    what = f"the operator {name_of(node)}{_shapes(node)} cannot be {stage}"
    if depends_on_values(node):
        what = f"what the operator {name_of(node)} gives depends on values, and TFLite has no such"
    layer = f" (layer '{layer}')" if layer and layer != node.name else ""
    return ModelError(
        f"{place}: {what}{layer}" if place else f"{what}{layer}",
        hint=next((advice for key, advice in _ADVICE.items() if key in name_of(node)), _ANY),
    )


def where_raised(error: BaseException) -> str | None:
    """The innermost line of the user's code that an exception went through."""
    found = None
    for frame in traceback.extract_tb(error.__traceback__):
        if _is_users(frame.filename):
            found = _place(frame.filename, frame.lineno, frame.line)
    return found


def where_written(node: fx.Node) -> str | None:
    """The innermost line of the user's code that a node comes from, as ``net.py:12 `y.fft()` ``."""
    trace = node.meta.get("stack_trace") or ""
    found = None
    for match in _FRAME.finditer(trace):
        if _is_users(match["file"]):
            found = _place(match["file"], int(match["line"]), match["code"])
    return found


def _is_users(file: str) -> bool:
    if file.startswith("<") or any(part in file for part in _FOREIGN):
        return False
    path = Path(file)
    if path.is_relative_to(_OURS):
        return path.is_relative_to(_ZOO)
    return path.name not in ("deploy.py", "deploy")


def _place(file: str, line: int | None, code: str | None) -> str:
    path = Path(file)
    try:
        shown = path.relative_to(Path.cwd())
    except ValueError:
        shown = path
    return f"{shown}:{line}" + (f" `{code.strip()}`" if code and code.strip() else "")


def _shapes(node: fx.Node) -> str:
    shapes = [
        "x".join(str(size) for size in value.shape)
        for source in node.all_input_nodes
        if isinstance(value := source.meta.get("val"), torch.Tensor) and source.op != "get_attr"
    ]
    return f" of {' and '.join(shapes)}" if shapes and all(shapes) else ""


def _plain(text: str) -> str:
    """A message without the names of torch's own symbols, and of one line."""
    return re.sub(r"\s+", " ", text)[:300]
