"""Times on this machine: models in turn in one process, runtimes in turn in processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.bundles import write_masked_model
from toolchain.build.bundle import Bundle
from toolchain.dev.bench.native import alternating, interleaved, ratios
from toolchain.dev.bench.results import load_results
from toolchain.dev.bench.run import Plan, Runtimes, measure
from toolchain.errors import BoardError


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same network dense and with two masks of ten masked out of each."""
    folder = tmp_path_factory.mktemp("models")
    return [
        write_masked_model(folder / f"{s}.tflite", sparsity=s, size=96, channels=32)
        for s in (0, 0.2, 0.8)
    ]


def test_models_take_turns_in_one_process(host_bundle: Bundle, models: list[Path]) -> None:
    samples = interleaved(host_bundle.runner, models, runs=15)
    assert [len(sample) for sample in samples] == [15] * 3
    assert ratios(samples[0], samples[0]).median == 1
    # Of the quickest runs, which nobody disturbed: the ratio is 5 if nothing else took time.
    assert min(samples[0]) > 1.5 * min(samples[2])


def test_one_model_of_several_that_fails_is_told(
    host_bundle: Bundle, models: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(BoardError, match=r"no\.tflite: cannot be opened"):
        interleaved(host_bundle.runner, [*models, tmp_path / "no.tflite"])


def test_processes_alternate_between_runtimes(
    host_bundle: Bundle, host_stock_bundle: Bundle, models: list[Path]
) -> None:
    pairs = [(bundle.runner, models[2]) for bundle in (host_bundle, host_stock_bundle)]
    ours, stock = alternating(pairs, rounds=3, runs=3)
    assert len(ours) == len(stock) == 3
    times = [[one.median_us for one in each if one.median_us] for each in (stock, ours)]
    assert min(times[0]) > 1.2 * min(times[1]), "the unpatched one skips nothing"
    assert all(one.init_us > 0 and one.peak_rss_kib for one in (*ours, *stock))


def test_a_bench_of_times_alone_needs_no_emulator(host_bundle: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    for name, sparsity in (("mobilenet_v2", 0.0), ("mobilenet_v2_s20", 0.2)):
        write_masked_model(folder / f"{name}.tflite", sparsity=sparsity, size=64, channels=16)
    plan = Plan(
        networks=["mobilenet_v2"], dtypes=["fp32"], sparsities=[0.2], threads=[1, 2],
        runs=5, rounds=2, models=folder,
    )  # fmt: skip
    results = measure(plan, Runtimes(None, None, host_bundle, None))
    assert [(one.sparsity, one.threads) for one in results.cases] == [
        (0.0, 1), (0.0, 2), (0.2, 1), (0.2, 2),
    ]  # fmt: skip
    assert all(one.timed and not one.counted and not one.operators for one in results.cases)
    path = tmp_path / "results.json"
    path.write_bytes(results.to_json())
    assert load_results(path) == results
