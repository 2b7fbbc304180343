from __future__ import annotations

import pytest

from toolchain.profile.figures import energy, macs_a_second, microseconds


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0.5, "0.5 µs"),
        (999.4, "999 µs"),
        (999.6, "1.00 ms"),
        (1234.0, "1.23 ms"),
        (999_994.0, "999.99 ms"),
        (999_996.0, "1.00 s"),
        (2.5e6, "2.50 s"),
    ],
)
def test_a_time_has_the_unit_that_it_rounds_to(us: float, text: str) -> None:
    assert microseconds(us) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5e6, "0.5 M"), (999.4e6, "999 M"), (999.7e6, "1 G"), (1.2e9, "1.2 G"), (1234e9, "1,230 G")],
)
def test_a_rate_has_the_unit_that_it_rounds_to(value: float, text: str) -> None:
    assert macs_a_second(value) == text


@pytest.mark.parametrize(
    ("joules", "text"),
    [(0.9994, "999 mJ"), (0.9999, "1.00 J"), (0.0009999, "1.00 mJ"), (0.05, "50.0 mJ")],
)
def test_an_energy_has_the_unit_that_it_rounds_to(joules: float, text: str) -> None:
    assert energy(joules) == text
