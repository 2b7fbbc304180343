"""Networks of torch, and files, to ``.tflite`` by a function."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from toolchain import convert, inspect
from toolchain.agreement.interpreter import run_here
from toolchain.board.arrays import batch_of
from toolchain.errors import ModelError
from toolchain.tflite_file.graph import read_model


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.drop(self.conv(x)).mean((2, 3))  # type: ignore[no-any-return]


def test_a_network_is_converted_as_it_stands(place: Path) -> None:
    net, told = Net(), list[str]()
    made = convert(
        net, "net.tflite", input_shapes=[(1, 3, 8, 8)], mean=[0.5], std=[0.25],
        progress=told.append,
    )  # fmt: skip
    assert made.path == Path("net.tflite")
    assert made.normalization is not None
    assert made.normalization.mean == pytest.approx([0.5])
    assert "lower to TFLite ..." in told
    x = np.random.default_rng(0).standard_normal((1, 8, 8, 3)).astype(np.float32)
    model = read_model(place / "net.tflite")
    (found,) = run_here(model, batch_of(model, x))
    with torch.no_grad():
        wanted = net.eval()(torch.from_numpy(x.transpose(0, 3, 1, 2)))
    assert np.allclose(found[0], wanted, atol=1e-5)
    assert [layer.op for layer in inspect("net.tflite").layers] == ["CONV_2D"]


def test_a_network_without_the_shape_of_its_input_is_not_guessed(place: Path) -> None:
    with pytest.raises(ModelError, match="the input shape of Net is not known") as caught:
        convert(Net(), "net.tflite")
    assert "input_shapes=[(1, 3, 224, 224)]" in (caught.value.hint or "")
    assert list(place.iterdir()) == []


def test_a_program_is_trusted_by_a_word(place: Path) -> None:
    (place / "net.pt2").write_bytes(b"no program")
    with pytest.raises(ModelError, match="can run code of whoever made it") as caught:
        convert("net.pt2", "net.tflite")
    assert caught.value.hint == "if you trust whoever made it, give trust=True"
    with pytest.raises(ModelError) as caught:
        convert("net.pt2", "net.tflite", trust=True)
    assert "can run code" not in caught.value.what


def test_arguments_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ValueError, match="mean and std"):
        convert("net.pt", "net.tflite", mean=[0.5])
    with pytest.raises(ValueError, match="not both"):
        convert(Net(), "net.tflite", model="resnet18")
