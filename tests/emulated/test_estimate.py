"""``deploy estimate``: traces of the board's program become milliseconds, the same each time."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from support.bundles import write_masked_model
from support.picture_folders import write_pictures
from support.profiles import in_turns, profile_of
from toolchain.build.bundle import Bundle
from toolchain.cli.app import app
from toolchain.dev.bench.counts import count_model
from toolchain.errors import ModelError
from toolchain.hardware.board_file import load_board
from toolchain.profile.document import Profile
from toolchain.profile.estimate_document import Estimate
from toolchain.profile.estimator import Estimator
from toolchain.storage.cache import sha256_file
from toolchain.train.recipe import load_recipe


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A dense model, and the same with half of its pixels masked."""
    folder = tmp_path_factory.mktemp("models")
    return [
        write_masked_model(folder / f"{name}.tflite", sparsity=sparsity, size=64, channels=32)
        for name, sparsity in (("dense", 0), ("masked", 0.5))
    ]


def estimated(
    bundle: Bundle, models: list[Path], *, threads: int = 1, clock_mhz: int | None = None
) -> Estimate:
    board = load_board("rpi4")
    found = Estimator(bundle, board, threads=threads, clock_mhz=clock_mhz).models(models)
    assert found is not None
    return found


def test_what_is_skipped_takes_no_time(qemu_bundle: Bundle, models: list[Path]) -> None:
    found = estimated(qemu_bundle, models)
    dense, masked = found.models
    by_plan = dense.macs_computed / masked.macs_computed
    assert 0.75 * by_plan < found.speedup(masked) < 1.05 * by_plan
    for one in found.models:
        assert one.low_ms < one.ms < one.high_ms
        parts = sum(op.ms for op in one.operators) + one.outside_ms
        assert parts == pytest.approx(one.ms)
        assert sum(one.by_bound.values()) == pytest.approx(one.ms)


def test_operators_stand_beside_those_of_the_first_model(
    qemu_bundle: Bundle, models: list[Path]
) -> None:
    dense, masked = estimated(qemu_bundle, models).models
    assert dense.beside == []
    rows = {row.name: row for row in masked.beside}
    alone = {op.name: 1e3 * op.ms for op in dense.operators}
    for own, other in zip(masked.layers, dense.layers, strict=True):
        assert rows[own.name].dense == pytest.approx(alone[other.name])
        assert rows[own.name].speedup is not None


def test_instructions_are_those_that_are_counted(qemu_bundle: Bundle, models: list[Path]) -> None:
    traced = estimated(qemu_bundle, models).models[0].instructions
    counted = count_model(qemu_bundle.runner, models[0]).instructions
    assert traced == pytest.approx(counted, rel=0.002)


def test_twice_the_clock_takes_no_less_than_half_the_time(
    qemu_bundle: Bundle, models: list[Path]
) -> None:
    slow, fast = (
        estimated(qemu_bundle, models[:1], clock_mhz=mhz).models[0].ms for mhz in (900, 1800)
    )
    assert slow / 2 <= fast < slow


def test_two_threads_share_the_work(qemu_bundle: Bundle, models: list[Path]) -> None:
    one, two = (
        estimated(qemu_bundle, models[:1], threads=threads).models[0].ms for threads in (1, 2)
    )
    assert 0.5 * one < two < 0.75 * one


def profiled(models: list[Path], *times_ms: float, emulated: bool = False) -> Profile:
    return profile_of(
        *(
            in_turns(model.stem, [[1e3 * ms] * 9]).model_copy(update={"sha256": sha256_file(model)})
            for model, ms in zip(models, times_ms, strict=True)
        ),
        emulated=emulated,
    ).model_copy(update={"threads": 1})


def test_a_board_that_is_slower_by_a_third_is_fitted(
    qemu_bundle: Bundle, models: list[Path]
) -> None:
    times = [4 / 3 * one.ms for one in estimated(qemu_bundle, models).models]
    estimator = Estimator(qemu_bundle, load_board("rpi4"), threads=1)
    estimator.calibrate(models, profiled(models, *times))
    found = estimator.models(models)
    assert found is not None
    for row, one, ms in zip(found.calibration, found.models, times, strict=True):
        assert row.measured_ms == pytest.approx(ms)
        assert row.published_ms == pytest.approx(0.75 * ms)
        assert one.ms == row.calibrated_ms == pytest.approx(ms, rel=0.03)
        assert row.left_out_ms == pytest.approx(ms, rel=0.05)


def test_what_an_emulated_board_measured_is_no_calibration(
    qemu_bundle: Bundle, models: list[Path]
) -> None:
    estimator = Estimator(qemu_bundle, load_board("rpi4"), threads=1)
    with pytest.raises(ModelError, match="seconds mean nothing"):
        estimator.calibrate(models, profiled(models, 1.0, 2.0, emulated=True))


def test_a_profile_of_other_models_or_threads_is_no_calibration(
    qemu_bundle: Bundle, models: list[Path]
) -> None:
    estimator = Estimator(qemu_bundle, load_board("rpi4"), threads=1)
    with pytest.raises(ModelError, match="has none of the models"):
        estimator.calibrate(models[:1], profiled(models[1:], 1.0))
    four = profiled(models, 1.0, 2.0).model_copy(update={"threads": 4})
    with pytest.raises(ModelError, match="is of 4 threads, the estimate of 1"):
        estimator.calibrate(models, four)


def test_the_command_prints_a_table_a_file_and_json(
    qemu_bundle: Bundle, models: list[Path], tmp_path: Path
) -> None:
    words = ["estimate", *map(str, models), "--board", "rpi4", "--threads", "1"]
    words += ["--bundle", str(qemu_bundle.path)]
    output = tmp_path / "estimate.json"
    shown = CliRunner().invoke(app, [*words, "--per-op", "--output", str(output)])
    assert shown.exit_code == 0, shown.output
    assert "Estimated, not measured" in shown.stdout
    assert "masked beside dense, by operator" in shown.stdout
    written = json.loads(output.read_text())
    told = CliRunner().invoke(app, [*words, "--json"])
    assert json.loads(told.stdout) == written
    assert [one["name"] for one in written["models"]] == ["dense", "masked"]


def test_a_recipe_gets_the_sparsity_whose_estimate_saves_what_is_asked_for(
    qemu_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = qemu_bundle.path.resolve()
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "pictures")
    words = ["recipe", "new", "--data", "pictures", "--model", "support.picture_folders:wide_net"]
    words += ["--board", "rpi4", "--bundle", str(bundle), "--target", "20% less time"]
    result = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    figures = re.search(r"([\d.]+) ms become ([\d.]+) ms on rpi4", told["sparsity_why"])
    assert figures is not None
    before, after = float(figures[1]), float(figures[2])
    assert 0.6 * before < after <= 0.81 * before
    assert 0.15 < told["sparsity"] < 0.5
    masks = load_recipe(Path(told["recipes"][-1]["path"])).masks
    assert masks is not None
    assert masks.sparsity == told["sparsity"]
