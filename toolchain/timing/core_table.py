"""Tables of cores, from ``cores/*.toml``: what each class of instructions costs where.

A table says how many micro-operations a core takes a cycle, which ports it has, and for each class
of instructions the micro-operations with their ports, the latency and where it forwards. Every
figure has its source beside it in the file.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Annotated, Final, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from toolchain.hardware.facts import Core
from toolchain.storage.cache import digest
from toolchain.timing.instructions import FIRST_VECTOR, FLAGS, UNKNOWN, Instruction

TimedCore = Literal["cortex-a53", "cortex-a72", "cortex-a76"]
"""The cores that have a table."""
TIMED_CORES: Final[tuple[TimedCore, ...]] = get_args(TimedCore)

Unit = Literal["multiply", "load", "store", "integer", "branch", "divide"]
"""Ports that do the same kind of work. Those of vectors are named after what they do most."""
Arithmetic = Literal["fp32", "fp16", "int8"]

_ARITHMETIC: Final[tuple[tuple[re.Pattern[str], Arithmetic], ...]] = (
    (re.compile(r"\b(F32)\b"), "fp32"),
    (re.compile(r"\b(F16)\b"), "fp16"),
    (re.compile(r"\b(QC8|QS8|QU8|QD8)\b"), "int8"),
)

_Count = Annotated[int, Field(ge=1)]
_Cycles = Annotated[int, Field(ge=0)]
_UOP: Final = re.compile(r"(?P<ports>\w+)(\*(?P<cycles>\d+))?(\+(?P<after>\d+))?")


@dataclass(frozen=True, slots=True)
class MicroOperation:
    """What one port does for an instruction."""

    ports: tuple[int, ...]
    """Any one of them takes it; numbers by the order of the table's ports."""
    cycles: int
    """How long the port takes nothing else."""
    after: int
    """Cycles that it begins after the first micro-operation of the instruction."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What an instruction asks of one core: its row of the table, with its registers."""

    operations: tuple[MicroOperation, ...]
    slots: int
    """Of those that the core has each cycle to take instructions in."""
    halves: int
    """Halves of vector registers that are written, of 64 bits each."""
    share: int
    """Micro-operations for each of several registers that are loaded; 0: all come at the end."""
    latency: int
    """Cycles from the last micro-operation's first to the result."""
    address_latency: int
    """In order: the same, to an instruction that makes an address of the result."""
    accumulate: int
    """Cycles to the accumulator of the next instruction that forwards alike; or the latency."""
    forwards: str
    """The name of the forwarding path that it is on, or empty."""
    reads: tuple[int, ...]
    accumulates: int
    """-1: nothing."""
    address: tuple[int, ...]
    writes: tuple[int, ...]
    write_back: int
    """-1: nothing."""
    early: int
    """In order: cycles that operands are needed before others need theirs."""
    late: int
    """In order: cycles that what it reads, but no address, is needed later."""
    first: bool
    """In order: nothing is taken before it in its cycle."""
    alone: bool
    """In order: nothing is taken with it in its first cycle."""
    issue_cycles: int
    """In order: cycles until the next instruction can be the first of a cycle."""
    branch: bool


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Row(_Part):
    """One form of a class of instructions."""

    uops: str
    """``L V*2+5``: micro-operations with their ports, for how long, how long after the first."""
    latency: _Cycles = 1
    address_latency: _Cycles | None = None
    accumulate: _Cycles | None = None
    slots: _Count | None = None
    early: _Cycles = 0
    late: _Cycles = 0
    first: bool = False
    alone: bool = False
    issue_cycles: _Count = 1


class Rows(_Part):
    """A class of instructions."""

    source: str
    forwards: str = ""
    forms: dict[str, Row]
    """``any``, or one for each form of :class:`toolchain.timing.instructions.Instruction`."""


class CoreTable(_Part):
    """One core."""

    name: str
    order: Literal["in", "out"]
    sources: dict[str, str]
    """Where each of the figures below, up to the classes, is from."""
    width: _Count
    """Micro-operations, in order instructions, that are taken each cycle."""
    decode: _Count
    """Instructions that are taken each cycle."""
    vector_halves: _Cycles = 0
    """Out of order: halves of vector registers, 64 bits each, that are renamed each cycle; 0: any
    number."""
    fetch_bytes: _Count
    """Code that is fetched each cycle, from an aligned place."""
    taken_bubble: _Cycles
    """Cycles without code after a branch that is taken as predicted."""
    refill: _Cycles
    """Cycles that a mispredicted branch costs."""
    reorder: _Count = 1
    """Out of order: instructions that are begun and not retired."""
    retire: _Count = 1
    """Out of order: instructions that retire each cycle."""
    ports: dict[str, _Count]
    """Names -> how many micro-operations wait for the port."""
    groups: dict[str, tuple[str, ...]] = {}
    """Names for any of several ports."""
    units: dict[Unit, tuple[str, ...]]
    """What the ports are for; every port is of one unit."""
    peak: dict[Arithmetic, _Count]
    """Multiply-accumulates a cycle at most, by the type that is multiplied."""
    write_back: str = ""
    """Out of order: the ports that the write-back of an address takes; empty: none."""
    load_after_multiply_add: _Cycles = 0
    """In order: how long after a multiply-add no vector is loaded; 0: not so."""
    classes: dict[str, Rows]

    _plans: dict[Instruction, Plan] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if UNKNOWN not in self.classes:
            raise ValueError(f"the class {UNKNOWN!r} is missing")
        of_units = [port for ports in self.units.values() for port in ports]
        if sorted(of_units) != sorted(self.ports):
            raise ValueError("every port is to be of one unit")
        for rows in self.classes.values():
            for row in rows.forms.values():
                self._operations(row.uops)
        if self.write_back:
            self._operations(self.write_back)
        return self

    @property
    def digest(self) -> str:
        """Tells tables apart that give other cycles."""
        return digest(self.model_dump_json(exclude={"name", "sources"}))

    def has(self, instruction: Instruction) -> bool:
        """Whether the table has a row for it; else it costs what the row of the unknown says."""
        return instruction.kind != UNKNOWN and self._row(instruction) is not None

    def plan(self, instruction: Instruction) -> Plan:
        """What an instruction asks of the core."""
        if (known := self._plans.get(instruction)) is None:
            known = self._plans[instruction] = self._made(instruction)
        return known

    def _row(self, instruction: Instruction) -> tuple[Rows, Row] | None:
        rows = self.classes.get(instruction.kind)
        row = rows and (rows.forms.get(instruction.form) or rows.forms.get("any"))
        return (rows, row) if rows and row else None

    def _made(self, instruction: Instruction) -> Plan:
        rows, row = self._row(instruction) or (
            self.classes[UNKNOWN],
            self.classes[UNKNOWN].forms["any"],
        )
        operations = self._operations(row.uops)
        slots = row.slots or len(operations)
        written = instruction.write_back
        accumulated = instruction.accumulates
        return Plan(
            operations=operations,
            slots=slots,
            halves=_halves(instruction),
            share=_share(instruction, operations),
            latency=row.latency,
            address_latency=row.latency if row.address_latency is None else row.address_latency,
            accumulate=row.latency if row.accumulate is None else row.accumulate,
            forwards=rows.forwards,
            reads=instruction.reads,
            accumulates=-1 if accumulated is None else accumulated,
            address=instruction.address,
            writes=instruction.writes,
            write_back=-1 if written is None else written,
            early=row.early,
            late=row.late,
            first=row.first,
            alone=row.alone,
            issue_cycles=row.issue_cycles,
            branch=instruction.branch,
        )

    def _operations(self, text: str) -> tuple[MicroOperation, ...]:
        numbers = {name: number for number, name in enumerate(self.ports)}
        made = []
        for word in text.split():
            match = _UOP.fullmatch(word)
            names = match and self.groups.get(match["ports"], (match["ports"],))
            if not match or not names or not all(name in numbers for name in names):
                raise ValueError(f"{word!r} in {text!r} is no micro-operation on a known port")
            made.append(
                MicroOperation(
                    tuple(numbers[name] for name in names),
                    int(match["cycles"] or 1),
                    int(match["after"] or 0),
                )
            )
        return tuple(made)

    def changed(self, **keys: object) -> CoreTable:
        """The same core with other values of some keys, to see what they are worth."""
        return CoreTable.model_validate({**dict(self), **keys})

    def write_back_operation(self) -> MicroOperation | None:
        """The micro-operation that updates an address; ``None`` where it takes none."""
        return self._operations(self.write_back)[0] if self.write_back else None


def _halves(instruction: Instruction) -> int:
    """Of 64 bits, of vector registers that an instruction writes."""
    written = sum(FIRST_VECTOR <= register < FLAGS for register in instruction.writes)
    # What narrows writes one half, be it the upper one.
    both = instruction.form.startswith("q") and "narrow" not in instruction.kind
    return 2 * written if both else written


def _share(instruction: Instruction, operations: tuple[MicroOperation, ...]) -> int:
    several = len(instruction.writes) > 1
    return len(operations) // len(instruction.writes) if several and not operations[-1].after else 0


def arithmetic_of(operator: str) -> Arithmetic | None:
    """What an operator multiplies, by XNNPACK's name of it: ``Convolution (NHWC, QC8)``."""
    return next((kind for name, kind in _ARITHMETIC if name.search(operator)), None)


def timed(core: Core) -> TimedCore | None:
    """The core, if it has a table."""
    return next((one for one in TIMED_CORES if one == core), None)


@cache
def core_table(core: TimedCore) -> CoreTable:
    """The table of a core."""
    file = resources.files(__package__).joinpath(f"cores/{core}.toml")
    return CoreTable.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))


def unknown(instructions: Iterable[Instruction], core: CoreTable) -> Counter[str]:
    """How often each instruction occurs that the table has no row for, by its first word."""
    return Counter(it.mnemonic for it in instructions if not core.has(it))
