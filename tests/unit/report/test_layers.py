from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rich.console import Console

from support.masked_case import SMALL, Case
from support.tflite_writer import GraphWriter
from toolchain.convert.check import ConvertedLayer
from toolchain.convert.compare import Distance
from toolchain.convert.result import (
    CalibrationInfo,
    Conversion,
    OutputResult,
    RuntimeResult,
    TensorInfo,
    WeakSlices,
)
from toolchain.errors import ModelError
from toolchain.report.layers import conversion_summary, count, inspection_table, mask_picture
from toolchain.sparsity.published import HeaderReport, MaskDifference
from toolchain.tflite_file.inspection import Inspection, inspect_model, layer_mask
from toolchain.tflite_file.layers import Plane

CASE = replace(SMALL, mask_kind="rows", sparsity=0.0)


def _text(item: object, width: int = 200) -> str:
    console = Console(width=width, force_terminal=False)
    with console.capture() as captured:
        console.print(item)
    return captured.get()


def _inspect(path: Path, case: Case = CASE) -> Inspection:
    return inspect_model(case.write(path / "model.tflite"))


def test_a_line_says_all_of_a_layer(tmp_path: Path) -> None:
    text = _text(inspection_table(_inspect(tmp_path)))
    row = next(line for line in text.splitlines() if "CONV" in line and "3x3" in line)
    for part in ("CONV 3x3 RELU", "6x5x3", "6x5x4", "3.2 k", "50.0%", "15/30", "..", "1.6 k"):
        assert part in row
    assert "1 layers, 1 masked, 1 of them skipped by the patched runtime" in text
    assert "speed-up by pixels 2.000" in text


@pytest.mark.parametrize("width", [60, 80, 100, 110, 130])
def test_no_line_is_wider_than_the_terminal(tmp_path: Path, width: int) -> None:
    text = _text(inspection_table(_inspect(tmp_path), width), width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "CONV" in text
    assert "50.0%" in text


def test_a_mask_that_is_not_skipped_has_a_footnote(tmp_path: Path) -> None:
    graph = GraphWriter()
    x = graph.tensor((1, 4, 4, 1))
    shape = (1, 4, 4, 1)
    conv = graph.conv_2d(x, np.ones((1, 1, 1, 1), np.float32), np.zeros(1, np.float32), shape)
    mask = graph.constant(np.eye(4, dtype=bool)[None, :, :, None])
    output = graph.select(mask, conv, graph.constant(np.zeros((), np.float32)), shape)
    report = inspect_model(graph.write(tmp_path / "model.tflite", [x], [output, conv]))
    text = _text(inspection_table(report))
    assert "[1] not skipped: the convolution's own output is an output of the model" in text
    assert "zero" in text
    assert report.macs_saved == 0


def test_a_dense_model_has_no_columns_for_masks(tmp_path: Path) -> None:
    graph = GraphWriter()
    x = graph.tensor((1, 4, 4, 1))
    conv = graph.conv_2d(
        x, np.ones((1, 1, 1, 1), np.float32), np.zeros(1, np.float32), (1, 4, 4, 1)
    )
    text = _text(inspection_table(inspect_model(graph.write(tmp_path / "m.tflite", [x], [conv]))))
    assert "sparsity" not in text
    assert "no mask" in text


def test_a_report_goes_through_json(tmp_path: Path) -> None:
    report = _inspect(tmp_path)
    found = json.loads(report.model_dump_json())
    assert found == report.model_dump(mode="json")
    (layer,) = found["layers"]
    assert (layer["kept"], layer["pixels"], layer["sparsity"]) == (15, 30, 0.5)
    assert layer["macs_saved"] == layer["macs"] / 2
    assert set(layer["mask"]) == {"form", "fill", "skipped", "reason"}
    assert set(layer["mask"]["fill"]) == {"values", "minimum", "maximum"}
    assert report.operators == {"CONV_2D": 1, "SELECT_V2": 1}


def test_the_mask_of_a_layer_is_found_by_name_and_by_index(tmp_path: Path) -> None:
    report = _inspect(tmp_path)
    for name in (report.layers[0].name, "0"):
        assert np.array_equal(layer_mask(report.path, name), CASE.mask)


def test_a_layer_without_a_mask_lists_those_with_one(tmp_path: Path) -> None:
    report = _inspect(tmp_path)
    with pytest.raises(ModelError, match="layer 'nothing' is not in the file") as caught:
        layer_mask(report.path, "nothing")
    assert report.layers[0].name in (caught.value.hint or "")


MASK: Plane = np.array([[1, 1, 0], [0, 1, 0], [1, 0, 1]], dtype=bool)


def test_a_small_mask_is_drawn_with_square_pixels() -> None:
    assert mask_picture(MASK, width=80) == "████\n  ██\n██  ██"


def test_a_wider_mask_takes_a_column_a_pixel() -> None:
    assert mask_picture(MASK, width=5) == "▀█\n▀ ▀"


def test_a_still_wider_mask_takes_half_a_column_a_pixel() -> None:
    assert mask_picture(MASK, width=2) == "▜\n▘▘"


def test_a_mask_too_wide_for_that_is_cut_and_says_so() -> None:
    assert mask_picture(MASK, width=1).endswith("(cut at 1 columns)")


def test_without_unicode_a_pixel_is_a_character() -> None:
    assert mask_picture(MASK, width=80, unicode=False) == "##.\n.#.\n#.#"


@given(
    mask=hnp.arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40))),
    width=st.integers(1, 100),
)
def test_a_picture_never_leaves_the_terminal(mask: Plane, width: int) -> None:
    lines = mask_picture(mask, width=width).split("\n")
    if lines[-1].startswith("(cut at"):
        lines.pop()
    assert all(len(line) <= width for line in lines)
    if mask.shape[1] * 2 <= width:
        assert len(lines) == mask.shape[0]
        assert sum(line.count("█") for line in lines) == 2 * mask.sum()


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (1000, "1.0 k"), (115_605_504, "115.6 M"), (1.8e9, "1.8 G")],
)
def test_counts_are_short(number: float, text: str) -> None:
    assert count(number) == text


def _conversion(*layers: ConvertedLayer) -> Conversion:
    def image(name: str) -> TensorInfo:
        return TensorInfo(name=name, dtype="float32", shape=(1, 4, 4, 3), torch_shape=(1, 3, 4, 4))

    return Conversion(
        path=Path("net.tflite"), bytes=1234, source="net.pt2", inputs=[image("args_0")],
        outputs=[image("output_0")], layers=list(layers), macs=100, macs_saved=20,
        ideal_speedup=1.25, worst_output="output 1 ['score']", worst_slice="channel 3",
        max_abs_diff=1e-6, max_output=2.0, relative_diff=5e-7,
        tolerance=1e-5, sqnr_db=120.0, runtimes=[_run("xnnpack", 5), _run("builtin", 2)],
        between=None, not_run=[], samples=5, seed=3, seconds=1.0,
    )  # fmt: skip


def _run(kernels: str, inferences: int) -> RuntimeResult:
    return RuntimeResult(
        runtime="stock 1.0", kernels=kernels, inferences=inferences, worst_output="output 0",
        max_abs_diff=1e-6, relative_diff=5e-7, sqnr_db=120.0, max_steps=None,
        outputs=[_output("output 0"), _output("output 1 ['score']")],
    )  # fmt: skip


def _output(name: str, weak: WeakSlices | None = None) -> OutputResult:
    return OutputResult(
        name=name, max_abs_diff=1e-6, max_output=2.0, relative_diff=5e-7, scale=2.0, axis=3,
        index=3, inference=0, position=(0, 1, 2, 3), sqnr_db=120.0, max_steps=None, weak=weak,
    )  # fmt: skip


def test_a_conversion_says_that_images_are_channels_last() -> None:
    text = _text(conversion_summary(_conversion()))
    assert "input args_0: float32 [1, 4, 4, 3] (N,H,W,C: channels last)" in text
    assert "masked layers: none" in text
    assert "to torch: 5e-07 of the scale of channel 3 of output 1 ['score'] (tolerance" in text
    assert "stock 1.0 (xnnpack and builtin kernels)" in text
    assert "not run on" not in text


def test_what_was_not_tried_is_told_to_those_who_ask() -> None:
    done = _conversion().model_copy(update={"not_run": ["stock 2.0: it is not installed"]})
    assert "stock 2.0" not in _text(conversion_summary(done))
    assert "not run on stock 2.0: it is not" in _text(conversion_summary(done, verbose=True))


def test_every_output_on_every_runtime_is_told_to_those_who_ask() -> None:
    text = _text(conversion_summary(_conversion(), verbose=True))
    for kernels in ("xnnpack", "builtin"):
        for name in ("output 0", "output 1 ['score']"):
            assert f"stock 1.0, {kernels} kernels, {name}: 1e-06, 5e-07 of its scale" in text


def test_the_channels_that_quantising_loses_are_told() -> None:
    weak = WeakSlices(axis=3, indices=(4, 5), slices="channels 4, 5", sqnr_db=0.0)
    run = _run("xnnpack", 5).model_copy(update={"outputs": [_output("output 0", weak)]})
    done = _conversion().model_copy(
        update={"quantize": "int8", "min_sqnr_db": 10.0, "runtimes": [run, run]}
    )
    text = _text(conversion_summary(done))
    assert text.count("output 0: noise is as strong as channels 4, 5 (0.0 dB)") == 1


def test_a_quantised_conversion_says_how_far_it_is_from_torch_and_on_what() -> None:
    done = _conversion().model_copy(
        update={
            "quantize": "int8",
            "calibration": CalibrationInfo(source="photos", inferences=95, checked=5),
            "float_operators": {"LEAKY_RELU": 2},
            "sqnr_db": 31.2,
            "min_sqnr_db": 10.0,
            "max_steps": 2.25,
            "between": Distance(
                first="a", second="b", sqnr_db=math.inf, max_steps=0.0, output="output 0"
            ),
        }
    )
    text = _text(conversion_summary(done))
    assert "calibrated on 95 inferences of 'photos'" in text
    assert "left in float32, without an int8 form: 2 LEAKY_RELU" in text
    assert "int8 to torch: SQNR 31.2 dB, up to 2.25 steps of the output (least 10 dB; 5" in text
    assert "runtimes to each other: equal" in text


def test_layers_that_fare_alike_are_told_in_one_line() -> None:
    layers = [
        ConvertedLayer(
            name=f"layer{number}", op="CONV_2D", pixels=9, kept=4, form="changed", skipped=False,
            detail="dynamic range",
        )
        for number in range(4)
    ]  # fmt: skip
    text = _text(conversion_summary(_conversion(*layers)))
    assert text.count("dynamic range") == 1
    assert "layer0, layer1, layer2, layer3: not skipped: dynamic range" in text


def test_a_conversion_says_where_a_header_of_masks_differs() -> None:
    header = HeaderReport(
        Path("bin_mask.h"),
        layers=("a", "b", "c"),
        used=False,
        differing=(MaskDifference("a", (4, 4), (4, 4), 3),),
        only_in_header=("c",),
    )
    text = _text(conversion_summary(_conversion().model_copy(update={"mask_header": header})))
    assert "masks: the checkpoint's own were taken; those of bin_mask.h are others:" in text
    assert "    a: 3 of 16 pixels differ\n" in text
    assert "    c: only in the header; left without a mask\n" in text


def test_a_conversion_names_the_layers_that_have_no_pair() -> None:
    pair = ConvertedLayer(
        name="a", op="CONV_2D", pixels=9, kept=4, form="select", skipped=True, detail=None
    )
    changed = ConvertedLayer(
        name="b", op=None, pixels=9, kept=4, form="changed", skipped=False, detail="it is gone"
    )
    text = _text(conversion_summary(_conversion(pair, changed)))
    assert "masked layers: 1 of 2 are CONV -> SELECT_V2" in text
    assert "b: not skipped: it is gone" in text
