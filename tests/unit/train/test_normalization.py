"""How the images that a network was trained on were normalised, as its checkpoint tells."""

from __future__ import annotations

import pytest

from toolchain.tflite_file.image_metadata import Normalization
from toolchain.train.normalization import FASHION, FOLDER, UNIT, trained_normalization


@pytest.mark.parametrize(
    ("dataset", "known"),
    [("fashion-mnist", FASHION), ("flowers", FOLDER), ("pets:data", None)],
)
def test_a_checkpoint_tells_by_the_data_that_it_names(
    dataset: str, known: Normalization | None
) -> None:
    assert trained_normalization({"dataset": dataset, "recipe": "{}"}) == known


def test_a_checkpoint_of_others_tells_nothing_by_the_name_of_its_data() -> None:
    assert trained_normalization({"dataset": "imagenet"}) is None


def test_a_network_of_the_zoo_has_the_figures_of_its_own_weights() -> None:
    assert trained_normalization({}, "fashion_resnet_s20") == FASHION
    assert trained_normalization({}, "fashion_resnet_s20", own_weights=False) is None
    lite = trained_normalization({}, "efficientnet_lite0_s20")
    assert lite == Normalization((127.0,), (128.0,))
    assert trained_normalization({}, "efficientnet_lite0", own_weights=False) is None
    assert trained_normalization({}, "resnet18") is None
    assert trained_normalization({}, "my_nets:flowers") is None
    assert trained_normalization({}) is None


@pytest.mark.parametrize(
    "name",
    ["yolov5n", "yolov5n_s20", "toolchain.zoo.yolov5:yolov5n", "toolchain.models.yolov5:yolov5n"],
)
def test_a_detector_takes_pixels_from_0_to_1_whatever_its_weights_are(name: str) -> None:
    assert trained_normalization({}, name) == UNIT
    assert trained_normalization({}, name, own_weights=False) == UNIT
