"""What came out, in one sentence."""

from __future__ import annotations

import pytest

from toolchain.report.page.headline import headline, signed
from toolchain.report.page.view import Kind, Model, Span


def model(name: str, cost: float, ratio: float | None, **more: object) -> Model:
    known: dict[str, object] = {
        "name": name, "sha256": "0", "cost": cost, "mad": None, "interval": None, "ratio": ratio,
        "ratio_interval": None, "in_doubt": False, "by_pixels": None, "by_plan": None, "macs": 1,
        "macs_left": 1, "dead_tap_share": None, "instructions": None, "peak_rss_kib": None,
    }  # fmt: skip
    return Model.model_validate(known | more)


def text(*models: Model, kind: Kind = "measured", threads: int = 1) -> str:
    return headline(kind, "Raspberry Pi 4", threads, models).text


DENSE = model("dense", 1200.0, 1.0)
FAST = model("s20", 1000.0, 1.2, ratio_interval=Span(low=1.18, high=1.21))


def test_it_names_model_board_ratio_and_interval() -> None:
    assert text(DENSE, FAST) == (
        "Raspberry Pi 4, 1 thread: s20 is 1.20 times as fast as dense (95% interval 1.18 to 1.21)."
    )


def test_the_fastest_model_is_told_of() -> None:
    slower = model("s10", 1100.0, 1.09)
    assert "s20 is 1.20 times" in text(DENSE, slower, FAST, threads=4)
    assert text(DENSE, FAST, threads=4).startswith("Raspberry Pi 4, 4 threads: ")


def test_a_doubtful_ratio_says_so() -> None:
    doubtful = FAST.model_copy(update={"in_doubt": True})
    found = headline("measured", "T", 1, [DENSE, doubtful])
    assert found.in_doubt
    assert "(95% interval 1.18 to 1.21, doubtful)" in found.text
    assert not headline("measured", "T", 1, [DENSE, FAST]).in_doubt


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.97, 1.05, "no model is shown to be faster than dense; s20 is"),
        (0.80, 0.90, "no model is faster than dense; s20 is"),
        (1.01, 1.05, "thread: s20 is"),
    ],
)
def test_what_chance_may_have_made_is_no_gain(low: float, high: float, said: str) -> None:
    one = FAST.model_copy(update={"ratio_interval": Span(low=low, high=high)})
    assert said in text(DENSE, one)


def test_accuracies_are_told_with_their_difference() -> None:
    dense = DENSE.model_copy(update={"accuracy": 0.921})
    fast = FAST.model_copy(update={"accuracy": 0.916})
    assert text(dense, fast).endswith(", at an accuracy of 91.6% (\N{MINUS SIGN}0.5 points).")
    assert text(DENSE, fast).endswith(", at an accuracy of 91.6%.")


def test_a_difference_always_has_a_sign() -> None:
    assert (signed(2.0), signed(-0.04), signed(-1.25)) == (
        "+2.0",
        "\N{MINUS SIGN}0.0",
        "\N{MINUS SIGN}1.2",
    )


def test_an_emulated_board_has_no_times() -> None:
    said = text(model("dense", 1500.0, 1.0), model("s20", 1000.0, 1.5), kind="counted")
    assert "s20 needs 67% of the instructions of dense (ratio 1.500)" in said
    assert "seconds mean nothing there" in said


def test_an_estimate_says_that_it_is_one_and_what_it_expects() -> None:
    fast = FAST.model_copy(update={"interval": Span(low=900.0, high=1100.0)})
    said = text(DENSE, fast, kind="estimated")
    assert said.startswith("Raspberry Pi 4, 1 thread, estimated: ")
    assert "takes 1.00 ms (900 µs to 1.10 ms)" in said


def test_one_model_alone_is_told_by_its_time() -> None:
    assert text(DENSE).endswith("an inference of dense takes 1.20 ms.")
    counted = text(model("m", 1234567.0, 1.0), kind="counted")
    assert counted.endswith("needs 1,234,567 instructions.")
    failed = model("s20", 1000.0, None)
    assert text(failed, failed).endswith("an inference of s20 takes 1.00 ms.")
