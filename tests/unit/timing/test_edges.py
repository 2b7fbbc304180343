from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from support.aarch64_words import back, word
from toolchain.timing import edges, pipeline
from toolchain.timing.core_table import TIMED_CORES, TimedCore, core_table
from toolchain.timing.edges import edge_cycles, simulated_edges, unknown_instructions
from toolchain.timing.instructions import decode
from toolchain.timing.pipeline import TablePipeline, steady_cycles


@dataclass(frozen=True)
class Block:
    address: int
    code: bytes

    @property
    def instructions(self) -> int:
        return len(self.code) // 4


def blocks(*codes: list[bytes]) -> list[Block]:
    """One behind the other."""
    made: list[Block] = []
    address = 0
    for code in codes:
        made.append(Block(address, b"".join(code)))
        address += 4 * len(code)
    return made


BODY = [
    word("ldr q post", 30, 0),
    word("ldr q post", 31, 1),
    *(word("fmla", at, 30, 31) for at in range(10)),
    word("subs 1", 2, 2),
    back(13),
]
BEFORE = [word("movi", 0), word("movi", 1), word("add", 3, 4, 5)]
AFTER = [word("str q", 0, 6), word("ret")]


@pytest.mark.parametrize("core", TIMED_CORES)
def test_a_loop_costs_what_it_takes_when_it_runs_steadily(core: TimedCore) -> None:
    program = blocks(BEFORE, BODY, AFTER)
    counts = {(-1, 0): 1, (0, 1): 1, (1, 1): 999, (1, 2): 1}
    found = simulated_edges(program, counts, TablePipeline(core_table(core)))
    steady = steady_cycles(decode(program[1].code), core_table(core), program[1].address)
    assert found[1, 1] == pytest.approx(steady, rel=0.01)


@pytest.mark.parametrize("core", TIMED_CORES)
def test_the_edges_of_a_loop_of_several_blocks_add_up_to_it(core: TimedCore) -> None:
    """QEMU splits straight code where a page ends; the cost is the same."""
    program = blocks(BEFORE, BODY[:5], BODY[5:9], BODY[9:], AFTER)
    times = 1000
    counts = {(-1, 0): 1, (0, 1): 1, (1, 2): times, (2, 3): times, (3, 1): times - 1, (3, 4): 1}
    found = simulated_edges(program, counts, TablePipeline(core_table(core)))
    whole = decode(b"".join(BODY))
    steady = steady_cycles(whole, core_table(core), program[1].address)
    assert found[1, 2] + found[2, 3] + found[3, 1] == pytest.approx(steady, rel=0.01)


@pytest.mark.parametrize("core", TIMED_CORES)
def test_a_longer_path_changes_less_than_a_hundredth(
    core: TimedCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = blocks(BEFORE, BODY, [word("fadd", 20, 20, 21), *AFTER[:1], back(15)], AFTER)
    counts = {(-1, 0): 1, (0, 1): 1, (1, 1): 3000, (1, 2): 500, (2, 1): 499, (2, 3): 1}
    table = TablePipeline(core_table(core))

    def total() -> float:
        found = simulated_edges(program, counts, table)
        return sum(found[edge] * count for edge, count in counts.items())

    usual = total()
    monkeypatch.setattr(pipeline, "CONTEXT", dict.fromkeys(pipeline.CONTEXT, 4096))
    assert usual == pytest.approx(total(), rel=0.01)


def test_the_walk_takes_each_predecessor_as_often_as_the_program_does() -> None:
    """A loop of two iterations: its first one waits for what is computed before it."""
    chain = [word("fmla", 0, 0, 31)] * 8
    use = [word("fmla", 1, 0, 31), word("subs 1", 2, 2), back(2)]
    program = blocks(chain, use)
    found = simulated_edges(
        program,
        {(0, 1): 100, (1, 1): 100, (1, 0): 99},
        TablePipeline(core_table("cortex-a72")),
    )
    assert found[0, 1] > found[1, 1]


def test_what_is_left_out_costs_what_the_rest_does_on_average() -> None:
    rare = [word("add", at, at, 20) for at in range(4)]
    program = blocks(BODY, rare)
    counts = {(-1, 0): 1, (0, 0): 100_000, (0, 1): 1, (1, 0): 1}
    found = simulated_edges(program, counts, TablePipeline(core_table("cortex-a72")))
    assert found[0, 1] == pytest.approx(found[0, 0] / len(BODY) * len(rare))


@pytest.mark.parametrize("core", TIMED_CORES)
def test_edges_are_the_same_each_time(core: TimedCore) -> None:
    program = blocks(BEFORE, BODY, AFTER)
    counts = {(0, 1): 3, (1, 1): 40, (1, 2): 3, (2, 0): 2}
    table = TablePipeline(core_table(core))
    assert simulated_edges(program, counts, table) == simulated_edges(program, counts, table)


def test_instructions_without_a_row_are_counted_as_often_as_they_ran() -> None:
    program = blocks([word("smmla", 0, 1, 2), word("nop")], [word("smmla", 0, 1, 2)] * 2)
    counts = {(-1, 0): 1, (0, 1): 10, (1, 0): 9}
    found = unknown_instructions(program, counts, core_table("cortex-a76"))
    assert found == {"smmla": 10 + 2 * 10}


def test_costs_are_kept_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILESKIP_CACHE", str(tmp_path))
    program = blocks(BEFORE, BODY, AFTER)
    counts = {(0, 1): 3, (1, 1): 40, (1, 2): 3, (2, 0): 2}
    table = core_table("cortex-a72")
    first = edge_cycles(program, counts, TablePipeline(table))
    with monkeypatch.context() as patch:
        patch.setattr(edges, "simulated_edges", None)  # it is not computed again
        assert edge_cycles(program, counts, TablePipeline(table)) == first
    changed = table.changed(vector_halves=0, width=2)
    other = edge_cycles(program, counts, TablePipeline(changed))
    assert other != first
