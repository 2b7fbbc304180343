"""Two users of one board: no measurement overlaps another, and nobody waits for ever.

``make faults`` has fifty such meetings.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from faults.fault import Place
from faults.two_users import two_users


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One board for all of them."""
    place = Place(tmp_path_factory.mktemp("place"))
    with place.stack:
        yield place


@pytest.mark.parametrize("number", range(100, 104))
def test_measurements_of_two_users_never_overlap(place: Place, number: int) -> None:
    assert two_users(place, number) == ""
