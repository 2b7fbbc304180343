"""Every operator that the delegate takes, behind every other, against the stock interpreter.

What XNNPACK infers of a value, its shape above all, is seen by the operator behind it alone; so a
model of one operator shows nothing of it. The reference has to be another runtime than ours with
its patches left out: that one has the same delegate over the same XNNPACK.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from support.operator_chains import (
    TOGETHER,
    VARIANTS,
    ChainModel,
    Variant,
    chains,
    check,
    kinds_of,
    random_chains,
    write_chains,
)
from support.operator_kinds import KINDS, Kind
from support.runtimes import Runtime
from toolchain.build.bundle import recipe_for
from toolchain.build.stages import DELEGATE_SOURCES, Workshop, patched_tensorflow
from toolchain.fetch.apt import AptRoot
from toolchain.hardware.board_file import load_board
from toolchain.progress import Silent

# More threads than cores wait for each other, and slowly where others use the cores, too.
THREADS = (1, 2, 1, 3, 1, 4, 1, 1)
FRESH = 60
"""Random chains of a variant, other ones in every run."""
NOT_TAKEN_BY_DEFAULT = {"ASSIGN_VARIABLE", "READ_VARIABLE", "VAR_HANDLE"}
"""Variables: a flag of the delegate that none of our programs sets."""
NOT_KINDS = {
    "CUSTOM",  # three of MediaPipe, by their names: test_delegate_fallback.py
    "DENSIFY",  # of sparse weights, which two kinds have
}


def models(
    folder: Path, variant: Variant, drawn: Sequence[Sequence[Kind]], seed: int
) -> Iterator[ChainModel]:
    for start in range(0, len(drawn), TOGETHER):
        path = folder / "chains.tflite"
        yield write_chains(path, variant, drawn[start : start + TOGETHER], (seed, start))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_operator_alone(tmp_path: Path, patched: Runtime, variant: Variant) -> None:
    found = []
    for number, kind in enumerate(kinds_of(variant)):
        for seed in range(2):
            model = write_chains(tmp_path / "one.tflite", variant, [[kind]], (seed, number))
            found += check(patched, model, threads=1 + seed)
    assert found == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_operator_behind_every_other(
    tmp_path: Path, patched: Runtime, variant: Variant
) -> None:
    found = []
    for number, model in enumerate(models(tmp_path, variant, chains(variant, 1), 1)):
        found += check(patched, model, threads=THREADS[number % 8])
    assert found == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_operator_behind_every_other_without_masks(
    tmp_path: Path, stock: Runtime, variant: Variant
) -> None:
    """On the runtime without our masks, where these are left out of the models as well."""
    found = []
    drawn = [chain for number, chain in enumerate(chains(variant, 2)) if number % 3 == 0]
    for start in range(0, len(drawn), TOGETHER):
        together = drawn[start : start + TOGETHER]
        path = tmp_path / "chains.tflite"
        model = write_chains(path, variant, together, (2, start), masked=False)
        found += check(stock, model, threads=THREADS[start // TOGETHER % 8])
    assert found == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_other_chains_in_every_run(tmp_path: Path, patched: Runtime, variant: Variant) -> None:
    seed = int(os.environ.get("TILESKIP_SEED", "0")) or int.from_bytes(os.urandom(4), "little")
    found = []
    for number, model in enumerate(
        models(tmp_path, variant, random_chains(variant, FRESH, seed), seed)
    ):
        found += check(patched, model, threads=THREADS[number % 8])
    assert found == [], f"the same again: TILESKIP_SEED={seed}"


@pytest.mark.parametrize(
    ("variant", "seed", "start"),
    [
        # A PAD of one axis, behind whose paddings the file has negative numbers.
        ("int8", 754764177, 48),
        # A MUL of a masked convolution by another constant for each image of the batch.
        ("float16_weights", 3912315909, 0),
    ],
)
def test_chains_that_failed_once(
    tmp_path: Path, patched: Runtime, variant: Variant, seed: int, start: int
) -> None:
    drawn = random_chains(variant, FRESH, seed)[start : start + TOGETHER]
    model = write_chains(tmp_path / "chains.tflite", variant, drawn, (seed, start))
    assert check(patched, model, threads=1) == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_threads_make_no_difference(tmp_path: Path, patched: Runtime, variant: Variant) -> None:
    for model in models(tmp_path, variant, random_chains(variant, 36, seed=3), 3):
        first = patched.run(model.path, model.input, 1).outputs
        for threads in (2, 3, 4):
            again = patched.run(model.path, model.input, threads).outputs
            for one, other in zip(first, again, strict=True):
                np.testing.assert_array_equal(one, other)


def test_the_list_of_operators_is_whole(tmp_path: Path) -> None:
    """Against the delegate's own source: what ``VisitNode`` and the unpacking of weights name."""
    shop = Workshop(AptRoot(), 1, Silent())
    patched_tensorflow(recipe_for(load_board("host")), shop, tmp_path)
    text = (tmp_path / DELEGATE_SOURCES / "xnnpack_delegate.cc").read_text()
    visited = text[text.index("static TfLiteStatus VisitNode(") :]
    visited = visited[: visited.index("static TfLiteStatus VisitAbsNode(")]
    named = set(re.findall(r"case kTfLiteBuiltin(\w+)", visited))
    prepared = text[text.index("TfLiteIntArray* Delegate::PrepareOpsToDelegate") :]
    named |= set(re.findall(r"kTfLiteBuiltin(\w+)", prepared))
    tested = {kind.operator for kind in KINDS} | NOT_TAKEN_BY_DEFAULT | NOT_KINDS
    assert {_as_in_a_file(name) for name in named} == tested


def _as_in_a_file(name: str) -> str:
    """``AveragePool2d`` of the C enumeration as ``AVERAGE_POOL_2D``."""
    special = {"ReluN1To1": "RELU_N1_TO_1", "Relu6": "RELU6"}
    return special.get(name) or re.sub(r"(?<=[a-z])(?=[A-Z0-9])", "_", name).upper()
