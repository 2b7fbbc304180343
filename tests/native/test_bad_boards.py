"""Links, servers and boards of every bad kind, and commands that are killed: each is borne.

``make faults`` has more tries of each.
"""

from __future__ import annotations

import os

import pytest

from faults import bad_boards, transport
from faults.fault import Fault, Place

ROOTS = ("disk", "read-only")
"""Only root may mount file systems."""


@pytest.mark.parametrize(
    ("fault", "number"),
    [
        pytest.param(fault, number, id=fault.name)
        for number, fault in enumerate((*transport.FAULTS, *bad_boards.FAULTS))
    ],
)
def test_each_is_borne(fault_place: Place, fault: Fault, number: int) -> None:
    if os.getuid() and any(word in fault.name for word in ROOTS):
        pytest.skip("only root may mount a file system")
    assert fault.inject(fault_place, number) == ""
