"""What is told of a file that the runtime cannot run."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from support.masked_case import SMALL
from support.quantized_ops import Case, FileWriter, all_cases
from support.tflite_writer import GraphWriter
from support.typed_ops import all_examples
from toolchain.errors import ModelError
from toolchain.report.layers import unsupported_lines
from toolchain.tflite_file.graph import read_model
from toolchain.tflite_file.inspection import inspect_model
from toolchain.tflite_file.support import VERSIONS, find_unsupported, read_supported


def _one(
    path: Path, op: str, *, version: int = 1, custom: bytes | None = None, dtype: str = "float32"
) -> Path:
    file = FileWriter()
    x, y = file.tensor((1, 2), dtype), file.tensor((1, 2), dtype)
    file.operator(op, [x], [y], version=version, custom=custom)
    return file.write(path, [x], [y])


def _texts(path: Path) -> list[str]:
    return [item.text for item in find_unsupported(read_model(path))]


def test_nothing_is_told_of_a_file_of_ours(tmp_path: Path) -> None:
    path = SMALL.write(tmp_path / "model.tflite")
    assert not _texts(path)
    assert not inspect_model(path).unsupported
    assert read_supported(path).path == str(path)


@pytest.mark.parametrize("case", list(all_cases())[::7], ids=str)
def test_nothing_is_told_of_weights_that_a_kernel_reads(tmp_path: Path, case: Case) -> None:
    case.write(tmp_path / "model.tflite")
    assert not _texts(tmp_path / "model.tflite")


def test_a_custom_operator_is_named_unless_the_runtime_has_it(tmp_path: Path) -> None:
    path = _one(tmp_path / "model.tflite", "TransformLandmarks", custom=b"")
    assert _texts(path) == [
        "TransformLandmarks (operator 0): a custom operator that the runtime does not have"
    ]
    assert not _texts(_one(path, "Convolution2DTransposeBias", custom=bytes(12)))


def test_a_version_that_is_too_new_is_named(tmp_path: Path) -> None:
    newest = VERSIONS["TRANSPOSE"]
    path = _one(tmp_path / "model.tflite", "TRANSPOSE", version=newest + 1)
    assert _texts(path) == [
        f"TRANSPOSE (operator 0): version {newest + 1} of it; TensorFlow Lite 2.14.1 has versions "
        f"up to {newest}"
    ]
    assert not _texts(_one(path, "TRANSPOSE", version=newest))


def test_an_operator_that_came_later_is_named(tmp_path: Path) -> None:
    path = _one(tmp_path / "model.tflite", "STABLEHLO_ADD")
    assert _texts(path) == [
        "STABLEHLO_ADD (operator 0): TensorFlow Lite 2.14.1 does not have this operator"
    ]


def test_an_operator_that_no_operator_of_the_main_graph_is_of_is_named(tmp_path: Path) -> None:
    """The runtime looks all of them up when it loads the file."""
    writer = GraphWriter()
    x = writer.tensor((1, 2))
    y = writer.operator("NEG", [x], (1, 2))
    writer._codes.append(schema.BuiltinOperator.STABLEHLO_ADD)
    path = writer.write(tmp_path / "model.tflite", [x], [y])
    (found,) = find_unsupported(read_model(path))
    assert (found.op, found.operators) == ("STABLEHLO_ADD", ())
    assert found.text == "STABLEHLO_ADD: TensorFlow Lite 2.14.1 does not have this operator"


def test_a_type_that_came_later_is_named(tmp_path: Path) -> None:
    (text,) = _texts(_one(tmp_path / "model.tflite", "NEG", dtype="bfloat16"))
    assert text == (
        "NEG (operator 0): a tensor is of type bfloat16, which TensorFlow Lite 2.14.1 does not have"
    )


@pytest.mark.parametrize(
    ("example", "told"),
    [
        ("DIV-int16", "DIV (operator 0): TensorFlow Lite 2.14.1 has no kernel of it for int16"),
        ("SQRT-int8", "SQRT (operator 0): TensorFlow Lite 2.14.1 has no kernel of it for int8"),
        ("SPLIT-int64", "SPLIT (operator 0): TensorFlow Lite 2.14.1 has no kernel of it for int64"),
        (
            "FULLY_CONNECTED-int16_weights_int64_bias-int16",
            "FULLY_CONNECTED (operator 0): TensorFlow Lite 2.14.1 has no kernel of it for int16 "
            "with weights of int16",
        ),
        (
            "BATCH_MATMUL-int8_constant-int16",
            "BATCH_MATMUL (operator 0): TensorFlow Lite 2.14.1 has no kernel of it for int16 by "
            "int8",
        ),
        (
            "QUANTIZE-to_int16-int8",
            "QUANTIZE (operator 0): TensorFlow Lite 2.14.1 has no kernel of it from int8 to int16",
        ),
        (
            "SUM-channels_other_scale-int16",
            "SUM (operator 0): TensorFlow Lite 2.14.1 has no kernel of it for int16 with an output "
            "of another scale",
        ),
    ],
    ids=lambda value: value if " " not in value else "",
)
def test_a_type_without_a_kernel_is_named(tmp_path: Path, example: str, told: str) -> None:
    (chosen,) = (one for one in all_examples() if str(one) == example)
    path = chosen.write(tmp_path / "model.tflite")
    assert _texts(path) == [told]
    assert [item.op for item in inspect_model(path).unsupported] == [chosen.op]
    with pytest.raises(ModelError, match="has no kernel of it"):
        read_supported(path)


@pytest.mark.parametrize(
    "example",
    ["DIV-uint8", "SUM-channels-int16", "FULLY_CONNECTED-int8_weights_int64_bias-int16",
     "QUANTIZE-to_int16-float32", "SPLIT-int32"],
)  # fmt: skip
def test_nothing_is_told_of_a_type_with_a_kernel(tmp_path: Path, example: str) -> None:
    (chosen,) = (one for one in all_examples() if str(one) == example)
    assert not _texts(chosen.write(tmp_path / "model.tflite"))


def test_operators_with_the_same_fault_are_told_together(tmp_path: Path) -> None:
    file = FileWriter()
    tensors = [file.tensor((1, 2), "float32") for _ in range(4)]
    for x, y in itertools.pairwise(tensors):
        file.operator("Mystery", [x], [y], custom=b"")
    path = file.write(tmp_path / "model.tflite", tensors[:1], tensors[-1:])
    (found,) = find_unsupported(read_model(path))
    assert found.operators == (0, 1, 2)
    assert found.text.startswith("Mystery (operator 0 and 2 more): ")


def test_inspect_tells_it_and_commands_that_run_refuse(tmp_path: Path) -> None:
    file = FileWriter()
    x, y = (file.tensor((1, 3), "int8", scales=0.1) for _ in range(2))
    scales = np.array([0.1, 0.2, 0.3])
    other = file.tensor((1, 3), "int8", scales=scales, axis=1, data=b"\1\2\3")
    file.operator("MUL", [x, other], [y])
    path = file.write(tmp_path / "a model.tflite", [x], [y])
    report = inspect_model(path)
    (found,) = report.unsupported
    assert (found.op, found.operators) == ("MUL", (0,))
    told = "\n".join(line.plain for line in unsupported_lines(report))
    assert "MUL (operator 0): input 1 has 3 scales, one a channel" in told
    with pytest.raises(
        ModelError, match=r"a model\.tflite: the runtime cannot run it: MUL"
    ) as caught:
        read_supported(path)
    assert caught.value.hint is not None
    assert caught.value.hint.endswith(f"deploy inspect '{path}'")
