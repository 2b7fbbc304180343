"""The tables of estimates: what fits, in what order, and that nothing passes for measured."""

from __future__ import annotations

from pathlib import Path

import pytest
import rich.console
from rich.cells import cell_len
from rich.console import RenderableType

from support.estimates import estimated_model
from support.timed_ops import LIVE, conv, listed, other, two_layers
from toolchain.profile.estimate_document import Estimate
from toolchain.report.estimate_table import estimate_table, estimated_operators, milliseconds
from toolchain.timing.model import model_of


def lines(what: RenderableType, width: int = 200) -> list[str]:
    console = rich.console.Console(width=width)
    with console.capture() as capture:
        console.print(what)
    return capture.get().splitlines()


@pytest.fixture
def estimate(tmp_path: Path) -> Estimate:
    layers = two_layers(tmp_path)
    dense = estimated_model(
        "dense", listed(conv(100.0), other(10.0), conv(200.0)), two_layers(tmp_path, 0)
    )
    first, second = (layer.kept for layer in layers)
    ops = listed(conv(60.0, kept=first, kernel=LIVE), other(10.0), conv(190.0, kept=second))
    masked = estimated_model("masked", ops, layers, dense)
    return Estimate(
        tool="0",
        board="rpi4",
        title="Raspberry Pi 4 Model B",
        core="Cortex-A72",
        clock_mhz=1800,
        threads=1,
        timing_model=model_of("cortex-a72"),
        models=[dense, masked],
    )


@pytest.mark.parametrize("width", [70, 100, 160])
def test_no_line_is_wider_than_the_terminal(estimate: Estimate, width: int) -> None:
    for table in (estimate_table, estimated_operators):
        assert max(map(cell_len, lines(table(estimate, width), width))) <= width


@pytest.mark.parametrize("width", [70, 160])
def test_it_says_that_it_is_no_measurement(estimate: Estimate, width: int) -> None:
    text = " ".join(" ".join(lines(estimate_table(estimate, width), width)).split())
    assert "Estimated, not measured" in text


def test_the_first_model_is_what_others_are_compared_with(estimate: Estimate) -> None:
    text = "\n".join(lines(estimate_table(estimate)))
    assert "1.000x" in text
    assert f"{estimate.speedup(estimate.models[1]):.3f}x" in text


def test_operators_that_lose_most_come_first(estimate: Estimate) -> None:
    shown = "\n".join(lines(estimated_operators(estimate)))
    first, second = (layer.name for layer in estimate.models[1].layers)
    assert shown.index(second) < shown.index(first)
    assert shown.count("by operator") == 1


def test_a_model_alone_has_the_longest_operators_first(estimate: Estimate) -> None:
    alone = estimate.model_copy(update={"models": estimate.models[:1]})
    shown = "\n".join(lines(estimated_operators(alone)))
    first, second = (layer.name for layer in alone.models[0].layers)
    assert shown.index(second) < shown.index(first)


@pytest.mark.parametrize(
    ("value", "shown"), [(1234.5, "1,234"), (66.89, "66.9"), (9.994, "9.99"), (0.0714, "0.07")]
)
def test_milliseconds_have_three_digits_at_most(value: float, shown: str) -> None:
    assert milliseconds(value) == shown
