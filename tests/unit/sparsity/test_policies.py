"""What each policy masks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from toolchain.errors import ModelError
from toolchain.sparsity.policies import (
    POLICIES,
    LatticePolicy,
    Magnitude,
    Policy,
    Pooled,
    Random,
    TilePolicy,
)
from toolchain.sparsity.site import Site
from toolchain.sparsity.sparsify import sparsify

SIDE = st.integers(1, 24)
SPARSITY = st.floats(0, 1, exclude_max=True)


def site(size: tuple[int, int] = (14, 14), target: float = 0.2, *, name: str = "a") -> Site:
    return Site(name, size, (28, 28), target)


def make(name: str, **tile: Any) -> Policy:
    if name != "magnitude":
        return POLICIES[name](**tile)
    magnitude = Magnitude(list, **tile)
    sizes = {(h, w) for h in range(1, 25) for w in range(1, 25)}
    generator = torch.Generator().manual_seed(0)
    magnitude.load_state_dict({"planes": {s: torch.rand(s, generator=generator) for s in sizes}})
    return magnitude


@pytest.mark.parametrize("name", [n for n in POLICIES if n != "lattice"])
@given(SIDE, SIDE, SPARSITY, st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_a_mask_keeps_exactly_the_pixels_that_its_sparsity_leaves(
    name: str, height: int, width: int, sparsity: float, seed: int
) -> None:
    mask = make(name).mask(site((height, width), sparsity), seed)
    assert mask.shape == (height, width)
    assert mask.dtype == torch.bool
    assert int(mask.sum()) == height * width - round(sparsity * height * width)


@pytest.mark.parametrize("name", POLICIES)
@given(SIDE, SIDE, SPARSITY, st.integers(1, 8), st.floats(0, 0.2))
@settings(max_examples=40, deadline=None)
def test_rounding_to_tiles_fills_them_or_costs_too_much(
    name: str, height: int, width: int, sparsity: float, rows: int, share: float
) -> None:
    where, pixels = site((height, width), sparsity), height * width
    plain = make(name).mask(where, 3)
    rounded = make(name, tile_rows=rows, tile_share=share).mask(where, 3)
    kept, over = int(plain.sum()), int(plain.sum()) % rows
    assert bool((plain | ~rounded).all()), "rounding masks more pixels and unmasks none"
    if int(rounded.sum()) != kept:
        assert int(rounded.sum()) == kept - over > 0
        assert over <= share * pixels
    else:
        assert over == 0 or over > share * pixels or kept in (over, pixels)


@pytest.mark.parametrize("name", POLICIES)
def test_nothing_is_masked_at_the_beginning_of_the_way_and_more_and_more_later(name: str) -> None:
    policy = make(name, tile_rows=4)
    counts = [int((~policy.mask(site(target=0.5), 1, share)).sum()) for share in (0, 0.2, 0.6, 1)]
    assert counts[0] == 0
    assert counts == sorted(counts)
    assert counts[-1] in range(96, 101)


@pytest.mark.parametrize("name", POLICIES)
def test_the_same_seed_gives_the_same_mask_and_other_seeds_others(name: str) -> None:
    one, again, *others = (make(name).mask(site(), seed) for seed in (5, 5, *range(6, 26)))
    assert torch.equal(one, again)
    assert all(torch.equal(one, other) for other in others) != POLICIES[name].varies


@pytest.mark.parametrize("name", [n for n in POLICIES if n != "random"])
def test_layers_of_equal_size_share_a_mask(name: str) -> None:
    masks = make(name).masks([site(name="a"), site(name="b")], 4)
    assert torch.equal(masks["a"], masks["b"])


def test_random_layers_draw_alone() -> None:
    masks = Random().masks([site(name="a"), site(name="b")], 4)
    assert not torch.equal(masks["a"], masks["b"])


def test_pooled_masks_the_lowest_scores_of_one_plane_at_input_resolution() -> None:
    mask = Pooled().mask(site((7, 7)), 0)
    plane = torch.rand(28, 28, generator=torch.Generator().manual_seed(0))
    scores = functional.avg_pool2d(plane[None, None], 4)[0, 0]
    assert int(mask.sum()) == 39
    assert scores[~mask].max() <= scores[mask].min()


@pytest.mark.parametrize(
    ("target", "masked_of"), [(0.1, (1, 10)), (0.2, (1, 5)), (0.3, (3, 10)), (0.5, (1, 2))]
)
def test_a_lattice_masks_whole_classes(target: float, masked_of: tuple[int, int]) -> None:
    policy, where = LatticePolicy(), site((20, 20), target)
    mask, lattice = policy.mask(where, 7), policy.lattice(where)
    classes = lattice.classes((20, 20))
    shares = [mask[classes == c].float().mean().item() for c in range(lattice.modulus)]
    assert set(shares) <= {0.0, 1.0}
    assert (shares.count(0.0), lattice.modulus) == masked_of
    assert mask.float().mean() == pytest.approx(1 - target)


def test_every_kept_pixel_of_the_fifth_lattice_has_two_masked_taps_of_nine() -> None:
    mask = LatticePolicy().mask(site((15, 15), 0.2), 0)
    around = functional.conv2d((~mask).float()[None, None], torch.ones(1, 1, 3, 3))[0, 0]
    assert set(around[mask[1:-1, 1:-1]].tolist()) == {2.0}


def test_a_modulus_can_be_asked_for() -> None:
    assert int(LatticePolicy(4).mask(site((8, 8), 0.3), 0).sum()) == 48


def test_blocks_are_masked_whole_but_for_one() -> None:
    mask = TilePolicy(4).mask(site((16, 16), 0.3), 2)
    masked = (~mask).view(4, 4, 4, 4).sum((1, 3)).flatten().tolist()
    assert sum(0 < count < 16 for count in masked) <= 1
    assert sum(masked) == round(0.3 * 256)


class Bright(nn.Module):
    """A layer that puts out most in its right half."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1, bias=False)
        nn.init.ones_(self.conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


def test_magnitude_masks_where_the_layer_puts_out_least() -> None:
    images = torch.rand(8, 1, 6, 6)
    images[..., 3:] += 5
    policy = Magnitude(lambda: [images[:4], -images[4:]])
    layers = sparsify(Bright(), images[:1], policy, 0.5, select=lambda *_: True).layers
    assert not layers["conv"].mask[:, :3].any()
    assert layers["conv"].mask[:, 3:].all()


def test_magnitude_looks_at_the_model_without_its_masks_and_leaves_its_statistics_alone() -> None:
    norm = nn.BatchNorm2d(2)
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), norm).train()
    images = torch.rand(4, 1, 6, 6)
    masks = sparsify(model, images, Magnitude(lambda: [images]), 0.5)
    again = sparsify(model, images, Magnitude(lambda: [images]), 0.5)
    assert torch.equal(masks.layers["0"].mask, again.layers["0"].mask)
    assert model.training
    assert norm.running_mean is not None
    assert not norm.running_mean.any()


def test_magnitude_without_data_says_so() -> None:
    with pytest.raises(ModelError, match="no data to measure activations"):
        sparsify(Bright(), torch.zeros(1, 1, 6, 6), Magnitude(list), 0.5, select=lambda *_: True)


@pytest.mark.parametrize(
    ("make_one", "said"),
    [
        (lambda: Pooled(tile_rows=0), "tile_rows 0 is not at least 1"),
        (lambda: Pooled(tile_rows={"a": 0}), "is not at least 1"),
        (lambda: Pooled(tile_share=2), "tile_share 2 not 0 to 1"),
        (lambda: LatticePolicy(1), "modulus is at least 2"),
        (lambda: TilePolicy(0), "side is at least 1"),
    ],
)
def test_what_a_policy_refuses(make_one: object, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        make_one()  # type: ignore[operator]
