from __future__ import annotations

from pathlib import Path

import pytest

from toolchain.errors import BoardConfigError
from toolchain.hardware.board_file import board_names, known_caches, known_clock, load_board
from toolchain.hardware.caches import Caches, SecondTlb
from toolchain.hardware.facts import core_called, core_facts

BOARDS = [name for name in board_names() if load_board(name).caches is not None]


def written(path: Path, more: str) -> str:
    path.write_text(f'title = "x"\ncpu = "y"\nisa = "aarch64"\nmarch = "armv8-a"\n{more}')
    return str(path)


def test_every_board_with_a_64_bit_core_that_ships_has_caches_and_a_clock() -> None:
    assert BOARDS == ["rpi3", "rpi4", "rpi5", "zero2w"]
    for name in BOARDS:
        board = load_board(name)
        core = core_called(board.cpu)
        assert core is not None
        assert core_facts(core).memory is not None
        assert known_clock(board) >= 1000
        assert known_caches(board).l1d.sets == known_caches(board).l1d.bytes // 64 // (
            known_caches(board).l1d.ways
        )


@pytest.mark.parametrize("name", BOARDS)
def test_trees_of_bits_are_of_ways_that_are_a_power_of_two(name: str) -> None:
    board = load_board(name)
    core = core_called(board.cpu)
    assert core is not None
    memory, caches = core_facts(core).memory, known_caches(board)
    assert memory is not None
    levels = [(memory.l1d, caches.l1d), (memory.l2, caches.l2), (memory.l3, caches.l3)]
    for policy, cache in levels:
        assert policy != "plru" or cache is None or cache.ways in (1, 2, 4, 8, 16, 32)


def test_a_board_may_leave_caches_and_clock_out_until_they_are_needed(tmp_path: Path) -> None:
    board = load_board(written(tmp_path / "mine.toml", ""))
    with pytest.raises(BoardConfigError, match=r"board 'mine' has no \[caches\]"):
        known_caches(board)
    with pytest.raises(BoardConfigError, match="board 'mine' has no clock_mhz"):
        known_clock(board)


def test_caches_are_read_from_a_boards_file(tmp_path: Path) -> None:
    text = """clock_mhz = 1500
    [caches]
    l1d = { kib = 32, ways = 4 }
    [caches.l2]
    kib = 768
    ways = 12
    shared = false
    """
    board = load_board(written(tmp_path / "mine.toml", text))
    caches = known_caches(board)
    assert (known_clock(board), caches.l1d.sets, caches.l2.sets) == (1500, 128, 1024)
    assert (caches.l2.shared, caches.l3, caches.page_kib) == (False, None, 4)


def test_a_tlb_has_sets_of_a_power_of_two() -> None:
    assert SecondTlb(entries=1280, ways=5).entries == 1280
    with pytest.raises(ValueError, match="power of two"):
        SecondTlb(entries=1280, ways=4)
    with pytest.raises(ValueError, match="power of two"):
        SecondTlb(entries=1000, ways=7)


def test_a_core_is_found_by_the_name_that_arm_gives_it() -> None:
    assert core_called("cortex-A72") == "cortex-a72"
    assert core_called("Cortex-A55") is None


def test_the_caches_of_a_board_hold_what_they_say() -> None:
    caches = Caches.model_validate({"l1d": {"kib": 64, "ways": 4}, "l2": {"kib": 1, "ways": 16}})
    assert (caches.l1d.bytes, caches.l1d.sets, caches.l2.sets) == (65536, 256, 1)
