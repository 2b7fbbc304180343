from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.aarch64_words import back, word
from toolchain.timing.core_table import CoreTable, Plan, TimedCore, core_table
from toolchain.timing.instructions import decode
from toolchain.timing.pipeline import retirement, steady_cycles

BIG: tuple[TimedCore, ...] = ("cortex-a72", "cortex-a76")


def cycles(core: TimedCore | CoreTable, *words: bytes) -> float:
    """Of an iteration of a loop without its branch."""
    table = core if isinstance(core, CoreTable) else core_table(core)
    return steady_cycles(decode(b"".join(words)), table)


def tile(rows: int) -> list[bytes]:
    """The inner loop of a matrix product in fp32: ``rows`` rows of 8, one value of K at a time."""
    loads = [word("ldr q post", at, 0) for at in (30, 31)]
    loads += [word("ldr q post", 28, 1), word("ldr q post", 29, 1)][: (rows + 3) // 4]
    products = [
        word("fmla s[0]", 2 * row + half, 30 + half, 28 + row // 4)
        for row in range(rows)
        for half in range(2)
    ]
    body = [*loads, *products, word("subs 1", 2, 2)]
    return [*body, back(len(body))]


@pytest.mark.parametrize(("core", "each"), [("cortex-a72", 1.0), ("cortex-a76", 0.5)])
def test_independent_multiply_adds_run_at_the_limit_of_the_ports(
    core: TimedCore, each: float
) -> None:
    assert cycles(core, *(word("fmla", at, 30, 31) for at in range(16))) == 16 * each


@pytest.mark.parametrize(
    ("core", "latency", "forwarded"), [("cortex-a72", 7, 3), ("cortex-a76", 4, 2)]
)
def test_a_chain_of_multiply_adds_is_forwarded_into_accumulators_alone(
    core: TimedCore, latency: int, forwarded: int
) -> None:
    assert cycles(core, word("fmla", 0, 30, 31)) == forwarded
    assert cycles(core, word("fmla", 0, 0, 31)) == latency


@pytest.mark.parametrize("core", BIG)
def test_only_what_is_on_the_same_path_is_forwarded_into_an_accumulator(core: TimedCore) -> None:
    added = cycles(core, word("fadd", 0, 0, 31), word("fmla", 0, 30, 31))
    multiplied = cycles(core, word("fmul", 0, 0, 31), word("fmla", 0, 30, 31))
    table = core_table(core)
    add = table.plan(decode(word("fadd", 0, 0, 31))[0]).latency
    fma = table.plan(decode(word("fmla", 0, 30, 31))[0]).latency
    assert added == add + fma
    assert multiplied < added


@pytest.mark.parametrize(("core", "each"), [("cortex-a72", 1.0), ("cortex-a76", 0.5)])
def test_loads_run_at_the_limit_of_their_ports(core: TimedCore, each: float) -> None:
    assert cycles(core, *(word("ldr q", at, 0) for at in range(8))) == 8 * each
    assert cycles(core, word("ld1 x4 post", 0, 0), word("ld1 x4 post", 4, 0)) == 8 * each


@pytest.mark.parametrize("core", BIG)
def test_following_a_list_takes_the_latency_of_a_load(core: TimedCore) -> None:
    assert cycles(core, word("ldr x", 0, 0)) == 4


@pytest.mark.parametrize(("core", "each"), [("cortex-a72", 1 / 2), ("cortex-a76", 1 / 3)])
def test_additions_run_at_the_limit_of_their_ports(core: TimedCore, each: float) -> None:
    assert cycles(core, *(word("add", at, at, 30) for at in range(6))) == 6 * each


def test_three_micro_operations_are_dispatched_a_cycle() -> None:
    mixed = [word("add", 0, 0, 30), word("ldr x", 1, 20), word("str x", 2, 21)] * 4
    assert cycles("cortex-a72", *mixed) == 4
    four = [word("fmla", 0, 30, 31), word("ldr x", 1, 20), word("str x", 2, 21)] * 4
    assert cycles("cortex-a72", *(word("fmla", at, 30, 31) for at in range(4)), *four) > 8


def test_a_vector_of_128_bits_is_renamed_as_two_halves() -> None:
    moves = [word("movi", at) for at in range(6)]
    assert cycles("cortex-a72", *moves) == 4
    assert cycles(core_table("cortex-a72").changed(vector_halves=0), *moves) == 3
    narrowed = [word("xtn", at, 30) for at in range(6)]
    assert cycles("cortex-a72", *narrowed) == 3


def test_the_update_of_an_address_is_a_micro_operation() -> None:
    """Two integer ports: two additions beside two loads that update their address do not fit."""
    plain = [word("ldr q", 0, 20), word("add", 0, 0, 30), word("add", 1, 1, 30)]
    updating = [word("ldr q post", 0, 20), word("add", 0, 0, 30), word("add", 1, 1, 30)]
    assert cycles("cortex-a72", *plain) == 1
    assert cycles("cortex-a72", *updating) == 1.5


@pytest.mark.parametrize("core", BIG)
def test_the_access_does_not_wait_for_the_update_of_its_address(core: TimedCore) -> None:
    assert cycles(core, word("ldr q post", 0, 20)) == 1


@pytest.mark.parametrize("core", BIG)
def test_long_multiply_adds_share_one_port(core: TimedCore) -> None:
    assert cycles(core, *(word("smlal", at, 30, 31) for at in range(8))) == 8
    assert cycles(core, word("smlal", 0, 30, 31)) == 1
    pairs = [
        step for at in range(4) for step in (word("smull", 20, 30, 31), word("sadalp", at, 20))
    ]
    assert cycles(core, *pairs) < 2 * 4 + 1


def test_dot_products_have_both_ports() -> None:
    assert cycles("cortex-a76", *(word("sdot", at, 30, 31) for at in range(8))) == 4


@pytest.mark.parametrize(("core", "peak"), [("cortex-a72", 4), ("cortex-a76", 8)])
@pytest.mark.parametrize("rows", [4, 6])
def test_tiles_run_near_the_peak(core: TimedCore, peak: int, rows: int) -> None:
    multiply_adds = 8 * rows
    found = multiply_adds / cycles(core, *tile(rows))
    assert 0.75 * peak < found <= peak


def test_a_tile_of_one_row_takes_what_it_takes_to_dispatch_it() -> None:
    """Three loads that update their address, two multiply-adds of two each, the counter: 12."""
    assert cycles("cortex-a72", *tile(1)) == 4


def test_a_queue_that_is_full_stops_what_comes_behind_it() -> None:
    waits = [word("fmla", 0, 0, 31)] * 12
    loads = [word("ldr x", at, 20) for at in range(8)]
    long = core_table("cortex-a72").changed(
        ports=dict.fromkeys(core_table("cortex-a72").ports, 999)
    )
    table = core_table("cortex-a72")
    plans = [table.plan(it) for it in decode(b"".join(waits + loads))]
    stopped = retirement([*plans[12:], *plans[:12], *plans[12:]], table)
    free = retirement([*plans[12:], *plans[:12], *plans[12:]], long)
    assert stopped[-1] >= free[-1]


def test_the_reorder_buffer_bounds_how_far_ahead_is_worked() -> None:
    divisions = [word("sdiv w", 0, 0, 1)] + [word("add", at, 20, 21) for at in range(2, 12)] * 20
    small = core_table("cortex-a76").changed(reorder=16)
    assert cycles(small, *divisions) > cycles("cortex-a76", *divisions)


@pytest.mark.parametrize("core", BIG)
def test_a_division_stops_other_divisions_alone(core: TimedCore) -> None:
    division = word("sdiv w", 0, 1, 2)
    products = [word("madd w", at, 20, 21, at) for at in range(3, 9)]
    one = cycles(core, division)
    assert cycles(core, division, word("sdiv w", 3, 1, 2)) == 2 * one
    assert cycles(core, division, *products) == one


def test_code_is_fetched_from_aligned_places() -> None:
    table = core_table("cortex-a72")
    loop = decode(word("nop") * 2 + word("subs 1", 2, 2) + back(3))
    assert steady_cycles(loop, table, 0) <= steady_cycles(loop, table, 12)


# --- any sequence --------------------------------------------------------------------------------

_POOL = (
    [word("fmla", d, n, 31) for d in range(4) for n in range(2)]
    + [word("ldr q", d, 0) for d in range(3)]
    + [word("ldr q post", d, 1) for d in range(3)]
    + [word("str q", d, 2) for d in range(3)]
    + [word("add", d, d + 1, 5) for d in range(4)]
    + [word("add lsl 8", 3, 4, 5), word("mul x", 4, 3, 5), word("sdiv w", 6, 4, 5)]
    + [word("smull", 1, 2, 3), word("smlal", 1, 2, 3), word("sadalp", 2, 1), word("movi", 3)]
    + [word("mov d[1]", 2, 4), word("dup", 0, 4), word("ld1r", 1, 0), word("ld1 x4 post", 0, 1)]
    + [word("fmov x, d", 3, 1), word("nop"), word("xtn", 0, 1), word("fcvtn", 1, 0)]
)
_SEQUENCES = st.lists(st.sampled_from(_POOL), min_size=1, max_size=60)


def _plans(core: TimedCore, words: list[bytes]) -> list[Plan]:
    return [core_table(core).plan(it) for it in decode(b"".join(words))]


@pytest.mark.parametrize("core", BIG)
@settings(max_examples=60, deadline=None)
@given(words=_SEQUENCES)
def test_any_sequence_repeats_and_retires_in_order(core: TimedCore, words: list[bytes]) -> None:
    plans = _plans(core, words)
    retired = retirement(plans, core_table(core))
    assert retired == retirement(plans, core_table(core))
    assert all(before <= after for before, after in pairwise(retired))


@pytest.mark.parametrize("core", BIG)
@settings(max_examples=60, deadline=None)
@given(words=_SEQUENCES)
def test_no_sequence_is_faster_than_its_ports_or_slower_than_one_by_one(
    core: TimedCore, words: list[bytes]
) -> None:
    table = core_table(core)
    plans = _plans(core, words)
    end = retirement(plans, table)[-1]
    busy = [0.0] * len(table.ports)
    for plan in plans:
        for operation in plan.operations:
            for port in operation.ports:
                busy[port] += operation.cycles / len(operation.ports)
    assert end >= len(plans) / table.decode
    assert end >= sum(plan.slots for plan in plans) / table.width
    assert end >= sum(busy) / len(busy)
    one_by_one = sum(
        plan.latency
        + sum(operation.cycles + operation.after for operation in plan.operations)
        + plan.slots
        + 4
        for plan in plans
    )
    assert end <= one_by_one + len(plans)


@pytest.mark.parametrize("core", BIG)
@settings(max_examples=60, deadline=None)
@given(words=_SEQUENCES, more=st.sampled_from(_POOL))
def test_one_more_instruction_never_ends_earlier(
    core: TimedCore, words: list[bytes], more: bytes
) -> None:
    table = core_table(core)
    end = retirement(_plans(core, words), table)[-1]
    assert retirement(_plans(core, [*words, more]), table)[-1] >= end


@pytest.mark.parametrize("core", BIG)
@settings(max_examples=60, deadline=None)
@given(words=_SEQUENCES, at=st.integers(0, 60))
def test_an_instruction_between_others_gains_no_more_than_a_place_in_a_queue(
    core: TimedCore, words: list[bytes], at: int
) -> None:
    """It may send what follows to another port, as in a real core, and that may be luckier."""
    table = core_table(core)
    end = retirement(_plans(core, words), table)[-1]
    more = [*words[:at], word("nop"), *words[at:]]
    assert retirement(_plans(core, more), table)[-1] >= end - (6 + len(words) / 10)
