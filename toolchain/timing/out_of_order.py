"""A pipeline that takes instructions in order and does them when their operands are there.

Instructions are looked at in the program's order. Each micro-operation goes at once to the queue
of a port, and takes the first cycle in which its operands are ready and the port is free. Older
ones choose first, so this is a machine that issues the oldest ready one, without stepping through
its cycles. Loads hit the first cache; branches go where they were predicted to go.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush

from toolchain.timing.core_table import CoreTable, MicroOperation, Plan
from toolchain.timing.instructions import REGISTERS


class OutOfOrder:
    """Where a program is on a core that works out of order; nothing has run yet."""

    def __init__(self, core: CoreTable) -> None:
        self._width = core.width
        self._decode = core.decode
        self._halves = core.vector_halves
        self._reorder = core.reorder
        self._retire_width = core.retire
        self._fetch_bytes = core.fetch_bytes
        self._taken_bubble = core.taken_bubble
        self._sizes = list(core.ports.values())
        self._write_back = core.write_back_operation()
        self._ready = [0] * REGISTERS
        self._forwarded = [0] * REGISTERS
        """When an accumulator is there for those on the same path."""
        self._path = [""] * REGISTERS
        self._busy: list[set[int]] = [set() for _ in self._sizes]
        self._waiting: list[list[int]] = [[] for _ in self._sizes]
        """Of each port's queue: when what waits there begins."""
        self._unretired: deque[int] = deque()
        self._cycle = 0
        self._taken_now = 0
        """Slots of this cycle that are taken, and ..."""
        self._decoded_now = 0
        """... instructions that have begun in it, ..."""
        self._renamed_now = 0
        """... and halves of vector registers that are renamed."""
        self._next_address = -1
        self._block = -1
        self._fetched = 0
        self._retired = 0
        self._retired_now = 0

    def take(self, plan: Plan, address: int) -> int:
        """Take the next instruction; the cycle in which it retires."""
        self._fetch(address)
        if self._decoded_now >= self._decode:
            self._wait(self._cycle + 1)
        if len(self._unretired) >= self._reorder:
            self._wait(self._unretired.popleft())
        self._decoded_now += 1
        if plan.halves and self._halves:
            self._rename(plan.halves)
        operations = plan.operations
        for _ in range(plan.slots - len(operations)):
            self._slot()
        start = self._operands(plan)
        last = self._cycle
        begun: list[int] = []
        for operation in operations:
            after = operation.after and begun[0] + operation.after
            begun.append(self._issue(operation, after if after > start else start))
        if begun:
            last = max(begun)
        if plan.write_back >= 0:
            self._update(plan.write_back)
        for number, register in enumerate(plan.writes, 1):
            done = begun[number * plan.share - 1] if plan.share else last
            self._ready[register] = done + plan.latency
            self._forwarded[register] = last + plan.accumulate
            self._path[register] = plan.forwards
        return self._retire(last + (plan.latency or 1))

    def _operands(self, plan: Plan) -> int:
        """The first cycle in which all that the instruction reads is there."""
        ready = self._ready
        start = 0
        for register in plan.reads:
            if ready[register] > start:
                start = ready[register]
        for register in plan.address:
            if ready[register] > start:
                start = ready[register]
        if plan.accumulates >= 0:
            same = plan.forwards and self._path[plan.accumulates] == plan.forwards
            source = self._forwarded if same else ready
            start = max(start, source[plan.accumulates])
        return start

    def _update(self, base: int) -> None:
        """Write the base register of an access; the access does not wait for it."""
        if self._write_back is None:
            self._ready[base] = max(self._ready[base], self._cycle) + 1
        else:
            self._ready[base] = self._issue(self._write_back, self._ready[base]) + 1
        self._path[base] = ""

    def _fetch(self, address: int) -> None:
        block = address // self._fetch_bytes
        jumped = address != self._next_address
        if jumped or block != self._block:
            # What is fetched waits; but no more of it than is taken in some cycles.
            self._fetched = max(self._fetched, self._cycle - self._width)
            self._fetched += 1 + (self._taken_bubble if jumped else 0)
            self._wait(self._fetched - 1)
            self._block = block
        self._next_address = address + 4

    def _wait(self, cycle: int) -> None:
        if cycle > self._cycle:
            self._cycle = cycle
            self._taken_now = self._decoded_now = self._renamed_now = 0

    def _slot(self) -> None:
        if self._taken_now >= self._width:
            self._wait(self._cycle + 1)
            self._decoded_now = 1  # this one goes on into the cycle
        self._taken_now += 1

    def _rename(self, halves: int) -> None:
        """Rename halves of vector registers; what is left over is so in the next cycle."""
        self._renamed_now += halves
        while self._renamed_now > self._halves:
            left = self._renamed_now - self._halves
            self._wait(self._cycle + 1)
            self._renamed_now, self._decoded_now = left, 1

    def _issue(self, operation: MicroOperation, start: int) -> int:
        """Send a micro-operation to a port; the cycle in which it begins."""
        if self._taken_now >= self._width:
            self._slot()
        else:
            self._taken_now += 1
        port = self._choose(operation.ports)
        begun = start if start > self._cycle else self._cycle + 1
        busy = self._busy[port]
        if operation.cycles == 1:
            while begun in busy:
                begun += 1
            busy.add(begun)
        else:
            while any(begun + cycle in busy for cycle in range(operation.cycles)):
                begun += 1
            busy.update(range(begun, begun + operation.cycles))
        heappush(self._waiting[port], begun)
        return begun

    def _choose(self, ports: tuple[int, ...]) -> int:
        """The port whose queue is shortest; if all are full, one of them, when there is a place."""
        while True:
            best, shortest = -1, 1 << 30
            for port in ports:
                waiting = self._waiting[port]
                while waiting and waiting[0] <= self._cycle:
                    heappop(waiting)
                length = len(waiting)
                if length < shortest and length < self._sizes[port]:
                    best, shortest = port, length
            if best >= 0:
                return best
            self._wait(min(self._waiting[port][0] for port in ports))
            self._taken_now = self._decoded_now = 1

    def _retire(self, complete: int) -> int:
        if complete > self._retired:
            self._retired, self._retired_now = complete, 0
        elif self._retired_now >= self._retire_width:
            self._retired, self._retired_now = self._retired + 1, 0
        self._retired_now += 1
        self._unretired.append(self._retired)
        return self._retired
