"""A real emulated board that ends, hangs or jumps in time in the middle of a command.

``make faults`` has more tries of each, one for each command.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from faults import reboots
from faults.fault import Fault, Place


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One board for all of them."""
    place = Place(tmp_path_factory.mktemp("place"))
    with place.stack:
        yield place


@pytest.mark.parametrize(
    ("fault", "number"),
    [pytest.param(fault, 1 + number, id=fault.name) for number, fault in enumerate(reboots.FAULTS)],
)
def test_each_is_borne(place: Place, fault: Fault, number: int) -> None:
    assert fault.inject(place, number) == ""
