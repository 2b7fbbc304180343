"""What cannot be converted is told by the operator, the line of the user's code and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, fx, nn

from support.conversion import convert_module
from toolchain.convert.culprit import find_culprit
from toolchain.convert.explain import lowering_failure, where_raised
from toolchain.convert.reach import name_of
from toolchain.convert.rewrite import rewrite
from toolchain.errors import ModelError
from toolchain.zoo import catalog

_COMPILERS = re.compile(
    r"MLIR|litert|mhlo|stablehlo|Traceback|tensor<|legalize|op code|opcode|torch\._|aten\.", re.I
)
"""What stands in a compiler's texts and in no message of ours."""


class _Net(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.body, self._function = nn.Conv2d(3, 4, 3, padding=1), function

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return self._function(y)


def _branches(y: Tensor) -> Tensor:
    if y.sum() > 0:
        return y
    return -y


def _loops(y: Tensor) -> Tensor:
    for _ in range(int(y.max())):
        y = y * 2
    return y


def _takes_a_number(y: Tensor) -> Tensor:
    return y * y.max().item()


def _transforms(y: Tensor) -> Tensor:
    result: Tensor = torch.fft.rfft2(y).abs()
    return result


def _unpools(y: Tensor) -> Tensor:
    values, indices = F.max_pool2d(y, 2, return_indices=True)
    return F.max_unpool2d(values, indices, [2, 2])


def _inverts(y: Tensor) -> Tensor:
    result: Tensor = torch.linalg.qr(y).R
    return result


def _chooses(y: Tensor) -> Tensor:
    return y[y > 0]


@pytest.mark.parametrize(
    ("function", "what", "hint"),
    [
        (_branches, "depends on a tensor's values", "torch.where"),
        (_loops, "depends on a tensor's values", "torch.where"),
        (_takes_a_number, "depends on values", "y.max()"),
        (_transforms, "fft", "outside of the network"),
        (_unpools, "max_unpool2d", "resize"),
        (_inverts, "linalg_qr", "buffer"),
        (_chooses, "depends on", ""),
    ],
)
def test_what_cannot_be_converted_is_named_with_its_line(
    function: Callable[[Tensor], Tensor], what: str, hint: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError) as caught:
        convert_module(_Net(function), [(1, 3, 8, 8)], tmp_path / "net.tflite")
    message, advice = caught.value.what, caught.value.hint or ""
    place = re.search(r"test_explain\.py:(\d+)", message)
    assert place, message
    # The line of the function where Python stops, else that of forward, which torch remembers.
    written = Path(__file__).read_text().splitlines()[int(place[1]) - 1].strip()
    assert f"`{written}`" in message
    assert written in (
        "return self._function(y)",
        "if y.sum() > 0:",
        "for _ in range(int(y.max())):",
    )
    assert what in message
    assert hint in advice
    assert not _COMPILERS.search(message + advice), message
    assert "\n" not in message
    assert not list(tmp_path.iterdir())


def _goes_with_no_other(module: nn.Module, *_: Sequence[Tensor]) -> None:
    """Takes each operator alone, and refuses a ReLU behind what a convolution gave."""
    operators = [name_of(node) for node in getattr(module, "graph", fx.Graph()).nodes]
    if {"conv2d", "relu"} <= set(operators):
        raise ValueError(operators)


def test_operators_that_do_not_go_together_are_named_as_torch_calls_them() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sigmoid(), nn.Conv2d(4, 4, 1), nn.ReLU()).eval()
    module, _ = rewrite(torch.export.export(model, (torch.zeros(1, 3, 8, 8),)))
    culprit = find_culprit(module, _goes_with_no_other)
    assert culprit is not None
    assert name_of(culprit) == "relu"


def test_a_convolution_at_fault_is_called_a_convolution() -> None:
    def refuse(*_: object) -> None:
        raise ValueError

    model = nn.Sequential(nn.Conv2d(3, 4, 3)).eval()
    module, _ = rewrite(torch.export.export(model, (torch.zeros(1, 3, 8, 8),)))
    error = lowering_failure(find_culprit(module, refuse))
    assert "the operator conv2d of 1x3x8x8" in error.what
    assert "(layer '0')" in error.what


def test_a_fault_in_a_network_of_the_zoo_is_told_with_its_line() -> None:
    with pytest.raises(RuntimeError) as caught:  # 100 pixels are no whole number of 32
        catalog.get("yolov5n").build()(torch.zeros(1, 3, 100, 100))
    assert re.search(r"zoo/yolov5\.py:\d+ `.*cat", where_raised(caught.value) or "")
