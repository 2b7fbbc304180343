from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from toolchain.agreement.blame import Blame
from toolchain.agreement.differences import compare_output
from toolchain.convert.compare import Agreement, Comparison, Distance, Output
from toolchain.convert.quality import Slices
from toolchain.convert.verdict import require_agreement, require_quality
from toolchain.errors import VerificationError


def _output(
    index: int, difference: float, db: float = 30.0, *, weak: Slices | None = None,
    steps: float | None = None,
) -> Output:  # fmt: skip
    wanted = np.full((2, 1, 4, 3), 2.0)
    found = wanted.copy()
    found[1, 0, 2, 1] += difference
    return Output(compare_output(found, wanted, output=index), db, steps, weak)


def _run(name: str, *outputs: Output, kernels: str = "builtin") -> Agreement:
    return Agreement(name, kernels, 5, outputs)


def _nothing(*_of: Agreement) -> None:
    return None


def _agreement(*agreements: Agreement, find: object = _nothing, tolerance: float = 1e-5) -> None:
    require_agreement(Comparison(agreements, (), ()), tolerance, seed=7, find=find)  # type: ignore[arg-type]


def _quality(*agreements: Agreement, between: float = math.inf, ours: tuple[str, ...] = ()) -> None:
    distance = Distance("stock 1, builtin kernels", "stock 2, builtin kernels", between, 3.0,
                        "output 0")  # fmt: skip
    require_quality(
        Comparison(agreements, (distance,), ()), 10.0, advice="other data may do better",
        find=_nothing, ours=ours,
    )  # fmt: skip


def test_each_output_counts_by_its_own_scale() -> None:
    _agreement(_run("stock 1", _output(0, 1e-5), _output(1, 1e-5)))
    with pytest.raises(VerificationError, match=r"output 1 differs from torch by 0\.01, 0\.005 of"):
        _agreement(_run("stock 1", _output(0, 0.0), _output(1, 0.01)))


def test_the_message_says_which_output_where_and_on_what() -> None:
    with pytest.raises(VerificationError) as caught:
        _agreement(_run("stock 1", _output(0, 0.1), _output(1, 0.5), _output(2, 0.0)))
    assert "output 1 differs from torch" in caught.value.what
    assert "channel 1 (2)" in caught.value.what
    assert "at [0, 2, 1] of inference 1" in caught.value.what
    assert "on stock 1, builtin kernels" in caught.value.what
    assert "wrong there too: output 0" in caught.value.what
    assert "--seed 7 tries the same inputs" in (caught.value.hint or "")


def test_runtimes_that_are_right_are_told_with_the_operator_where_they_part() -> None:
    asked: list[str] = []

    def find(bad: Agreement, good: Agreement) -> Blame:
        asked.extend([bad.runtime, good.runtime])
        return Blame(4, "MEAN", "pool")

    with pytest.raises(VerificationError) as caught:
        _agreement(
            _run("stock 1", _output(0, 0.0), kernels="xnnpack"), _run("stock 1", _output(0, 0.0)),
            _run("ours", _output(0, 1.0)), find=find,
        )  # fmt: skip
    assert asked == ["ours", "stock 1"]
    assert "right on stock 1, xnnpack kernels and on stock 1, builtin" in caught.value.what
    assert "they part at operator 4, MEAN of 'pool'" in caught.value.what
    assert "ours, builtin kernels have the fault" in (caught.value.hint or "")


def test_where_every_runtime_is_wrong_the_file_is() -> None:
    def find(*_of: Agreement) -> Blame:
        raise AssertionError("there is nothing to compare with")

    with pytest.raises(VerificationError, match="no runtime gives what the model does") as caught:
        _agreement(_run("stock 1", _output(0, 1.0)), _run("stock 2", _output(0, 1.0)), find=find)
    assert "a layer became something else in the file" in (caught.value.hint or "")


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_what_is_no_number_is_never_within_the_tolerance(bad: float) -> None:
    with pytest.raises(VerificationError, match="differs from torch by"):
        _agreement(_run("stock 1", _output(0, bad)), tolerance=1e30)


def test_a_quantised_file_is_let_through_down_to_the_least_ratio() -> None:
    _quality(_run("a", _output(0, 0.1, 10.0)), _run("b", _output(0, 0.1, 12.0)), between=10.0)
    _quality(_run("a", _output(0, 0.0, math.inf)))


def test_an_output_that_is_too_noisy_is_named_beside_the_runtimes_that_are_right() -> None:
    with pytest.raises(
        VerificationError,
        match=r"too far from torch: output 1, -0.1 dB, up to 3 quantisation steps.*, on stock 2, "
        r"builtin kernels.*right on stock 1.*stock 1, builtin kernels: 30.0 dB.*10 dB are wanted",
    ):
        _quality(
            _run("stock 1", _output(0, 0.0), _output(1, 0.0)),
            _run("stock 2", _output(0, 0.0), _output(1, 1.0, -0.1, steps=3.0)),
        )


def test_a_channel_that_is_noise_is_refused_in_an_output_that_is_good() -> None:
    weak = Slices(axis=2, indices=(1,), weakest=1, sqnr_db=-20.0, wrong=True, last=True)
    with pytest.raises(VerificationError, match=r"channel 1 of output 0, -20.0 dB \(all of it: 3"):
        _quality(_run("stock 1", _output(0, 1.0, 30.0, weak=weak)))
    lost = Slices(axis=2, indices=(1,), weakest=1, sqnr_db=0.0, wrong=False, last=True)
    _quality(_run("stock 1", _output(0, 1.0, 30.0, weak=lost)))


def test_two_runtimes_that_disagree_are_named_both() -> None:
    with pytest.raises(
        VerificationError,
        match=r"two runtimes disagree about output 0.*: stock 1, builtin kernels, and stock 2, "
        r"builtin kernels: 4.0 dB, up to 3",
    ):
        _quality(_run("a", _output(0, 0.1, 11.0)), between=4.0)


def test_our_runtime_has_to_be_as_good_as_the_stock_ones() -> None:
    """30 dB would do, if others did not come to 50."""
    stock = _run("stock 1", _output(0, 0.0, 50.0))
    _quality(stock, _run("ours", _output(0, 0.1, 45.0)), ours=("ours",))
    _quality(_run("stock 1", _output(0, 0.0, math.inf)), _run("ours", _output(0, 0.0, 90.0)),
             ours=("ours",))  # fmt: skip
    with pytest.raises(VerificationError, match=r"otherwise than stock runtimes: output 0, 30.0"):
        _quality(stock, _run("ours", _output(0, 0.1, 30.0)), ours=("ours",))


def test_no_message_advises_to_accept_a_difference() -> None:
    def quality(*agreements: Agreement, **options: Any) -> Callable[[], None]:
        return lambda: _quality(*agreements, **options)

    good, bad = _run("b", _output(0, 0.0)), _run("a", _output(0, 1.0, 1.0))
    calls: list[Callable[[], None]] = [
        lambda: _agreement(bad),
        lambda: _agreement(bad, good),
        quality(bad),
        quality(bad, good),
        quality(_run("a", _output(0, 1.0)), between=1.0),
        quality(_run("a", _output(0, 0.0, 60.0)), _run("b", _output(0, 1.0)), ours=("b",)),
    ]
    for call in calls:
        with pytest.raises(VerificationError) as caught:
            call()
        assert not re.search(r"--tolerance|--min-sqnr|--steps", f"{caught.value.hint}")
        assert "no file was written" in (caught.value.hint or "")
