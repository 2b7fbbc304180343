"""``how-to/tensorflow.md``: every command on it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("tensorflow")

from support.pages import run_page
from toolchain.tflite_file.graph import read_model
from toolchain.tflite_file.layers import find_layers, totals


def test_every_command_of_the_page_runs_and_its_files_are_skipped(tmp_path: Path) -> None:
    run_page("how-to/tensorflow.md", tmp_path, {})
    for name in ("shapes.tflite", "shapes_saved.tflite"):
        layers = find_layers(read_model(tmp_path / name))
        assert totals(layers).skipped == 2
        assert [layer.sparsity for layer in layers[:2]] == [pytest.approx(0.2, abs=0.01)] * 2
