from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from hypothesis import Phase, given, settings
from PIL import Image
from torch import Tensor, nn

from support.conv_nets import Block, Net, nets
from support.faulty_runtime import FaultyRuntime
from support.published import (
    SIZE,
    mask_by_hooks,
    publish,
    random_masks,
    small_resnet,
    write_header,
)
from toolchain.agreement.differences import Array
from toolchain.agreement.runtimes import Runtimes
from toolchain.convert.conversion import convert, default_output
from toolchain.convert.result import Conversion
from toolchain.errors import ModelError, OutputError, VerificationError
from toolchain.sparsity.published import MaskDifference
from toolchain.tflite_file.graph import read_model
from toolchain.tflite_file.image_metadata import Normalization, read_image_metadata
from toolchain.tflite_file.layers import find_layers
from toolchain.train.normalization import FASHION
from toolchain.zoo import catalog

_MODULE = "networks_of_the_test"


@pytest.fixture(autouse=True)
def _clean_modules() -> Iterator[None]:
    yield
    sys.modules.pop(_MODULE, None)


def _convert(model: nn.Module, shape: tuple[int, ...], output: Path, **options: Any) -> Conversion:
    """Convert a module that exists already, by way of a factory in a module of its own."""
    module = type(sys)(_MODULE)
    module.__dict__["make"] = lambda: model
    sys.modules[_MODULE] = module
    return convert(
        None,
        output,
        model=f"{_MODULE}:make",
        input_shapes=[shape],
        **options,
    )


def _convert_net(net: Net, output: Path) -> Conversion:
    return _convert(net.build(), net.input_shape, output)


@settings(
    max_examples=6,
    deadline=None,
    # A conversion takes seconds: to shrink a failure would take many minutes.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(net=nets())
def test_any_masked_network_converts_to_a_file_that_equals_torch(
    net: Net, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("net")
    done = _convert_net(net, folder / "net.tflite")
    assert done.relative_diff <= 1e-5
    assert [path.name for path in folder.iterdir()] == ["net.tflite"]
    masked = [block for block in net.blocks if block.mask != "none"]
    for layer, block in zip(done.layers, masked, strict=True):
        if block.mask == "full":
            assert layer.form == "dense"
        if block.mask == "empty":
            assert layer.kept == 0


@pytest.fixture(scope="module")
def three_layers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Net, Path, Conversion]:
    """Three kinds of convolution with one mask, converted once."""
    net = Net(
        (
            Block(channels=6, activation="relu6"),
            Block("depthwise", activation="none", bias=False),
            Block("pointwise", channels=6, activation="hardswish", residual=True),
        )
    )
    path = tmp_path_factory.mktemp("three") / "net.tflite"
    return net, path, _convert_net(net, path)


def test_every_masked_layer_is_a_pair_that_the_runtime_skips(
    three_layers: tuple[Net, Path, Conversion],
) -> None:
    net, path, done = three_layers
    model = net.build()
    assert [(layer.name, layer.form, layer.skipped) for layer in done.layers] == [
        (f"convs.{index}", "select", True) for index in range(3)
    ]
    found = {layer.name: layer for layer in find_layers(read_model(path))}
    assert [layer.op for layer in found.values()] == [
        "CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D", "FULLY_CONNECTED",
    ]  # fmt: skip
    assert list(found)[3] == "head"
    for index in range(3):
        mask = found[f"convs.{index}"].mask
        assert mask is not None
        assert np.array_equal(mask.kept, model.get_buffer(f"convs.{index}.mask").numpy())
        zero = model.get_submodule(f"norms.{index}")(torch.zeros(1, 6, 1, 1))
        if index == 0:  # RELU6 is fused into the convolution, hardswish of the last is not
            zero = zero.clamp(0, 6)
        assert np.array_equal(np.broadcast_to(mask.fill, 6), zero.detach().flatten().numpy())


def test_the_input_of_the_file_is_channels_last(
    three_layers: tuple[Net, Path, Conversion],
) -> None:
    _, path, done = three_layers
    graph = read_model(path).graph
    assert graph.tensors[graph.inputs[0]].shape == (1, 9, 9, 3)
    assert done.inputs[0].shape == (1, 9, 9, 3)
    assert done.inputs[0].torch_shape == (1, 3, 9, 9)


def test_an_image_as_output_is_channels_last_too(tmp_path: Path) -> None:
    net = Net((Block(channels=5, stride=2),), classifier=False)
    done = _convert_net(net, tmp_path / "net.tflite")
    assert done.outputs[0].shape == (1, 5, 5, 5)
    assert done.layers[0].form == "select"


@pytest.mark.parametrize(
    "name", [name for name, entry in catalog.ZOO.items() if entry.checkpoint is not None]
)
def test_the_trained_networks_that_ship_keep_every_mask(name: str, tmp_path: Path) -> None:
    done = convert(catalog.get(name).checkpoint, tmp_path / "net.tflite")
    assert {layer.form for layer in done.layers} <= {"select"}
    assert bool(done.layers) == (catalog.get(name).sparsity > 0)
    assert done.ideal_speedup == pytest.approx(1 / (1 - catalog.get(name).sparsity), rel=0.02)


def test_a_network_of_the_papers_code_gives_its_own_masked_logits_on_the_stock_interpreter(
    tmp_path: Path,
) -> None:
    masks = random_masks(small_resnet(), SIZE, sparsity=0.3, seed=1)
    theirs = publish(mask_by_hooks(small_resnet(), masks), tmp_path / "best_state_dict.pt")
    others = {**masks, "layer2.1.conv1": masks["layer2.1.conv1"].logical_not()}
    done = convert(
        tmp_path / "best_state_dict.pt",
        tmp_path / "net.tflite",
        model="support.published:small_resnet",
        input_shapes=[(1, 3, SIZE, SIZE)],
        masks=write_header(tmp_path / "bin_mask.h", others),
    )
    assert {layer.name: layer.kept for layer in done.layers} == {
        name: int(mask.sum()) for name, mask in masks.items()
    }
    assert {layer.form for layer in done.layers} == {"select"}
    assert done.mask_header is not None
    assert done.mask_header.differing == (MaskDifference("layer2.1.conv1", (6, 6), (6, 6), 36),)
    interpreter = Interpreter(str(tmp_path / "net.tflite"))
    interpreter.allocate_tensors()
    for seed in range(3):
        image = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            wanted = theirs(image).numpy()
        [entry], [result] = interpreter.get_input_details(), interpreter.get_output_details()
        interpreter.set_tensor(entry["index"], image.permute(0, 2, 3, 1).contiguous().numpy())
        interpreter.invoke()
        got = interpreter.get_tensor(result["index"])
        assert np.abs(got - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_an_exported_program_gives_the_same_file_as_its_module(
    three_layers: tuple[Net, Path, Conversion], tmp_path: Path
) -> None:
    net, path, done = three_layers
    torch.export.save(torch.export.export(net.build(), (net.input(),)), tmp_path / "net.pt2")
    other = convert(tmp_path / "net.pt2", tmp_path / "net.tflite")
    assert other.layers == done.layers
    assert other.inputs == done.inputs
    assert (tmp_path / "net.tflite").read_bytes() == path.read_bytes()


def test_a_masked_layer_may_be_flattened(tmp_path: Path) -> None:
    features = Net((Block(channels=5),), classifier=False)
    model = nn.Sequential(features.build(), nn.Flatten(), nn.Linear(5 * 9 * 9, 3))
    done = _convert(model, features.input_shape, tmp_path / "net.tflite")
    assert [layer.form for layer in done.layers] == ["select"]


def test_a_mask_that_keeps_nothing_leaves_a_constant(tmp_path: Path) -> None:
    net = Net((Block(), Block(mask="empty"), Block()))
    done = _convert_net(net, tmp_path / "net.tflite")
    # Nothing in front of the constant matters any more: the converter drops that too.
    assert done.layers[1].form == "constant"
    assert done.layers[2].form in ("select", "constant", "changed")


def test_several_inputs_and_outputs_keep_their_order(tmp_path: Path) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 3), nn.Conv2d(2, 4, 3)

        def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
            return {"sum": self.a(x) + self.b(y), "x": self.a(x).mean((1, 2, 3)), "y": y * 2}

    program = torch.export.export(Two().eval(), (torch.randn(1, 3, 8, 8), torch.randn(1, 2, 8, 8)))
    torch.export.save(program, tmp_path / "two.pt2")
    done = convert(tmp_path / "two.pt2", tmp_path / "two.tflite")
    assert [tensor.shape for tensor in done.inputs] == [(1, 8, 8, 3), (1, 8, 8, 2)]
    assert [tensor.shape for tensor in done.outputs] == [(1, 6, 6, 4), (1,), (1, 8, 8, 2)]


def test_a_difference_above_the_tolerance_leaves_no_file(tmp_path: Path) -> None:
    net = Net((Block(),))
    with pytest.raises(VerificationError, match="differs from torch by") as caught:
        _convert(net.build(), net.input_shape, tmp_path / "net.tflite", tolerance=0.0)
    assert caught.value.exit_code == 4
    assert not list(tmp_path.iterdir())


class TwoScales(nn.Module):
    """A depth in millimetres, and a confidence of a pooled image."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.depth, self.score = nn.Conv2d(2, 1, 3), nn.Conv2d(2, 3, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        pooled = x.mean((2, 3), keepdim=True)
        return {"depth": self.depth(x).relu() * 60_000, "score": self.score(pooled).sigmoid()}


def _score_is_off(outputs: list[Array], by: float = 0.2) -> list[Array]:
    return [array + by * (array.shape[-1] == 3) for array in outputs]


def test_every_output_is_told_on_every_runtime(tmp_path: Path) -> None:
    done = _convert(
        TwoScales(), (1, 2, 8, 8), tmp_path / "net.tflite", others=_only(FaultyRuntime())
    )
    assert [item.runtime.split()[0] for item in done.runtimes][-1] == "faulty"
    for item in done.runtimes:
        assert [one.name for one in item.outputs] == ["output 0 ['depth']", "output 1 ['score']"]
        assert all(one.relative_diff <= 1e-5 for one in item.outputs)


def _only(runtime: FaultyRuntime) -> Runtimes:
    return Runtimes((runtime,), ())


def test_a_runtime_that_computes_a_small_output_wrong_leaves_no_file(tmp_path: Path) -> None:
    """It is wrong behind a MEAN, as one that ships was."""
    runtime = FaultyRuntime(_score_is_off, fault_of="MEAN")
    with pytest.raises(VerificationError, match=r"output 1 \['score'\] differs from") as caught:
        _convert(TwoScales(), (1, 2, 8, 8), tmp_path / "net.tflite", others=_only(runtime))
    assert "on faulty 1.0, xnnpack kernels" in caught.value.what
    assert "right on ai-edge-litert" in caught.value.what
    assert "they part at operator" in caught.value.what
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("quantize", [None, "fp16", "dynamic"])
def test_a_runtime_that_refuses_a_file_leaves_none_and_the_operator_is_named(
    tmp_path: Path, quantize: str | None
) -> None:
    runtime = FaultyRuntime(refuses="LOGISTIC")
    with pytest.raises(VerificationError, match=r"faulty 1.0 cannot run .*refuses .*LOGISTIC of"):
        _convert(
            TwoScales(), (1, 2, 8, 8), tmp_path / "net.tflite", others=_only(runtime),
            quantize=quantize,
        )  # fmt: skip
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("quantize", ["fp16", "dynamic", "int8"])
def test_a_quantised_file_that_one_runtime_computes_otherwise_is_not_written(
    tmp_path: Path, quantize: str
) -> None:
    runtime = FaultyRuntime(lambda outputs: _score_is_off(outputs, 0.1))
    with pytest.raises(VerificationError, match=r"output 1 \['score'\].*on ai-edge-litert"):
        _convert(
            TwoScales(), (1, 2, 8, 8), tmp_path / "net.tflite", others=_only(runtime),
            quantize=quantize, calibration="random" if quantize == "int8" else None,
        )  # fmt: skip
    assert not list(tmp_path.iterdir())


class InPlace(nn.Module):
    """Normalises its input in place, in two steps, one of them through a view."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x.sub_(0.5)
        x.mul_(4.0)
        found: Tensor = self.conv(x)
        return found


class GivesItsInput(nn.Module):
    """An output that is the input, changed after the other output was computed."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.conv(x), x.relu_()


@pytest.mark.parametrize("model", [InPlace, GivesItsInput])
@pytest.mark.parametrize("quantize", [None, "fp16"])
def test_a_network_that_changes_its_input_is_converted(
    tmp_path: Path, model: type[nn.Module], quantize: str | None
) -> None:
    done = _convert(model(), (1, 3, 8, 8), tmp_path / "net.tflite", quantize=quantize)
    assert (done.float_relative_diff or done.relative_diff) <= 1e-5


def test_an_exported_program_that_changes_its_input_is_converted(tmp_path: Path) -> None:
    program = torch.export.export(InPlace().eval(), (torch.zeros(1, 3, 8, 8),))
    torch.export.save(program, tmp_path / "net.pt2")
    assert convert(tmp_path / "net.pt2", tmp_path / "net.tflite").relative_diff <= 1e-5


def test_a_network_that_gives_nan_cannot_be_checked(tmp_path: Path) -> None:
    model = Net((Block(),)).build()
    next(model.parameters()).data.fill_(torch.nan)
    with pytest.raises(VerificationError, match="not finite"):
        _convert(model, (1, 3, 9, 9), tmp_path / "net.tflite")
    assert not list(tmp_path.iterdir())


def test_the_folder_of_the_output_has_to_exist(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file or directory") as caught:
        convert(None, tmp_path / "nowhere" / "net.tflite", model="fashion_resnet_dense")
    assert "nowhere" in (caught.value.hint or "")


def test_the_output_may_not_be_a_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder"):
        convert(None, tmp_path, model="fashion_resnet_dense")


def test_an_unwritable_output_is_told_before_the_work_begins() -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        convert(None, "/proc/net.tflite", model="fashion_resnet_dense")


def test_an_interrupted_conversion_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("toolchain.convert.conversion.lower", interrupt)
    (tmp_path / "net.tflite").write_text("an earlier file")
    with pytest.raises(KeyboardInterrupt):
        _convert_net(Net((Block(),)), tmp_path / "net.tflite")
    assert [path.name for path in tmp_path.iterdir()] == ["net.tflite"]
    assert (tmp_path / "net.tflite").read_text() == "an earlier file"


def test_the_output_is_named_after_the_checkpoint_or_the_model() -> None:
    assert default_output("runs/best.safetensors", None) == Path("best.tflite")
    assert default_output(None, "resnet18_s20") == Path("resnet18_s20.tflite")
    assert default_output(None, "package.module:factory") == Path("factory.tflite")


# --- how images are normalised ---------------------------------------------------------------


def test_a_trained_checkpoint_tells_its_file_how_images_are_normalised(tmp_path: Path) -> None:
    checkpoint = catalog.CHECKPOINTS / "fashion_resnet_s20.safetensors"
    for kind in (None, "fp16"):
        done = convert(checkpoint, tmp_path / f"{kind}.tflite", quantize=kind)
        found = read_image_metadata(read_model(done.path))
        assert found is not None
        assert found.name == "fashion_resnet_s20"
        (image,) = found.inputs
        assert image.normalization is not None
        assert image.normalization.near(FASHION)
        assert done.normalization is not None
        assert done.normalization.mean == pytest.approx((0.286,))


def test_the_user_tells_it_of_other_networks(tmp_path: Path) -> None:
    given = Normalization.of_unit((0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    path = tmp_path / "own.tflite"
    assert _convert(model, (1, 3, 8, 8), path, normalization=given).normalization is not None
    found = read_image_metadata(read_model(path))
    assert found is not None
    assert found.inputs[0].normalization is not None
    assert found.inputs[0].normalization.near(given)
    done = _convert(model, (1, 3, 8, 8), tmp_path / "silent.tflite")
    assert done.normalization is None
    assert read_image_metadata(read_model(done.path)) is None


def test_ranges_are_measured_on_images_as_the_file_says_they_are_normalised(
    tmp_path: Path,
) -> None:
    for number in range(2):
        Image.new("RGB", (8, 8), (255 * number,) * 3).save(tmp_path / f"{number}.png")
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    options: dict[str, Any] = {"quantize": "int8", "boundary": "int8", "calibration": str(tmp_path)}

    def limits(done: Conversion) -> list[float]:
        (image,) = done.inputs
        assert image.scale is not None
        assert image.zero_point is not None
        return [(stored - image.zero_point) * image.scale for stored in (-128, 127)]

    raw = Normalization((0.0,), (1.0,))
    done = _convert(model, (1, 3, 8, 8), tmp_path / "a.tflite", normalization=raw, **options)
    assert limits(done) == pytest.approx([0, 255], abs=1e-3)
    assert not any("figures" in note for note in done.notes)
    silent = _convert(model, (1, 3, 8, 8), tmp_path / "b.tflite", **options)
    assert limits(silent) == pytest.approx([-2.118, 2.640], abs=0.02)
    assert any("ImageNet's figures" in note for note in silent.notes)


def test_a_normalisation_of_other_channels_is_refused(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    two = Normalization.of_unit((0.5, 0.5), (0.5, 0.5))
    with pytest.raises(ModelError, match="for 2 channels, the model takes 1x3x8x8"):
        _convert(model, (1, 3, 8, 8), tmp_path / "m.tflite", normalization=two)
    assert not list(tmp_path.iterdir())
