"""Masks as pictures."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.reports import measured_profile, models
from toolchain.errors import ModelError
from toolchain.report.page.measured import results_of_profile
from toolchain.report.page.pictures import KEPT, mask_png, masks_of, model_files
from toolchain.tflite_file.graph import read_model
from toolchain.tflite_file.layers import find_layers


@pytest.mark.parametrize("shape", [(1, 1), (7, 7), (14, 9), (3, 130)])
def test_a_picture_has_a_pixel_for_each_of_the_mask(shape: tuple[int, int]) -> None:
    kept = np.random.default_rng(1).random(shape) < 0.7
    picture = Image.open(io.BytesIO(mask_png(kept))).convert("RGBA")
    pixels = np.asarray(picture)
    assert pixels.shape == (*shape, 4)
    assert np.array_equal(pixels[..., 3] == 255, kept)
    assert (pixels[kept][:, :3] == KEPT).all()


def test_masks_are_those_of_the_models_that_were_measured(tmp_path: Path) -> None:
    files = models(tmp_path, dense=0.0, s25=0.25, s50=0.5)
    results = [next(results_of_profile(measured_profile(files), "p.json", {}))]
    found, notes = masks_of(list(reversed(files.values())), results)
    assert notes == []
    assert [one.model for one in found] == ["s25", "s50"]  # as the profile has them
    for one in found:
        layers = {layer.name: layer for layer in find_layers(read_model(files[one.model]))}
        for picture in one.pictures:
            for name in picture.layers:
                mask = layers[name].mask
                assert mask is not None
                assert picture.png == mask_png(mask.kept)
                assert (picture.height, picture.width, picture.kept) == (16, 16, mask.kept.sum())
        assert sum(len(picture.layers) for picture in one.pictures) == 2


def test_a_model_of_another_hash_is_not_shown(tmp_path: Path) -> None:
    files = models(tmp_path, dense=0.0, s25=0.25)
    results = [next(results_of_profile(measured_profile(files), "p.json", {}))]
    (other,) = models(tmp_path, other=0.3).values()
    found, notes = masks_of([other], results)
    assert found == []
    assert notes == ["No result is of these files, so no mask of theirs is shown: other.tflite."]


def test_a_folder_stands_for_its_models(tmp_path: Path) -> None:
    files = models(tmp_path, a=0.0, b=0.25)
    (tmp_path / "notes.txt").write_text("x")
    assert model_files([tmp_path]) == list(files.values())
    assert model_files([files["b"], tmp_path]) == [files["b"], files["a"]]


def test_a_folder_without_models_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no \.tflite file"):
        model_files([tmp_path])


def test_what_is_no_model_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.tflite").write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"x\.tflite"):
        masks_of([tmp_path / "x.tflite"], [])
