from __future__ import annotations

from pathlib import Path

import pytest

from toolchain.errors import BoardConfigError, BoardError
from toolchain.hardware.board_file import load_board
from toolchain.hardware.facts import core_facts
from toolchain.timing.trace import START, Memory, cache_options, read_trace, traced_core

TEXT = """\
window 0 -1 7 1 1 2 3 4 5 6 7 8 9 10 11 12 -1,4,1 4,9,2
window 1 2 30 0 0 0 0 0 0 0 0 0 0 0 0 0 -1,9,10
block 4 4005c0 1f2003d5.00008052 main
block 9 4005d0 c0035fd6 -
operators 3
end
"""


def test_a_trace_is_read_as_the_plugin_writes_it() -> None:
    found = read_trace(TEXT, "{}")
    main, other = found.blocks
    assert (main.address, main.symbol, main.instructions) == (0x4005C0, "main", 2)
    assert main.code == bytes.fromhex("1f2003d500008052")
    assert (other.symbol, other.instructions) == (None, 1)
    first, second = found.windows
    assert first.operator is None
    assert (first.thread, first.instructions, first.mispredicted) == (0, 7, 1)
    assert first.memory == Memory(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
    assert first.edges == {(START, 0): 1, (0, 1): 2}
    assert (second.thread, second.operator, second.edges) == (1, 2, {(START, 1): 10})
    assert (found.instructions, found.operators, found.output) == (37, 3, "{}")


@pytest.mark.parametrize("lines", range(6))
def test_a_trace_that_is_cut_off_is_no_trace(lines: int) -> None:
    cut = "".join(TEXT.splitlines(keepends=True)[:lines])
    with pytest.raises(BoardError, match="did not finish"):
        read_trace(cut)


def test_a_trace_without_a_run_is_told() -> None:
    with pytest.raises(BoardError, match="marked no run"):
        read_trace("operators 0\nend\n")


def test_a_boards_caches_are_the_plugins_options() -> None:
    def options(name: str) -> dict[str, str]:
        board = load_board(name)
        memory = core_facts(traced_core(board)).memory
        assert board.caches is not None
        assert memory is not None
        return cache_options(board.caches, memory)

    assert options("rpi4") == {
        "l1d": "32:2:lru", "l2": "1024:16:plru:shared", "l1tlb": "32", "l2tlb": "1024:4",
        "page": "4", "streaming": "0:0",
    }  # fmt: skip
    assert options("rpi3")["streaming"] == "3:127"
    assert options("rpi5")["l2"] == "512:8:plru:private"
    assert options("rpi5")["l3"] == "2048:16:plru:exclusive"


@pytest.mark.parametrize("name", ["rpi3-armv7", "host"])
def test_a_board_whose_programs_cannot_be_traced_is_told(name: str) -> None:
    with pytest.raises(BoardConfigError, match=f"board '{name}' has .* no trace is made"):
        traced_core(load_board(name))


def test_a_core_that_is_not_played_cannot_be_traced(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('title = "x"\ncpu = "Cortex-A55"\nisa = "aarch64"\nmarch = "armv8-a"\n')
    with pytest.raises(BoardConfigError, match="Cortex-A55"):
        traced_core(load_board(str(path)))
