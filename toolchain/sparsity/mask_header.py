"""Read the C header of masks that the paper's training code writes beside its weights.

The code (github: Deeplite/activ-sparse) ends a run with one ``bin_mask.h``: an array of 0 and 1 for
each masked convolution, named after the layer in capitals, dots as underscores.
"""

from __future__ import annotations

import bisect
import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn, TypeVar

import torch
from torch import Tensor, nn

from toolchain.errors import ModelError
from toolchain.formats.text_file import read_text

_Value = TypeVar("_Value")
_WHAT_TO_GIVE = "give the bin_mask.h that the training code wrote with --save_masks"

# What a reader may have added to make the file compile. `#if` and macros with a value are not
# among it: they could change what the arrays hold.
_IGNORED = re.compile(
    r"//[^\n]*|/\*.*?\*/"
    r"|^[ \t]*#[ \t]*(?:include\b|pragma\b|ifndef\b|endif\b|define[ \t]+\w+[ \t]*$)[^\n]*",
    re.DOTALL | re.MULTILINE,
)
_ARRAY = re.compile(
    # Whatever a layer is called, so is its array, in capitals: 0 and BLOCK1-0 stand there as well,
    # though C knows no such names.
    r"\s*(?:static\s+)?const\s+uint8_t\s+([^\s\[\]{}()=,;][^\[\]{}()=,;\n]*?)\s*\[\s*(\d{1,6})\s*\]\s*\[\s*(\d{1,6})\s*\]"
    r"\s*=\s*\{",
    re.ASCII,
)
_ROW = re.compile(r"\s*\{([^{};]*)\}\s*(,?)")
_END = re.compile(r"\s*\}\s*;")
_NEXT = re.compile(r"\s*(\S[^\n]{0,40})")


def read_mask_header(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read ``const uint8_t NAME[H][W] = {{...}, ...};`` for each array of a header.

    Comments, include guards and ``#include`` are passed over; all else has to be such an array.

    Returns:
        C name -> mask, bool ``[H, W]``, True = kept (1), in the file's order.

    Raises:
        ModelError: the file cannot be read, holds no array or ends within one, a name stands there
            twice, rows or values are too many or too few, or a value is not 0 or 1; names the line.
    """
    path = Path(path)
    text = read_text(path, ModelError, hint=_WHAT_TO_GIVE)
    return _Reader(path, text.replace("\r\n", "\n")).masks()


def c_name(layer: str) -> str:
    """The name of a layer's array: ``layer1.0.conv1`` is ``LAYER1_0_CONV1``.

    What a name of C cannot hold stays: ``block1-0`` is ``BLOCK1-0``.
    """
    return layer.replace(".", "_").upper()


def compiling_name(name: str) -> str:
    """An array's name as C takes it, as who compiles the header has to write it."""
    return re.sub(r"\W", "_", name)


def by_layer(
    model: nn.Module, arrays: Mapping[str, _Value], path: str | os.PathLike[str]
) -> dict[str, _Value]:
    """Give each array of a header the name of its layer.

    Args:
        model: the network that the header was written for.
        arrays: by C name.
        path: of the header, for messages.

    Returns:
        The same values by layer name, in the order of the model's modules.

    Raises:
        ModelError: an array is named after no convolution of the model, or after several of them.
    """
    convolutions = [n for n, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    layers: dict[str, list[str]] = {}
    for layer in convolutions:
        layers.setdefault(c_name(layer), []).append(layer)
    exact = set(layers)
    for layer in convolutions:  # as it may have been changed to make the file compile
        name = compiling_name(c_name(layer))
        if name not in exact:
            layers.setdefault(name, []).append(layer)
    for name in arrays:
        if name not in layers:
            near = difflib.get_close_matches(name, layers, n=3)
            raise ModelError(
                f"{path}: array {name} belongs to no convolution of the model",
                hint=f"the nearest of the model's are {', '.join(near)}"
                if near
                else "the header was written for another model",
            )
        if len(layers[name]) > 1:
            raise ModelError(
                f"{path}: array {name} may belong to any of the layers "
                + ", ".join(f"'{layer}'" for layer in layers[name]),
                hint="put the masks into the checkpoint, as <layer>.mask, where names are exact",
            )
    given = {layers[name][0]: array for name, array in arrays.items()}
    if len(given) < len(arrays):
        twice = next(
            n for n in arrays if c_name(layers[n][0]) in arrays and n != c_name(layers[n][0])
        )
        raise ModelError(
            f"{path}: arrays {c_name(layers[twice][0])} and {twice} belong to one layer, "
            f"'{layers[twice][0]}'",
            hint=_WHAT_TO_GIVE,
        )
    return {layer: given[layer] for layer in convolutions if layer in given}


class _Reader:
    """One pass over a header's text."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        # Blanks of the same length and lines, so that an offset still tells its line.
        self._text = _IGNORED.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
        self._at = 0
        self._ends = [found.start() for found in re.finditer("\n", text)]

    def masks(self) -> dict[str, Tensor]:
        """Every array of the file."""
        masks: dict[str, Tensor] = {}
        lines: dict[str, int] = {}
        while _NEXT.match(self._text, self._at):
            found = self._take(_ARRAY)
            if found is None:
                self._fail(f"expected a mask's array, found {self._next()}")
            name, height, width = found[1], int(found[2]), int(found[3])
            line = self._line(found.start(1))
            if name in masks:
                self._fail(f"array {name} stands there twice, first in line {lines[name]}", line)
            if not height or not width:
                self._fail(f"array {name} is empty ({height}x{width})", line)
            rows = self._rows(name, width)
            if len(rows) != height:
                self._fail(f"array {name} has {len(rows)} rows, not {height}", line)
            masks[name], lines[name] = torch.tensor(rows, dtype=torch.bool), line
        if not masks:
            raise ModelError(f"{self._path}: holds no array", hint=_WHAT_TO_GIVE)
        return masks

    def _rows(self, name: str, width: int) -> list[list[bool]]:
        rows: list[list[bool]] = []
        comma = ","
        while not self._take(_END):
            row = self._take(_ROW) if comma else None
            if row is None:
                if self._text.find("}", self._at) < 0:
                    self._fail(f"the file ends within array {name}")
                wanted = "a row { ... }" if comma else "',' or '};'"
                self._fail(f"expected {wanted} of array {name}, found {self._next()}")
            comma = row[2]
            rows.append(self._row(name, row, width))
        return rows

    def _row(self, name: str, row: re.Match[str], width: int) -> list[bool]:
        values = [value.strip() for value in row[1].split(",")]
        if not values[-1]:  # C allows a comma behind the last one
            values.pop()
        line = self._line(row.start(1) - 1)
        for value in values:
            if value not in ("0", "1"):
                self._fail(f"array {name} holds '{value:.30}', which is not 0 or 1", line)
        if len(values) != width:
            self._fail(f"a row of array {name} has {len(values)} values, not {width}", line)
        return [value == "1" for value in values]

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self._text, self._at)
        if found:
            self._at = found.end()
        return found

    def _next(self) -> str:
        found = _NEXT.match(self._text, self._at)
        return f"'{found[1].rstrip()}'" if found else "the end of the file"

    def _line(self, offset: int) -> int:
        return bisect.bisect_left(self._ends, offset) + 1

    def _fail(self, what: str, line: int | None = None) -> NoReturn:
        if line is None:
            found = _NEXT.match(self._text, self._at)
            line = self._line(found.start(1) if found else len(self._text.rstrip()))
        raise ModelError(
            f"{self._path}: line {line}: {what}",
            hint="a mask is const uint8_t NAME[H][W] = { { 1, 0, ... }, ... }; with 1 for kept",
        )
