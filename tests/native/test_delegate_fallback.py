"""What XNNPACK refuses runs on TensorFlow Lite's own kernels, and that is said."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from support.quantized_ops import FileWriter
from support.runtimes import InPython, ThroughCLibrary, run_checked
from support.tflite_writer import Array
from toolchain.agreement.interpreter import load
from toolchain.build.bundle import Bundle
from toolchain.profile.runner_output import REMAINDER, RunnerOutput, parse_output
from toolchain.tflite_file.plan import parse_plan

Build = Callable[[FileWriter], tuple[int, int]]


def _int16(file: FileWriter, shape: tuple[int, ...], scale: float = 1e-3) -> int:
    return file.tensor(shape, "int16", scales=scale)


def _network(file: FileWriter) -> tuple[int, int]:
    """int16x8: a convolution, an addition, two poolings, a transposition and a softmax."""
    rng = np.random.default_rng(5)
    x = _int16(file, (1, 7, 9, 5))
    scales = rng.uniform(0.002, 0.02, 6)
    stored = rng.integers(-127, 128, (6, 3, 3, 5)).astype(np.int8)
    weights = file.tensor((6, 3, 3, 5), "int8", scales=scales, data=stored.tobytes())
    bias = rng.integers(-9999, 9999, 6).astype(np.int64)
    offsets = file.tensor((6,), "int64", scales=scales * 1e-3, data=bias.tobytes())
    options: Any = schema.Conv2DOptionsT()
    options.padding, options.strideH, options.strideW = schema.Padding.SAME, 1, 1
    options.dilationHFactor = options.dilationWFactor = 1
    y = _int16(file, (1, 7, 9, 6))
    file.operator("CONV_2D", [x, weights, offsets], [y], "Conv2DOptions", options)
    total = _int16(file, (1, 7, 9, 6), 2e-3)
    file.operator("ADD", [y, y], [total], "AddOptions", schema.AddOptionsT(), version=3)
    for name in ("MAX_POOL_2D", "AVERAGE_POOL_2D"):
        options = schema.Pool2DOptionsT()
        options.padding, options.strideH, options.strideW = schema.Padding.VALID, 1, 1
        options.filterHeight, options.filterWidth = 2, 3
        height, width = (6, 7) if name == "MAX_POOL_2D" else (5, 5)
        pooled = _int16(file, (1, height, width, 6), 2e-3)
        file.operator(name, [total], [pooled], "Pool2DOptions", options, version=3)
        total = pooled
    moved = _int16(file, (1, 6, 5, 5), 2e-3)
    order = file.tensor((4,), "int32", data=np.array([0, 3, 1, 2], np.int32).tobytes())
    options = schema.TransposeOptionsT()
    file.operator("TRANSPOSE", [total, order], [moved], "TransposeOptions", options, version=4)
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    result = file.tensor((1, 6, 5, 5), "int16", scales=1 / 32768)
    file.operator("SOFTMAX", [moved], [result], "SoftmaxOptions", options, version=3)
    return x, result


def _moved(dtype: str) -> Build:
    def build(file: FileWriter) -> tuple[int, int]:
        """Elements that are only moved: a TRANSPOSE."""
        x, y = file.tensor((2, 3, 5), dtype), file.tensor((5, 2, 3), dtype)
        order = file.tensor((3,), "int32", data=np.array([2, 0, 1], np.int32).tobytes())
        file.operator("TRANSPOSE", [x, order], [y], "TransposeOptions", schema.TransposeOptionsT())
        return x, y

    return build


def _partly(file: FileWriter) -> tuple[int, int]:
    """Floats that become int16, are moved, and come back: XNNPACK has all but the middle."""
    x = file.tensor((1, 3, 5), "float32")
    file_abs = file.tensor((1, 3, 5), "float32")
    file.operator("ABS", [x], [file_abs])
    stored = _int16(file, (1, 3, 5))
    file.operator("QUANTIZE", [file_abs], [stored], "QuantizeOptions", schema.QuantizeOptionsT(),
                  version=2)  # fmt: skip
    moved = _int16(file, (5, 1, 3))
    order = file.tensor((3,), "int32", data=np.array([2, 0, 1], np.int32).tobytes())
    file.operator("TRANSPOSE", [stored, order], [moved], "TransposeOptions",
                  schema.TransposeOptionsT(), version=4)  # fmt: skip
    back = file.tensor((5, 1, 3), "float32")
    file.operator("DEQUANTIZE", [moved], [back], version=3)
    y = file.tensor((5, 1, 3), "float32")
    file.operator("NEG", [back], [y], "NegOptions", schema.NegOptionsT())
    return x, y


_GRAPHS: dict[str, Build] = {
    "int16x8": _network,
    "transpose-int64": _moved("int64"),
    "transpose-int32": _moved("int32"),
    "transpose-int8-unscaled": _moved("int8"),
    "partly": _partly,
}


@pytest.fixture(params=_GRAPHS)
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    file = FileWriter()
    x, y = _GRAPHS[request.param](file)
    return file.write(tmp_path / f"{request.param}.tflite", [x], [y])


def _input(path: Path) -> Array:
    (detail,) = load(path, "builtin").get_input_details()
    rng, shape = np.random.default_rng(1), tuple(detail["shape"])
    if detail["dtype"] == np.float32:
        return rng.uniform(-1, 1, shape).astype(np.float32)
    most = min(np.iinfo(detail["dtype"]).max // 2, 10_000)
    return rng.integers(-most, most, shape).astype(detail["dtype"])


def _expected(path: Path, x: Array) -> Array:
    interpreter = load(path, "builtin")
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


def _run(bundle: Bundle, path: Path, x: Array, *options: str) -> tuple[Array, RunnerOutput]:
    source, folder = path.with_suffix(".input"), path.with_suffix(".outputs")
    x.tofile(source)
    command = [str(bundle.runner), "--model", str(path), "--input", str(source)]
    said = run_checked([*command, "--output-dir", str(folder), "--runs", "0", "--json", "-",
                        *options])  # fmt: skip
    report = parse_output(said)
    (facts,) = report.outputs
    return np.fromfile(folder / "output0.bin", facts.dtype).reshape(facts.shape), report


def _close(found: Array, expected: Array) -> None:
    assert found.shape == expected.shape
    if found.dtype == np.float32:
        np.testing.assert_allclose(found, expected, atol=1e-6)
    else:
        assert np.abs(found.astype(np.int64) - expected.astype(np.int64)).max() <= 1


def test_a_model_runs_whatever_xnnpack_says_of_its_types(
    model: Path, host_bundle: Bundle, host_stock_bundle: Bundle
) -> None:
    x = _input(model)
    expected = _expected(model, x)
    for bundle in (host_bundle, host_stock_bundle):
        found, report = _run(bundle, model, x)
        _close(found, expected)
        (note,) = (note for note in report.notes if note.startswith("delegate: "))
        assert "TensorFlow Lite's own kernels run" in note
        assert report.delegate.nodes_delegated < report.delegate.nodes
        found, report = _run(bundle, model, x, "--no-delegate")
        _close(found, expected)
        assert not [note for note in report.notes if note.startswith("delegate: ")]


def test_what_xnnpack_has_of_such_a_graph_it_still_runs(
    tmp_path: Path, host_bundle: Bundle
) -> None:
    file = FileWriter()
    x, y = _partly(file)
    path = file.write(tmp_path / "model.tflite", [x], [y])
    _, report = _run(host_bundle, path, _input(path))
    assert report.delegate.partitions == 2
    assert "delegate: TensorFlow Lite's own kernels run DEQUANTIZE, QUANTIZE, TRANSPOSE" in (
        report.notes
    )


def _reasons(bundle: Bundle, path: Path, *options: str) -> dict[str, str | None]:
    """Of each operator that XNNPACK does not run, by its type; the plan has the same."""
    _, report = _run(bundle, path, _input(path), "--per-op", *options)
    told = {op.type: op.why_not_delegated for op in report.ops or [] if op.type != REMAINDER}
    delegated = {op.type for op in report.ops or [] if op.delegated}
    assert {told[name] for name in delegated} <= {None}
    if report.runner.patched:
        command = [str(bundle.runner), "--model", str(path), "--plan", "--json", "-", *options]
        plan = parse_plan(run_checked(command)).plan
        planned = {op.type: op.why_not_delegated for op in plan or [] if not op.delegated}
        assert planned == {name: told[name] for name in told.keys() - delegated}
    return {name: why for name, why in told.items() if name not in delegated}


def test_each_operator_that_xnnpack_leaves_has_its_reason(
    tmp_path: Path, host_bundle: Bundle, host_stock_bundle: Bundle
) -> None:
    file = FileWriter()
    x, y = _partly(file)
    path = file.write(tmp_path / "model.tflite", [x], [y])
    told = {
        "QUANTIZE": "unsupported type INT16 in tensor #2",
        "TRANSPOSE": "unsupported type INT16 in tensor #2",
        "DEQUANTIZE": "unsupported type INT16 in tensor #3",
    }
    assert _reasons(host_bundle, path) == told
    assert _reasons(host_bundle, path, "--no-delegate") == dict.fromkeys(
        ["ABS", *told, "NEG"], None
    )
    assert _reasons(host_stock_bundle, path) == dict.fromkeys(told, None)


def test_a_reason_that_names_no_operator_goes_to_the_one_that_it_is_of(
    tmp_path: Path, host_bundle: Bundle
) -> None:
    file = FileWriter()
    x, y = _network(file)
    reasons = _reasons(host_bundle, file.write(tmp_path / "model.tflite", [x], [y]))
    assert len(reasons) == 6
    assert all(why and "INT16" in why and "node" not in why for why in reasons.values()), reasons


def test_a_model_runs_whatever_xnnpack_says_of_its_numbers(
    tmp_path: Path, host_bundle: Bundle, host_stock_bundle: Bundle
) -> None:
    """Scales that are too far apart for it; even the stock interpreter fails with XNNPACK here."""
    rng, file = np.random.default_rng(6), FileWriter()
    x, y = (file.tensor((1, 4, 5, n), "int8", scales=scale) for n, scale in ((3, 1.0), (4, 1e-3)))
    stored = rng.integers(-127, 128, (4, 1, 1, 3)).astype(np.int8)
    weights = file.tensor(stored.shape, "int8", scales=np.full(4, 0.5), data=stored.tobytes())
    bias = file.tensor((4,), "int32", scales=np.full(4, 0.5), data=bytes(16))
    options: Any = schema.Conv2DOptionsT()
    options.padding, options.strideH, options.strideW = schema.Padding.SAME, 1, 1
    options.dilationHFactor = options.dilationWFactor = 1
    file.operator("CONV_2D", [x, weights, bias], [y], "Conv2DOptions", options, version=3)
    path = file.write(tmp_path / "model.tflite", [x], [y])
    given = _input(path)
    expected = _expected(path, given)
    for bundle in (host_bundle, host_stock_bundle):
        found, report = _run(bundle, path, given)
        assert np.array_equal(found, expected)
        (note,) = (note for note in report.notes if note.startswith("delegate: "))
        assert "XNNPACK refuses the model: failed to create XNNPACK runtime" in note
        assert _reasons(host_bundle, path) == {"CONV_2D": "failed to create XNNPACK runtime"}
    assert np.array_equal(InPython(host_bundle).run(path, given).outputs[0], expected)
    (found,) = ThroughCLibrary.build(host_bundle, tmp_path).run(path, given).outputs
    assert np.array_equal(found, expected)


def test_the_c_library_and_the_external_delegate_fall_back_too(
    model: Path, tmp_path: Path, host_bundle: Bundle
) -> None:
    x = _input(model)
    expected = _expected(model, x)
    (found,) = ThroughCLibrary.build(host_bundle, tmp_path).run(model, x).outputs
    _close(found, expected)
    _close(InPython(host_bundle).run(model, x).outputs[0], expected)


# --- MediaPipe's operators ---------------------------------------------------------------------


def _deconvolution(padding: str, kernel: int, stride: int) -> Build:
    def build(file: FileWriter) -> tuple[int, int]:
        rng = np.random.default_rng(7)
        x = file.tensor((2, 5, 4, 3), "float32")
        filters = rng.uniform(-1, 1, (6, kernel, kernel, 3)).astype(np.float32)
        weights = file.tensor(filters.shape, "float32", data=filters.tobytes())
        bias = file.tensor((6,), "float32", data=rng.uniform(-1, 1, 6).astype("f4").tobytes())
        grown = [n * stride if padding == "SAME" else (n - 1) * stride + kernel for n in (5, 4)]
        y = file.tensor((2, *grown, 6), "float32")
        code = 1 if padding == "SAME" else 2
        file.operator("Convolution2DTransposeBias", [x, weights, bias], [y],
                      custom=struct.pack("<3i", code, stride, stride))  # fmt: skip
        return x, y

    return build


def _pooled(file: FileWriter) -> tuple[int, int]:
    """Pooling that remembers places, and its inverse."""
    x = file.tensor((2, 6, 8, 3), "float32")
    data = struct.pack("<6i", 2, 2, 3, 2, 3, 0)
    values, places = (file.tensor((2, 2, 4, 3), "float32") for _ in range(2))
    file.operator("MaxPoolingWithArgmax2D", [x], [values, places], custom=data)
    y = file.tensor((2, 6, 8, 3), "float32")
    file.operator("MaxUnpooling2D", [values, places], [y], custom=data)
    return x, y


@pytest.mark.parametrize(
    "build",
    [
        _deconvolution("SAME", 2, 2), _deconvolution("SAME", 3, 2), _deconvolution("SAME", 5, 3),
        _deconvolution("VALID", 3, 2), _deconvolution("VALID", 4, 1), _pooled,
    ],
    ids=["same-2-2", "same-3-2", "same-5-3", "valid-3-2", "valid-4-1", "pooled"],
)  # fmt: skip
def test_mediapipes_operators_run_with_and_without_xnnpack(
    tmp_path: Path, host_bundle: Bundle, build: Build
) -> None:
    file = FileWriter()
    x, y = build(file)
    path = file.write(tmp_path / "model.tflite", [x], [y])
    given = np.random.default_rng(3).uniform(-1, 1, (2, 6, 8, 3) if build is _pooled
                                             else (2, 5, 4, 3)).astype(np.float32)  # fmt: skip
    interpreter: Any = Interpreter(str(path))  # which has them in XNNPACK alone
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], given)
    interpreter.invoke()
    expected = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    for options in ((), ("--no-delegate",)):
        found, _ = _run(host_bundle, path, given, *options)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    (found,) = ThroughCLibrary.build(host_bundle, tmp_path).run(path, given).outputs
    np.testing.assert_allclose(found, expected, atol=1e-5)
