from __future__ import annotations

import pytest

from support.aarch64_words import back, word
from toolchain.timing.instructions import FLAGS, UNKNOWN, Instruction, decode, decode_word

V = 32


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (
            word("fmla", 0, 1, 2),
            Instruction(
                "fp_multiply_add", "q", "fmla v0.4s, v1.4s, v2.4s",
                reads=(V + 1, V + 2), writes=(V,), accumulates=V,
            ),
        ),
        (
            word("fmadd", 0, 1, 2, 3),
            Instruction(
                "fp_multiply_add_scalar", "d", "fmadd s0, s1, s2, s3",
                reads=(V + 1, V + 2), writes=(V,), accumulates=V + 3,
            ),
        ),
        (
            word("madd w", 0, 1, 2, 3),
            Instruction(
                "multiply", "w", "madd w0, w1, w2, w3", reads=(1, 2), writes=(0,), accumulates=3
            ),
        ),
        (
            word("ldr q post", 7, 3),
            Instruction(
                "load_vector", "q", "ldr q7, [x3], #0x10", writes=(V + 7,), address=(3,),
                write_back=3,
            ),
        ),
        (
            word("ld1 x4 post", 4, 2),
            Instruction(
                "ld1_4", "q", "ld1 {v4.4s, v5.4s, v6.4s, v7.4s}, [x2], #64",
                writes=(V + 4, V + 5, V + 6, V + 7), address=(2,), write_back=2,
            ),
        ),
        (
            word("str x", 5, 31),
            Instruction("store", "x", "str x5, [sp]", reads=(5,), address=(31,)),
        ),
        (
            word("subs 1", 2, 2),
            Instruction("alu", "x", "subs x2, x2, #1", reads=(2,), writes=(2, FLAGS)),
        ),
        (word("fcmp", 0, 1, 2), Instruction("fp_compare_flags", "d", "fcmp s1, s2",
            reads=(V + 1, V + 2), writes=(FLAGS,))),
        (word("cset", 3), Instruction("select", "x", "cset x3, ne", reads=(FLAGS,), writes=(3,))),
        (word("ret"), Instruction("branch_register", "x", "ret", reads=(30,), branch=True)),
    ],
)  # fmt: skip
def test_what_an_instruction_reads_and_writes(code: bytes, expected: Instruction) -> None:
    assert decode_word(code) == expected


@pytest.mark.parametrize(
    ("code", "register"),
    [
        (word("mov d[1]", 4, 1), V + 4),
        (word("ld1 lane", 4, 1), V + 4),
        (word("sqxtn2", 4, 1), V + 4),
        (word("orr immediate", 4), V + 4),
        (word("movk", 4), 4),
    ],
)
def test_what_writes_a_part_of_a_register_reads_it(code: bytes, register: int) -> None:
    instruction = decode_word(code)
    assert register in instruction.reads
    assert instruction.writes == (register,)


@pytest.mark.parametrize(
    ("code", "kind", "form"),
    [
        (word("add", 0, 1, 2), "alu", "x"),
        (word("add lsl 3", 0, 1, 2), "alu_shift", "small"),
        (word("add lsl 8", 0, 1, 2), "alu_shift", "x"),
        (word("vector add", 0, 1, 2), "int_add", "q"),
        (word("lsl", 0, 1), "bitfield", "x"),
        (word("sadalp", 0, 1), "int_accumulate_long", "q"),
        (word("sdot", 0, 1, 2), "dot", "q"),
        (word("xtn", 0, 1), "narrow", "d"),
        (word("fcvtn", 0, 1), "fp_narrow", "h"),
        (word("dup", 0, 1), "general_to_all", "q"),
        (word("fmov x, d", 0, 1), "vector_to_general", "d"),
        (word("tbl", 0, 1, 2), "tbl1", "q"),
        (word("ld1r", 0, 1), "ld1r", "q"),
        (word("ld1 lane", 0, 1), "ld1_lane", ""),
        (word("ldp q", 0, 1, 0, 2), "load_vector_pair", "q"),
        (word("prfm", 0, 1), "prefetch", "w"),
        (word("nop"), "nop", "x"),
    ],
)
def test_classes(code: bytes, kind: str, form: str) -> None:
    instruction = decode_word(code)
    assert (instruction.kind, instruction.form) == (kind, form)


def test_a_branch_with_a_condition_reads_the_flags() -> None:
    assert decode_word(back(3)).reads == (FLAGS,)


def test_what_is_no_instruction_is_of_the_unknown_class() -> None:
    assert decode_word(b"\xff" * 4).kind == UNKNOWN
    assert decode_word(word("smmla", 0, 1, 2)).kind == UNKNOWN


def test_straight_code_is_decoded_in_its_order() -> None:
    texts = [it.text for it in decode(word("nop") + word("ret"))]
    assert texts == ["nop", "ret"]
