from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rich.console

from support.profiles import measurement, profile_of, with_operators
from support.runner_outputs import runner_output
from support.timed_ops import LIVE, conv, listed, other, two_layers
from toolchain.profile.document import Measurement, Profile
from toolchain.profile.runner_output import Op
from toolchain.profile.timed_operators import timed_rows
from toolchain.report.operator_table import operator_tables
from toolchain.timing.roof import Roof, roof_of_board


def shown(profile: Profile, width: int = 200, *, wide: bool = False) -> list[str]:
    console = rich.console.Console(width=width)
    with console.capture() as capture:
        console.print(operator_tables(profile, width, wide=wide))
    return capture.get().splitlines()


def model(name: str, ops: list[Op]) -> Measurement:
    output = runner_output(ops=True).model_copy(update={"ops": ops})
    return measurement(name, output)


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    layers = two_layers(tmp_path)
    dense = with_operators(
        model("dense", listed(conv(100.0), other(10.0), conv(200.0))), two_layers(tmp_path, 0)
    )
    first, second = (layer.kept for layer in layers)
    ops = listed(
        conv(60.0, kept=first, kernel=LIVE, dead=0.125),
        other(10.0, "Add (ND, F32)", delegated=False).model_copy(
            update={"why_not_delegated": "unsupported type \x1b[31mINT16 in tensor #3"}
        ),
        conv(190.0, kept=second),
    )
    return profile_of(dense, with_operators(model("masked", ops), layers, dense))


def cells(lines: list[str], name: str) -> list[str]:
    (row,) = [line for line in lines if line.startswith(f"│ {name} ")]
    return [cell.strip() for cell in row.strip("│").split("│")]


def test_one_row_a_layer_dense_beside_masked(profile: Profile) -> None:
    lines = shown(profile)
    first, second = (layer.name for layer in profile.measurements[1].layers)
    assert cells(lines, first)[1:] == [
        "3x3", "3 -> 8, 16x16", "198/256", "100 µs", "60 µs", "1.667", "22.6%", "1.293", "12.5%",
        "922 M", "-17.3 µs", "",
    ]  # fmt: skip
    assert "1.053" in cells(lines, second)
    assert sum("masked beside dense" in line for line in lines) == 1


def test_what_loses_most_comes_first_with_its_reason(profile: Profile) -> None:
    lines = shown(profile)
    first, second = (layer.name for layer in profile.measurements[1].layers)
    order = [line.split()[1] for line in lines if line.startswith("│")]
    assert order.index(second) < order.index(first)
    assert cells(lines, second)[-2:] == ["47 µs", "[1]"]
    assert any(line.startswith("[1] ") for line in lines)


def test_an_operator_that_xnnpack_does_not_run_is_marked_with_its_cost_and_reason(
    profile: Profile,
) -> None:
    lines = shown(profile)
    first = profile.measurements[0].layers[0].name
    assert cells(lines, f"Add after {first} *")
    assert (
        "*: TensorFlow Lite's own kernels run it, not XNNPACK (10 µs, 3.8% of the whole)." in lines
    )
    reason = "unsupported type \\x1b[31mINT16 in tensor #3"
    assert f"* Add after {first} (10 µs, 3.8%): {reason}." in lines


def test_how_fast_a_layer_is_stands_beside_what_the_cores_can_do(tmp_path: Path) -> None:
    layers = two_layers(tmp_path)
    item = model("masked", listed(conv(60.0), other(10.0), conv(190.0)))
    roof = roof_of_board({"Cortex-A72": 4}, 1500, 1)
    assert isinstance(roof, Roof)
    rows = timed_rows(None, (item.output.ops or [], layers), roof)
    row = rows[0]
    assert row.macs_computed == layers[0].macs
    assert row.macs_per_second == pytest.approx(layers[0].macs / 60e-6)
    assert row.of_peak == pytest.approx(layers[0].macs / 60e-6 / (4 * 1.5e9))
    lines = shown(profile_of(item.model_copy(update={"operators": rows})))
    assert f"{row.of_peak:.1%}" in cells(lines, layers[0].name)
    assert any("these cores can do at most" in line for line in lines)


def test_what_an_inference_takes_around_itself_is_told(profile: Profile) -> None:
    item = profile.measurements[1]
    assert item.output.per_op
    assert item.median_us == 1000.0
    per_op = item.output.per_op.model_copy(
        update={"input_copy_us": 3.0, "output_copy_us": 0.5, "total_us": 1025.0}
    )
    output = item.output.model_copy(update={"load_us": 4.0, "per_op": per_op})
    lines = shown(profile_of(item.model_copy(update={"output": output})))
    assert (
        "All rows take 1.02 ms together, 2.5% more than the median of the runs that are not looked "
        "into." in lines
    )
    assert (
        "Around an inference of masked: load the file 4 µs, prepare the model 6 µs, the first run "
        "20 µs, copy the input 3 µs, copy the output 0.5 µs." in lines
    )


def test_micro_kernels_are_named_when_asked_for(profile: Profile) -> None:
    assert not any("aarch64_neonfma" in line for line in shown(profile))
    wide = shown(profile, wide=True)
    assert any("6x8__aarch64_neonfma" in line for line in wide)


def test_paths_and_layouts_are_told_when_asked_for(tmp_path: Path) -> None:
    ways = [
        {"path": "live-taps", "reads": "dense", "writes": "compact"},
        {"path": "tflite", "reads": "dense", "writes": "dense"},
        {},
    ]
    ops = [conv(60.0, kept=192, kernel=LIVE), other(10.0, delegated=False), conv(90.0)]
    told = [op.model_copy(update=way) for op, way in zip(ops, ways, strict=True)]
    item = with_operators(model("m", listed(*told)), two_layers(tmp_path))
    lines = shown(profile_of(item), wide=True)
    first, second = (layer.name for layer in item.layers)
    assert {"live-taps", "dense to compact"} <= {*cells(lines, first)}
    assert {"tflite", "dense"} <= {*cells(lines, f"Add after {first} *")}
    assert not {"live-taps", "tflite", "dense"} & {*cells(lines, second)}
    assert not any("dense to compact" in line for line in shown(profile_of(item)))


def test_a_model_alone_has_a_table_in_the_order_of_execution(profile: Profile) -> None:
    alone = profile.model_copy(update={"measurements": profile.measurements[:1]})
    lines = shown(alone)
    first, second = (layer.name for layer in alone.measurements[0].layers)
    assert [line[1:].split("  ")[0].strip(" │") for line in lines if line.startswith("│")] == [
        first, f"Add after {first}", second, "outside of operators",
    ]  # fmt: skip
    assert not any("lost" in line for line in lines)


@pytest.mark.parametrize("width", [50, 70, 80, 100, 160])
def test_names_of_layers_are_whole_at_every_width(profile: Profile, width: int) -> None:
    lines = shown(profile, width, wide=True)
    assert max(map(len, lines)) <= width
    for layer in profile.measurements[1].layers:
        assert any(layer.name in line for line in lines)


@pytest.mark.parametrize("width", range(34, 90, 4))
def test_a_reason_is_told_where_its_number_stands_in_the_table(
    profile: Profile, width: int
) -> None:
    lines = shown(profile, width)
    in_table = any("│" in line and " [1] │" in line for line in lines)
    assert any(line.startswith("[1] ") for line in lines) is in_table


@pytest.mark.parametrize("seed", range(5))
def test_the_order_is_that_of_what_is_lost(tmp_path: Path, seed: int) -> None:
    """Whatever the times: at the top is the row that the ideal would have saved most of."""
    chance = np.random.default_rng(seed)
    layers = two_layers(tmp_path)
    dense = with_operators(
        model("dense", listed(conv(chance.uniform(50, 500)), conv(chance.uniform(50, 500)))),
        two_layers(tmp_path, 0),
    )
    ops = listed(*(conv(chance.uniform(50, 500), kept=192) for _ in range(2)))
    masked = with_operators(model("masked", ops), layers, dense)
    lines = shown(profile_of(dense, masked))
    order = [line.split()[1] for line in lines if line.startswith("│")]
    most = max(masked.operators, key=lambda row: row.lost)
    assert order[0] == most.name.split()[0]
