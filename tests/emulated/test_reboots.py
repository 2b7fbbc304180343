"""A real emulated board that ends, hangs or jumps in time in the middle of a command.

``make faults`` has more tries of each, one for each command.
"""

from __future__ import annotations

import pytest

from faults import reboots
from faults.fault import Fault, Place


@pytest.mark.parametrize(
    ("fault", "number"),
    [pytest.param(fault, 1 + number, id=fault.name) for number, fault in enumerate(reboots.FAULTS)],
)
def test_each_is_borne(fault_place: Place, fault: Fault, number: int) -> None:
    assert fault.inject(fault_place, number) == ""
