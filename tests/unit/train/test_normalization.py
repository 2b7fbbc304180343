"""How the images that a network was trained on were normalised, as its checkpoint tells."""

from __future__ import annotations

import pytest

from toolchain.tflite_file.image_metadata import Normalization
from toolchain.train.normalization import FASHION, FOLDER, trained_normalization


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
    assert trained_normalization({}, "resnet18") is None
    assert trained_normalization({}, "my_nets:flowers") is None
    assert trained_normalization({}) is None
