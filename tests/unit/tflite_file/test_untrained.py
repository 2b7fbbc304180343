"""Masks that are for measuring: the mark in a file, and what commands make of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.bundles import write_masked_model
from support.profiles import measurement, profile_of
from support.runner_outputs import runner_output
from toolchain.profile.gain import Maskable, Settings
from toolchain.profile.history import append
from toolchain.profile.series import read_trends
from toolchain.tflite_file.graph import read_model
from toolchain.tflite_file.inspection import inspect_model
from toolchain.tflite_file.untrained import is_untrained, marked


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    path = tmp_path / "copy.tflite"
    source = Maskable(write_masked_model(tmp_path / "dense.tflite", sparsity=0))
    path.write_bytes(source.copy(Settings(0.25)).raw)
    return path


def test_a_copy_is_marked_and_a_trained_model_is_not(copy: Path, tmp_path: Path) -> None:
    trained = write_masked_model(tmp_path / "trained.tflite")
    assert is_untrained(read_model(copy))
    assert not is_untrained(read_model(trained))
    assert inspect_model(copy).untrained
    assert not inspect_model(trained).untrained


def test_a_name_in_a_table_has_the_mark_behind_it() -> None:
    assert marked("s20", untrained=True) == "s20 (not trained)"
    assert marked("s20", untrained=False) == "s20"


def test_a_measurement_says_it_beside_the_runtime() -> None:
    item = measurement("s20").model_copy(update={"untrained": True})
    assert item.label == "s20 (not trained)"
    stock = item.model_copy(update={"stock": True})
    assert stock.label == "s20 (not trained, stock runtime)"


def test_a_history_keeps_trained_and_untrained_files_of_one_name_apart(tmp_path: Path) -> None:
    log = tmp_path / "h.jsonl"
    trained = measurement("s20", runner_output())
    append(log, profile_of(trained))
    append(log, profile_of(trained.model_copy(update={"untrained": True})))
    labels = [one.label for one in read_trends(log).series]
    assert labels == ["s20, 1 thread", "s20 (not trained), 1 thread"]
