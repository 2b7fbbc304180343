"""The models of the runner's JSON: what they take and what they refuse."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from toolchain.errors import BoardError
from toolchain.profile.runner_output import parse_output, parse_versions

VERSIONS = {
    "version": "0.1.0",
    "patched": True,
    "tflite": "2.14.1",
    "xnnpack": "4ea82e5",
    "compiler": "GCC 12.2.0",
}


def op(index: int, kind: str, **values: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(
        ("ukernel", "mr", "nr", "pixels", "kept", "skipped_share", "dead_tap_share",
         "macs_computed", "why_not_delegated", "path", "reads", "writes")
    )  # fmt: skip
    figures = {"index": index, "type": kind, "delegated": True, "median_us": 2, "share": 0.5}
    return figures | nothing | values


OUTPUT: dict[str, Any] = {
    "schema": 1,
    "runner": VERSIONS,
    "model": {"path": "m.tflite", "bytes": 100},
    "threads": 1,
    "delegate": {"used": True, "partitions": 1, "nodes": 2, "nodes_delegated": 2},
    "inputs": [{"name": "x", "dtype": "float32", "shape": [1, 28, 28, 1]}],
    "outputs": [{"name": "y", "dtype": "float32", "shape": []}],
    "examples": 1,
    "seed": None,
    "init_us": 10.5,
    "load_us": 2.5,
    "first_run_us": 7,
    "timing": {
        "runs": 2, "warmup": 0, "min_us": 1, "median_us": 1.5, "mean_us": 1.5, "p95_us": 2.0,
        "max_us": 2, "mad_us": 0.5, "samples_us": [1, 2],
    },
    "peak_rss_kib": 5000,
    "instructions": {"per_run": [100, 102], "median": 101, "init": 9},
    "per_op": {"runs": 2, "total_us": 4.0, "input_copy_us": 0.5, "output_copy_us": 0.25},
    "ops": [
        op(0, "Convolution (NHWC, F32) IGEMM", ukernel="xnn_x", mr=4, nr=8, pixels=196, kept=157,
           skipped_share=0.199, dead_tap_share=0.25, macs_computed=300),
        op(1, "other", delegated=False),
    ],
    "versus": [{"path": "n.tflite", "partitions": 1, "timing": None}],
    "notes": ["a note"],
}  # fmt: skip


def with_change(*where: str | int, value: Any) -> str:
    """The output as text, with one value changed."""
    changed = copy.deepcopy(OUTPUT)
    target: Any = changed
    for step in where[:-1]:
        target = target[step]
    target[where[-1]] = value
    return json.dumps(changed)


def test_a_whole_output_is_read() -> None:
    output = parse_output(json.dumps(OUTPUT))
    assert output.timing is not None
    assert output.timing.median_us == 1.5
    assert output.ops is not None
    assert (output.ops[0].kept, output.ops[0].pixels) == (157, 196)
    assert output.model_dump(mode="json", by_alias=True) == OUTPUT


def test_without_other_models_versus_is_not_there_in_either_direction() -> None:
    alone = {key: value for key, value in OUTPUT.items() if key != "versus"}
    output = parse_output(json.dumps(alone))
    assert output.versus == []
    assert output.model_dump(mode="json", by_alias=True) == alone
    assert json.loads(output.model_dump_json(by_alias=True)) == alone


def test_figures_that_are_not_to_be_had_are_none() -> None:
    text = json.dumps(
        OUTPUT | dict.fromkeys(("timing", "peak_rss_kib", "instructions", "per_op", "ops"))
    )
    output = parse_output(text)
    assert output.timing is None
    assert output.instructions is None
    assert output.ops is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "Invalid JSON"),
        ("{", "Invalid JSON"),
        ("[]", "Input should be an object"),
        (with_change("schema", value=2), "schema: "),
        (with_change("surprise", value=1), "surprise: is not a known key"),
        (with_change("threads", value="1"), "threads: Input should be a valid integer"),
        (with_change("threads", value=0), "threads: "),
        (with_change("init_us", value=-1), "init_us: "),
        (with_change("timing", "samples_us", value=[1.0]), "2 runs and 1 samples"),
        (with_change("ops", 0, "kept", value=197), "197 of 196 pixels kept"),
        (with_change("ops", 0, "kept", value=None), "kept and pixels go together"),
        (with_change("ops", 0, "share", value=1.5), "ops.0.share: "),
        (with_change("ops", 0, "index", value=1), "ops are not numbered in order"),
        (with_change("ops", 1, "type", value="Add"), "ops do not end with the remainder"),
        (with_change("ops", value=[]), "ops do not end with the remainder"),
        (with_change("ops", value=None), "per_op and ops go together"),
    ],
)
def test_what_is_no_output_is_refused_with_the_first_fault(text: str, fault: str) -> None:
    with pytest.raises(BoardError) as caught:
        parse_output(text)
    assert caught.value.what.startswith("tileskip-run's JSON cannot be read: ")
    assert fault in caught.value.what
    assert caught.value.hint


def test_versions_are_read_and_checked() -> None:
    assert parse_versions(json.dumps(VERSIONS)).tflite == "2.14.1"
    with pytest.raises(BoardError, match="patched: is missing"):
        parse_versions('{"version": "0", "tflite": "", "xnnpack": "", "compiler": ""}')
