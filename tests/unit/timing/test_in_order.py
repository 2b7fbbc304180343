from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.aarch64_words import word
from toolchain.timing.core_table import CoreTable, Plan, core_table
from toolchain.timing.instructions import decode
from toolchain.timing.pipeline import retirement, steady_cycles

A53 = core_table("cortex-a53")
FMLA = [word("fmla", at, 30, 31) for at in range(16)]


def cycles(*words: bytes, core: CoreTable = A53) -> float:
    """Of an iteration of a loop without its branch."""
    return steady_cycles(decode(b"".join(words)), core)


def test_two_halves_of_64_bits_make_one_multiply_add_of_128_a_cycle() -> None:
    assert cycles(*FMLA) == 16
    assert cycles(*(word("fmadd", at, 30, 31, at) for at in range(16))) == 8


def test_a_chain_of_multiply_adds_is_forwarded_into_accumulators_alone() -> None:
    assert cycles(word("fmla", 0, 30, 31)) == 4
    assert cycles(word("fmla", 0, 0, 31)) == 8
    assert cycles(word("smlal", 0, 30, 31)) == 1


@pytest.mark.parametrize(
    "partner",
    [word("ldr x", 1, 20), word("add", 2, 3, 4), word("str x", 1, 20), word("nop")],
    ids=["load of 64 bits of integers", "addition", "store", "nop"],
)
def test_what_goes_with_a_multiply_add_of_128_bits(partner: bytes) -> None:
    assert cycles(*(step for fmla in FMLA for step in (fmla, partner))) == 16


@pytest.mark.parametrize(
    ("partner", "alone"),
    [(word("ldr d", 20, 20), 1), (word("ldr q", 20, 20), 2), (word("vector add", 20, 21, 22), 1)],
    ids=["load of 64 bits of a vector", "load of 128 bits", "another of 128 bits"],
)
def test_what_does_not_go_with_a_multiply_add_of_128_bits(partner: bytes, alone: int) -> None:
    table = A53.changed(load_after_multiply_add=0)
    steps = [step for fmla in FMLA for step in (fmla, partner)]
    assert cycles(*steps, core=table) == 16 * (1 + alone)


def test_a_load_of_64_bits_of_a_vector_goes_with_an_insert() -> None:
    pairs = [
        step for at in range(4) for step in (word("ldr d", at, 20), word("mov d[1]", 9 + at, 1))
    ]
    assert cycles(*pairs) == 4


def test_what_has_128_bits_is_the_first_of_its_cycle() -> None:
    first = retirement(_plans([word("add", 2, 3, 4), word("fmla", 0, 30, 31)]), A53)
    second = retirement(_plans([word("fmla", 0, 30, 31), word("add", 2, 3, 4)]), A53)
    assert (first[-1], second[-1]) == (2, 1)


def test_two_additions_go_together_unless_one_needs_the_other() -> None:
    assert cycles(*(word("add", at, at, 20) for at in range(4))) == 2
    assert cycles(word("add", 0, 0, 20)) == 1


def test_two_loads_do_not_go_together() -> None:
    assert cycles(*(word("ldr x", at, 20) for at in range(4))) == 4


def test_a_shifted_operand_is_needed_a_cycle_earlier() -> None:
    assert cycles(word("lsl", 0, 0)) == 2
    assert cycles(word("add lsl 8", 0, 1, 0)) == 2


def test_latencies_of_loads_and_of_addresses() -> None:
    following = cycles(word("ldr x", 0, 0))
    assert following == 3
    # A load, an addition, a load by the sum: measured as 5.
    assert cycles(word("ldr x", 0, 0), word("add", 0, 0, 20)) == 5


def test_the_update_of_an_address_is_there_for_the_next_access() -> None:
    assert cycles(word("ld1 x4 post", 0, 0), word("ld1 x4 post", 4, 0)) == 16


def test_no_vector_is_loaded_in_the_fourth_cycle_after_a_multiply_add() -> None:
    """The pattern of ncnn's kernels for the A53 is three multiply-adds and a load."""
    pattern = [word("ldr d", 20, 20), word("mov d[1]", 21, 1), *FMLA[:3]]
    late = [word("ldr d", 20, 20), word("mov d[1]", 21, 1), *FMLA[:4]]
    assert cycles(*pattern) == 4
    assert cycles(*late) > 5
    assert cycles(*late, core=A53.changed(load_after_multiply_add=0)) == 5


def test_divisions_do_not_overlap() -> None:
    assert cycles(word("sdiv w", 0, 1, 2), word("sdiv w", 3, 1, 2)) == 16


# --- any sequence --------------------------------------------------------------------------------

_POOL = (
    [word("fmla", d, n, 31) for d in range(4) for n in range(2)]
    + [word("ldr q", d, 0) for d in range(3)]
    + [word("ldr d", d, 0) for d in range(3)]
    + [word("ldr q post", d, 1) for d in range(3)]
    + [word("str q", d, 2) for d in range(3)]
    + [word("add", d, d + 1, 5) for d in range(4)]
    + [word("add lsl 8", 3, 4, 5), word("mul x", 4, 3, 5), word("sdiv w", 6, 4, 5)]
    + [word("smull", 1, 2, 3), word("smlal", 1, 2, 3), word("sadalp", 2, 1), word("movi", 3)]
    + [word("mov d[1]", 2, 4), word("dup", 0, 4), word("ld1r", 1, 0), word("ld1 x4 post", 0, 1)]
)
_SEQUENCES = st.lists(st.sampled_from(_POOL), min_size=1, max_size=60)


def _plans(words: list[bytes]) -> list[Plan]:
    return [A53.plan(it) for it in decode(b"".join(words))]


@settings(max_examples=100, deadline=None)
@given(words=_SEQUENCES, more=st.sampled_from(_POOL))
def test_any_sequence_repeats_in_order_and_grows(words: list[bytes], more: bytes) -> None:
    retired = retirement(_plans(words), A53)
    assert retired == retirement(_plans(words), A53)
    assert all(before <= after for before, after in pairwise(retired))
    assert retirement(_plans([*words, more]), A53)[-1] >= retired[-1]


@settings(max_examples=100, deadline=None)
@given(words=_SEQUENCES)
def test_no_sequence_is_faster_than_two_a_cycle_or_slower_than_one_by_one(
    words: list[bytes],
) -> None:
    plans = _plans(words)
    end = retirement(plans, A53)[-1]
    assert end >= len(plans) / A53.width
    loads = sum(
        operation.cycles
        for plan in plans
        for operation in plan.operations
        if operation.ports == (list(A53.ports).index("LS"),)
    )
    assert end >= loads
    assert end <= sum(
        plan.latency + plan.issue_cycles + A53.load_after_multiply_add + 4
        + max(operation.cycles for operation in plan.operations)
        for plan in plans
    )  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(words=_SEQUENCES, at=st.integers(0, 60))
def test_an_instruction_between_others_gains_no_more_than_a_hazard(
    words: list[bytes], at: int
) -> None:
    """It may move a load past the hazard of a multiply-add."""
    end = retirement(_plans(words), A53)[-1]
    more = [*words[:at], word("nop"), *words[at:]]
    assert retirement(_plans(more), A53)[-1] >= end - A53.load_after_multiply_add
