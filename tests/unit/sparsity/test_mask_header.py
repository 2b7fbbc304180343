"""A header of masks comes back as it was written; one with a fault is refused at its line."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from support.published import header_text, random_masks, small_resnet, write_header
from toolchain.errors import ModelError
from toolchain.sparsity.mask_header import _Reader, by_layer, c_name, read_mask_header

INVALID = Path(__file__).parent / "invalid_headers"
FAULTS = {
    "array_twice.h": "line 4: array CONV1 stands there twice, first in line 1",
    "comment_open.h": "line 4: expected a mask's array, found '/* conv2 is left out'",
    "empty.h": "holds no array",
    "empty_array.h": "line 1: array CONV1 is empty (0x2)",
    "ends_after_row.h": "line 3: the file ends within array CONV1",
    "ends_in_declaration.h": "line 3: expected a mask's array, found 'const uint8_t CON'",
    "ends_in_row.h": "line 3: the file ends within array CONV1",
    "flat_array.h": "line 2: expected a row { ... } of array CONV1, found '1, 0, 0, 1'",
    "float_values.h": "line 2: array CONV1 holds '1.0', which is not 0 or 1",
    "huge_size.h": "line 1: expected a mask's array, found 'const uint8_t CONV1[9999999999]",
    "image.h": "is not a text file",
    "latin1.h": "is not a text file in UTF-8",
    "macro_value.h": "line 1: expected a mask's array, found '#define kept 1'",
    "no_comma_between_rows.h": "line 3: expected ',' or '};' of array CONV1, found '{ 0, 1 }'",
    "no_comma_between_values.h": "line 2: array CONV1 holds '1 0', which is not 0 or 1",
    "no_semicolon.h": "line 4: expected a row { ... } of array CONV1, found '}'",
    "not_a_header.h": "line 1: expected a mask's array, found 'import torch'",
    "one_dimension.h": "line 1: expected a mask's array, found 'const uint8_t CONV1[4] =",
    "only_comments.h": "holds no array",
    "preprocessor_branch.h": "line 1: expected a mask's array, found '#if 0'",
    "row_too_long.h": "line 3: a row of array CONV1 has 3 values, not 2",
    "row_too_short.h": "line 3: a row of array CONV1 has 1 values, not 2",
    "three_dimensions.h": "line 1: expected a mask's array, found 'const uint8_t CONV1[1][2][2]",
    "too_few_rows.h": "line 3: array CONV2 has 1 rows, not 2",
    "too_many_rows.h": "line 1: array CONV1 has 3 rows, not 2",
    "value_empty.h": "line 2: array CONV1 holds '', which is not 0 or 1",
    "value_negative.h": "line 3: array CONV1 holds '-1', which is not 0 or 1",
    "value_two.h": "line 3: array CONV1 holds '2', which is not 0 or 1",
}

_names = st.lists(
    st.text(string.ascii_lowercase + string.digits + "._-+ ", max_size=12)
    .map(str.rstrip)
    .map(lambda t: "l" + t),
    min_size=1,
    max_size=4,
    unique_by=c_name,
)


@st.composite
def masks_by_layer(draw: st.DrawFn) -> dict[str, Tensor]:
    masks = {}
    for name in draw(_names):
        height, width = draw(st.integers(1, 5)), draw(st.integers(1, 5))
        values = draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
        masks[name] = torch.tensor(values).view(height, width)
    return masks


def _read(folder: Path, text: str) -> dict[str, Tensor]:
    path = folder / "bin_mask.h"
    path.write_bytes(text.encode())
    return read_mask_header(path)


def _same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


@given(masks=masks_by_layer())
def test_any_masks_come_back_as_they_were_written(
    masks: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory
) -> None:
    read = _read(tmp_path_factory.mktemp("header"), header_text(masks))
    assert _same(read, {c_name(name): mask for name, mask in masks.items()})


@given(masks=masks_by_layer(), data=st.data())
def test_a_header_cut_anywhere_is_refused_or_holds_its_first_arrays_whole(
    masks: dict[str, Tensor], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = header_text(masks).rstrip()
    cut = text[: data.draw(st.integers(0, len(text) - 1))]
    try:
        read = _read(tmp_path_factory.mktemp("header"), cut)
    except ModelError:
        return
    whole = {c_name(name): mask for name, mask in masks.items()}
    assert _same(read, dict(list(whole.items())[: len(read)]))
    assert len(read) < len(whole)


@given(masks=masks_by_layer(), data=st.data())
def test_a_character_of_a_header_that_is_another_is_at_worst_an_error_in_words(
    masks: dict[str, Tensor], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = header_text(masks)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from(string.printable + "\0é٣"))
    try:
        _read(tmp_path_factory.mktemp("header"), text[:at] + other + text[at + 1 :])
    except ModelError as error:
        assert "bin_mask.h" in error.what  # noqa: PT017 (that it fails is not certain)


def test_what_makes_a_header_compile_is_passed_over(tmp_path: Path) -> None:
    read = _read(
        tmp_path,
        "\ufeff#ifndef MASKS_H\r\n#define MASKS_H\r\n#include <stdint.h>\n#pragma once\n"
        "/* two\n   layers { 0 }; */\n"
        "static const uint8_t A[1][2] = {{1,0}}; // const uint8_t B[1][1] = {{1}};\n"
        "const uint8_t C[2][1]={ { 0 , }, /* kept */ { 1 } , } ;\n"
        "#endif  // MASKS_H\n",
    )
    assert _same(read, {"A": torch.tensor([[True, False]]), "C": torch.tensor([[False], [True]])})


def test_the_table_names_every_invalid_header() -> None:
    assert sorted(FAULTS) == sorted(path.name for path in INVALID.iterdir())


@pytest.mark.parametrize("name", FAULTS)
def test_an_invalid_header_is_refused_at_its_line(name: str) -> None:
    with pytest.raises(ModelError) as caught:
        read_mask_header(INVALID / name)
    assert caught.value.what.removeprefix(f"{INVALID / name}: ").startswith(FAULTS[name])
    assert caught.value.hint


@pytest.mark.parametrize("name", ["missing.h", "."])
def test_a_header_that_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        read_mask_header(tmp_path / name)


# --- names -----------------------------------------------------------------------------------


def test_every_array_finds_its_layer_in_the_order_of_the_model(tmp_path: Path) -> None:
    model = small_resnet()
    masks = random_masks(model, 32, sparsity=0.3, seed=1)
    path = write_header(tmp_path / "bin_mask.h", dict(reversed(masks.items())))
    assert "const uint8_t LAYER2_0_CONV1[4][4] = {" in path.read_text()
    assert _same(by_layer(model, read_mask_header(path), path), masks)


def dashed_net() -> nn.Sequential:
    """Names as torchvision's RegNet has them."""
    block = nn.ModuleDict({"proj-0": nn.Conv2d(3, 4, 1), "f": nn.Conv2d(4, 4, 3)})
    return nn.Sequential(nn.ModuleDict({"block1-0": block, "block1-1": nn.Conv2d(4, 4, 3)}))


@pytest.mark.parametrize("by", ["the paper's code", "who made it compile"])
def test_names_that_are_not_of_c_are_read(tmp_path: Path, by: str) -> None:
    model = dashed_net()
    layers = ["0.block1-0.proj-0", "0.block1-0.f", "0.block1-1"]
    masks = {layer: torch.eye(3 + n, dtype=torch.bool) for n, layer in enumerate(layers)}
    path = write_header(tmp_path / "bin_mask.h", masks)
    text = path.read_text()
    assert "const uint8_t 0_BLOCK1-0_PROJ-0[3][3] = {" in text
    if by == "who made it compile":
        path.write_text(text.replace("-", "_"))
    assert _same(by_layer(model, read_mask_header(path), path), masks)


def test_an_array_under_both_of_its_names_is_refused() -> None:
    with pytest.raises(ModelError, match=r"arrays 0_BLOCK1-1 and 0_BLOCK1_1 belong to one layer"):
        by_layer(dashed_net(), {"0_BLOCK1-1": 0, "0_BLOCK1_1": 0}, "h")


def test_layers_that_only_c_takes_for_one_are_told_apart_where_they_can_be() -> None:
    model = nn.ModuleDict({"a-b": nn.Conv2d(1, 1, 1), "a_b": nn.Conv2d(1, 1, 1)})
    assert by_layer(model, {"A_B": 2, "A-B": 1}, "h") == {"a-b": 1, "a_b": 2}
    model = nn.ModuleDict({"a-b": nn.Conv2d(1, 1, 1), "a+b": nn.Conv2d(1, 1, 1)})
    with pytest.raises(ModelError, match=r"array A_B may belong to any of .*'a-b', 'a\+b'"):
        by_layer(model, {"A_B": 0}, "h")


def test_an_array_of_no_layer_names_the_nearest_ones() -> None:
    with pytest.raises(ModelError, match="array LAYER1_0_CONV3 belongs to no conv") as caught:
        by_layer(small_resnet(), {"LAYER1_0_CONV3": 0}, "h")
    assert "LAYER1_0_CONV1" in (caught.value.hint or "")
    with pytest.raises(ModelError, match="array ZZZ belongs to no convolution") as caught:
        by_layer(small_resnet(), {"ZZZ": 0}, "h")
    assert "another model" in (caught.value.hint or "")


def test_a_layer_that_is_no_convolution_has_no_mask() -> None:
    with pytest.raises(ModelError, match="array BN1 belongs to no convolution"):
        by_layer(small_resnet(), {"BN1": 0}, "h")


def test_an_array_that_may_be_either_of_two_layers_names_both() -> None:
    model = nn.ModuleDict({"a_0": nn.Conv2d(1, 1, 1), "a": nn.Sequential(nn.Conv2d(1, 1, 1))})
    with pytest.raises(ModelError, match=r"array A_0 may belong to any of .*'a_0', 'a\.0'"):
        by_layer(model, {"A_0": 0}, "h")


def test_a_header_of_very_many_masks_is_not_copied_for_each(tmp_path: Path) -> None:
    copied = 0

    class Text(str):
        """Counts what is copied out of it."""

        __slots__ = ()

        def __getitem__(self, key: object) -> str:
            nonlocal copied
            part = super().__getitem__(key)  # type: ignore[index]
            copied += len(part)
            return part

    lines = [f"const uint8_t LAYER{i}[1][2] = {{ {{1,0}} }};\n" for i in range(20_000)]
    reader = _Reader(tmp_path / "bin_mask.h", "".join(lines))
    reader._text = Text(reader._text)
    assert len(reader.masks()) == 20_000
    assert copied < 10 * len(reader._text)
