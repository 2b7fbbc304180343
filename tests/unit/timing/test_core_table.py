from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest
from pydantic import ValidationError

from support.aarch64_words import word
from toolchain.timing.core_table import TIMED_CORES, TimedCore, core_table, unknown
from toolchain.timing.instructions import UNKNOWN, Instruction, decode_word

_REAL = Path(__file__).with_name("real_instructions.txt")


def _real_instructions() -> list[Instruction]:
    """One of each kind that real programs have, checked against its text."""
    found = []
    for line in _REAL.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            code, _, text = line.partition(" ")
            instruction = decode_word(int(code, 16).to_bytes(4, "little"))
            assert instruction.text == text
            found.append(instruction)
    return found


def _is_of_armv8_2(instruction: Instruction) -> bool:
    mnemonic = instruction.mnemonic
    return mnemonic in ("sdot", "udot") or instruction.form.endswith("h") or "fmlal" in mnemonic


def _is_of_armv8_1(instruction: Instruction) -> bool:
    return instruction.kind == "atomic"


def test_the_programs_that_were_looked_at_have_many_kinds_of_instructions() -> None:
    assert len(_real_instructions()) > 500


@pytest.mark.parametrize("core", TIMED_CORES)
def test_a_core_knows_each_instruction_of_real_programs(core: TimedCore) -> None:
    table = core_table(core)
    needed = [
        it
        for it in _real_instructions()
        if core == "cortex-a76" or not (_is_of_armv8_2(it) or _is_of_armv8_1(it))
    ]
    assert not unknown(needed, table)


@pytest.mark.parametrize("core", TIMED_CORES)
def test_every_figure_has_its_source(core: TimedCore) -> None:
    table = core_table(core)
    assert all(rows.source for rows in table.classes.values())
    assert {"width", "decode", "fetch_bytes", "taken_bubble", "refill", "ports"} <= set(
        table.sources
    )


@pytest.mark.parametrize("core", TIMED_CORES)
def test_what_is_unknown_costs_what_the_table_says_and_is_counted(core: TimedCore) -> None:
    table = core_table(core)
    matrix = decode_word(word("smmla", 0, 1, 2))
    known = decode_word(word("nop"))
    stated = table.classes[UNKNOWN].forms["any"]
    assert table.plan(matrix).latency == stated.latency
    assert unknown([matrix, known, matrix], table) == {"smmla": 2}


@pytest.mark.parametrize("core", TIMED_CORES)
def test_tables_lie_in_the_package(core: TimedCore) -> None:
    assert resources.files("toolchain.timing").joinpath(f"cores/{core}.toml").is_file()


def test_tables_differ_in_their_digest_if_in_a_figure() -> None:
    table = core_table("cortex-a72")
    assert table.digest == table.changed().digest
    assert len({core_table(core).digest for core in TIMED_CORES}) == len(TIMED_CORES)
    assert table.changed(width=4).digest != table.digest


@pytest.mark.parametrize("wrong", ["Q", "F*", "F F0*x", "L,F"])
def test_a_micro_operation_on_no_port_is_refused(wrong: str) -> None:
    table = core_table("cortex-a72")
    rows = table.classes["alu"]
    bad = rows.forms["any"].model_copy(update={"uops": wrong})
    with pytest.raises(ValidationError, match="no micro-operation"):
        table.changed(
            classes={**table.classes, "alu": rows.model_copy(update={"forms": {"any": bad}})}
        )


@pytest.mark.parametrize(
    ("code", "halves"),
    [
        (word("fmla", 0, 1, 2), 2),
        (word("xtn", 0, 1), 1),
        (word("sqxtn2", 0, 1), 1),
        (word("ldr d", 0, 1), 1),
        (word("ldr q", 0, 1), 2),
        (word("ld1 x4 post", 0, 1), 8),
        (word("add", 0, 1, 2), 0),
        (word("str q", 0, 1), 0),
    ],
)
def test_halves_of_vectors_that_are_written(code: bytes, halves: int) -> None:
    assert core_table("cortex-a72").plan(decode_word(code)).halves == halves
