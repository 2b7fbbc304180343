"""Keras models and SavedModels become files that are skipped as those of torch are."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("tensorflow")

import keras
import tensorflow
from keras import layers

from toolchain.cli.app import app
from toolchain.convert import conversion
from toolchain.convert.from_tensorflow.source import load_tensorflow
from toolchain.errors import ModelError, VerificationError
from toolchain.keras import MaskedConv2D, masked_layers, sparsify
from toolchain.tflite_file.graph import parse_model, read_model
from toolchain.tflite_file.layers import find_layers


def network() -> Any:
    """Every form of a masked layer: BatchNorm, bias, stride, activation, depthwise, shortcut."""
    images = keras.Input((16, 16, 3))
    hidden = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem")(images)
    hidden = layers.ReLU()(layers.BatchNormalization()(hidden))
    branch = layers.Conv2D(8, 3, padding="same", name="biased")(hidden)
    hidden = layers.ReLU()(layers.Add()([hidden, layers.BatchNormalization()(branch)]))
    hidden = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(hidden)
    hidden = layers.ReLU(6.0)(layers.BatchNormalization()(hidden))
    hidden = layers.Conv2D(8, 1, activation="sigmoid", name="pointwise")(hidden)
    model = keras.Model(images, layers.Dense(5)(layers.GlobalAveragePooling2D()(hidden)))
    model, _ = sparsify(model, 0.3, kernels="all", share=1.0)
    rng = np.random.default_rng(3)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            gamma, beta, mean, variance = (rng.normal(size=8) for _ in range(4))
            layer.set_weights([gamma, beta, mean, variance**2 + 0.3])
        elif isinstance(layer, layers.Conv2D) and layer.bias is not None:
            layer.bias.assign(rng.normal(size=8))
    return model


@pytest.fixture(scope="module")
def model() -> Any:
    return network()


@pytest.fixture(scope="module")
def folder(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``net.keras`` and the SavedModel ``saved``."""
    made = tmp_path_factory.mktemp("models")
    model.save(made / "net.keras")
    model.export(made / "saved", verbose=False)
    return made


def test_a_function_with_a_gradient_of_its_own_is_converted(tmp_path: Path) -> None:
    images = keras.Input((8, 8, 3))
    hidden = layers.Conv2D(4, 3, activation="swish")(images)
    model = keras.Model(images, layers.Activation("silu")(layers.Conv2D(4, 1)(hidden)))
    model.save(tmp_path / "net.keras")
    done = conversion.convert(tmp_path / "net.keras", tmp_path / "net.tflite")
    assert done.relative_diff <= done.tolerance


@pytest.mark.parametrize(("name", "said"), [("net.keras", "Keras"), ("saved", "TensorFlow")])
def test_every_masked_layer_is_in_the_file_with_its_mask_and_is_skipped(
    name: str, said: str, folder: Path, model: Any, tmp_path: Path
) -> None:
    output = tmp_path / "net.tflite"
    done = conversion.convert(folder / name, output)
    assert done.framework == said
    assert [layer.name for layer in done.layers] == ["stem", "biased", "depthwise", "pointwise"]
    assert all(layer.skipped for layer in done.layers), done.layers
    assert done.inputs[0].shape == done.inputs[0].torch_shape == (1, 16, 16, 3)
    assert done.relative_diff <= done.tolerance == 1e-5
    file = read_model(output)
    planes = {layer.name: layer.mask for layer in find_layers(file) if layer.mask is not None}
    for key, layer in masked_layers(model).items():
        assert np.array_equal(planes[key].kept, layer.mask)
    assert not {"MUL", "READ_VARIABLE"} & {op.op for op in file.graph.operators}


def test_a_masked_pixel_is_a_constant_of_its_channel_that_is_not_zero(
    folder: Path, tmp_path: Path
) -> None:
    conversion.convert(folder / "net.keras", tmp_path / "net.tflite")
    found = {layer.name: layer for layer in find_layers(read_model(tmp_path / "net.tflite"))}
    mask = found["biased"].mask
    assert mask is not None
    assert len(np.unique(mask.fill)) == 8


def test_the_int8_file_has_the_masks_at_one_scale(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "net.tflite"
    images = np.random.default_rng(0).normal(size=(20, 16, 16, 3)).astype(np.float32)
    np.savez(tmp_path / "images.npz", images=images)
    done = conversion.convert(
        folder / "net.keras", output, quantize="int8", calibration=str(tmp_path / "images.npz")
    )
    assert all(layer.skipped for layer in done.layers), done.layers
    assert done.sqnr_db > 20


def test_weights_that_are_not_those_of_the_file_are_noticed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoiled(raw: bytes, _: Any) -> bytes:
        data = bytearray(raw)
        constants = [tensor.data for tensor in parse_model(data).graph.tensors]
        (weights,) = [one for one in constants if one is not None and one.shape == (8, 3, 3, 3)]
        weights *= 1.001
        return bytes(data)

    monkeypatch.setattr("toolchain.convert.from_tensorflow.lower.fold", spoiled)
    with pytest.raises(VerificationError, match="the converted file is not what Keras computes"):
        conversion.convert(folder / "net.keras", tmp_path / "net.tflite")
    assert not (tmp_path / "net.tflite").exists()


def test_several_inputs_and_outputs_keep_their_order(tmp_path: Path) -> None:
    image, vector = keras.Input((8, 8, 2), name="image"), keras.Input((4,), name="vector")
    outputs = {"wide": layers.Conv2D(3, 3)(image), "flat": layers.Dense(6)(vector)}
    keras.Model({"v": vector, "i": image}, outputs).save(tmp_path / "two.keras")
    done = conversion.convert(tmp_path / "two.keras", tmp_path / "two.tflite")
    assert [one.shape for one in done.inputs] == [(1, 8, 8, 2), (1, 4)]
    assert [one.shape for one in done.outputs] == [(1, 6), (1, 6, 6, 3)]


def test_a_network_of_any_size_is_given_one(tmp_path: Path) -> None:
    images = keras.Input((None, None, 3))
    keras.Model(images, layers.Conv2D(4, 3)(images)).save(tmp_path / "any.keras")
    with pytest.raises(ModelError, match=r"takes inputs of any size \(\?x\?x\?x3\)") as caught:
        load_tensorflow(tmp_path / "any.keras")
    assert "--input-shape 1,224,224,3" in str(caught.value.hint)
    assert load_tensorflow(tmp_path / "any.keras", [(1, 9, 7, 3)]).outputs == ((1, 4, 7, 5),)


def test_what_is_of_another_type_in_the_file_is_noted(tmp_path: Path) -> None:
    images = keras.Input((8, 8, 1))
    classes = keras.ops.argmax(layers.Flatten()(images), axis=1)
    keras.Model(images, keras.ops.cast(classes, "int64")).save(tmp_path / "classes.keras")
    source = load_tensorflow(tmp_path / "classes.keras")
    assert source.notes == ("the output is int64 in the model, int32 in the file",)


def lambda_model(path: Path) -> None:
    images = keras.Input((8, 8, 3))
    keras.Model(images, layers.Lambda(lambda x: x * 2)(images)).save(path)


class Own(layers.Layer):  # type: ignore[misc]
    def call(self, images: Any) -> Any:
        return images * 2


def own_layer(path: Path) -> None:
    images = keras.Input((8, 8, 3))
    keras.Model(images, Own()(images)).save(path)


def other_input(path: Path) -> None:
    words = keras.Input((8,), dtype="int32")
    keras.Model(words, layers.Embedding(10, 4)(words)).save(path)


def bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b" " * (80 << 20))


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda_model, r"holds Python code \(a Lambda layer\), which is not run"),
        (own_layer, "needs a layer or function that is not Keras' own"),
        (other_input, "its inputs have to be float32: '.*' is int32"),
        (lambda path: path.write_bytes(b"PK no zip"), "is no model that Keras can load"),
        (bomb, "would unpack to 0.1 GB"),
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: None, "No such file"),  # noqa: ARG005
    ],
)
def test_what_is_not_loaded_is_told_in_one_sentence(write: Any, said: str, tmp_path: Path) -> None:
    path = tmp_path / "net.keras"
    write(path)
    with pytest.raises(ModelError, match=said):
        load_tensorflow(path)


def test_an_operator_that_tflite_does_not_have_is_named(tmp_path: Path) -> None:
    images = keras.Input((8, 8, 3))
    keras.Model(images, keras.ops.erfinv(images)).save(tmp_path / "net.keras")
    with pytest.raises(ModelError, match="TFLite has no operator for Erfinv"):
        conversion.convert(tmp_path / "net.keras", tmp_path / "net.tflite")


def test_a_damaged_saved_model_is_told(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "saved", tmp_path / "saved")
    graph = tmp_path / "saved/saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:1000])
    with pytest.raises(ModelError, match="is no SavedModel that TensorFlow can load"):
        load_tensorflow(tmp_path / "saved")


def test_a_saved_model_without_a_signature_is_told(tmp_path: Path) -> None:
    tensorflow.saved_model.save(tensorflow.Module(), str(tmp_path / "empty"))
    with pytest.raises(ModelError, match="has no signature 'serving_default'"):
        load_tensorflow(tmp_path / "empty")


def test_masks_that_keep_everything_or_nothing_leave_no_mask_in_the_file(tmp_path: Path) -> None:
    images = keras.Input((8, 8, 3))
    hidden = MaskedConv2D(4, 3, name="all")(images)
    model = keras.Model(images, MaskedConv2D(4, 3, name="nothing")(hidden))
    masked_layers(model)["nothing"].set_mask(np.zeros((4, 4)))
    model.save(tmp_path / "net.keras")
    done = conversion.convert(tmp_path / "net.keras", tmp_path / "net.tflite")
    assert {layer.name: layer.form for layer in done.layers} == {
        "all": "dense",
        "nothing": "constant",
    }


# --- the command -----------------------------------------------------------------------------


def invoke(*words: str | Path) -> Any:
    return CliRunner().invoke(app, ["convert", *map(str, words)])


def test_a_saved_model_is_not_loaded_before_its_maker_is_trusted(
    folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "net.tflite"
    refused = invoke(folder / "saved", "-o", output)
    assert isinstance(refused.exception, ModelError)
    assert "is a SavedModel, whose operators can read and write files" in refused.exception.what
    assert refused.exception.hint == (
        f"if you trust whoever made it, run: deploy convert {folder / 'saved'} --trust"
    )
    assert not output.exists()
    assert invoke(folder / "saved", "-o", output, "--trust").exit_code == 0
    assert output.exists()


def test_a_keras_model_is_converted_without_a_question(folder: Path, tmp_path: Path) -> None:
    done = invoke(folder / "net.keras", "-o", tmp_path / "net.tflite", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["framework"] == "Keras"
    shown = invoke(folder / "net.keras", "-o", tmp_path / "net.tflite").output
    assert "masked layers: 4 of 4 are CONV -> SELECT_V2" in shown
    assert "largest difference to Keras:" in shown


@pytest.mark.parametrize("option", ["--model", "--masks", "--weights"])
def test_options_of_checkpoints_are_refused_for_a_keras_model(
    option: str, folder: Path, tmp_path: Path
) -> None:
    given: dict[str, str | Path] = {
        "--model": "fashion_resnet_dense",
        "--masks": folder / "net.keras",
        "--weights": "ema",
    }
    done = invoke(folder / "net.keras", "-o", tmp_path / "net.tflite", option, given[option])
    assert isinstance(done.exception, ModelError)
    assert done.exception.hint == f"leave {option} away"
