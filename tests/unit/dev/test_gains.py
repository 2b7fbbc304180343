"""The page of what masks would gain on files of others."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from support.bundles import write_masked_model
from support.gains import estimated_gain, measured_gain
from support.tflite_writer import GraphWriter, Quantization, quantize
from toolchain.dev.gains import Agreement, FileGain, Gains, agreement, merged, page
from toolchain.profile.gain import Maskable
from toolchain.tflite_file import masked_copy


def int8_file(path: Path) -> Path:
    """A 3x3 convolution in int8."""
    graph, random = GraphWriter(), np.random.default_rng(1)
    coarse, fine, shape = Quantization((0.05,), 3), Quantization((0.02,)), (1, 8, 8, 4)
    source = graph.tensor(shape, "int8", coarse)
    filters = quantize(random.standard_normal((4, 3, 3, 4)), fine, "int8")
    weights = graph.constant(filters, fine)
    bias = graph.constant(np.arange(4, dtype=np.int32) * 20, Quantization((0.001,)))
    output = graph.conv_2d(source, weights, bias, shape)
    graph.give_type(output, "int8", coarse)
    return graph.write(path, [source], [output])


@pytest.fixture(params=["float32", "int8"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Maskable:
    path = tmp_path / "m.tflite"
    if request.param == "int8":
        return Maskable(int8_file(path))
    return Maskable(write_masked_model(path, sparsity=0))


def test_copies_are_what_they_are_to_be(source: Maskable) -> None:
    told = agreement(source)
    assert told.to_definition == told.to_file == 0
    assert told.why_not is None


def test_a_copy_with_another_fill_is_found(
    source: Maskable, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = masked_copy.fill_of
    monkeypatch.setattr(masked_copy, "fill_of", lambda *words: right(*words) + 1)
    told = agreement(source)
    assert told.to_definition is not None
    assert told.to_definition > 0.01
    assert told.to_file == 0


def file_gain(folder: Path, **changes: object) -> FileGain:
    """Of a file that was estimated and measured, with copies of 20% and 40%."""
    gain = estimated_gain(folder)
    known: dict[str, object] = {
        "name": "net.tflite", "package": "things 1.2", "sha256": gain.sha256, "weights": "float32",
        "wall_s": 9.0, "cpu_s": 7.0, "said": None, "masked": 2, "masked_share": 1.0,
        "left_out": 1, "rows": gain.rows, "measured": measured_gain(folder).rows,
        "agreement": Agreement(to_definition=0, to_file=3e-7, whole_numbers=False, why_not=None),
    }  # fmt: skip
    return FileGain.model_validate(known | changes)


def results(*files: FileGain) -> Gains:
    """Of some files."""
    when = datetime(2026, 1, 2, tzinfo=UTC)
    return Gains(created=when, board="rpi4", machine="This machine", files=list(files))


def test_a_row_has_times_how_much_faster_copies_are_and_what_bounds_the_file(
    tmp_path: Path,
) -> None:
    text = page(results(file_gain(tmp_path)))
    assert (
        "| `net.tflite` | things 1.2 | float32 | 0.3 | 1.43 | 1.19 | 1.25 | core | 2 of 3 | 7 |"
        in text
    )
    assert "| `net.tflite` | 0 | 3e-07 |" in text
    assert "| `net.tflite` | 2.00 | 1.25" in text
    assert "get no answer" not in text


def test_a_file_without_an_answer_has_its_sentence(tmp_path: Path) -> None:
    said = "nothing of it can be masked: it has no convolution"
    one = file_gain(tmp_path, said=said, rows=[], measured=[], agreement=None)
    text = page(results(one))
    assert f"| `net.tflite` | things 1.2 | {said} |" in text
    assert "Beside what was measured" not in text


def test_a_file_that_was_run_again_takes_the_place_of_its_earlier_result(tmp_path: Path) -> None:
    first, second = (file_gain(tmp_path, name=f"{name}.tflite") for name in "ab")
    again = file_gain(tmp_path, name="a.tflite", cpu_s=1.0)
    found = merged(results(first, second), results(again))
    assert [(one.name, one.cpu_s) for one in found.files] == [("a.tflite", 1), ("b.tflite", 7)]


def test_what_the_stock_interpreter_cannot_run_says_why(tmp_path: Path) -> None:
    told = Agreement(to_definition=None, to_file=None, whole_numbers=False, why_not="no such op")
    text = page(results(file_gain(tmp_path, agreement=told)))
    assert "| `net.tflite` | not run: no such op | not run: no such op |" in text
