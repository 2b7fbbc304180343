"""A sample of the chains of operators on the cross-built runner, as on several cores.

The reference is this machine's stock interpreter, as in tests/native/test_operators.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from support.bundles import CrossBuilt
from support.operator_chains import (
    TOGETHER,
    VARIANTS,
    Variant,
    check,
    kinds_of,
    random_chains,
    write_chains,
)
from support.operator_kinds import Kind
from support.runtimes import ByRunner
from toolchain.build.bundle import Bundle
from toolchain.build.qemu_user import emulator_command
from toolchain.hardware.facts import Core

CORES: tuple[Core, ...] = ("cortex-a53", "cortex-a72", "cortex-a76")


@pytest.fixture(scope="module", params=CORES)
def on_core(
    request: pytest.FixtureRequest, qemu_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> ByRunner:
    command = emulator_command(request.param, tmp_path_factory.mktemp("root"))
    return ByRunner(qemu_bundle, under=tuple(command))


@pytest.mark.parametrize("variant", VARIANTS)
def test_chains_of_operators_on_each_core(
    tmp_path: Path, on_core: ByRunner, variant: Variant
) -> None:
    assert _faults(tmp_path, on_core, variant, random_chains(variant, 24, seed=4), seed=4) == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_operator_alone_and_behind_a_mean(
    tmp_path: Path, cross_built: CrossBuilt, variant: Variant
) -> None:
    runner = ByRunner(cross_built.bundle, under=cross_built.emulator)
    kinds = kinds_of(variant)
    mean = next(kind for kind in kinds if kind.name == "MEAN")
    drawn: list[tuple[Kind, ...]] = [(kind,) for kind in kinds]
    drawn += [(mean, kind) for kind in kinds]
    assert _faults(tmp_path, runner, variant, drawn, seed=5) == []


def _faults(
    folder: Path, runner: ByRunner, variant: Variant, drawn: list[tuple[Kind, ...]], seed: int
) -> list[str]:
    found = []
    for start in range(0, len(drawn), TOGETHER):
        together = drawn[start : start + TOGETHER]
        model = write_chains(folder / "chains.tflite", variant, together, (seed, start))
        found += check(runner, model, threads=1 + start // TOGETHER % 3)
    return found
