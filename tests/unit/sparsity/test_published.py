"""A network that the paper's code trained computes the same here; what its header is good for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from support.published import (
    SIZE,
    mask_by_hooks,
    publish,
    random_masks,
    small_resnet,
    write_header,
)
from toolchain.errors import ModelError
from toolchain.sparsity.masked_conv import attach_masks, masked_layers
from toolchain.sparsity.published import HeaderReport, MaskDifference, load_published

IMAGES = torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(9))


@pytest.fixture
def masks() -> dict[str, Tensor]:
    return random_masks(small_resnet(), SIZE, sparsity=0.3, seed=1)


def _masks_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: layer.mask for name, layer in masked_layers(model).items()}


def _same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_and_masks_of_a_run_give_the_logits_of_its_own_forward_pass(
    masks: dict[str, Tensor], prefix: str, tmp_path: Path
) -> None:
    theirs = publish(mask_by_hooks(small_resnet(), masks), tmp_path / "last.pt", prefix=prefix)
    saved = torch.load(tmp_path / "last.pt", weights_only=True)[f"{prefix}layer2.0.conv1.mask"]
    assert (saved.dtype, saved.shape) == (torch.float16, (6, 6, 6))
    ours = small_resnet()
    done = load_published(ours, tmp_path / "last.pt", example_input=IMAGES)
    assert _same(_masks_of(ours), masks)
    assert [layer.name for layer in done.layers] == list(masks)
    assert len(done.layers) == 17
    assert done.header is None
    assert ours.conv1.weight.dtype == torch.float32
    with torch.no_grad():
        wanted = theirs(IMAGES)
        assert torch.equal(ours(IMAGES), wanted)
        for layer in masked_layers(ours).values():
            layer.set_mask(torch.ones_like(layer.mask))
        assert not torch.allclose(ours(IMAGES), wanted, atol=1e-2)


def test_a_masked_pixel_is_batch_norm_of_zero_and_not_zero(
    masks: dict[str, Tensor], tmp_path: Path
) -> None:
    publish(mask_by_hooks(small_resnet(), masks), tmp_path / "last.pt")
    ours = small_resnet()
    load_published(ours, tmp_path / "last.pt")
    with torch.no_grad():
        pixels = ours.bn1(ours.conv1(IMAGES))[:, :, ~masks["conv1"]]
        mean, variance = (ours.bn1.get_buffer(f"running_{name}") for name in ("mean", "var"))
        fill = ours.bn1.bias - mean * ours.bn1.weight / (variance + 1e-5).sqrt()
    assert fill.abs().min() > 1e-3
    assert torch.allclose(pixels, fill[:, None].expand_as(pixels), atol=1e-6)


def test_the_bias_of_a_masked_convolution_is_masked_too(tmp_path: Path) -> None:
    mask = torch.eye(4, dtype=torch.bool)
    theirs = publish(
        mask_by_hooks(nn.Sequential(nn.Conv2d(3, 5, 3)), {"0": mask}), tmp_path / "last.pt"
    )
    ours = nn.Sequential(nn.Conv2d(3, 5, 3))
    load_published(ours, tmp_path / "last.pt")
    assert torch.equal(ours(IMAGES[..., :6, :6]), theirs(IMAGES[..., :6, :6]))
    assert not ours(IMAGES[..., :6, :6])[:, :, ~mask].any()


def test_a_checkpoint_without_masks_is_a_plain_network(tmp_path: Path) -> None:
    publish(small_resnet(), tmp_path / "last.pt")
    ours = small_resnet()
    assert load_published(ours, tmp_path / "last.pt").layers == ()
    assert not masked_layers(ours)


# --- the header ------------------------------------------------------------------------------


def test_a_header_of_the_same_masks_agrees(masks: dict[str, Tensor], tmp_path: Path) -> None:
    publish(mask_by_hooks(small_resnet(), masks), tmp_path / "last.pt")
    header = write_header(tmp_path / "bin_mask.h", masks)
    report = load_published(small_resnet(), tmp_path / "last.pt", header).header
    assert report == HeaderReport(header, tuple(masks), used=False)
    assert report.agrees
    assert report.lines() == [f"{header} holds the checkpoint's own 17 masks"]


def test_where_they_differ_the_masks_of_the_checkpoint_are_taken_and_each_layer_is_told(
    masks: dict[str, Tensor], tmp_path: Path
) -> None:
    theirs = publish(mask_by_hooks(small_resnet(), masks), tmp_path / "best.pt")
    others = {name: mask.clone() for name, mask in masks.items()}
    others["layer1.0.conv1"].view(-1)[:5].logical_not_()
    others["layer4.1.conv2"] = torch.ones(3, 5, dtype=torch.bool)
    del others["conv1"]
    others["layer2.0.downsample.0"] = torch.ones(6, 6, dtype=torch.bool)
    header = write_header(tmp_path / "bin_mask.h", others)
    ours = small_resnet()
    report = load_published(ours, tmp_path / "best.pt", header, example_input=IMAGES).header
    with torch.no_grad():
        assert torch.equal(ours(IMAGES), theirs(IMAGES))
    assert report is not None
    assert not report.agrees
    assert not report.used
    assert report.differing == (
        MaskDifference("layer1.0.conv1", (12, 12), (12, 12), 5),
        MaskDifference("layer4.1.conv2", (2, 2), (3, 5), None),
    )
    assert report.only_in_header == ("layer2.0.downsample.0",)
    assert report.only_in_checkpoint == ("conv1",)
    assert report.lines() == [
        f"the checkpoint's own were taken; those of {header} are others:",
        "layer1.0.conv1: 5 of 144 pixels differ",
        "layer4.1.conv2: 2x2 in the checkpoint, 3x5 in the header",
        "layer2.0.downsample.0: only in the header; left without a mask",
        "conv1: only in the checkpoint; masked",
    ]


def test_weights_without_masks_take_those_of_the_header(
    masks: dict[str, Tensor], tmp_path: Path
) -> None:
    theirs = mask_by_hooks(publish(small_resnet(), tmp_path / "weights.pt"), masks)
    header = write_header(tmp_path / "bin_mask.h", masks)
    ours = small_resnet()
    report = load_published(ours, tmp_path / "weights.pt", header, example_input=IMAGES).header
    assert _same(_masks_of(ours), masks)
    with torch.no_grad():
        assert torch.equal(ours(IMAGES), theirs(IMAGES))
    assert report is not None
    assert report.used
    assert report.agrees
    assert report.lines() == [f"17 masks from {header}: the weights came without"]


def test_a_network_with_the_papers_own_hooks_keeps_its_masks_and_is_compared_with_the_header(
    masks: dict[str, Tensor], tmp_path: Path
) -> None:
    theirs = publish(mask_by_hooks(small_resnet(), masks), tmp_path / "best.pt")
    full = {name: torch.ones_like(mask) for name, mask in masks.items()}
    ours = mask_by_hooks(small_resnet(), full)
    header = write_header(tmp_path / "bin_mask.h", {**masks, "conv1": ~masks["conv1"]})
    report = load_published(ours, tmp_path / "best.pt", header, example_input=IMAGES).header
    with torch.no_grad():
        assert torch.equal(ours(IMAGES), theirs(IMAGES))
    assert report is not None
    assert not report.used
    assert [difference.layer for difference in report.differing] == ["conv1"]


def test_a_header_is_used_beside_buffers_of_that_name_that_are_no_masks(tmp_path: Path) -> None:
    class Causal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mask", torch.full((4, 4), -1e9).triu(1))

    def make() -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(3, 5, 3), Causal())

    mask = torch.eye(4, dtype=torch.bool)
    torch.save(make().state_dict(), tmp_path / "weights.pt")
    ours = make()
    header = write_header(tmp_path / "bin_mask.h", {"0": mask})
    report = load_published(ours, tmp_path / "weights.pt", header).header
    assert report is not None
    assert report.used
    assert _same(_masks_of(ours), {"0": mask})


def test_a_layer_under_two_names_is_compared_once(tmp_path: Path) -> None:
    def make() -> nn.ModuleDict:
        conv = nn.Conv2d(3, 5, 3)
        return nn.ModuleDict({"first": conv, "second": conv})

    mask = torch.eye(4, dtype=torch.bool)
    theirs = make()
    attach_masks(theirs, {"first": mask})
    torch.save(theirs.state_dict(), tmp_path / "last.pt")
    header = write_header(tmp_path / "bin_mask.h", {"first": mask})
    report = load_published(make(), tmp_path / "last.pt", header).header
    assert report is not None
    assert report.agrees


def test_masks_of_a_header_for_another_input_size_name_the_layer(tmp_path: Path) -> None:
    publish(small_resnet(), tmp_path / "weights.pt")
    other = random_masks(small_resnet(), 64, sparsity=0.3, seed=1)
    header = write_header(tmp_path / "bin_mask.h", other)
    with pytest.raises(ModelError, match=r"mask of layer 'conv1' is 32x32, .* output is 24x24"):
        load_published(small_resnet(), tmp_path / "weights.pt", header, example_input=IMAGES)


# --- faults of the checkpoint ----------------------------------------------------------------


def test_a_mask_that_differs_between_channels_is_refused(
    masks: dict[str, Tensor], tmp_path: Path
) -> None:
    model = mask_by_hooks(small_resnet(), masks)
    model.get_buffer("layer1.1.conv2.mask")[2, 0, 0] = (
        1 - model.get_buffer("layer1.1.conv2.mask")[2, 0, 0]
    )
    publish(model, tmp_path / "last.pt")
    with pytest.raises(
        ModelError, match=r"mask of layer 'layer1\.1\.conv2' differs .*: 1 of 4 are not"
    ):
        load_published(small_resnet(), tmp_path / "last.pt")


@pytest.mark.parametrize("value", [0.5, 2.0, float("nan")])
def test_a_mask_with_another_value_is_refused(
    masks: dict[str, Tensor], value: float, tmp_path: Path
) -> None:
    model = mask_by_hooks(small_resnet(), masks)
    model.get_buffer("conv1.mask")[:, 3, 4] = value
    publish(model, tmp_path / "last.pt")
    with pytest.raises(ModelError, match=r"mask of layer 'conv1' holds 1 values that are not 0"):
        load_published(small_resnet(), tmp_path / "last.pt")


def test_a_value_that_half_precision_cannot_hold_says_so(tmp_path: Path) -> None:
    model = small_resnet()
    model.bn1.get_buffer("running_var")[0] = 1e5
    publish(model, tmp_path / "last.pt")
    with pytest.raises(ModelError, match=r"'bn1\.running_var' holds values that") as caught:
        load_published(small_resnet(), tmp_path / "last.pt")
    assert "float32" in (caught.value.hint or "")


def test_another_number_of_classes_is_told(tmp_path: Path) -> None:
    model = small_resnet()
    model.fc = nn.Linear(10, 102)
    publish(model, tmp_path / "last.pt")
    with pytest.raises(ModelError, match=r"'fc\.weight' has shape \[102, 10\]") as caught:
        load_published(small_resnet(), tmp_path / "last.pt")
    assert "number of classes" in (caught.value.hint or "")
