"""The tables of estimates: what fits, in what order, and that nothing passes for measured."""

from __future__ import annotations

from pathlib import Path

import pytest
import rich.console
from rich.cells import cell_len
from rich.console import RenderableType

from support.timed_ops import LIVE, conv, listed, other, two_layers
from toolchain.profile.estimate_document import Estimate, EstimatedOperator, ModelEstimate
from toolchain.profile.operators import LayerTrace, timed_rows
from toolchain.profile.runner_output import REMAINDER, Op
from toolchain.report.estimate_table import estimate_table, estimated_operators, milliseconds
from toolchain.timing.model import model_of


def lines(what: RenderableType, width: int = 200) -> list[str]:
    console = rich.console.Console(width=width)
    with console.capture() as capture:
        console.print(what)
    return capture.get().splitlines()


def model(
    name: str, ops: list[Op], layers: list[LayerTrace], first: ModelEstimate | None = None
) -> ModelEstimate:
    names = [row.name for row in timed_rows(None, (ops, layers))]
    total = sum(op.median_us or 0 for op in ops) / 1e3
    operators = [
        EstimatedOperator(
            index=op.index,
            name=names[op.index],
            type=op.type,
            delegated=op.delegated,
            ms=(op.median_us or 0) / 1e3,
            share=(op.median_us or 0) / 1e3 / total,
            bound="multiply",
            by_bound={"core": (op.median_us or 0) / 1e3},
            instructions=1000,
            ukernel=op.ukernel,
            mr=op.mr,
            nr=op.nr,
            pixels=op.pixels,
            kept=op.kept,
            dead_tap_share=op.dead_tap_share,
            macs_computed=op.macs_computed,
            peak_share=0.5,
            memory_lines=10,
        )
        for op in ops
        if op.type != REMAINDER
    ]
    found = ModelEstimate(
        name=name,
        sha256="0" * 64,
        ms=total,
        low_ms=total / 1.1,
        high_ms=total * 1.1,
        instructions=5000,
        macs_computed=1000,
        peak_share=0.5,
        by_bound={"core": total},
        operators=operators,
        outside_ms=0.0,
        layers=layers,
    )
    if first is None:
        return found
    rows = timed_rows((first.timed_ops(), first.layers), (found.timed_ops(), layers))
    return found.model_copy(update={"beside": rows})


@pytest.fixture
def estimate(tmp_path: Path) -> Estimate:
    layers = two_layers(tmp_path)
    dense = model("dense", listed(conv(100.0), other(10.0), conv(200.0)), two_layers(tmp_path, 0))
    first, second = (layer.kept for layer in layers)
    ops = listed(conv(60.0, kept=first, kernel=LIVE), other(10.0), conv(190.0, kept=second))
    masked = model("masked", ops, layers, dense)
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
