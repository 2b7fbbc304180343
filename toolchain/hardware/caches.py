"""Caches and TLBs: what a board's file says of them, and what is the same in each of a core.

A system on a chip chooses sizes, so these are the board's. How a line is replaced, and the TLBs,
are the core's (``facts.toml``).
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

LINE_BYTES = 64
"""In every core that is played here."""
Replacement = Literal["lru", "random", "plru"]
"""Least recently used; random; a tree of bits that leads away from what was used (pseudo-LRU)."""

Kib = Annotated[int, Field(ge=1, le=65536)]
Ways = Annotated[int, Field(ge=1, le=32)]
Entries = Annotated[int, Field(ge=1, le=65536)]
Lines = Annotated[int, Field(ge=0)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Cache(_Table):
    """A cache of lines of 64 bytes."""

    kib: Kib
    """Its size, in KiB."""
    ways: Ways
    """Lines of a set."""

    @property
    def bytes(self) -> int:
        """Its size."""
        return self.kib * 1024

    @property
    def sets(self) -> int:
        """Sets of :attr:`ways` lines each."""
        return self.bytes // LINE_BYTES // self.ways

    @model_validator(mode="after")
    def _sets_are_a_power_of_two(self) -> Self:
        if self.sets * self.ways * LINE_BYTES != self.bytes or not _is_power_of_two(self.sets):
            raise ValueError(
                f"{self.kib} KiB in {self.ways} ways make no cache: the number of sets is to be a "
                "power of two"
            )
        return self


class SecondCache(Cache):
    """A cache of the second level."""

    shared: bool = True
    """Whether all cores have one together."""


class ThirdCache(Cache):
    """A cache of the third level, which all cores have together."""

    exclusive: bool = True
    """Whether it holds what L2 puts out, and no line that a core reads; so do Arm's since the
    Cortex-A75."""


class Caches(_Table):
    """The caches for data of a board."""

    l1d: Cache
    l2: SecondCache
    l3: ThirdCache | None = None
    page_kib: Literal[4, 16, 64] = 4
    """Pages of the board's kernel, in KiB."""


class SecondTlb(_Table):
    """The TLB that is asked where the first one does not know a page."""

    entries: Entries
    ways: Ways

    @model_validator(mode="after")
    def _sets_are_a_power_of_two(self) -> Self:
        if self.entries % self.ways or not _is_power_of_two(self.entries // self.ways):
            raise ValueError("the number of sets is to be a power of two")
        return self


class WriteStreaming(_Table):
    """How many lines that follow each other are stored to before a core stops allocating them."""

    l1d: Lines = 0
    """... in L1D; 0: it never does."""
    l2: Lines = 0
    """... in L2, too."""


class CoreMemory(_Table):
    """What is the same in every core of a kind."""

    l1d: Replacement
    l2: Replacement
    l3: Replacement = "plru"
    l1_tlb: Annotated[int, Field(ge=1, le=64)]
    """Entries of the first TLB for data, each for any page."""
    l2_tlb: SecondTlb
    streaming: WriteStreaming = WriteStreaming()


def _is_power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0
