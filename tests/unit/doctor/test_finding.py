"""Findings: in which order they stand, and which of them decides how the command ends."""

from __future__ import annotations

import pytest

from toolchain.doctor.finding import Diagnosis, Finding, Findings
from toolchain.errors import BoardError, BundleError, ConnectionFailed, MissingToolError

HERE = Findings("host")


def test_faults_come_first_and_the_rest_in_the_order_of_checks() -> None:
    found = [
        HERE.ok("a", "well"),
        HERE.unknown("b", "not asked"),
        HERE.warning("c", "slow", run="x"),
        HERE.fault("d", BoardError, "broken"),
        HERE.ok("e", "well"),
        HERE.fault("f", BundleError, "missing"),
    ]
    diagnosis = Diagnosis.of(found, None)
    assert [one.check for one in diagnosis.findings] == ["d", "f", "c", "b", "a", "e"]


def test_the_first_fault_decides_the_exit_code() -> None:
    first = HERE.fault("a", MissingToolError, "missing")
    second = HERE.fault("b", BoardError, "broken")
    assert Diagnosis.of([HERE.ok("x", "well"), first, second], None).exit_code == 11
    assert Diagnosis.of([second, first], None).exit_code == 8


def test_warnings_and_what_could_not_be_asked_are_no_failure() -> None:
    found = [HERE.warning("a", "slow"), HERE.unknown("b", "not asked"), HERE.ok("c", "well")]
    assert Diagnosis.of(found, None).exit_code == 0


@pytest.mark.parametrize(
    ("hint", "fix", "runs"),
    [
        ("run: deploy build --board rpi4", "deploy build --board rpi4", True),
        ("deploy emulator start --board qemu", "deploy emulator start --board qemu", True),
        ("sudo apt-get install x", "sudo apt-get install x", True),
        ("apt-get install x", "apt-get install x", True),
        ("move it away, and run: deploy build", "move it away, and run: deploy build", False),
        ("check the network", "check the network", False),
        (None, None, False),
    ],
)
def test_a_hint_that_is_a_line_is_told_from_a_sentence(
    hint: str | None, fix: str | None, runs: bool
) -> None:
    found = HERE.told("x", BundleError("it is not there", hint=hint), "fault")
    assert (found.fix, found.runs) == (fix, runs)


def test_an_error_keeps_its_code_where_it_is_a_fault_and_loses_the_boards_name() -> None:
    error = ConnectionFailed("rpi4 (pi@pi): nobody is there")
    assert HERE.told("x", error, "fault", name="rpi4 (pi@pi)").what == "nobody is there"
    assert HERE.told("x", error, "fault").exit_code == 6
    assert HERE.told("x", error, "warning").exit_code == 0


def test_a_command_goes_before_advice() -> None:
    assert HERE.warning("x", "slow", run="line", advice="words").fix == "line"
    assert HERE.warning("x", "slow", advice="words").fix == "words"


def test_bytes_of_a_files_name_that_are_no_text_do_not_keep_it_from_being_json() -> None:
    found = HERE.warning("x", "a\udcff is bad", run="rm a\udcff")
    assert Finding.model_validate_json(found.model_dump_json()).what == "a\\xff is bad"
