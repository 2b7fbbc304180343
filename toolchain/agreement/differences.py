"""How far apart two results of one network are: each output by itself, and each slice of it.

A difference means something beside a scale only. One scale for all outputs hides a confidence
beside a depth in millimetres; one for a whole tensor hides the scores in a tensor that holds boxes,
too. So a difference is divided by the largest value of its own *slice*: all values that share one
index of one axis, such as a channel. Slices along every axis but the batch are looked at, and the
worst counts.

A slice may be tiny because large terms cancelled in it, or all zero. Its rounding errors are then
those of the terms, and its own largest value is no scale for them. ``noise`` says how far rounding
alone moves each value; a slice's scale is never less than what such noise is the rounding of.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

NOISE = 2.0**-20
"""Rounding noise of a sum over the largest of its terms: a dozen roundings to float32. A tolerance
of 1e-5 lets ten times the measured noise through, which is the largest of a few draws."""
_LEAST_SEEN = 20
"""Values of a slice, over all draws, that its noise is the largest of."""
_LEAST_DRAWS, _MOST_DRAWS = 3, 8


@dataclass(frozen=True)
class Difference:
    """How far one output is from what it should be, over all inferences."""

    output: int
    name: str
    """What a user calls it: ``output 1``, ``output 1 ['score']``."""
    max_abs_diff: float
    """The largest; infinite where one side is not a number."""
    max_output: float
    """The largest absolute value that was expected."""
    relative_diff: float
    """The worst slice's largest difference over that slice's scale."""
    scale: float
    """Of the worst slice."""
    largest: float
    """The largest absolute value that was expected in it; below the scale where terms cancelled."""
    axis: int | None
    """The worst slice's, counted in the array of one inference; ``None``: the whole output."""
    index: int | None
    """The worst slice's, in that axis."""
    inference: int
    position: tuple[int, ...]
    """The worst slice's largest difference: where ..."""
    found: float
    """... what there is ..."""
    expected: float
    """... and what there should be."""
    whole: bool = False
    """Whether it holds whole numbers, which are to be equal."""

    @property
    def slice(self) -> str:
        """``channel 3``, ``index 7 of axis 1``, or ``the output``."""
        if self.axis is None:
            return "the output"
        last = self.axis == len(self.position) - 1
        return f"channel {self.index}" if last else f"index {self.index} of axis {self.axis}"

    def describe(self, other: str) -> str:
        """What a message says of it, without a full stop.

        Args:
            other: whose value was expected: ``torch``, ``the host``.
        """
        where = f"[{', '.join(map(str, self.position))}] of inference {self.inference}"
        if self.whole:
            return (
                f"{self.name} is not {other}'s, and whole numbers have to be: "
                f"{self.found:g} where it should be {self.expected:g}, at {where}"
            )
        scale = f"the largest value of {self.slice} ({self.largest:.3g})"
        if self.scale > self.largest:
            scale = f"what is summed up in {self.slice} (about {self.scale:.3g})"
        return (
            f"{self.name} differs from {other} by {abs(self.found - self.expected):.3g}, "
            f"{self.relative_diff:.3g} of {scale}: "
            f"{self.found:.6g} where it should be {self.expected:.6g}, at {where}"
        )


def worst(differences: Sequence[Difference]) -> Difference | None:
    """The one that is worst beside its scale; ``None`` of none."""
    return max(differences, key=lambda item: item.relative_diff, default=None)


def output_name(index: int, name: str | None = None) -> str:
    """``output 1``, or ``output 1 ['score']`` where it has a name that says more."""
    return f"output {index}" + (f" {name}" if name and name != f"[{index}]" else "")


def compare_each(
    found: Sequence[Array],
    expected: Sequence[Array],
    names: Sequence[str],
    *,
    noise: Sequence[Array] | None = None,
    classes: bool = False,
) -> list[Difference]:
    """Compare all outputs of some inferences, each by itself.

    Args:
        found: ``[inferences, *shape]`` of each output.
        expected: likewise.
        names: of the outputs, beside their numbers.
        noise: of each output, how far rounding moves each value; nothing by default.
        classes: whether outputs of whole numbers are classes, places or flags, not quantised ones.
    """
    return [
        compare_output(
            have,
            want,
            output=index,
            name=names[index],
            noise=None if noise is None else noise[index],
            whole=classes and want.dtype.kind in "iub",
        )
        for index, (have, want) in enumerate(zip(found, expected, strict=True))
    ]


def compare_output(
    found: Array, expected: Array, *, output: int = 0, name: str | None = None,
    noise: Array | None = None, whole: bool = False,
) -> Difference:  # fmt: skip
    """Compare one output of some inferences.

    Args:
        found: ``[inferences, *shape]``.
        expected: likewise. Equal infinities and NaN on both sides are equal.
        output: which one it is.
        name: beside the number.
        noise: likewise, how far rounding moves each value; nothing by default.
        whole: the values are classes, places or flags: they have no scale, and have to be equal
            however large they are.
    """
    apart = absolute_difference(found, expected)
    size = np.where(np.isfinite(expected), np.abs(expected.astype(np.float64)), 0.0)
    most = _top(size)
    if whole:
        size = np.ones(expected.shape)
    rounding = None if noise is None else noise / NOISE
    best: tuple[float, float, float, int | None, int | None] = (-1.0, 0.0, 0.0, None, None)
    for axis in reversed(judged_axes(expected.shape)):
        others = tuple(i for i in range(expected.ndim) if i != axis)
        scale = largest = size.max(axis=others)
        if rounding is not None:
            scale = np.maximum(largest, rounding.max(axis=others))
        relative = divide(apart.max(axis=others), scale)
        at = int(relative.argmax())
        # Channels are what people know: another axis counts where it is clearly worse.
        if float(relative[at]) > best[0] * 2:
            best = (float(relative[at]), float(scale[at]), float(largest[at]), axis, at)
    relative_diff, scale_of_worst, largest_of_worst, chosen, index = best
    if chosen is None:  # a number an inference, or nothing at all
        largest_of_worst = _top(size)
        scale_of_worst = max(largest_of_worst, 0.0 if rounding is None else _top(rounding))
        relative_diff = float(divide(np.asarray(_top(apart)), np.asarray(scale_of_worst)))
    where = _position(apart, chosen, index)
    return Difference(
        output=output,
        name=output_name(output, name),
        max_abs_diff=_top(apart),
        max_output=most,
        relative_diff=relative_diff,
        scale=scale_of_worst,
        largest=largest_of_worst,
        axis=None if chosen is None else chosen - 1,
        index=index,
        inference=where[0] if where else 0,
        position=where[1:],
        found=float(found[where]) if where else 0.0,
        expected=float(expected[where]) if where else 0.0,
        whole=whole,
    )


def judged_axes(shape: Sequence[int]) -> range:
    """The axes of ``[inferences, *shape]`` along which slices have scales of their own.

    Not inferences, and not the batch where there is anything behind it: those are many of the same.
    """
    if 0 in shape:
        return range(0)
    return range(2, len(shape)) if len(shape) > 2 else range(1, len(shape))


def absolute_difference(found: Array, expected: Array) -> Array:
    """``|found - expected|``, value by value; infinite where one side is not a number."""
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    same = (found == expected) | ((found != found) & (expected != expected))
    return np.where(same, 0.0, np.where(np.isnan(apart), np.inf, apart))


def divide(difference: Array, scale: Array) -> Array:
    """Differences over scales; 0 where there is no difference, infinite where no scale."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where(difference == 0, 0.0, difference / scale)


def rounding_noise(run: Callable[[int], Sequence[Array]], expected: Sequence[Array]) -> list[Array]:
    """How far rounding moves each value of each output.

    Args:
        run: outputs ``[inferences, *shape]`` with inputs and weights that are changed by their last
            bit, at random; another number of the draw changes them otherwise.
        expected: the outputs of unchanged ones.

    Returns:
        The largest difference over some draws, value by value: more of them where slices are small.
    """
    noise = [np.zeros(array.shape) for array in expected]
    for draw in range(_draws(expected)):
        for sum_of, moved, array in zip(noise, run(draw), expected, strict=True):
            apart = absolute_difference(moved, array)
            np.maximum(sum_of, np.where(np.isfinite(apart), apart, 0.0), out=sum_of)
    return noise


def _draws(expected: Sequence[Array]) -> int:
    least = min(
        (
            array.size // max(array.shape[axis] for axis in judged_axes(array.shape))
            for array in expected
            if judged_axes(array.shape)
        ),
        default=1,
    )
    return min(_MOST_DRAWS, max(_LEAST_DRAWS, math.ceil(_LEAST_SEEN / max(least, 1))))


def _position(apart: Array, axis: int | None, index: int | None) -> tuple[int, ...]:
    """The largest difference in a slice, as indices of ``[inferences, *shape]``."""
    if not apart.size:
        return ()
    if axis is None or index is None:
        return tuple(int(i) for i in np.unravel_index(int(apart.argmax()), apart.shape))
    inside = apart.take(index, axis=axis)
    at = [int(i) for i in np.unravel_index(int(inside.argmax()), inside.shape)]
    return (*at[:axis], index, *at[axis:])


def _top(array: Array) -> float:
    return float(array.max()) if array.size else 0.0
