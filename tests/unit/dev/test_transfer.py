"""The page of how fast a push is, and the measurement of a small file."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from toolchain.dev import transfer
from toolchain.dev.transfer import Cut, Packing, ServerWork, Transfers, Turns, merged, page


def results(*packing: Packing) -> Transfers:
    turns = Turns(
        link="20ms,1%", bytes=50_000_000, scp_s=[10.0, 9.0, 20.0], push_s=[8.0, 8.5, 12.0],
        scp_login_s=[1.0, 1.0, 3.0], push_login_s=[0.5, 0.5, 5.0],
    )  # fmt: skip
    return Transfers(
        created=datetime(2026, 1, 2, tzinfo=UTC), openssh="OpenSSH_9.2p1", cores=2, turns=[turns],
        server=ServerWork(hash_s=0.1, sync_s=0.2),
        cut=Cut(bytes=50_000_000, cut_after=40_000_000, sent_again=10_500_000),
        packing=list(packing),
    )  # fmt: skip


def test_throughputs_are_ratios_of_medians() -> None:
    text = page(results())
    row = (
        "| 20ms,1% | 50 | 3 | 10.00 (9.00 to 20.00) | 8.50 (8.00 to 12.00) | **1.18** | 1.20 | - |"
    )
    assert row in text
    assert "| 50 | 80% | 10.5 MB | **21%** |" in text
    assert "packing saves" not in text


def test_of_two_runs_each_link_is_as_the_later_has_it() -> None:
    earlier, later = results(Packing(file="f", bytes=2, packed=1)), results()
    local = later.turns[0].model_copy(update={"link": "loopback", "load": 3.2})
    both = merged(earlier, later.model_copy(update={"turns": [local]}))
    assert [one.link for one in both.turns] == ["20ms,1%", "loopback"]
    assert "| loopback | 50 | 3 |" in page(both)
    assert "| 1.20 | 3 |" in page(both)
    assert both.packing == earlier.packing


def test_what_packing_makes_of_files_is_told() -> None:
    text = page(results(Packing(file="tileskip-run", bytes=2_000_000, packed=900_000)))
    assert "| `tileskip-run` | 2,000 | 45% |" in text


def test_a_small_file_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(1000))
    words = ["--size", "3000000", "--turns", "1", "--no-link", "--out", str(tmp_path), str(file)]
    assert transfer.main(words) == 0
    assert "transfer.md" in capsys.readouterr().out
    found = json.loads((tmp_path / "transfer.json").read_text())
    assert [one["link"] for one in found["turns"]] == ["loopback"]
    assert len(found["turns"][0]["push_s"]) == 1
    assert found["cut"]["cut_after"] <= 0.8 * 3_000_000
    # Up to 2 MiB are under way, as much as a server takes ahead of the program that reads.
    assert 0.2 * 3_000_000 <= found["cut"]["sent_again"] < 3_000_000
    assert found["packing"][0]["packed"] < 100
