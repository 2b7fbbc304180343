"""The page has every row, and errors that its own rows add up to."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from support.made_up_rows import ROW as MADE_UP
from toolchain.dev.timing.cross_validation import Estimate
from toolchain.dev.timing.page import (
    Results,
    Section,
    load_results,
    page,
    row_estimate,
    summaries,
    write_page,
)

ROW = replace(MADE_UP, ms=100.0)
ESTIMATES = [
    Estimate(ROW, 110.0),
    Estimate(replace(ROW, network="vgg16"), 100.0),
    Estimate(replace(ROW, network="alexnet"), 70.0),
    Estimate(replace(ROW, precision="int8"), 95.0),
    Estimate(replace(ROW, threads=4, threads_said=False), 101.0),
]


@pytest.fixture
def results() -> Results:
    section = Section(
        board="rpi4",
        core="cortex-a72",
        clock_mhz=1800,
        published=date(2023, 6, 15),
        runtime="ncnn",
        fitted=True,
        coefficients={"l2": 4.25, "memory": 20.0},
        summaries=summaries(ESTIMATES),
        ablations=[],
        rows=[row_estimate(one) for one in ESTIMATES],
    )
    return Results(
        created=datetime(2026, 11, 29, tzinfo=UTC),
        qemu="qemu 7.2",
        sections=[section],
        pairs=20,
        pairs_right=19,
        left_out={"a 32-bit program": 37},
    )


def test_types_and_threads_are_summed_up_apart(results: Results) -> None:
    found = {one.name: one for one in results.sections[0].summaries}
    assert list(found) == ["fp32, 1 thread", "int8, 1 thread", "fp32, 4 threads"]
    assert found["fp32, 1 thread"].median == pytest.approx(0.1)
    assert found["fp32, 1 thread"].worst == pytest.approx(0.3)
    assert found["fp32, 1 thread"].worst_network == "alexnet"
    assert found["int8, 1 thread"].worst_network == "resnet18_int8"


def test_every_row_is_on_the_page_with_its_error(results: Results) -> None:
    text = page(results)
    assert "| resnet18 | fp32 | 224x224 | 1 | 100 | 110 | +10% |" in text
    assert "| alexnet | fp32 | 224x224 | 1 | 100 | 70 | -30% |" in text
    assert "| resnet18 | fp32 | 224x224 | 4 (not said) | 100 | 101 | +1% |" in text
    assert "Cortex-A72 at 1800 MHz (rpi4), ncnn, June 2023" in text
    assert "l2 4.25, memory 20" in text
    assert "19 are in the right order (95.0%)" in text
    assert "| 37 | a 32-bit program |" in text


def test_the_document_is_read_as_it_was_written(results: Results, tmp_path: Path) -> None:
    document = next(path for path in write_page(results, tmp_path) if path.suffix == ".json")
    assert load_results(document) == results
