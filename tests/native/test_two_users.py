"""Two users of one board: no measurement overlaps another, and nobody waits for ever.

``make faults`` has fifty such meetings.
"""

from __future__ import annotations

import pytest

from faults.fault import Place
from faults.two_users import two_users


@pytest.mark.parametrize("number", range(100, 104))
def test_measurements_of_two_users_never_overlap(fault_place: Place, number: int) -> None:
    assert two_users(fault_place, number) == ""
