"""The tables of a saved run in pandas."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.viewers import NETWORKS, Script
from toolchain.profile.document import Profile


def test_tables_are_read_with_numbers_as_numbers(
    saved: Path, profile: Profile, script: Script
) -> None:
    found = script("read_tables.py", saved)
    assert set(found) == {"models.csv", "operators.csv", "samples.csv"}
    for table in found.values():
        assert table["models"] == list(NETWORKS)
    models, operators, samples = (
        found[f"{name}.csv"] for name in ("models", "operators", "samples")
    )
    assert models["rows"] == 2
    assert {"median_us", "ratio", "macs", "peak_memory_kib", "model_bytes"} <= {*models["numbers"]}
    assert {*models["texts"]} <= {
        "model", "board", "emulated", "stock_runtime", "ratio_of", "ratio_in_doubt", "sha256",
        "doubts",
    }  # fmt: skip
    assert operators["rows"] == sum(len(item.operators) for item in profile.measurements)
    assert {"time_us", "pixels", "kept_pixels", "macs", "lost_us"} <= {*operators["numbers"]}
    for item in profile.measurements:
        assert item.output.timing is not None
        assert samples["time_us"][item.name] == pytest.approx(sum(item.output.timing.samples_us))
