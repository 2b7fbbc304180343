"""Quantised weights as any quantizer may write them: computed right, or refused by name."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from support.quantized_ops import NOISE, Case, FileWriter, all_cases
from support.runtimes import InPython, ThroughCLibrary
from support.tflite_writer import Array
from toolchain.agreement.interpreter import load
from toolchain.build.bundle import Bundle
from toolchain.profile.runner_output import RunnerOutput, parse_output
from toolchain.tflite_file.graph import read_model
from toolchain.tflite_file.support import VERSIONS, find_unsupported

_CASES = list(all_cases())
_LIKE_STOCK = [
    case
    for case in _CASES
    if case.weights == "int8" and case.scales == "channel" and case.groups == 1 and case.bias
    if case.op in ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D")
]
"""Those whose kernels in ai-edge-litert compute what the file says."""


def _run(bundle: Bundle, model: Path, x: Array, *options: str) -> tuple[list[Array], RunnerOutput]:
    source, folder = model.with_suffix(".input"), model.with_suffix(".outputs")
    x.tofile(source)
    command = [str(bundle.runner), "--model", str(model), "--input", str(source)]
    command += ["--output-dir", str(folder)]
    done = subprocess.run(
        [*command, "--runs", "0", "--json", "-", *options],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = parse_output(done.stdout)
    outputs = [
        np.fromfile(folder / f"output{i}.bin", item.dtype).reshape(item.shape)
        for i, item in enumerate(report.outputs)
    ]
    return outputs, report


def _apart(found: Array, truth: Array, scale: float, zero_point: int) -> float:
    real = (found.astype(np.float64) - zero_point) * scale
    return float(np.abs(real - truth).max() / np.abs(truth).max())


@pytest.mark.parametrize("case", _CASES, ids=str)
def test_weights_with_any_scales_are_computed_as_the_file_says(
    tmp_path: Path, case: Case, host_bundle: Bundle
) -> None:
    path = tmp_path / "model.tflite"
    x, truth, scale, zero_point = case.write(path)
    for options in ((), ("--no-delegate",), ("--threads", "3")):
        (found,), _ = _run(host_bundle, path, x, *options)
        assert _apart(found, truth, scale, zero_point) < NOISE[case.activations], options
    assert not find_unsupported(read_model(path))


@pytest.mark.parametrize("case", _CASES[:: max(1, len(_CASES) // 20)], ids=str)
def test_a_stock_bundle_and_the_c_library_compute_the_same(
    tmp_path: Path, case: Case, host_bundle: Bundle, host_stock_bundle: Bundle
) -> None:
    path = tmp_path / "model.tflite"
    x, _, _, _ = case.write(path)
    (expected,), _ = _run(host_bundle, path, x)
    (found,), _ = _run(host_stock_bundle, path, x)
    assert np.array_equal(found, expected)
    (found,) = ThroughCLibrary.build(host_bundle, tmp_path).run(path, x).outputs
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("case", _LIKE_STOCK, ids=str)
def test_outputs_are_those_of_the_stock_interpreters_own_kernels(
    tmp_path: Path, case: Case, host_bundle: Bundle
) -> None:
    path = tmp_path / "model.tflite"
    x, _, _, _ = case.write(path)
    (expected,) = _stock(path, x)
    (found,), _ = _run(host_bundle, path, x, "--no-delegate")
    if case.activations == "float32":
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    else:
        assert np.abs(found.astype(np.int32) - expected).max() <= 1


def test_a_fully_connected_layer_with_a_scale_a_channel_gives_the_stock_interpreters_class(
    tmp_path: Path, host_bundle: Bundle
) -> None:
    """Two layers of weights whose channels differ by a factor of a thousand."""
    rng, file = np.random.default_rng(2), FileWriter()
    x = file.tensor((3, 16), "float32")
    y = x
    for width in (16, 10):
        scales = np.geomspace(1e-5, 1e-2, width).astype(np.float32)
        stored = rng.integers(-127, 128, (width, 16)).astype(np.int8)
        weights = file.tensor((width, 16), "int8", scales=scales, data=stored.tobytes())
        result = file.tensor((3, width), "float32")
        file.operator("FULLY_CONNECTED", [y, weights], [result])
        y = result
    path = file.write(tmp_path / "model.tflite", [x], [y])
    given = rng.uniform(-1, 1, (3, 16)).astype(np.float32)
    (expected,) = _stock(path, given)
    (found,), _ = _run(host_bundle, path, given)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    assert np.array_equal(found.argmax(axis=1), expected.argmax(axis=1))


def _unscaled(file: FileWriter) -> tuple[int, int]:
    x, y = file.tensor((1, 64), "float32"), file.tensor((1, 16), "float32")
    weights = file.tensor((16, 64), "int4", data=bytes(16 * 32))
    file.operator("FULLY_CONNECTED", [x, weights], [y])
    return x, y


def _added(file: FileWriter) -> tuple[int, int]:
    x = file.tensor((1, 3), "int8", scales=0.1)
    y = file.tensor((1, 3), "int8", scales=0.1)
    other = file.tensor((1, 3), "int8", scales=np.array([0.1, 0.2, 0.3]), axis=1, data=b"\1\2\3")
    file.operator("ADD", [x, other], [y])
    return x, y


def _filtered(file: FileWriter) -> tuple[int, int]:
    """SVDF of rank 1: 3 inputs, 2 units, a memory of 4."""
    x, y = file.tensor((1, 3), "float32"), file.tensor((1, 2), "float32")
    feature = file.tensor((2, 3), "int8", scales=np.array([0.1, 0.2]), data=bytes(6))
    time = file.tensor((2, 4), "int8", scales=0.1, data=bytes(8))
    state = file.tensor((1, 8), "float32", variable=True)
    options = schema.SVDFOptionsT()
    options.rank = 1
    file.operator("SVDF", [x, feature, time, -1, state], [y], "SVDFOptions", options, version=2)
    return x, y


def _sparse(file: FileWriter) -> tuple[int, int]:
    x, y = file.tensor((1, 4, 4, 2), "float32"), file.tensor((1, 4, 4, 3), "float32")
    weights = file.tensor((3, 1, 1, 2), "float32", data=bytes(24), sparse=True)
    bias = file.tensor((3,), "float32", data=bytes(12))
    file.operator("CONV_2D", [x, weights, bias], [y])
    return x, y


def _sparse_bias(file: FileWriter) -> tuple[int, int]:
    x, y = file.tensor((1, 3), "float32"), file.tensor((1, 2), "float32")
    weights = file.tensor((2, 3), "float32", data=bytes(24))
    bias = file.tensor((2,), "float32", data=bytes(8), sparse=True)
    file.operator("FULLY_CONNECTED", [x, weights, bias], [y])
    return x, y


@pytest.mark.parametrize(
    ("build", "op", "reason"),
    [
        (_unscaled, "FULLY_CONNECTED", "no scales that can be read"),
        (_added, "ADD", "has 3 scales, one a channel"),
        (_filtered, "SVDF", "has 2 scales, one a channel"),
        (_sparse, "CONV_2D", "is stored sparsely"),
        (_sparse_bias, "FULLY_CONNECTED", "input 2 is stored sparsely"),
    ],
)
@pytest.mark.parametrize("delegate", [True, False])
def test_what_a_kernel_would_misread_is_refused_by_the_operators_name(
    tmp_path: Path, host_bundle: Bundle, build: Any, op: str, reason: str, delegate: bool
) -> None:
    file = FileWriter()
    x, y = build(file)
    path = file.write(tmp_path / "model.tflite", [x], [y])
    command = [
        str(host_bundle.runner),
        "--model",
        str(path),
        *([] if delegate else ["--no-delegate"]),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stdout
    assert f"{op}: " in done.stderr
    assert reason in done.stderr
    (found,) = find_unsupported(read_model(path))
    assert found.op == op
    assert reason in found.text


def test_the_external_delegate_leaves_such_weights_to_its_interpreter(
    tmp_path: Path, host_bundle: Bundle
) -> None:
    case = Case("FULLY_CONNECTED", "float32", "int8", "channel", 3)
    x, truth, _, _ = case.write(tmp_path / "model.tflite")
    ran = InPython(host_bundle).run(tmp_path / "model.tflite", x)
    assert _apart(ran.outputs[0], truth, 1.0, 0) < NOISE["float32"]


def _stock(path: Path, x: Array) -> list[Array]:
    """ai-edge-litert without XNNPACK."""
    interpreter = load(path, "builtin")
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return [interpreter.get_tensor(item["index"]) for item in interpreter.get_output_details()]


def test_notes_name_what_xnnpack_does_not_run(tmp_path: Path, host_bundle: Bundle) -> None:
    case = Case("CONV_2D", "float32", "int8", "channel")
    x, _, _, _ = case.write(tmp_path / "model.tflite")
    _, report = _run(host_bundle, tmp_path / "model.tflite", x)
    assert "delegate: TensorFlow Lite's own kernels run CONV_2D" in report.notes
    assert json.loads(report.model_dump_json())["delegate"]["used"] is False


def test_the_table_of_operators_is_the_runtimes(tmp_path: Path, host_bundle: Bundle) -> None:
    """Of each builtin operator the newest version is known to the runner, the next one is not."""
    for number, (op, newest) in enumerate(sorted(VERSIONS.items())):
        for version in (newest, newest + 1):
            file = FileWriter()
            x, y = file.tensor((1, 2), "float32"), file.tensor((1, 2), "float32")
            file.operator(op, [x], [y], version=version)
            path = file.write(tmp_path / f"{number}.tflite", [x], [y])
            command = [
                str(host_bundle.runner),
                "--model",
                str(path),
                "--runs",
                "0",
                "--no-delegate",
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            unknown = f"Didn't find op for builtin opcode '{op}' version '{version}'"
            assert (unknown in done.stderr) is (version > newest), (op, version, done.stderr)
