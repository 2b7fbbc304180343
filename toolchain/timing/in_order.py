"""A pipeline that begins instructions in the program's order, two at most in a cycle.

An instruction waits until its operands are there and its ports are free, and everything behind it
waits, too. Which pairs go together, the table says: by ports (128 bits take both halves of the
vector unit), by what has to be first in its cycle, and by what goes alone. Loads hit the first
cache; branches go where they were predicted to go.
"""

from __future__ import annotations

from toolchain.timing.core_table import CoreTable, MicroOperation, Plan
from toolchain.timing.instructions import FIRST_VECTOR, FLAGS, REGISTERS


class InOrder:
    """Where a program is on a core that works in order; nothing has run yet."""

    def __init__(self, core: CoreTable) -> None:
        self._width = core.width
        self._fetch_bytes = core.fetch_bytes
        self._taken_bubble = core.taken_bubble
        self._hazard = core.load_after_multiply_add
        self._ready = [0] * REGISTERS
        self._address_ready = [0] * REGISTERS
        self._forwarded = [0] * REGISTERS
        self._path = [""] * REGISTERS
        self._free = [0] * len(core.ports)
        """The cycle from which on each port is free."""
        self._cycle = 0
        self._taken_now = 0
        self._closed = False
        """Whether nothing more is taken in this cycle."""
        self._held = 0
        """Before this cycle the first place of a cycle is taken."""
        self._multiplied: set[int] = set()
        self._next_address = -1
        self._block = -1
        self._fetched = 0
        self._last = 0

    def take(self, plan: Plan, address: int) -> int:
        """Take the next instruction; the cycle after it has begun."""
        self._fetch(address)
        self._advance(self._operands(plan))
        ports = self._fit(plan)
        begun = self._cycle
        self._taken_now += 1
        self._closed = plan.alone
        end = begun
        for operation, port in zip(plan.operations, ports, strict=True):
            self._free[port] = begun + operation.cycles
            end = max(end, begun + operation.cycles - 1)
        if plan.issue_cycles > 1:
            self._held = max(self._held, begun + plan.issue_cycles)
            end = max(end, begun + plan.issue_cycles - 1)
        if self._hazard and plan.forwards == "fp_add":
            self._multiplied.add(begun)
        self._written(plan, begun, end)
        if plan.write_back >= 0:
            self._set(plan.write_back, begun + 2, begun + 1, begun + 2, "")
        self._last = max(self._last, end + 1)
        return self._last

    def _operands(self, plan: Plan) -> int:
        """The first cycle in which all that the instruction reads is there."""
        start = 0
        for register in plan.reads:
            start = max(start, self._ready[register] + plan.early - plan.late)
        for register in plan.address:
            start = max(start, self._address_ready[register])
        if plan.accumulates >= 0:
            same = plan.forwards and self._path[plan.accumulates] == plan.forwards
            late = plan.latency - plan.accumulate
            start = max(
                start,
                self._forwarded[plan.accumulates] if same else self._ready[plan.accumulates] - late,
            )
        return start

    def _written(self, plan: Plan, begun: int, end: int) -> None:
        for number, register in enumerate(plan.writes, 1):
            # Several registers: each comes with its own share of the cycles.
            done = begun + (end - begun + 1) * number // len(plan.writes) - 1
            self._set(
                register,
                max(done, begun) + plan.latency,
                max(done, begun) + plan.address_latency,
                max(done, begun) + plan.accumulate,
                plan.forwards,
            )

    def _set(self, register: int, ready: int, address: int, forwarded: int, path: str) -> None:
        self._ready[register] = ready
        self._address_ready[register] = address
        self._forwarded[register] = forwarded
        self._path[register] = path

    def _fetch(self, address: int) -> None:
        block = address // self._fetch_bytes
        jumped = address != self._next_address
        if jumped or block != self._block:
            self._fetched += 1 + (self._taken_bubble if jumped else 0)
            self._advance(self._fetched - 1)
        if jumped:
            self._advance(self._cycle + 1 if self._taken_now else self._cycle)
        self._fetched = max(self._fetched, self._cycle - self._width)
        self._block = block
        self._next_address = address + 4

    def _advance(self, cycle: int) -> None:
        if cycle > self._cycle:
            self._cycle = cycle
            self._taken_now = 0
            self._closed = False

    def _fit(self, plan: Plan) -> list[int]:
        """Go on to the first cycle that has a place for the instruction; its ports."""
        while True:
            if self._has_place(plan):
                ports = self._ports(plan.operations)
                if ports is not None and not self._blocked(plan):
                    return ports
            self._advance(self._cycle + 1)

    def _has_place(self, plan: Plan) -> bool:
        if self._closed:
            return False
        held = 1 if self._cycle < self._held else 0
        taken = max(self._taken_now, held)
        if taken == held and held:
            self._taken_now = held
        return taken == 0 if plan.first or plan.alone else taken < self._width

    def _ports(self, operations: tuple[MicroOperation, ...]) -> list[int] | None:
        """A free port for each micro-operation."""
        chosen: list[int] = []
        for operation in operations:
            free = [
                port
                for port in operation.ports
                if self._free[port] <= self._cycle and port not in chosen
            ]
            if not free:
                return None
            chosen.append(free[0])
        return chosen

    def _blocked(self, plan: Plan) -> bool:
        """Whether a vector is loaded just when a multiply-add is on its way to the adder."""
        if not self._hazard or not plan.address or not plan.writes:
            return False
        loads_vector = FIRST_VECTOR <= plan.writes[0] < FLAGS
        return loads_vector and self._cycle - self._hazard in self._multiplied
