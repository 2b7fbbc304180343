"""``Resize`` of ONNX, as far as torch has a resize that gives the same."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from toolchain.convert.from_onnx.call import Call

_HINT = "export it as torch.nn.functional.interpolate does: half_pixel, align_corners or asymmetric"


def upsample(call: Call) -> Tensor:
    """``Upsample``, which ``Resize`` came after."""
    return _resized(call, call.numbers(1, "scales"), None, "asymmetric")


def resize(call: Call) -> Tensor:
    """``Resize``."""
    if call.attribute("axes") is not None:
        raise call.fault("names axes", "export the model with opset 17 or earlier")
    if call.opset < 11:
        return _resized(call, call.numbers(1), None, "asymmetric")
    where = call.attribute("coordinate_transformation_mode", "half_pixel")
    scales, sizes = call.numbers(2, default=None), call.numbers(3, default=None)
    return _resized(call, scales or None, sizes, where)


def _resized(call: Call, scales: list[float] | None, sizes: list[int] | None, where: str) -> Tensor:
    x, mode = call[0], call.attribute("mode", "nearest")
    whole = scales is None
    if sizes is None:
        if scales is None:
            raise call.fault("says not how large its output is")
        sizes, whole = _scaled(x.shape, scales)
    call.bounded(sizes)
    if list(sizes[:2]) != list(x.shape[:2]):
        raise call.fault("resizes the batch or the channels", _HINT)
    new, axes = list(sizes[2:]), x.dim() - 2
    factors = None
    if scales is not None and not whole and where != "align_corners":  # which goes by sizes alone
        factors = _factors(call, new, scales[2:])
    if mode == "nearest":
        return _nearest(call, new, factors, where)
    kinds = {("linear", 1): "linear", ("linear", 2): "bilinear", ("linear", 3): "trilinear"}
    kind = "bicubic" if mode == "cubic" and axes == 2 else kinds.get((mode, axes))
    corners = {"align_corners": True, "half_pixel": False, "pytorch_half_pixel": False}
    cubic = kind != "bicubic" or abs(call.attribute("cubic_coeff_a", -0.75) + 0.75) < 1e-6
    if kind is None or where not in corners or not cubic or call.attribute("exclude_outside", 0):
        raise call.fault(f"resizes by '{where}' and '{mode}'", _HINT)
    if where == "pytorch_half_pixel" and 1 in new:
        raise call.fault(f"resizes to one pixel by '{where}'", _HINT)
    return F.interpolate(x, new if factors is None else None, factors, kind, corners[where],
                         antialias=bool(call.attribute("antialias", 0)))  # fmt: skip


def _scaled(sizes: Sequence[int], scales: Sequence[float]) -> tuple[list[int], bool]:
    """The sizes that scales make, and whether they make them without a rest.

    In float32, as scales are stored: 0.7 of 10 pixels is 7 of them there.
    """
    exact = [
        float(np.float32(n) * np.float32(scale)) for n, scale in zip(sizes, scales, strict=True)
    ]
    return [int(size) for size in exact], all(map(float.is_integer, exact))


def _factors(call: Call, new: Sequence[int], scales: Sequence[float]) -> list[float]:
    """What torch is given for scales that leave a rest.

    Pixels lie as the scale says then, not where the whole sizes would have them.
    """
    factors = []
    for size, out, scale in zip(call[0].shape[2:], new, scales, strict=True):
        if float(np.float32(size) * np.float32(scale)).is_integer():
            factors.append(math.nextafter(out / size, math.inf))  # makes it in float64, too
        elif out == size:  # torch leaves such an axis as it is
            raise call.fault(f"resizes {size} pixels by {scale:.4g} to as many", _HINT)
        else:
            factors.append(scale)
    return factors


def _nearest(call: Call, new: list[int], factors: list[float] | None, where: str) -> Tensor:
    rounding = "round_prefer_floor" if call.opset > 10 else "floor"
    rounding = call.attribute("nearest_mode", rounding)
    half = where in ("half_pixel", "pytorch_half_pixel")
    sizes = call[0].shape[2:]
    whole = not factors and all(out % size == 0 for out, size in zip(new, sizes, strict=True))
    pixels = call[0], None if factors else new, factors
    if where == "asymmetric" and rounding == "floor":
        return F.interpolate(*pixels, "nearest")
    if half and whole and rounding.startswith("round"):
        return F.interpolate(*pixels, "nearest")  # no pixel lies in the middle of two
    if (half and rounding == "round_prefer_ceil") or (
        where == "tf_half_pixel_for_nn" and rounding == "floor"
    ):
        return F.interpolate(*pixels, "nearest-exact")
    raise call.fault(f"resizes by '{where}' and '{rounding}'", _HINT)
