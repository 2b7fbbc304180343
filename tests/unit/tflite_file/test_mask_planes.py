"""Policies without PyTorch: how many pixels they mask, which, and what decides it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import adaptive_avg_pool2d

from toolchain.errors import ModelError
from toolchain.sparsity.lattice import lattice_for
from toolchain.tflite_file.layers import Plane
from toolchain.tflite_file.mask_planes import POLICIES, _pooled, _seeded, mask_plane

SIZE, IMAGE = (28, 30), (56, 60)


def plane(policy: str, *, seed: int = 1, name: str = "conv", share: float = 0.3) -> Plane:
    return mask_plane(policy, SIZE, IMAGE, name, seed, share)


@pytest.mark.parametrize("policy", ["pooled", "random"])
@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
def test_as_many_pixels_are_masked_as_were_asked_for(policy: str, share: float) -> None:
    found = plane(policy, share=share)
    assert found.shape == SIZE
    assert found.dtype == np.bool_
    assert (~found).sum() == round(share * found.size)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.3, 0.5])
def test_a_lattice_masks_whole_classes_as_many_as_come_nearest(share: float) -> None:
    found = plane("lattice", share=share)
    lattice = lattice_for(share)
    classes = lattice.classes(SIZE)
    masked = {int(one) for one in classes[~found]}
    assert len(masked) == round(share * lattice.modulus)
    assert not masked & {int(one) for one in classes[found]}


@pytest.mark.parametrize("policy", POLICIES)
def test_the_same_seed_gives_the_same_mask_and_another_one_another(policy: str) -> None:
    first = plane(policy)
    np.testing.assert_array_equal(first, plane(policy))
    assert any((first != plane(policy, seed=seed)).any() for seed in range(2, 6))


def test_layers_of_one_size_have_the_paper_s_mask_alike_and_random_ones_their_own() -> None:
    np.testing.assert_array_equal(plane("pooled", name="a"), plane("pooled", name="b"))
    assert (plane("random", name="a") != plane("random", name="b")).any()


@pytest.mark.parametrize("size", [(56, 60), (28, 30), (27, 31), (7, 11), (3, 2)])
def test_the_paper_s_scores_are_one_plane_averaged_as_torch_pools_it(size: tuple[int, int]) -> None:
    noise = torch.from_numpy(_seeded(5).random(IMAGE))[None, None]
    expected = adaptive_avg_pool2d(noise, size)[0, 0].numpy()
    np.testing.assert_allclose(_pooled(size, IMAGE, "conv", 5, 0.2), expected, atol=1e-12)


def test_a_layer_larger_than_the_image_has_scores_too() -> None:
    found = mask_plane("pooled", (8, 8), (4, 4), "conv", 0, 0.25)
    assert (~found).sum() == 16


def test_a_policy_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(ModelError, match="there is no policy 'static'") as raised:
        plane("static")
    assert raised.value.hint == "one of pooled, lattice, random"
