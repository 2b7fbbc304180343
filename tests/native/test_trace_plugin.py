"""What the trace's plugin plays, without QEMU: caches beside a plain reference, and branches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.plugin_player import Accesses, Player
from support.slow_memory import POLICIES, Geometry, Level, SlowCore, shared


@pytest.fixture(scope="module")
def player(tmp_path_factory: pytest.TempPathFactory) -> Player:
    return Player(tmp_path_factory.mktemp("player"))


def alone(player: Player, geometry: Geometry, accesses: Accesses) -> dict[str, int]:
    return player.counts(geometry, [(0, accesses)])[0]


def loads(lines: Sequence[int] | range) -> Accesses:
    return [(line, False) for line in lines]


def stores(lines: Sequence[int] | range) -> Accesses:
    return [(line, True) for line in lines]


# Raspberry Pi 4, all least recently used.
PI4 = Geometry(Level(512, 2), Level(16384, 16), l2_tlb=Level(1024, 4), l1_tlb=32)


# --- caches beside the reference -------------------------------------------------------------


def levels(lines: Sequence[int]) -> st.SearchStrategy[Level]:
    return st.builds(
        lambda sets, ways, policy: Level(sets * ways, ways, policy),
        st.sampled_from(lines),
        st.sampled_from([1, 2, 4, 8]),
        st.sampled_from(POLICIES),
    )


GEOMETRIES = st.builds(
    Geometry,
    l1d=levels([1, 2, 4]),
    l2=levels([1, 4, 8]),
    l3=st.none() | levels([2, 16]),
    l2_tlb=st.builds(
        lambda sets, ways: Level(sets * ways, ways), st.sampled_from([1, 2]), st.integers(1, 5)
    ),
    l2_shared=st.booleans(),
    l3_exclusive=st.booleans(),
    page_bits=st.integers(6, 9),
    l1_tlb=st.integers(1, 5),
    streaming_l1=st.integers(0, 4),
    streaming_l2=st.sampled_from([0, 3, 6]),
)


@st.composite
def patterns(draw: st.DrawFn) -> Accesses:
    """A few stretches: runs forwards and backwards, with strides, repeats, and lines by chance."""
    found: list[tuple[int, bool]] = []
    for _ in range(draw(st.integers(1, 5))):
        start, count = draw(st.integers(0, 400)), draw(st.integers(1, 30))
        if draw(st.booleans()):
            stride = draw(st.integers(-20, 20))
            lines = [max(0, start + i * stride) for i in range(count)]
        else:
            chance = np.random.default_rng(draw(st.integers(0, 1 << 30)))
            lines = [int(chance.integers(64)) for _ in range(count)]
        store = draw(st.sampled_from([lambda _: False, lambda _: True, lambda i: i % 3 == 0]))
        found += [(line, store(i)) for i, line in enumerate(lines)]
    return found


@given(geometry=GEOMETRIES, turns=st.lists(st.tuples(st.integers(0, 1), patterns()), max_size=6))
def test_caches_count_what_the_plain_reference_counts(
    player: Player, geometry: Geometry, turns: Sequence[tuple[int, Accesses]]
) -> None:
    below = shared(geometry)
    slow = [SlowCore(below, player.frame) for _ in range(2)]
    for core, accesses in turns:
        for line, store in accesses:
            slow[core].access(line, store=store)
    assert player.counts(geometry, turns) == [core.counts for core in slow]


@pytest.mark.parametrize(
    "geometry",
    [
        PI4,
        Geometry(Level(512, 4, "random"), Level(8192, 16, "random"), l2_tlb=Level(512, 4),
                 l1_tlb=10, streaming_l1=3, streaming_l2=127),
        Geometry(Level(1024, 4, "plru"), Level(8192, 8, "plru"), Level(32768, 16, "plru"),
                 Level(1280, 5), l2_shared=False, page_bits=14, l1_tlb=48),
    ],
    ids=["pi4", "pi3", "pi5"],
)  # fmt: skip
def test_the_boards_caches_count_what_the_plain_reference_counts(
    player: Player, geometry: Geometry
) -> None:
    chance = np.random.default_rng(0)
    accesses: list[tuple[int, bool]] = []
    for _ in range(60):
        start, count = int(chance.integers(1 << 17)), int(chance.integers(2000))
        stride = int(chance.choice([1, 1, 1, -1, 2, 3, 7, 40]))
        store = bool(chance.random() < 0.3)
        accesses += [(start + i * stride + (1 << 20), store) for i in range(count)]
    slow = SlowCore(shared(geometry), player.frame)
    for line, store in accesses:
        slow.access(line, store=store)
    assert alone(player, geometry, accesses) == slow.counts


@pytest.mark.parametrize(
    "geometry",
    [
        Geometry(Level(6, 2), Level(16, 4)),  # three sets
        Geometry(Level(6, 6, "plru"), Level(16, 4)),
        Geometry(Level(512, 64), Level(16384, 16)),
        Geometry(Level(4, 2), Level(16, 4), l1_tlb=65),
        Geometry(Level(4, 2), Level(16, 4), page_bits=5),
    ],
)
def test_a_geometry_that_cannot_be_played_is_refused(player: Player, geometry: Geometry) -> None:
    assert not player.plays(geometry)


# --- what is known without a reference -------------------------------------------------------


def test_what_fits_into_l1d_is_missed_once(player: Player) -> None:
    # In pages that lie anywhere, two ways of 4 KiB each hold a page without fail.
    counts = alone(player, PI4, [*loads(range(64)), *loads(range(64))])
    assert counts["l1_stream"] + counts["l1_random"] == 64


def test_what_is_read_in_order_is_a_stream_from_the_third_line_on(player: Player) -> None:
    for step in (1, -1, 15, -15):
        counts = alone(player, PI4, loads(range(1 << 20, (1 << 20) + 1000 * step, step)))
        assert (counts["l1_random"], counts["l1_stream"]) == (2, 998)
        assert (counts["l2_random"], counts["l2_stream"]) == (2, 998)


def test_several_streams_at_once_are_streams(player: Player) -> None:
    lines = [
        stream * 10_000 + (i if stream % 2 else -i) for i in range(500) for stream in range(1, 9)
    ]
    counts = alone(player, PI4, loads(lines))
    assert (counts["l1_random"], counts["l1_stream"]) == (16, 3984)


def test_what_is_read_by_chance_is_no_stream(player: Player) -> None:
    chance = np.random.default_rng(1)
    counts = alone(player, PI4, loads(chance.integers(1 << 22, size=10_000).tolist()))
    assert counts["l1_random"] > 0.999 * 10_000


def test_a_dirty_line_goes_to_memory_once(player: Player) -> None:
    written, more = 40_000, 100_000
    counts = alone(player, PI4, [*stores(range(written)), *loads(range(1 << 20, (1 << 20) + more))])
    assert counts["l1_store"] == written
    assert counts["written_back"] == written
    assert counts["l1_stream"] + counts["l1_random"] == more


def test_long_rows_of_stores_go_past_l1d_and_are_not_read(player: Player) -> None:
    geometry = Geometry(Level(512, 4), Level(8192, 16), l2_tlb=Level(512, 4), l1_tlb=10,
                        streaming_l1=3, streaming_l2=127)  # fmt: skip
    written = 100_000
    counts = alone(player, geometry, stores(range(1 << 20, (1 << 20) + written)))
    assert counts["l1_store"] == written
    assert counts["l2_store"] == 3
    # What L2 holds of it has not gone to memory yet: the first 127 lines.
    assert counts["written_back"] == written - 127


def test_a_line_that_another_core_has_does_not_come_from_memory(player: Player) -> None:
    own, third = Level(1024, 8), Level(4096, 16)
    geometry = Geometry(Level(64, 4), own, third, l2_shared=False, l3_exclusive=True, page_bits=20)
    lines = loads(range(500))
    first, second = player.counts(geometry, [(0, lines), (1, lines)])
    assert (first["l3"], second["l3"]) == (500, 0)


def test_an_exclusive_l3_adds_to_l2(player: Player) -> None:
    own, third = Level(1024, 16), Level(4096, 16)
    lines = [*range(4500), *range(4500)]
    alike = Geometry(Level(64, 4), own, third, l3_exclusive=True, page_bits=20)
    assert alone(player, alike, loads(lines))["l3"] == 4500
    inside = Geometry(Level(64, 4), own, third, l3_exclusive=False, page_bits=20)
    assert alone(player, inside, loads(lines))["l3"] > 4500


def test_pages_beyond_the_tlbs_are_walked(player: Player) -> None:
    def counted(pages: int) -> tuple[int, int]:
        counts = alone(player, PI4, loads([page * 64 for _ in range(3) for page in range(pages)]))
        return counts["tlb"], counts["walks"]

    assert counted(32) == (32, 32)
    assert counted(1024) == (3 * 1024, 1024)
    assert counted(5000)[1] == 3 * 5000


def test_two_cores_share_l2_and_nothing_above(player: Player) -> None:
    turns = [(0, loads(range(1000))), (1, loads(range(1000)))]
    first, second = player.counts(PI4, turns)
    for counts, missed in ((first, 1000), (second, 0)):
        assert counts["l1_stream"] + counts["l1_random"] == 1000
        assert counts["l2_stream"] + counts["l2_random"] == missed


@given(page_bits=st.integers(6, 24), first=st.integers(0, (1 << 24) - 1), near=st.integers(1, 5000))
def test_no_two_pages_lie_at_the_same_place(
    player: Player, page_bits: int, first: int, near: int
) -> None:
    frames = {player.frame(page, page_bits) for page in range(first, first + near)}
    assert len(frames) == near
    assert max(frames) < 1 << (48 - page_bits)


def test_pages_that_follow_each_other_lie_in_all_sets(player: Player) -> None:
    colours = [player.frame(page, 12) % 16 for page in range(16_000)]
    for colour in range(16):
        assert 800 < colours.count(colour) < 1200


# --- branches --------------------------------------------------------------------------------


@pytest.mark.parametrize("turns", [2, 3, 7, 20, 48])
def test_a_loop_of_few_turns_is_learnt(player: Player, turns: int) -> None:
    loop = [(0x400100, turn != turns - 1) for turn in range(turns)]
    assert player.mispredicted(loop * 400, 200 * turns) == 0


def test_a_long_loop_goes_wrong_once_at_its_end(player: Player) -> None:
    loop = [(0x400100, turn != 299) for turn in range(300)]
    assert player.mispredicted(loop * 40, 20 * 300) == 20


def test_a_loop_inside_a_loop_is_learnt(player: Player) -> None:
    inner = [(0x400100, turn != 4) for turn in range(5)]
    outer = [it for turn in range(6) for it in (*inner, (0x400200, turn != 5))]
    assert player.mispredicted(outer * 200, 100 * len(outer)) == 0


def test_a_pattern_of_two_branches_is_learnt(player: Player) -> None:
    pattern = [it for i in range(12) for it in ((0x400100, i % 3 == 0), (0x400200, i % 4 == 1))]
    assert player.mispredicted(pattern * 100, 50 * len(pattern)) == 0


def test_outcomes_by_chance_are_not_learnt(player: Player) -> None:
    chance = np.random.default_rng(2)
    outcomes = [(0x400100, bool(chance.random() < 0.5)) for _ in range(20_000)]
    assert 0.4 < player.mispredicted(outcomes, 10_000) / 10_000 < 0.6


def test_a_branch_that_mostly_goes_one_way_goes_wrong_as_often_as_it_does_not(
    player: Player,
) -> None:
    chance = np.random.default_rng(3)
    outcomes = [(0x400100, bool(chance.random() < 0.95)) for _ in range(20_000)]
    assert 0.04 < player.mispredicted(outcomes, 10_000) / 10_000 < 0.09


def test_an_indirect_branch_goes_where_it_went_last(player: Player) -> None:
    def wrong(targets: Sequence[int]) -> int:
        return player.mispredicted_targets(targets, len(targets) // 2)

    assert wrong([0x2000] * 100) == 0
    assert wrong([0x2000, 0x3004, 0x4008] * 200) == 0
    assert wrong([*[0x2000] * 100, *[0x3004] * 51]) == 1
    chance = np.random.default_rng(4)
    assert wrong([0x2000 + 4 * int(chance.integers(64)) for _ in range(2000)]) > 900


def test_returns_go_back_to_where_they_were_called_from(player: Player) -> None:
    assert player.mispredicted_returns(16) == 0
    assert player.mispredicted_returns(20) == 4


# --- instructions ----------------------------------------------------------------------------

GOES_ON, CONDITIONAL, CALL, INDIRECT, INDIRECT_CALL, RETURN = range(6)
# As an assembler writes them; 1 loads, 2 stores.
CODE = [
    (0x54000041, 0, CONDITIONAL, "b.ne"),
    (0xB4000040, 0, CONDITIONAL, "cbz x0"),
    (0x35000041, 0, CONDITIONAL, "cbnz w1"),
    (0x36000040, 0, CONDITIONAL, "tbz w0, #0"),
    (0xB7F80040, 0, CONDITIONAL, "tbnz x0, #63"),
    (0x14000001, 0, GOES_ON, "b"),
    (0x94000001, 0, CALL, "bl"),
    (0xD61F0200, 0, INDIRECT, "br x16"),
    (0xD63F0200, 0, INDIRECT_CALL, "blr x16"),
    (0xD65F03C0, 0, RETURN, "ret"),
    (0xD65F0BFF, 0, RETURN, "retaa"),
    (0xD4000001, 0, GOES_ON, "svc #0"),
    (0x8B010000, 0, GOES_ON, "add x0, x0, x1"),
    (0x4E22CC20, 0, GOES_ON, "fmla v0.4s, v1.4s, v2.4s"),
    (0xF9400020, 1, GOES_ON, "ldr x0, [x1]"),
    (0xF9000020, 2, GOES_ON, "str x0, [x1]"),
    (0x3DC00020, 1, GOES_ON, "ldr q0, [x1]"),
    (0x3D800020, 2, GOES_ON, "str q0, [x1]"),
    (0x3CC10420, 1, GOES_ON, "ldr q0, [x1], #16"),
    (0xBC626820, 1, GOES_ON, "ldr s0, [x1, x2]"),
    (0xAD400440, 1, GOES_ON, "ldp q0, q1, [x2]"),
    (0xA9BF7BFD, 2, GOES_ON, "stp x29, x30, [sp, #-16]!"),
    (0x4C407820, 1, GOES_ON, "ld1 {v0.4s}, [x1]"),
    (0x4D60C820, 1, GOES_ON, "ld2r {v0.4s, v1.4s}, [x1]"),
    (0x4C007820, 2, GOES_ON, "st1 {v0.4s}, [x1]"),
    (0x58000040, 1, GOES_ON, "ldr x0, =literal"),
    (0xF9800020, 0, GOES_ON, "prfm pldl1keep, [x1]"),
    (0xF8816020, 0, GOES_ON, "prfum pldl1keep, [x1, #22]"),
    (0xF8A26820, 0, GOES_ON, "prfm pldl1keep, [x1, x2]"),
    (0xD8000040, 0, GOES_ON, "prfm pldl1keep, literal"),
    (0xB9800020, 1, GOES_ON, "ldrsw x0, [x1]"),
    (0xC85F7C20, 1, GOES_ON, "ldxr x0, [x1]"),
    (0xC8027C20, 2, GOES_ON, "stxr w2, x0, [x1]"),
    (0xC8DFFC20, 1, GOES_ON, "ldar x0, [x1]"),
    (0xC89FFC20, 2, GOES_ON, "stlr x0, [x1]"),
    (0xF8200020, 3, GOES_ON, "ldadd x0, x0, [x1]"),
    (0xC8A07C22, 3, GOES_ON, "cas x0, x2, [x1]"),
    (0xF8BFC020, 1, GOES_ON, "ldapr x0, [x1]"),
    (0xD50B7420, 0, GOES_ON, "dc zva, x0"),
]


@pytest.mark.parametrize(("code", "access", "ending", "text"), CODE, ids=[it[3] for it in CODE])
def test_an_instruction_is_told_from_its_code(
    player: Player, code: int, access: int, ending: int, text: str
) -> None:
    assert player.kind(code) == access | ending << 2, text
