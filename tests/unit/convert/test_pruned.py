"""A network whose channels were pruned converts from its file alone, with masks on what is left."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from toolchain.convert.conversion import convert
from toolchain.convert.source import load_source
from toolchain.errors import ModelError
from toolchain.sparsity.checkpoint import PRUNED, save_checkpoint
from toolchain.sparsity.cost import model_cost
from toolchain.sparsity.masked_conv import attach_masks, output_shapes
from toolchain.sparsity.pruning import prune_channels
from toolchain.tflite_file.graph import read_model
from toolchain.tflite_file.layers import find_layers
from toolchain.zoo.fashion_resnet import fashion_resnet
from toolchain.zoo.mobilenet import InvertedResidual

FACTORY = "toolchain.zoo.fashion_resnet:fashion_resnet"


def pruned_and_masked(factory: Callable[[], nn.Module], x: torch.Tensor) -> nn.Module:
    torch.manual_seed(0)
    model = factory()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.bias, 0.3)  # fills that are not 0
    prune_channels(model, x, 0.5)
    shapes = output_shapes(model, x)
    masks = {n: torch.rand(tuple(s[-2:])) > 0.25 for n, s in shapes.items() if min(s[-2:]) > 2}
    attach_masks(model, masks)
    return model.eval()


def check(path: Path, model: nn.Module, shape: tuple[int, ...], factory: str | None = None) -> None:
    """Convert a checkpoint, and compare the file's layers with the model's."""
    done = convert(path, path.with_suffix(".tflite"), model=factory)
    assert done.relative_diff <= 1e-5
    assert done.layers
    assert all((layer.form, layer.skipped) == ("select", True) for layer in done.layers)
    cost = model_cost(model, torch.zeros(shape))
    assert (done.macs, done.macs - done.macs_saved) == (cost.macs, cost.macs_kept)
    found = {layer.name: layer.output_shape[-1] for layer in find_layers(read_model(done.path))}
    convolutions = {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    assert all(found[name] == layer.out_channels for name, layer in convolutions.items())


def test_a_pruned_and_masked_checkpoint_converts_without_options(tmp_path: Path) -> None:
    shape, path = (1, 1, 28, 28), tmp_path / "net.safetensors"
    model = pruned_and_masked(fashion_resnet, torch.zeros(shape))
    save_checkpoint(path, model, {"factory": FACTORY, "input_shape": "1,1,28,28", **PRUNED})
    x = torch.randn(shape)
    assert torch.equal(load_source(path).reference(x)[0], model(x))
    check(path, model, shape)


def bottlenecks() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 32, 1), InvertedResidual(32, 32, 1, 2), InvertedResidual(32, 4, 2, 2)
    )


def test_pruned_depthwise_convolutions_and_sums_convert(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("networks_of_a_user")
    monkeypatch.setattr(module, "bottlenecks", bottlenecks, raising=False)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    shape, path = (1, 3, 9, 9), tmp_path / "net.safetensors"
    model = pruned_and_masked(bottlenecks, torch.zeros(shape))
    save_checkpoint(path, model, {"input_shape": "1,3,9,9", **PRUNED})
    check(path, model, shape, "networks_of_a_user:bottlenecks")


def save(path: Path, metadata: dict[str, str]) -> Path:
    save_checkpoint(path, pruned_and_masked(fashion_resnet, torch.zeros(1, 1, 28, 28)), metadata)
    return path


def test_channels_that_the_metadata_do_not_announce_are_an_error(tmp_path: Path) -> None:
    path = save(tmp_path / "net.safetensors", {"factory": FACTORY})
    with pytest.raises(ModelError, match=r"has shape .* in the checkpoint") as caught:
        load_source(path)
    assert "pruned = channels" in (caught.value.hint or "")


def test_the_metadata_count_where_the_model_is_named_by_hand_too(tmp_path: Path) -> None:
    path = save(tmp_path / "net.safetensors", dict(PRUNED))
    assert load_source(path, FACTORY).outputs == ((1, 10),)


def test_channels_that_do_not_fit_to_each_other_are_told_in_torchs_words(tmp_path: Path) -> None:
    model = fashion_resnet()
    model.fc = nn.Linear(60, 10)
    save_checkpoint(tmp_path / "a.safetensors", model, {"factory": FACTORY, **PRUNED})
    with pytest.raises(ModelError, match=r"running .* failed: RuntimeError: mat1 and mat2"):
        load_source(tmp_path / "a.safetensors")


# --- the input shape that a checkpoint names -------------------------------------------------


def test_a_checkpoint_says_the_size_of_its_images(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, fashion_resnet(), {"factory": FACTORY, "input_shape": "1,1,32,40"})
    assert load_source(path).inputs == ((1, 1, 32, 40),)
    assert load_source(path, input_shapes=[(1, 1, 28, 28)]).inputs == ((1, 1, 28, 28),)


@pytest.mark.parametrize(
    "text",
    ["", "1,1,28", "1,1,28,x", "1,1,0,28", "1,1,-28,-28", "1,1,99999999,9999999", "9" * 5000],
)
def test_a_wrong_input_shape_in_a_checkpoint_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, fashion_resnet(), {"factory": FACTORY, "input_shape": text})
    with pytest.raises(ModelError) as caught:
        load_source(path)
    assert "--input-shape" in (caught.value.hint or "")
