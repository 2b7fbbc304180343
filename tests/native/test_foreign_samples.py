"""TensorFlow Lite's own benchmark tool, built from the pinned sources: what it prints is read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from support.foreign_samples import SAMPLES
from toolchain.build.bundle import recipe_for
from toolchain.build.stages import Workshop
from toolchain.dev.bench.models import model_file
from toolchain.dev.foreign_samples.benchmark_model import build_benchmark_model
from toolchain.dev.foreign_samples.programs import benchmark_model
from toolchain.errors import ModelError
from toolchain.fetch.apt import AptRoot
from toolchain.hardware.board_file import load_board
from toolchain.profile.results import read_result
from toolchain.progress import Silent


def what_repeats(path: Path) -> Any:
    """All but times of what is read of a file; the error where it is refused."""
    try:
        result = read_result(path)
    except ModelError as error:
        return error.what.replace(str(path.parent), "")
    return [
        (
            model.name, model.runtime, model.threads, model.summary.count, model.model_bytes,
            {name for name, value in model.summary if value is not None},
            {name for name, value in model if value is None}, model.notes,
            [(one.index, one.name, one.type, one.calls) for one in model.operators],
        )
        for model in result.models
    ]  # fmt: skip


def test_the_samples_are_what_the_tool_prints(tmp_path: Path) -> None:
    recipe = recipe_for(load_board("host"), stock=True)
    shop = Workshop(AptRoot(), len(os.sched_getaffinity(0)), Silent())
    program = build_benchmark_model(recipe, shop)
    made = benchmark_model(program, model_file("fashion_resnet_dense"), tmp_path)
    kept = SAMPLES / "benchmark_model"
    assert {path.name for path in made} == {path.name for path in kept.iterdir()}
    for path in made:
        assert what_repeats(path) == what_repeats(kept / path.name), path.name
