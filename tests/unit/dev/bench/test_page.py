"""The bench's page: every figure is there, and what is missing is told first."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.benches import around, bench, case, operator_row
from toolchain.dev.bench.native import Machine
from toolchain.dev.bench.page import page, write_page
from toolchain.dev.bench.peer_estimates import PeerEstimate
from toolchain.dev.bench.peers import PeerGroup, PeerResult, PeerResults
from toolchain.dev.bench.peers_page import peers_page
from toolchain.dev.bench.results import load_results
from toolchain.profile.operator_reasons import UNEXPLAINED

ROWS = [
    operator_row(name="a"),
    operator_row(name="b"),
    operator_row(name="c", masked=999, reason=f"{UNEXPLAINED}: 199 instructions more"),
]
RESULTS = bench(
    [
        case(0.0, instructions=1_000_000, speedup=1.0),
        case(0.2, instructions=800_000, speedup=1.22, operators=ROWS),
        case(0.3, instructions=750_000, speedup=1.3, operators=ROWS[:2]),
    ]
)


def line(text: str, start: str) -> str:
    return next(each for each in text.splitlines() if each.startswith(start))


def test_ratios_stand_beside_their_ideal() -> None:
    shown = line(page(RESULTS), "| ResNet18, every convolution masked | fp32 | 1 | 1.0 |")
    assert shown.endswith("| 1.250 (1.250) | 1.333 (1.429) |")


def test_times_have_their_quartiles() -> None:
    text = page(RESULTS)
    shown = [each for each in text.splitlines() if "| fp32 | 1 | 1.00 |" in each]
    assert shown[0].endswith("| 1.22 (1.20 to 1.24) | 1.30 (1.27 to 1.33) |")


def test_the_unpatched_runtime_and_preparing_are_told() -> None:
    assert "| 0.9901 | 0.980 (0.961 to 1.000) | 1.00 | 1.10 (1.08 to 1.12) |" in page(RESULTS)


def test_equal_operators_share_a_line_and_others_do_not() -> None:
    text = page(RESULTS)
    assert "| a, b | 3x3 | 8 -> 8, 10x10 | 1 | 1.250 (1.00) | 1.250 (1.00) |" in text
    assert "| c | 3x3 | 8 -> 8, 10x10 | 1 | 1.001 (0.80) |" in text


def test_what_is_unexplained_is_loud() -> None:
    assert f"- s = 0.2, c (3x3, 8 -> 8, 10x10): **{UNEXPLAINED}**: 199" in page(RESULTS)


def test_what_was_not_measured_is_told_before_any_figure() -> None:
    text = page(bench([case(0.0), case(0.2)], missing=["int8: not there yet"]))
    assert text.index("- int8: not there yet") < text.index("| network |")


def test_a_bench_of_dense_models_alone_has_a_page() -> None:
    assert "| network |" in page(bench([case(0.0)]))


@pytest.mark.parametrize("twice", range(2))
def test_page_plots_and_document_are_written_and_read_again(tmp_path: Path, twice: int) -> None:
    del twice
    paths = write_page(RESULTS, tmp_path / "docs")
    assert {path.name for path in paths} == {
        "bench.md", "bench.svg", "bench-operators.svg", "bench.json",
    }  # fmt: skip
    assert load_results(tmp_path / "docs/bench.json") == RESULTS
    again = write_page(RESULTS, tmp_path / "again")
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]


def test_peers_are_told_also_where_they_are_faster() -> None:
    def one(runtime: str, sparsity: float, ms: float) -> PeerResult:
        return PeerResult(
            runtime=runtime, version="1", sparsity=sparsity, us=around(1000 * ms),
            over_ours=around(ms / 10), difference=1e-6,
            estimates=[
                PeerEstimate(
                    board="rpi4", ms=20 * ms, low_ms=16 * ms, high_ms=25 * ms, instructions=1
                )
            ],
        )  # fmt: skip

    rivals = [
        one("tileskip", 0.0, 10),
        one("tileskip", 0.3, 7),
        one("tflite-runtime", 0.0, 11),
        one("ncnn", 0.0, 5),
    ]
    text = peers_page(
        PeerResults(
            created=RESULTS.created,
            machine=Machine(cpu="a CPU", cores=2, load=0.0),
            qemu="qemu-aarch64 version 7.2",
            rounds=9,
            groups=[PeerGroup(network="resnet18", dtype="fp32", threads=1, results=rivals)],
            missing=["ncnn int8: none"],
        )
    )
    shown = line(text, "| ncnn 1 | dense | **5.00** (4.90 to 5.10) | 0.500 (0.490 to 0.510) |")
    assert shown.endswith("| 100 (0.50) | 1.0e-06 |")
    assert "| rpi4, ms, within 25% |" in text
    assert "The fastest other is ncnn, whose 3x3 convolutions use Winograd" in text
    assert "ours dense takes 2.00 times its time, ours at s = 0.3 takes 1.40 times its time" in text
    assert "- ncnn int8: none" in text
