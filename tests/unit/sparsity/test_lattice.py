"""Lattices of pixels."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.sparsity.lattice import Lattice, class_order, lattice_for


@pytest.mark.parametrize(
    ("sparsity", "lattice"),
    [
        (0.1, Lattice(10, 3)),
        (0.2, Lattice(5, 2)),
        (0.25, Lattice(4, 2)),
        (0.3, Lattice(10, 3)),
        (0.4, Lattice(5, 2)),
        (0.5, Lattice(2, 1)),
    ],
)
def test_the_smallest_modulus_near_the_sparsity_is_taken(sparsity: float, lattice: Lattice) -> None:
    assert lattice_for(sparsity) == lattice


@given(st.floats(0, 0.99))
@settings(deadline=None)
def test_some_number_of_classes_comes_within_three_percent_of_any_sparsity(sparsity: float) -> None:
    modulus = lattice_for(sparsity).modulus
    assert abs(round(sparsity * modulus) / modulus - sparsity) <= 0.03


@given(st.integers(2, 20))
@settings(deadline=None)
def test_points_of_a_class_are_as_far_apart_as_they_can_be(modulus: int) -> None:
    best = lattice_for(0.5, modulus).distance(0)
    assert all(Lattice(modulus, slope).distance(0) <= best for slope in range(1, modulus))


@given(st.integers(2, 12), st.integers(1, 11), st.integers(0, 11))
@settings(deadline=None)
def test_distances_are_those_measured_on_pixels(modulus: int, slope: int, apart: int) -> None:
    lattice = Lattice(modulus, slope % modulus)
    classes = torch.from_numpy(lattice.classes((2 * modulus + 1, 2 * modulus + 1)))
    y, x = torch.nonzero((classes - classes[modulus, modulus]) % modulus == apart % modulus).T
    squares = ((y - modulus) ** 2 + (x - modulus) ** 2).tolist()
    assert min(s for s in squares if s) == lattice.distance(apart % modulus)


@given(st.integers(2, 20))
@settings(deadline=None)
def test_the_order_of_classes_names_each_once(modulus: int) -> None:
    assert sorted(class_order(lattice_for(0.5, modulus))) == list(range(modulus))


def test_the_second_class_is_as_far_from_the_first_as_can_be() -> None:
    lattice = lattice_for(0.3)
    _, second, *_ = class_order(lattice)
    assert lattice.distance(second) == max(lattice.distance(c) for c in range(1, 10))
