"""``tileskip-run --plan``: what it tells is what is computed, and what Python says of a file."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings

from support.look_alikes import CHOICES, LookAlike, look_alikes
from support.masked_case import Case, cases
from support.patience import PATIENCE
from support.runner_models import write_network
from support.tflite_writer import GraphWriter
from toolchain.board.plan import core_plan
from toolchain.build.bundle import Bundle
from toolchain.convert.conversion import convert
from toolchain.errors import BundleError
from toolchain.hardware.board_file import load_board
from toolchain.profile.operators import is_layer
from toolchain.profile.runner_output import REMAINDER, parse_output
from toolchain.tflite_file.graph import read_model
from toolchain.tflite_file.layers import Layer, find_layers
from toolchain.tflite_file.plan import PlannedOperator, RunnerPlan, parse_plan

FULL = "its mask keeps all pixels"

AGREED = {
    r"the convolution's output is read \d+ times": "the convolution's output is read elsewhere",
    "the convolution's own output is an output": "the convolution's output is read elsewhere",
    "between the convolution and its mask": "what is masked is no convolution's output|None",
    "XNNPACK has no fused": "XNNPACK does not compute the convolution",
    "the weights are no constant": "XNNPACK does not compute the convolution",
    "no bias tensor": "XNNPACK does not compute the convolution",
    "the bias is no constant": "XNNPACK does not compute the convolution",
    "differ in scale or zero point": "differ in scale or zero point",
    "the fill is stored as": "the fill is no constant of a value a channel",
    "what the mask puts in is computed": "the fill is no constant of a value a channel|differ in",
    "the fill's shape is": "the fill is no constant of a value a channel",
    "the mask differs between": "is no plane of",
    "the mask's shape is": "is no plane of",
    "the mask is a SELECT": "None",
    "the mask is multiplied as": "a factor masks in float32 alone|the mask's MUL fuses",
    "the mask's factor holds other numbers": "the factor is no plane of zeros and ones",
    "the mask's MUL fuses": "the mask's MUL fuses an activation",
}
"""What Python says of a mask that is not skipped, to what the runtime may say of the same."""


def _json(bundle: Bundle, model: Path, *options: str) -> str:
    command = [str(bundle.runner), "--model", str(model), "--json", "-", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _plan(bundle: Bundle, model: Path) -> RunnerPlan:
    return parse_plan(_json(bundle, model, "--plan"))


def _layers(plan: RunnerPlan) -> list[PlannedOperator]:
    return [each for each in plan.plan or [] if is_layer(each.type)]


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(case=cases())
def test_a_masked_convolution_is_planned_as_its_mask_has_it(
    tmp_path: Path, host_bundle: Bundle, case: Case
) -> None:
    model = case.write(tmp_path / "case.tflite")
    (layer,) = find_layers(read_model(model))
    plan = _plan(host_bundle, model)
    (told,) = _layers(plan)
    assert (told.node, told.delegated) == (layer.index, True)
    assert (told.pixels, told.kept, told.macs) == (layer.pixels, layer.kept, layer.macs)
    assert told.rows is not None
    assert told.dense_rows is not None
    assert told.macs_computed is not None
    assert case.batch * layer.kept <= told.rows or told.path == "fill"
    assert told.dense_rows >= case.batch * layer.pixels
    if told.path == "live-taps":
        assert told.rows == case.batch * layer.kept
    elif layer.pixels:
        assert told.macs_computed == told.rows * layer.macs // (case.batch * layer.pixels)
    if layer.kept == 0:
        assert (told.path, told.macs_computed) == ("fill", 0)
    assert (told.why_all_pixels == FULL) == (layer.kept == layer.pixels and case.form is not None)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(case=look_alikes())
@example(case=LookAlike(mask_shape="number", kept="none"))
@example(case=LookAlike(form="multiply", mask_shape="number", kept="none"))
@example(case=LookAlike(form="old", reader="operator"))
@example(case=LookAlike(activation="tanh", fill="pixels"))
@example(case=LookAlike(dtype="int8", form="multiply", reader="output"))
def test_python_and_the_runtime_agree_on_what_is_skipped_and_why_not(
    tmp_path: Path, host_bundle: Bundle, case: LookAlike
) -> None:
    _agree(host_bundle, case, tmp_path / "case.tflite")


@pytest.mark.parametrize(("name", "value"), [(name, v) for name in CHOICES for v in CHOICES[name]])
def test_they_agree_on_each_way_to_differ(
    tmp_path: Path, host_bundle: Bundle, name: str, value: Any
) -> None:
    _agree(host_bundle, LookAlike(**{name: value}), tmp_path / "case.tflite")
    for form in ("multiply", "swapped"):
        made = {"form": form, **{name: value}}
        _agree(host_bundle, LookAlike(**made), tmp_path / "case.tflite")


def _agree(bundle: Bundle, case: LookAlike, path: Path) -> None:
    model = case.write(path)
    (layer,) = find_layers(read_model(model))
    plan = _plan(bundle, model)
    (told,) = (each for each in plan.plan or [] if each.node == layer.index)
    skips = told.kept is not None and told.kept != told.pixels
    if layer.mask is None:
        assert not skips
        return
    if layer.mask.skipped:
        assert told.kept == layer.kept
        assert told.why_all_pixels == (FULL if layer.kept == layer.pixels else None)
        return
    assert not skips
    said = [each.why_all_pixels for each in plan.plan or [] if each.path == "tflite"]
    why = told.why_all_pixels or next(filter(None, said), None)
    reasons = [_reason(layer), *_reasons_of_parts(case, path)]
    allowed = [_said_by_the_runtime(reason) for reason in reasons]
    if case.form == "old":  # whatever else is the matter: the runtime takes a SELECT for no mask
        allowed.append("None")
    assert re.search("|".join(allowed), str(why)), (reasons, why)


def _reasons_of_parts(case: LookAlike, path: Path) -> list[str]:
    """Where several things are the matter, each may name another one: what Python says of fewer."""
    changed = {
        n: getattr(case, n) for n, (usual, *_) in CHOICES.items() if getattr(case, n) != usual
    }
    reasons = []
    for count in range(1, len(changed)):
        for names in itertools.combinations(changed, count):
            part = LookAlike(**{name: changed[name] for name in names}, seed=case.seed)
            (layer,) = find_layers(read_model(part.write(path)))
            if layer.mask is not None and not layer.mask.skipped:
                reasons.append(_reason(layer))
    return reasons


def _said_by_the_runtime(reason: str) -> str:
    """A pattern of what the runtime says of what Python gives this reason for."""
    found = [ours for theirs, ours in AGREED.items() if re.search(theirs, reason)]
    assert found, reason
    return found[0]


def _reason(layer: Layer) -> str:
    assert layer.mask is not None
    return layer.mask.reason or ""


def test_a_plan_is_what_a_run_computes(tmp_path: Path, host_bundle: Bundle) -> None:
    model = write_network(tmp_path / "net.tflite", masked=True)
    plan = _plan(host_bundle, model).plan or []
    text = _json(host_bundle, model, "--per-op", "--runs", "1", "--warmup", "0")
    ran = [op for op in parse_output(text).ops or [] if op.type != REMAINDER]
    assert [each.type for each in plan] == [op.type for op in ran]
    for each, op in zip(plan, ran, strict=True):
        assert (each.path, each.reads, each.writes) == (op.path, op.reads, op.writes)
        if op.pixels is None:
            assert each.pixels is None
            continue
        told = (each.ukernel, each.mr, each.nr, each.pixels, each.kept, each.macs_computed)
        assert told == (op.ukernel, op.mr, op.nr, op.pixels, op.kept, op.macs_computed)
        assert each.taps
        assert each.live_taps is not None
        assert op.dead_tap_share == pytest.approx(1 - each.live_taps / each.taps)


def test_the_plan_of_a_network_of_the_zoo(tmp_path: Path, host_bundle: Bundle) -> None:
    path = tmp_path / "net.tflite"
    convert(None, path, model="fashion_resnet_s20", seed=0)
    report = core_plan(load_board("host"), path, find_layers(read_model(path)), host_bundle)
    masked = [each for each in report.layers if each.skipped]
    assert len(masked) == 7
    assert report.speedup is not None
    assert report.speedup > 1.2
    for each in report.layers:
        assert each.operator is not None
        assert each.operator.delegated
        assert each.macs_computed <= each.macs_dense
    (first, *_, last) = report.layers
    assert first.operator is not None
    assert (first.operator.reads, first.operator.writes) == ("dense", "compact")
    assert last.operator is not None
    assert (last.operator.path, last.speedup) == ("gemm", 1.0)


def test_operators_of_other_kernels_are_told_with_their_place(
    tmp_path: Path, host_bundle: Bundle
) -> None:
    graph = GraphWriter()
    x = graph.tensor((1, 4, 4, 2))
    filters, bias = np.ones((2, 3, 3, 2), np.float32), np.zeros(2, np.float32)
    conv = graph.conv_2d(x, filters, bias, (1, 4, 4, 2), activation="tanh")
    model = graph.write(tmp_path / "m.tflite", [x], [graph.operator("SIN", [conv], (1, 4, 4, 2))])
    told = _plan(host_bundle, model).plan or []
    assert [(each.type, each.node, each.path) for each in told] == [
        ("CONV_2D", 0, "tflite"),
        ("SIN", 1, "tflite"),
    ]


def test_every_key_of_the_json_is_in_its_schema(tmp_path: Path, host_bundle: Bundle) -> None:
    text = _json(host_bundle, write_network(tmp_path / "net.tflite", masked=True), "--plan")
    found, schema = json.loads(text), RunnerPlan.model_json_schema(by_alias=True)
    assert set(found) == set(schema["properties"])
    assert set(found["plan"][0]) == set(schema["$defs"]["PlannedOperator"]["properties"])


def test_the_unpatched_runtime_tells_no_plan(tmp_path: Path, host_stock_bundle: Bundle) -> None:
    path = write_network(tmp_path / "net.tflite", masked=True)
    plan = _plan(host_stock_bundle, path)
    assert plan.plan is None
    assert plan.notes[-1] == "plan: only the patched runtime tells it"
    with pytest.raises(BundleError, match="is not patched"):
        core_plan(load_board("host"), path, [], host_stock_bundle)


@pytest.mark.parametrize("option", ["--per-op", "--marks", "--input=x", "--versus=x"])
def test_a_plan_runs_nothing(tmp_path: Path, host_bundle: Bundle, option: str) -> None:
    model = write_network(tmp_path / "net.tflite", masked=True)
    command = [str(host_bundle.runner), "--model", str(model), "--plan", option]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 2
    assert "--plan runs nothing" in done.stderr


def test_a_plan_in_words(tmp_path: Path, host_bundle: Bundle) -> None:
    model = write_network(tmp_path / "net.tflite", masked=True)
    command = [str(host_bundle.runner), "--model", str(model), "--plan"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert re.search(r"^\S+  Convolution .*  \d+ of \d+ pixels", done.stdout, re.MULTILINE)
