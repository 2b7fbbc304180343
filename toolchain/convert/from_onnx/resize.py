"""``Resize`` of ONNX, as far as torch has a resize that gives the same."""

from __future__ import annotations

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
    if sizes is None:
        if scales is None:
            raise call.fault("says not how large its output is")
        sizes = [int(size * scale) for size, scale in zip(x.shape, scales, strict=True)]
    call.bounded(sizes)
    if list(sizes[:2]) != list(x.shape[:2]):
        raise call.fault("resizes the batch or the channels", _HINT)
    new, axes = list(sizes[2:]), x.dim() - 2
    if mode == "nearest":
        return _nearest(call, new, where)
    kinds = {("linear", 1): "linear", ("linear", 2): "bilinear", ("linear", 3): "trilinear"}
    kind = "bicubic" if mode == "cubic" and axes == 2 else kinds.get((mode, axes))
    corners = {"align_corners": True, "half_pixel": False, "pytorch_half_pixel": False}
    cubic = kind != "bicubic" or abs(call.attribute("cubic_coeff_a", -0.75) + 0.75) < 1e-6
    if kind is None or where not in corners or not cubic or call.attribute("exclude_outside", 0):
        raise call.fault(f"resizes by '{where}' and '{mode}'", _HINT)
    if where == "pytorch_half_pixel" and 1 in new:
        raise call.fault(f"resizes to one pixel by '{where}'", _HINT)
    return F.interpolate(x, new, mode=kind, align_corners=corners[where],
                         antialias=bool(call.attribute("antialias", 0)))  # fmt: skip


def _nearest(call: Call, new: list[int], where: str) -> Tensor:
    rounding = "round_prefer_floor" if call.opset > 10 else "floor"
    rounding = call.attribute("nearest_mode", rounding)
    half = where in ("half_pixel", "pytorch_half_pixel")
    whole = all(out % size == 0 for out, size in zip(new, call[0].shape[2:], strict=True))
    if where == "asymmetric" and rounding == "floor":
        return F.interpolate(call[0], new, mode="nearest")
    if half and whole and rounding.startswith("round"):
        return F.interpolate(call[0], new, mode="nearest")  # no pixel lies in the middle of two
    if (half and rounding == "round_prefer_ceil") or (
        where == "tf_half_pixel_for_nn" and rounding == "floor"
    ):
        return F.interpolate(call[0], new, mode="nearest-exact")
    raise call.fault(f"resizes by '{where}' and '{rounding}'", _HINT)
