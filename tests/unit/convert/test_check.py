from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from toolchain.convert.check import check_layers
from toolchain.convert.masks import MaskedLayer
from toolchain.tflite_file.layers import Layer, Mask

_PLANE = np.eye(4, dtype=bool)
_FILL = np.array([1.0, -2.0, 0.5], np.float32)
_MASKED = MaskedLayer("conv", torch.from_numpy(_PLANE), torch.from_numpy(_FILL), rewritten=True)
_IN_FILE = Layer(
    index=3,
    name="conv",
    op="CONV_2D",
    dtype="float32",
    input_shape=(1, 6, 6, 2),
    output_shape=(1, 4, 4, 3),
    kernel=(3, 3),
    stride=(1, 1),
    dilation=(1, 1),
    padding="VALID",
    activation="NONE",
    macs=16 * 3 * 18,
    mask=Mask(_PLANE, _FILL, "CONV_2D -> SELECT_V2", skipped=True, reason=None),
)


def _with_mask(**changes: object) -> Layer:
    assert _IN_FILE.mask is not None
    mask = dataclasses.replace(_IN_FILE.mask, **changes)  # type: ignore[arg-type]
    return dataclasses.replace(_IN_FILE, mask=mask)


def test_a_layer_with_its_mask_and_fill_is_a_pair() -> None:
    (check,) = check_layers([_MASKED], [_IN_FILE])
    assert (check.form, check.skipped, check.detail) == ("select", True, None)
    assert (check.op, check.pixels, check.kept) == ("CONV_2D", 16, 4)


def test_one_number_stands_for_equal_fills() -> None:
    masked = dataclasses.replace(_MASKED, fill=torch.full((3,), 0.5))
    (check,) = check_layers([masked], [_with_mask(fill=np.array([0.5], np.float32))])
    assert check.form == "select"


@pytest.mark.parametrize(
    ("found", "detail"),
    [
        ([], "the convolution is not in the file"),
        ([dataclasses.replace(_IN_FILE, name="conv2")], "the convolution is not in the file"),
        ([dataclasses.replace(_IN_FILE, mask=None)], "the convolution has no mask in the file"),
        ([_with_mask(kept=~_PLANE)], "the mask in the file is another one"),
        ([_with_mask(kept=_PLANE[:, :3])], "the mask in the file is another one"),
        ([_with_mask(fill=_FILL + 1)], "the fill in the file is another one"),
        ([_with_mask(skipped=False, reason="it is int8")], "it is int8"),
    ],
)
def test_a_layer_that_the_converter_changed_says_how(found: list[Layer], detail: str) -> None:
    (check,) = check_layers([_MASKED], found)
    assert (check.name, check.form, check.skipped) == ("conv", "changed", False)
    assert check.detail == detail


def test_a_layer_that_was_not_rewritten_says_why() -> None:
    masked = dataclasses.replace(_MASKED, rewritten=False, reason="it is used elsewhere")
    (check,) = check_layers([masked], [dataclasses.replace(_IN_FILE, mask=None)])
    assert (check.form, check.detail) == (
        "changed",
        "left as it is: it is used elsewhere",
    )


def test_full_and_empty_masks_are_not_faults() -> None:
    full = dataclasses.replace(_MASKED, mask=torch.ones(4, 4, dtype=torch.bool))
    empty = dataclasses.replace(_MASKED, mask=torch.zeros(4, 4, dtype=torch.bool))
    assert check_layers([full], [dataclasses.replace(_IN_FILE, mask=None)])[0].form == "dense"
    assert check_layers([empty], [])[0].form == "constant"


def test_a_layer_that_is_called_twice_is_found_twice() -> None:
    second = dataclasses.replace(_IN_FILE, index=9, name="conv#2")
    checks = check_layers([_MASKED, _MASKED], [_IN_FILE, second])
    assert [check.form for check in checks] == ["select", "select"]


def test_two_calls_may_be_computed_once() -> None:
    checks = check_layers([_MASKED, _MASKED], [_IN_FILE])
    assert [check.form for check in checks] == ["select", "select"]


def test_a_quantised_fill_is_the_nearest_that_its_type_has() -> None:
    step = 0.25
    near = (np.round(_FILL / step) * step).astype(np.float64)
    (check,) = check_layers([_MASKED], [_with_mask(fill=near, fill_step=step)])
    assert check.form == "select"
    (check,) = check_layers([_MASKED], [_with_mask(fill=near + step, fill_step=step)])
    assert check.detail == "the fill in the file is another one"
