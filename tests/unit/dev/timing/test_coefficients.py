"""What users' estimates take is what the study found."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from support.places import REPOSITORY
from toolchain.dev.timing.coefficients import FILE, coefficients_text, interval
from toolchain.dev.timing.page import Results, RowEstimate, Section, load_results
from toolchain.timing.model import Coefficients, Interval, model_of


def row(ms: float, threads: int = 1) -> RowEstimate:
    return RowEstimate(
        runtime="ncnn", network="a", precision="fp32", width=224, height=224, threads=threads,
        threads_said=True, ms=ms, estimated_ms=100.0,
    )  # fmt: skip


def section(*rows: RowEstimate, fitted: bool = True) -> Section:
    return Section(
        board="rpi4", core="cortex-a72", clock_mhz=1800, published=date(2023, 6, 15),
        runtime="ncnn", fitted=fitted, coefficients={"l2": 0.123456, "memory": 18.3487},
        summaries=[], ablations=[], rows=[*rows],
    )  # fmt: skip


def test_the_shipped_file_is_that_of_the_kept_results() -> None:
    kept = load_results(REPOSITORY / "docs/timing-model.json")
    assert FILE.read_text(encoding="utf-8") == coefficients_text(kept)


def test_the_file_is_what_the_model_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    results = Results(
        created=datetime(2026, 1, 1, tzinfo=UTC), qemu="", pairs=0, pairs_right=0, left_out={},
        sections=[section(row(90), row(110, 4)), section(row(10), fitted=False)],
    )  # fmt: skip
    text = coefficients_text(results)
    assert "l2 = 0.123, memory = 18.3 }" in text
    assert text.count("[cortex-") == 1, "rows that nothing was fitted to have no model"
    assert model_of("cortex-a72").coefficients != Coefficients(l2=0.123, memory=18.3)
    monkeypatch.setattr("pathlib.Path.read_text", lambda *_, **__: text)
    model_of.cache_clear()
    try:
        found = model_of("cortex-a72")
    finally:
        model_of.cache_clear()
    assert found.coefficients == Coefficients(l2=0.123, memory=18.3)
    assert found.interval == Interval(one_thread=0.12, several_threads=0.1)


def test_a_time_that_is_half_is_as_far_as_one_that_is_double() -> None:
    assert interval(section(row(200), row(200)), several=False) == 1.0
    assert interval(section(row(50), row(50)), several=False) == 1.0
    assert interval(section(*[row(100)] * 9, row(125)), several=False) < 0.25
