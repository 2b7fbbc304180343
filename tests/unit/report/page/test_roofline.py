"""Roofs of cores, and where layers stand below them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from support.reports import layers_of, models, ops_of
from support.timed_ops import PIXELS
from toolchain.profile.operators import LayerTrace
from toolchain.report.page.roofline import bytes_moved, roofline
from toolchain.timing.core_table import arithmetic_of, core_table
from toolchain.timing.model import model_of
from toolchain.timing.roof import Roof, roof_of_board


def a72(threads: int = 1) -> Roof:
    roof = roof_of_board({"Cortex-A72": 4}, 1500, threads)
    assert isinstance(roof, Roof)
    return roof


def layer(**update: object) -> LayerTrace:
    known: dict[str, object] = {
        "name": "l", "op": "CONV_2D", "kind": "3x3", "shape": "", "kernel": (3, 3),
        "stride": (1, 1), "output_shape": (1, 10, 10, 16), "macs": 100 * 16 * 9 * 8,
        "macs_saved": 0, "pixels": 100, "kept": 100, "masked": False, "fault": None,
    }  # fmt: skip
    return LayerTrace.model_validate(known | update)


def test_the_roof_is_of_the_cores_table_and_of_the_fitted_memory(tmp_path: Path) -> None:
    (path,) = models(tmp_path, dense=0.0).values()
    found, missing = roofline(a72(4), [("dense", ops_of(path, 1.0), layers_of(path))])
    assert missing is None
    assert found is not None
    assert found.peak == core_table("cortex-a72").peak["fp32"] * 1.5e9 * 4
    line_ns = model_of("cortex-a72").coefficients.line(4)
    assert found.bandwidth == pytest.approx(64 / line_ns * 1e9)
    assert "cortex-a72.toml" in found.sources[0]
    assert "fitted" in found.sources[1]


def test_a_layer_stands_at_its_work_a_byte_and_a_second(tmp_path: Path) -> None:
    (path,) = models(tmp_path, s25=0.25).values()
    layers, ops = layers_of(path), ops_of(path, 1.0)
    found, _ = roofline(a72(), [("s25", ops, layers)])
    assert found is not None
    first = found.points[0]
    op = ops[0]
    assert (first.model, first.layer) == ("s25", layers[0].name)
    assert first.rate == pytest.approx((op.macs_computed or 0) / (op.median_us or 0) * 1e6)
    moved = 4 * (3 * PIXELS + 3 * 9 * 8 + 8 * layers[0].kept)
    assert first.intensity == pytest.approx((op.macs_computed or 0) / moved)


@pytest.mark.parametrize(
    ("one", "numbers"),
    [
        (layer(), 8 * 100 + 9 * 8 * 16 + 16 * 100),
        (layer(stride=(2, 2)), 8 * 100 * 4 + 9 * 8 * 16 + 16 * 100),
        (  # a window of one pixel leaves three of four out
            layer(kernel=(1, 1), stride=(2, 2), macs=100 * 16 * 8),
            8 * 100 + 8 * 16 + 16 * 100,
        ),
        (
            layer(op="DEPTHWISE_CONV_2D", macs=100 * 16 * 9),
            16 * 100 + 9 * 16 + 16 * 100,
        ),
        (
            layer(kernel=None, stride=None, output_shape=(1, 10), macs=640, pixels=1, kept=1),
            64 + 640 + 10,
        ),
        (
            layer(output_shape=(2, 10, 10, 16), macs=2 * 100 * 16 * 9 * 8),
            2 * (8 * 100 + 16 * 100) + 9 * 8 * 16,
        ),
    ],
    ids=["3x3", "stride", "1x1 stride", "depthwise", "fully connected", "two images"],
)
def test_what_a_layer_moves_at_least(one: LayerTrace, numbers: int) -> None:
    assert bytes_moved(one, None, 4) == 4 * numbers
    assert bytes_moved(one, None, 1) == numbers


def test_only_the_kept_output_is_written() -> None:
    assert bytes_moved(layer(), 40, 4) == bytes_moved(layer(), 100, 4) - 4 * 60 * 16


def test_layers_of_several_types_have_no_roof(tmp_path: Path) -> None:
    (path,) = models(tmp_path, dense=0.0).values()
    ops = ops_of(path, 1.0)
    ops[0] = ops[0].model_copy(update={"type": "Convolution (NHWC, QC8) IGEMM"})
    found, missing = roofline(a72(), [("dense", ops, layers_of(path))])
    assert found is None
    assert "several types" in (missing or "")


def test_a_runtime_that_tells_no_work_has_no_roof(tmp_path: Path) -> None:
    (path,) = models(tmp_path, dense=0.0).values()
    ops = [op.model_copy(update={"macs_computed": None}) for op in ops_of(path, 1.0)]
    assert roofline(a72(), [("dense", ops, layers_of(path))]) == (
        None,
        "The runtime does not tell what its layers compute.",
    )


def test_layers_too_short_to_be_timed_have_no_points(tmp_path: Path) -> None:
    (path,) = models(tmp_path, dense=0.0).values()
    ops = [op.model_copy(update={"median_us": 0.0}) for op in ops_of(path, 1.0)]
    found, missing = roofline(a72(), [("dense", ops, layers_of(path))])
    assert found is None
    assert missing == "No layer took long enough to be timed."


def test_a_type_without_a_peak_has_no_roof(tmp_path: Path) -> None:
    (path,) = models(tmp_path, dense=0.0).values()
    ops = [op.model_copy(update={"type": "Convolution (NHWC, F16)"}) for op in ops_of(path, 1.0)]
    table = a72().table.model_copy(update={"peak": {"fp32": 4}})
    found, missing = roofline(replace(a72(), table=table), [("d", ops, layers_of(path))])
    assert found is None
    assert "for this type is not known" in (missing or "")


def test_xnnpacks_names_tell_what_is_multiplied() -> None:
    names = ["Convolution (NHWC, F32) IGEMM", "Fully Connected (NC, F16)", "Mean (ND)"]
    assert [arithmetic_of(name) for name in names] == ["fp32", "fp16", None]
    assert {arithmetic_of(f"Convolution (NHWC, {kind})") for kind in ("QC8", "QU8")} == {"int8"}
