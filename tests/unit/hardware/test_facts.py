from __future__ import annotations

import platform
from typing import get_args

import pytest
from pydantic import ValidationError

from toolchain.hardware import facts
from toolchain.hardware.board_file import board_names, load_board
from toolchain.hardware.facts import (
    Core,
    Isa,
    core_facts,
    core_name,
    isa_facts,
    isa_of_machine,
    played_cores,
)


@pytest.mark.parametrize("isa", get_args(Isa))
def test_what_compiles_for_an_instruction_set_also_runs_it(isa: Isa) -> None:
    known = isa_facts(isa)
    assert {isa_of_machine(machine) for machine in known.machines} == {isa}
    assert set(known.machines) <= set(known.runs_on)


def test_this_machine_has_an_instruction_set() -> None:
    assert isa_of_machine(platform.machine()) in get_args(Isa)


@pytest.mark.parametrize("name", [name for name in board_names() if name != "host"])
def test_the_core_of_every_board_that_ships_is_played(name: str) -> None:
    board = load_board(name)
    cores = {core_facts(core).name for core in played_cores(board.isa)}
    assert board.cpu in cores


@pytest.mark.parametrize("isa", get_args(Isa))
def test_the_tests_of_an_instruction_set_run_on_its_board_and_core(isa: Isa) -> None:
    known = isa_facts(isa)
    assert load_board(known.test_board).isa == isa
    if known.qemu_user:
        assert known.test_core in played_cores(isa)


@pytest.mark.parametrize("core", get_args(Core))
def test_a_core_is_known_by_its_part_number(core: Core) -> None:
    known = core_facts(core)
    assert core_name(known.part) == known.name


def test_what_a_played_core_has_is_called_as_its_kernel_calls_it() -> None:
    words = set(played_cores("aarch64")["cortex-a76"].features.split())
    assert {"asimddp", "fphp", "lrcpc"} <= words & set(isa_facts("aarch64").hwcap)


def test_an_unknown_part_has_no_name() -> None:
    assert core_name(0xFFF) is None


def test_a_core_that_no_type_names_is_refused() -> None:
    whole = facts._facts().model_dump()
    whole["core"]["cortex-a35"]["played"] = whole["core"]["cortex-a53"]["played"]
    with pytest.raises(ValidationError, match="Isa and Core"):
        facts._Facts.model_validate(whole)
