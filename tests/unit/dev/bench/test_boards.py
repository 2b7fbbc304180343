"""Estimates of masked networks beside dense ones, and the page of them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from support.estimates import estimated_model
from support.timed_ops import LIVE, conv, listed, other, two_layers
from toolchain.dev.bench import boards
from toolchain.dev.bench.boards import (
    BoardCase,
    BoardHead,
    BoardResults,
    Cost,
    beside,
    load_boards,
)
from toolchain.dev.bench.boards_page import boards_page, write_boards
from toolchain.errors import ModelError
from toolchain.profile.estimate_document import ModelEstimate


@pytest.fixture
def models(tmp_path: Path) -> tuple[ModelEstimate, ModelEstimate]:
    """Dense, and with masks: fewer pixels, no less time of the second convolution."""
    layers = two_layers(tmp_path)
    dense = estimated_model(
        "dense", listed(conv(100.0), other(10.0), conv(200.0)), two_layers(tmp_path, 0)
    )
    kept = layers[0].kept
    ops = [conv(60.0, kept=kept, kernel=LIVE), other(10.0), other(7.0, "Copy (NC, X32)")]
    masked = estimated_model("masked", listed(*ops, conv(200.0, kept=kept)), layers)
    fewer = [
        one.model_copy(update={"instructions": 500, "bound": "memory", "by_bound": {"memory": 0.1}})
        if one.index == 3
        else one
        for one in masked.operators
    ]
    return dense, masked.model_copy(update={"operators": fewer})


def results(models: tuple[ModelEstimate, ModelEstimate]) -> BoardResults:
    dense, masked = models
    cases = [
        BoardCase(
            board="rpi4", network="resnet18", dtype="fp32", sparsity=sparsity, ms=one.ms,
            low_ms=one.low_ms, high_ms=one.high_ms, instructions=one.instructions,
            peak_share=0.5, memory_lines=1234,
            stock=None if sparsity else Cost(ms=0.63, instructions=5000, memory_lines=9876),
            operators=beside(dense, one) if sparsity else [],
        )
        for sparsity, one in ((0.0, dense), (0.2, masked))
    ]  # fmt: skip
    return BoardResults(
        tool="0", created=datetime(2026, 1, 1, tzinfo=UTC), qemu="QEMU 0", cases=cases,
        boards=[BoardHead(name="rpi4", title="Pi", core="Cortex-A72", clock_mhz=1800)],
    )  # fmt: skip


def test_a_part_is_estimated_anew_and_the_rest_is_kept(
    models: tuple[ModelEstimate, ModelEstimate],
) -> None:
    older = results(models)
    dense, masked = (one.model_copy(update={"ms": 7 * one.ms}) for one in older.cases)
    network = dense.model_copy(update={"network": "mobilenet_v2"})
    found = older.model_copy(update={"cases": [dense, network]}).joined(older)
    assert found.cases == [dense, network], "a masked model beside another dense one is no gain"
    elsewhere = dense.model_copy(update={"board": "rpi5"})
    board = older.boards[0].model_copy(update={"name": "rpi5"})
    found = older.model_copy(update={"boards": [board], "cases": [elsewhere]}).joined(older)
    assert found.cases == [*older.cases, elsewhere]
    assert [one.name for one in found.boards] == ["rpi4", "rpi5"]
    assert masked not in found.cases


def test_operators_stand_beside_those_of_the_dense_model(
    models: tuple[ModelEstimate, ModelEstimate],
) -> None:
    rows = beside(*models)
    assert [(row.kind, row.dense is None, row.masked is None) for row in rows] == [
        ("3x3", False, False),
        ("Add (ND, F32)", False, False),
        ("Copy (NC, X32)", True, False),
        ("3x3", False, False),
    ]
    first, added, last = rows[0], rows[2], rows[3]
    assert (first.dense and first.dense.ms, first.masked and first.masked.ms) == (0.1, 0.06)
    assert last.masked is not None
    assert (last.masked.bound, last.masked.waiting_ms) == ("memory", 0.1)
    # As many instructions and 0.6 of the time; half of the instructions and all of the time.
    assert first.lost_ms == pytest.approx(-0.04)
    assert last.lost_ms == pytest.approx(0.1)
    assert added.lost_ms == pytest.approx(0.007)


def test_another_network_is_refused(models: tuple[ModelEstimate, ModelEstimate]) -> None:
    dense, masked = models
    with pytest.raises(ModelError, match="dense and masked are not the same network"):
        beside(dense, masked.model_copy(update={"layers": masked.layers[:1]}))


def test_the_page_says_what_gains_less_in_time_and_what_it_waits_for(
    models: tuple[ModelEstimate, ModelEstimate], tmp_path: Path
) -> None:
    found = results(models)
    page = boards_page(found)
    dense, masked = models
    assert f"| {dense.ms / masked.ms:.2f} (1.00) |" in page
    lost = [line for line in page.splitlines() if "| memory |" in line and "of dense" in line]
    assert len(lost) == 1
    assert "| 3x3 | 1 | 0.20 | 1.00 | 2.00 |" in lost[0]
    assert "- memory: waits for memory" in page
    written = write_boards(found, tmp_path)
    assert [path.name for path in written] == ["bench-boards.md", "bench-boards.json"]
    assert load_boards(written[1]) == found


def test_the_page_compares_dense_models_with_upstreams_runtime(
    models: tuple[ModelEstimate, ModelEstimate],
) -> None:
    found = results(models)
    told = "| rpi4 | ResNet18, every convolution masked | fp32 | 0.63 | 0.32 | 2.000 | 1.000 |"
    assert f"{told} 9,876 | 1,234 |" in boards_page(found)
    cases = [one.model_copy(update={"stock": None}) for one in found.cases]
    assert "upstream" not in boards_page(found.model_copy(update={"cases": cases}))


def test_a_page_without_masked_models_has_no_losses(
    models: tuple[ModelEstimate, ModelEstimate],
) -> None:
    whole = results(models)
    alone = whole.model_copy(update={"cases": whole.cases[:1]})
    page = boards_page(alone)
    assert "Operators that gain less" not in page
    assert "| ResNet18, every convolution masked | fp32 | 0.32 |" in page


def test_every_board_that_is_estimated_has_another_core() -> None:
    from toolchain.hardware.board_file import load_board
    from toolchain.profile.estimator import timed_core
    from toolchain.timing.core_table import TIMED_CORES

    assert {timed_core(load_board(name)) for name in boards.BOARDS} == set(TIMED_CORES)
