"""YOLOv5n: the published names and sizes, masks, files of other releases, and conversion."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from toolchain.convert.conversion import convert
from toolchain.errors import ModelError
from toolchain.sparsity.checkpoint import load_checkpoint, load_model
from toolchain.sparsity.masked_conv import masked_layers
from toolchain.zoo.detection import ANCHORS, STRIDES, decode
from toolchain.zoo.yolov5 import YOLOv5, yolov5n

SIZE = 64


def small() -> YOLOv5:
    """A masked one of three classes, for small images."""
    return yolov5n(0.2, classes=3, size=SIZE)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_names_and_shapes_are_the_published_ones() -> None:
    state = yolov5n().state_dict()
    assert len(state) == 349
    shapes = {
        "model.0.conv.weight": [16, 3, 6, 6],
        "model.0.bn.running_mean": [16],
        "model.1.conv.weight": [32, 16, 3, 3],
        "model.2.cv1.conv.weight": [16, 32, 1, 1],
        "model.2.m.0.cv2.conv.weight": [16, 16, 3, 3],
        "model.4.m.1.cv1.bn.num_batches_tracked": [],
        "model.6.m.2.cv2.conv.weight": [64, 64, 3, 3],
        "model.8.cv3.conv.weight": [256, 256, 1, 1],
        "model.9.cv2.conv.weight": [256, 512, 1, 1],
        "model.10.conv.weight": [128, 256, 1, 1],
        "model.13.cv1.conv.weight": [64, 256, 1, 1],
        "model.17.cv3.conv.weight": [64, 64, 1, 1],
        "model.18.conv.weight": [64, 64, 3, 3],
        "model.23.m.0.cv2.bn.bias": [128],
        "model.24.anchors": [3, 3, 2],
        "model.24.m.0.weight": [255, 64, 1, 1],
        "model.24.m.2.bias": [255],
    }
    assert {name: list(state[name].shape) for name in shapes} == shapes


def test_both_published_numbers_of_parameters_come_out() -> None:
    """1,867,405 is the number after fusion: a BatchNorm's scale and shift become one bias."""
    model = yolov5n()
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == 1_872_157
    assert count - sum(norm.num_features for norm in norms) == 1_867_405
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.03)}


def test_outputs_are_raw_maps_of_three_scales() -> None:
    with torch.no_grad():
        outputs = yolov5n(classes=3)(torch.rand(2, 3, 64, 96))
    assert [list(y.shape) for y in outputs] == [[2, 24, 8, 12], [2, 24, 4, 6], [2, 24, 2, 3]]
    assert min(float(y.min()) for y in outputs) < 0
    assert len(decode([y.numpy() for y in outputs], (64, 96), threshold=0)) == 2


def test_every_convolution_but_the_head_is_masked() -> None:
    model = small()
    masked = masked_layers(model)
    convolutions = [n for n, layer in model.named_modules() if isinstance(layer, nn.Conv2d)]
    assert set(convolutions) - set(masked) == {f"model.24.m.{scale}" for scale in range(3)}
    assert masked["model.0.conv"].mask.shape == (SIZE // 2, SIZE // 2)


def test_nothing_is_drawn_from_the_global_generator() -> None:
    before = torch.get_rng_state()
    yolov5n(0.1, size=SIZE)
    assert torch.equal(torch.get_rng_state(), before)


def test_anchors_are_kept_in_cells() -> None:
    anchors = yolov5n().state_dict()["model.24.anchors"]
    pixels = anchors * torch.tensor(STRIDES).reshape(3, 1, 1)
    assert torch.equal(pixels, torch.tensor(ANCHORS))
    assert torch.equal(anchors, anchors.half().float())


@pytest.mark.parametrize("older", [False, True])
def test_weights_of_half_precision_load_by_name(tmp_path: Path, older: bool) -> None:
    weights: dict[str, Tensor] = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in yolov5n(seed=1).state_dict().items()
    }
    weights["model.24.anchors"] = 2 * weights["model.24.anchors"]
    if older:
        weights["model.24.anchor_grid"] = torch.ones(3, 1, 3, 1, 1, 2).half()
    torch.save(weights, tmp_path / "weights.pt")
    model = load_model(yolov5n(), load_checkpoint(tmp_path / "weights.pt"))
    state = model.state_dict()
    assert all(torch.equal(state[name], weights[name].to(state[name].dtype)) for name in state)
    assert state["model.0.conv.weight"].dtype == torch.float32


def test_a_file_with_the_whole_model_is_refused_with_the_way_out(tmp_path: Path) -> None:
    torch.save({"model": yolov5n(), "epoch": 3}, tmp_path / "yolov5n.pt")
    with pytest.raises(ModelError, match="holds Python objects") as caught:
        load_checkpoint(tmp_path / "yolov5n.pt")
    assert "model.state_dict()" in str(caught.value.hint)
    assert '["model"]' in str(caught.value.hint)


def test_weights_for_other_classes_are_refused() -> None:
    with pytest.raises(ModelError, match=r"'model\.24\.m\.0\.weight' has shape \[255, 64, 1, 1\]"):
        load_model(yolov5n(classes=3), yolov5n().state_dict())


def test_a_masked_detector_converts_with_every_mask_skipped(tmp_path: Path) -> None:
    path = tmp_path / "small.tflite"
    done = convert(None, path, model=f"{__name__}:small", input_shapes=[(1, 3, SIZE, SIZE)], seed=0)
    assert len(done.layers) == 57
    assert {layer.form for layer in done.layers} <= {"select", "dense"}
    assert all(layer.skipped for layer in done.layers if layer.kept < layer.pixels)
    assert [tensor.shape for tensor in done.outputs] == [
        (1, 8, 8, 24), (1, 4, 4, 24), (1, 2, 2, 24),
    ]  # fmt: skip
    assert done.macs_saved > 0.15 * done.macs
