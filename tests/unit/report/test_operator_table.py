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
from toolchain.report.operator_table import operator_tables


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
        other(10.0, "Add (ND, F32)", delegated=False),
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
        "-17.3 µs", "",
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


def test_an_operator_that_xnnpack_does_not_run_is_marked(profile: Profile) -> None:
    lines = shown(profile)
    first = profile.measurements[0].layers[0].name
    assert cells(lines, f"Add after {first} *")
    assert any("not run by XNNPACK" in line for line in lines)


def test_micro_kernels_are_named_when_asked_for(profile: Profile) -> None:
    assert not any("aarch64_neonfma" in line for line in shown(profile))
    wide = shown(profile, wide=True)
    assert any("6x8__aarch64_neonfma" in line for line in wide)


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
