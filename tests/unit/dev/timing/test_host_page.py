"""The page of this machine's times has every row, and errors that its own rows add up to."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from toolchain.dev.timing.cross_validation import Estimate, errors
from toolchain.dev.timing.host.page import HostResults, page, write_page
from toolchain.dev.timing.host.study import host_row
from toolchain.dev.timing.page import Judged, summary
from toolchain.zoo.catalog import names

ESTIMATES = [
    Estimate(host_row("resnet18", "fp32", 3700, 10.0), 11.0),
    Estimate(host_row("mobilenet_v2", "int8", 3700, 2.0), 1.9),
]


@pytest.fixture
def results() -> HostResults:
    return HostResults(
        created=datetime(2026, 11, 29, tzinfo=UTC),
        qemu="qemu 7.2",
        cpu="a core",
        core="znver4",
        clock_mhz=3700,
        rounds=7,
        coefficients={"l2": 4.0},
        summaries=[summary("all", errors(ESTIMATES))],
        ablations=[],
        rows=[
            Judged(
                network=one.row.network,
                precision=one.row.precision,
                ms=one.row.ms,
                estimated_ms=one.ms,
            )
            for one in ESTIMATES
        ],
    )


def test_every_row_is_there_with_its_error(results: HostResults) -> None:
    text = page(results)
    assert "| resnet18 | fp32 | 10 | 11 | +10% |" in text
    assert "| mobilenet_v2 | int8 | 2 | 1.9 | -5% |" in text
    assert "| all | 2 | 7.5% | 9.5% | 10.0% | resnet18 |" in text


def test_page_and_document_are_written(results: HostResults, tmp_path: Path) -> None:
    written = write_page(results, tmp_path)
    assert [path.name for path in written] == ["timing-host.md", "timing-host.json"]
    assert HostResults.model_validate_json(written[1].read_bytes()) == results


def test_masked_models_are_of_the_family_of_the_dense_one() -> None:
    rows = {name: host_row(name, "fp32", 3700, 1.0) for name in ("resnet18", "resnet18_all_s20")}
    assert {row.family for row in rows.values()} == {"resnet"}
    assert host_row("mobilenet_v2_s20", "int8", 3700, 1.0).title == "mobilenet_v2_s20_int8"


def test_models_of_the_study_are_thirty_of_several_families() -> None:
    from toolchain.dev.timing.host.study import FAMILIES

    assert 2 * len(FAMILIES) >= 30
    assert len(set(FAMILIES.values())) >= 5
    assert set(FAMILIES) - {"mobilenet_v1"} <= set(names())
