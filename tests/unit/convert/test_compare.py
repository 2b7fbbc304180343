from __future__ import annotations

import math

import pytest

from toolchain.convert.compare import (
    Agreement,
    Comparison,
    Distance,
    decibels,
    require_agreement,
    require_quality,
)
from toolchain.errors import VerificationError


def _comparison(difference: float, largest: float) -> Comparison:
    good = Agreement("stock 1", "xnnpack", 5, 0.0, largest, math.inf, None)
    other = Agreement("stock 2", "builtin", 2, difference, largest, 30.0, None)
    return Comparison((good, other), (), ())


def _quantised(
    first_db: float, second_db: float, between_db: float, steps: float | None = 3.0
) -> Comparison:
    runs = [
        Agreement(f"stock {number}", "builtin", 5, 0.1, 1.0, sqnr_db, steps)
        for number, sqnr_db in ((1, first_db), (2, second_db))
    ]
    between = Distance("stock 1, builtin kernels", "stock 2, builtin kernels", between_db, steps)
    return Comparison(tuple(runs), (between,), ())


def test_a_difference_counts_as_a_part_of_the_largest_output() -> None:
    require_agreement(_comparison(1e-3, 100.0), 1e-5, hint="")
    with pytest.raises(VerificationError, match=r"0.002, 2e-05 of the largest output \(100\)"):
        require_agreement(_comparison(2e-3, 100.0), 1e-5, hint="")


def test_the_message_names_the_runtime_and_its_kernels() -> None:
    with pytest.raises(VerificationError, match=r"on stock 2, builtin kernels") as caught:
        require_agreement(_comparison(1.0, 1.0), 1e-5, hint="try again")
    assert caught.value.hint == "try again"


def test_outputs_that_are_all_zero_are_compared_as_they_are() -> None:
    require_agreement(_comparison(0.0, 0.0), 0.0, hint="")
    with pytest.raises(VerificationError):
        require_agreement(_comparison(1e-3, 0.0), 1e-5, hint="")


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_what_is_no_number_is_never_within_the_tolerance(bad: float) -> None:
    with pytest.raises(VerificationError, match="differs from torch by"):
        require_agreement(_comparison(bad, 1.0), 1e30, hint="")


def test_a_quantised_file_is_let_through_down_to_the_least_ratio() -> None:
    require_quality(_quantised(10.0, 12.0, 10.0), 10.0, hint="")
    require_quality(_quantised(math.inf, math.inf, math.inf), 10.0, hint="")


def test_a_runtime_that_is_wrong_is_named_beside_the_one_that_is_not() -> None:
    with pytest.raises(
        VerificationError,
        match=r"too far from torch on stock 2, builtin kernels: -0.1 dB, up to 3 quantisation "
        r"steps; stock 1, builtin kernels: 30.0 dB.*; 10 dB are wanted",
    ):
        require_quality(_quantised(30.0, -0.1, 1.0), 10.0, hint="")


def test_two_runtimes_that_disagree_are_named_both() -> None:
    with pytest.raises(
        VerificationError,
        match=r"two runtimes disagree.*: stock 1, builtin kernels, and stock 2, builtin kernels: "
        r"4.0 dB, up to 3",
    ):
        require_quality(_quantised(11.0, 11.0, 4.0), 10.0, hint="")


def test_float_outputs_have_no_steps() -> None:
    with pytest.raises(VerificationError, match=r"1.0 dB; 10 dB are wanted"):
        require_quality(_quantised(1.0, 1.0, 20.0, steps=None), 10.0, hint="")


@pytest.mark.parametrize(
    ("signal", "noise", "ratio"),
    [
        (100.0, 1.0, 20.0),
        (1.0, 1.0, 0.0),
        (1.0, 0.0, math.inf),
        (0.0, 0.0, math.inf),
        (0.0, 1.0, -math.inf),
        (1.0, math.nan, -math.inf),
        (1.0, math.inf, -math.inf),
    ],
)
def test_the_ratio_of_powers(signal: float, noise: float, ratio: float) -> None:
    assert decibels(signal, noise) == pytest.approx(ratio)
