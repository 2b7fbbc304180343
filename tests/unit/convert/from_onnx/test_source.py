from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from support.onnx_models import conv_net, write
from toolchain import extras
from toolchain.convert.conversion import convert
from toolchain.convert.from_onnx.network import OnnxNetwork
from toolchain.convert.from_onnx.operators import OPERATORS
from toolchain.convert.from_onnx.source import load
from toolchain.convert.source import load_source
from toolchain.errors import ModelError, VerificationError
from toolchain.sparsity.policies import Pooled
from toolchain.sparsity.sparsify import sparsify

if extras.missing_modules("onnx"):
    pytest.skip("the extra onnx is not installed", allow_module_level=True)


def exported(folder: Path, module: nn.Module, shape: tuple[int, ...] = (1, 3, 16, 16)) -> Path:
    """A torch model as torch's own exporter writes it."""
    path = folder / "exported.onnx"
    torch.onnx.export(module.eval(), (torch.zeros(shape),), path, dynamo=False, opset_version=17)
    return path


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.register_buffer("mask", (torch.arange(64).reshape(8, 8) % 3 > 0).float())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.norm(self.conv(x) * self.mask))


# --- what is read ----------------------------------------------------------------------------


def test_an_onnx_file_is_converted_and_its_layers_keep_their_names(tmp_path: Path) -> None:
    done = convert(conv_net(tmp_path / "model.onnx"), tmp_path / "model.tflite", seed=0)
    assert done.inputs[0].shape == (1, 8, 8, 3)
    assert "onnxruntime" in done.notes[0]
    from toolchain.tflite_file.inspection import inspect_model

    assert [layer.name for layer in inspect_model(done.path).layers] == ["features.0"]


class Enlarged(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(x, scale_factor=1.5, mode="bilinear")


def test_a_resize_by_a_scale_that_leaves_a_rest_is_converted(tmp_path: Path) -> None:
    path = exported(tmp_path, Enlarged(), (1, 3, 7, 9))
    done = convert(path, tmp_path / "model.tflite", seed=0)
    assert done.outputs[0].shape == (1, 10, 13, 3)
    assert "as onnxruntime" in done.notes[0]


def test_a_mask_in_an_onnx_file_is_skipped(tmp_path: Path) -> None:
    path = exported(tmp_path, Masked(), (1, 3, 8, 8))
    done = convert(path, tmp_path / "model.tflite", seed=0)
    assert [(layer.name, layer.form) for layer in done.layers] == [("conv", "select")]


def test_masks_are_laid_on_what_an_onnx_file_holds(tmp_path: Path) -> None:
    module, inputs, _ = load(conv_net(tmp_path / "model.onnx"), None)
    masks = sparsify(module, inputs[0], Pooled(), 0.25)
    assert list(masks.layers) == ["features.0"]


def test_shapes_that_an_exporter_computes_are_no_part_of_the_network(tmp_path: Path) -> None:
    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(x.shape[0], x.shape[1] * x.shape[2], -1).flatten(1)

    path = tmp_path / "dynamic.onnx"
    torch.onnx.export(
        Net(), (torch.zeros(1, 3, 4, 4),), path, dynamo=False, dynamic_axes={"x": [0, 2, 3]},
        input_names=["x"],
    )  # fmt: skip
    module, inputs, _ = load(path, [(2, 3, 5, 4)])
    assert isinstance(module, OnnxNetwork)
    assert module(inputs[0]).shape == (2, 60)
    assert not [kind for kind in module.named_modules() if "Shape" in kind[0].split("_")]


def test_a_branch_that_is_known_is_taken(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    def branch(op: str) -> Any:
        out = helper.make_tensor_value_info("b", TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(op, ["x"], ["b"])], op, [], [out])

    node = helper.make_node(
        "If", ["yes"], ["y"], then_branch=branch("Relu"), else_branch=branch("Neg")
    )
    path = write(tmp_path / "model.onnx", [node], constants={"yes": np.array(False)})
    module, _, _ = load(path, None)
    image = torch.randn(1, 3, 8, 8)
    assert torch.equal(module(image), -image)


def test_half_precision_becomes_float32_and_is_told(tmp_path: Path) -> None:
    from onnx import helper

    node = helper.make_node("Mul", ["x", "half"], ["y"])
    path = write(
        tmp_path / "model.onnx", [node], constants={"half": np.array(0.5, np.float16)}, kind=10
    )
    module, _, notes = load(path, None)
    assert notes[0] == "what is float16 in ONNX is float32 in the file"
    assert "as onnxruntime" in notes[1]
    assert module(torch.ones(1, 3, 8, 8)).dtype == torch.float32


@pytest.mark.parametrize("kind", [10, 11, 16], ids=["float16", "float64", "bfloat16"])
def test_a_model_of_other_floats_is_compared_with_onnxruntime_in_float32(
    kind: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnx import helper

    nodes = [
        helper.make_node("Cast", ["third"], ["t"], to=kind),
        helper.make_node("Cast", ["x"], ["f"], to=1),
        helper.make_node("Cast", ["f"], ["h"], to=kind),
        helper.make_node("Mul", ["h", "t"], ["m"]),
        helper.make_node("Sigmoid", ["m"], ["y"]),
    ]
    third = np.array(1 / 3, np.float16)
    path = write(tmp_path / "model.onnx", nodes, constants={"third": third}, kind=kind)
    assert "as onnxruntime" in load(path, None)[2][1]
    monkeypatch.setitem(OPERATORS, "Sigmoid", lambda call: torch.tanh(call[0]))
    with pytest.raises(VerificationError, match="output 0 is read otherwise"):
        load(path, None)


def test_a_model_of_other_floats_that_onnxruntime_does_not_run_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime
    from onnx import helper

    node = helper.make_node("Mul", ["x", "half"], ["y"])
    constants = {"half": np.array(0.5, np.float16)}
    path = write(tmp_path / "model.onnx", [node], constants=constants, kind=10)
    monkeypatch.delattr(onnxruntime, "InferenceSession")
    assert "not compared with onnxruntime" in load(path, None)[2][1]


# --- inputs ----------------------------------------------------------------------------------


def test_a_free_batch_is_one_and_a_free_size_is_asked_for(tmp_path: Path) -> None:
    path = conv_net(tmp_path / "model.onnx", shape=("N", 3, 8, 8))
    assert load_source(path).inputs == ((1, 3, 8, 8),)
    path = conv_net(tmp_path / "free.onnx", shape=("N", 3, "H\x1b[2J", "W"))
    with pytest.raises(ModelError, match="is not fixed") as caught:
        load_source(path)
    assert "--input-shape" in (caught.value.hint or "")
    assert "\x1b" not in caught.value.what
    assert load_source(path, None, [(1, 3, 6, 4)]).outputs == ((1, 4, 6, 4),)


def test_an_input_shape_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="was exported for input shape 1x3x8x8, not 1x3x9x9"):
        load_source(conv_net(tmp_path / "model.onnx"), None, [(1, 3, 9, 9)])


def test_an_input_of_whole_numbers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has an input of type uint8"):
        load_source(conv_net(tmp_path / "model.onnx", kind=2))


@pytest.mark.parametrize("option", ["model", "masks", "weights"])
def test_an_onnx_file_holds_all_of_its_own(option: str, tmp_path: Path) -> None:
    given: dict[str, Any] = {option: "resnet18"}
    with pytest.raises(ModelError, match=f"an ONNX file, which holds its own {option}") as caught:
        load_source(conv_net(tmp_path / "model.onnx"), **given)
    assert caught.value.hint == f"leave --{option} away"


# --- files of anybody ------------------------------------------------------------------------


def outside(path: Path, location: str) -> Path:
    """A model whose weights are said to lie in another file."""
    import onnx

    model = onnx.load(conv_net(path))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = tensor.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(4 * 3 * 9 * 4))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    path.write_bytes(model.SerializeToString())
    return path


def test_weights_beside_a_model_are_read(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    (tmp_path / "weights.bin").write_bytes(weights.tobytes())
    module, _, _ = load(outside(tmp_path / "model.onnx", "weights.bin"), None)
    found = module.get_submodule("features.0").get_parameter("weight")
    assert torch.equal(found.detach(), torch.from_numpy(weights))


def test_weights_outside_of_a_models_folder_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(4 * 3 * 9 * 4))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    for location in ("../secret.bin", str(tmp_path / "secret.bin"), "link.bin", ""):
        with pytest.raises(ModelError, match="names weights outside of its own folder"):
            load(outside(folder / "model.onnx", location), None)


def test_weights_that_are_cut_short_or_away_are_an_error_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(10))
    with pytest.raises(ModelError, match=r"names a part of 'weights\.bin' that is not in it"):
        load(outside(tmp_path / "model.onnx", "weights.bin"), None)
    with pytest.raises(ModelError, match=r"missing.bin: cannot be read: No such file"):
        load(outside(tmp_path / "model.onnx", "missing.bin"), None)


def constant_of(path: Path, shape: list[int]) -> Path:
    from onnx import helper

    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["c"]),
        helper.make_node("Add", ["x", "c"], ["y"]),
    ]
    return write(path, nodes, constants={"shape": np.array(shape, np.int64)})


def wide(path: Path) -> Path:
    from onnx import helper

    nodes = [helper.make_node("Expand", ["x", "shape"], ["y"])]
    return write(path, nodes, constants={"shape": np.array([2**22, 3, 8, 8], np.int64)})


def outer(path: Path) -> Path:
    from onnx import helper

    nodes = [
        helper.make_node("Reshape", ["x", "row"], ["r"]),
        helper.make_node("Add", ["r", "column"], ["y"]),
    ]
    column = np.zeros((2**21, 1), np.float32)
    row = np.array([1, 192], np.int64)
    return write(path, nodes, constants={"row": row, "column": column})


@pytest.mark.parametrize("make", [lambda p: constant_of(p, [2**20, 2**20]), wide, outer])
def test_a_small_file_cannot_ask_for_all_memory(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="it makes a tensor of"):
        load(make(tmp_path / "model.onnx"), None)


def test_what_is_no_onnx_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    for content in (b"", b"not a model", conv_net(tmp_path / "whole.onnx").read_bytes()[:-40]):
        path.write_bytes(content)
        with pytest.raises(ModelError, match="is not an ONNX file, or is truncated or damaged"):
            load(path, None)
    with pytest.raises(ModelError, match="No such file"):
        load(tmp_path / "nothing.onnx", None)


def test_operators_of_others_and_unknown_ones_are_named(tmp_path: Path) -> None:
    from onnx import helper

    node = helper.make_node("FusedConv", ["x"], ["y"], domain="com.microsoft")
    path = write(tmp_path / "model.onnx", [node])
    with pytest.raises(ModelError, match=r"holds the operator com\.microsoft:FusedConv"):
        load(path, None)
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], "back"),
    ]
    with pytest.raises(ModelError, match="the operator DynamicQuantizeLinear") as caught:
        load(write(tmp_path / "quantized.onnx", nodes), None)
    assert "--quantize int8" in (caught.value.hint or "")


def test_an_old_opset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is of opset 6") as caught:
        load(conv_net(tmp_path / "model.onnx", opset=6), None)
    assert "convert_version" in (caught.value.hint or "")


def test_a_shape_that_depends_on_values_is_refused(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["i", "flat"], ["s"]),
        helper.make_node("Reshape", ["x", "s"], ["y"], "/bad\x1b[2J/Reshape"),
    ]
    path = write(tmp_path / "model.onnx", nodes, constants={"flat": np.array([192], np.int64)})
    with pytest.raises(ModelError, match="which says how it computes, depends on values") as caught:
        load(path, None)
    assert "\x1b" not in caught.value.what


def test_what_is_read_otherwise_than_onnxruntime_computes_it_is_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OPERATORS, "Relu", lambda call: call[0].abs())
    with pytest.raises(VerificationError, match="output 0 is read otherwise than onnxruntime"):
        load(conv_net(tmp_path / "model.onnx"), None)


def test_an_index_that_leads_out_of_a_tensor_is_an_error_of_the_file(tmp_path: Path) -> None:
    from onnx import helper

    node = helper.make_node("Gather", ["x", "far"], ["y"], axis=1)
    path = write(tmp_path / "model.onnx", [node], constants={"far": np.array([9], np.int64)})
    with pytest.raises(ModelError, match=r"model\.onnx"):
        load(path, None)
