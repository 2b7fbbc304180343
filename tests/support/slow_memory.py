"""A core's caches and TLBs as plainly as they can be written down, to compare the plugin's with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

COUNTS = (
    "l1_stream", "l1_random", "l1_store", "l2_stream", "l2_random", "l2_store", "l3",
    "written_back", "tlb", "walks",
)  # fmt: skip
POLICIES = ("lru", "random", "plru")
_ALL_64 = (1 << 64) - 1
_SEED = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class Level:
    lines: int
    ways: int
    policy: str = "lru"


@dataclass(frozen=True)
class Geometry:
    l1d: Level
    l2: Level
    l3: Level | None = None
    l2_tlb: Level = Level(16, 4)
    l2_shared: bool = True
    l3_exclusive: bool = True
    page_bits: int = 12
    l1_tlb: int = 4
    streaming_l1: int = 0
    streaming_l2: int = 0

    def numbers(self) -> list[int]:
        """As the library of tests takes them."""
        found: list[int] = []
        for level in (self.l1d, self.l2, self.l3, self.l2_tlb):
            found += [level.lines, level.ways, POLICIES.index(level.policy)] if level else [0, 1, 0]
        return [
            *found, self.l2_shared, self.l3_exclusive, self.page_bits, self.l1_tlb,
            self.streaming_l1, self.streaming_l2,
        ]  # fmt: skip


class SlowCache:
    """Sets of ways; a way holds a line or nothing."""

    def __init__(self, level: Level) -> None:
        self.level = level
        self.sets = level.lines // level.ways
        self.held: list[list[int | None]] = [[None] * level.ways for _ in range(self.sets)]
        self.used = [[0] * level.ways for _ in range(self.sets)]
        self.trees = [[False] * level.ways for _ in range(self.sets)]  # node 0 is none
        self.dirty: set[int] = set()
        self.now = 0
        self.random = _SEED

    def _use(self, index: int, way: int) -> None:
        self.now += 1
        self.used[index][way] = self.now
        # From the leaf to the root: each node's bit leads to its other child.
        node = way + self.level.ways
        while node > 1:
            self.trees[index][node // 2] = node % 2 == 0
            node //= 2

    def find(self, line: int, *, store: bool = False) -> bool:
        index = line % self.sets
        if line not in self.held[index]:
            return False
        self._use(index, self.held[index].index(line))
        if store:
            self.dirty.add(line)
        return True

    def put(self, line: int, *, dirty: bool) -> tuple[int, bool] | None:
        """Put a line in; returns what went, and whether it was dirty."""
        index = line % self.sets
        assert line not in self.held[index]
        way = self._victim(index)
        old = self.held[index][way]
        self.held[index][way] = line
        self._use(index, way)
        gone = None if old is None else (old, old in self.dirty)
        if old is not None:
            self.dirty.discard(old)
        if dirty:
            self.dirty.add(line)
        return gone

    def _victim(self, index: int) -> int:
        ways = self.level.ways
        if None in self.held[index]:
            return self.held[index].index(None)
        if self.level.policy == "lru":
            return self.used[index].index(min(self.used[index]))
        if self.level.policy == "plru":
            node = 1
            while node < ways:
                node = 2 * node + self.trees[index][node]
            return node - ways
        self.random ^= self.random << 13 & _ALL_64
        self.random ^= self.random >> 7
        self.random ^= self.random << 17 & _ALL_64
        return (self.random >> 32) * ways >> 32

    def take(self, line: int) -> bool | None:
        """Take a line out; whether it was dirty, or None if it was not there."""
        index = line % self.sets
        if line not in self.held[index]:
            return None
        self.held[index][self.held[index].index(line)] = None
        was = line in self.dirty
        self.dirty.discard(line)
        return was


@dataclass
class SlowShared:
    geometry: Geometry
    l2: SlowCache
    l3: SlowCache | None
    all_l2: list[SlowCache] = field(default_factory=list)


def shared(geometry: Geometry) -> SlowShared:
    l3 = SlowCache(geometry.l3) if geometry.l3 else None
    return SlowShared(geometry, SlowCache(geometry.l2), l3)


@dataclass
class SlowCore:
    """One core; ``frame_of`` says where pages lie."""

    below: SlowShared
    frame_of: Callable[[int, int], int]
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))

    def __post_init__(self) -> None:
        geometry = self.below.geometry
        self.geometry = geometry
        self.l1d = SlowCache(geometry.l1d)
        self.l2 = self.below.l2 if geometry.l2_shared else SlowCache(geometry.l2)
        self.below.all_l2.append(self.l2)
        self.l3 = self.below.l3
        self.tlb = SlowCache(Level(geometry.l1_tlb, geometry.l1_tlb))
        self.l2_tlb = SlowCache(geometry.l2_tlb)
        self.missed: list[int] = []
        self.stored, self.row = -2, 0
        self.gathering: int | None = None

    def access(self, line: int, *, store: bool) -> None:
        # A row of stores that goes past L1D is still being gathered.
        if store and line == self.gathering:
            return
        self.gathering = None
        physical = self._translate(line)
        if self.l1d.find(physical, store=store):
            return
        if store and self._goes_past(line, physical):
            self.gathering = line
            return
        follows = self._follows(line)
        kind = "store" if store else "stream" if follows else "random"
        self.counts[f"l1_{kind}"] += 1
        self._read(physical, f"l2_{kind}")
        gone = self.l1d.put(physical, dirty=store)
        if gone and gone[1]:
            self._write(gone[0])

    def _translate(self, line: int) -> int:
        bits = self.geometry.page_bits - 6
        page, rest = divmod(line, 1 << bits)
        if not self.tlb.find(page):
            self.counts["tlb"] += 1
            self.tlb.put(page, dirty=False)
            if not self.l2_tlb.find(page):
                self.counts["walks"] += 1
                self.l2_tlb.put(page, dirty=False)
        return self.frame_of(page, self.geometry.page_bits) * (1 << bits) + rest

    def _follows(self, line: int) -> bool:
        lately = set(self.missed[-32:])
        self.missed.append(line)
        strides = (*range(1, 16), *range(-15, 0))
        return any({line - s, line - 2 * s} <= lately for s in strides)

    def _goes_past(self, line: int, physical: int) -> bool:
        limit, limit_l2 = self.geometry.streaming_l1, self.geometry.streaming_l2
        if not limit:
            return False
        again = line == self.stored
        if not again:
            self.row = self.row + 1 if line == self.stored + 1 else 0
            self.stored = line
        if self.row < limit:
            return False
        if again:
            return True
        self.counts["l1_store"] += 1
        if not limit_l2 or self.row < limit_l2:
            self._write(physical)
        elif not self.l2.find(physical, store=True):
            self.counts["written_back"] += 1
        return True

    def _read(self, line: int, kind: str) -> None:
        if self.l2.find(line):
            return
        self.counts[kind] += 1
        dirty = False
        if self.l3 is not None and self.geometry.l3_exclusive:
            found = self.l3.take(line)
            elsewhere = any(
                line in row for l2 in self.below.all_l2 if l2 is not self.l2 for row in l2.held
            )
            self.counts["l3"] += found is None and not elsewhere
            dirty = bool(found)
        elif self.l3 is not None and not self.l3.find(line):
            self.counts["l3"] += 1
            self._to_memory(self.l3.put(line, dirty=False))
        self._out(self.l2.put(line, dirty=dirty))

    def _write(self, line: int) -> None:
        if self.l2.find(line, store=True):
            return
        if self.l3 is not None and self.geometry.l3_exclusive:
            self.l3.take(line)
        self._out(self.l2.put(line, dirty=True))

    def _out(self, gone: tuple[int, bool] | None) -> None:
        """L2 puts a line out."""
        if gone is None or self.l3 is None:
            self._to_memory(gone)
            return
        line, dirty = gone
        if not dirty and not self.geometry.l3_exclusive:
            return
        if not self.l3.find(line, store=dirty):
            self._to_memory(self.l3.put(line, dirty=dirty))

    def _to_memory(self, gone: tuple[int, bool] | None) -> None:
        self.counts["written_back"] += bool(gone and gone[1])
