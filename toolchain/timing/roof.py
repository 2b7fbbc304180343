"""What a core and its memory can do at most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from toolchain.hardware.facts import core_called
from toolchain.timing.core_table import Arithmetic, CoreTable, core_table, timed
from toolchain.timing.model import COEFFICIENTS, Coefficients, model_of

_FITTED = f"toolchain/timing/{COEFFICIENTS}"


@dataclass(frozen=True)
class Roof:
    """A core and its memory."""

    table: CoreTable
    core: str
    """Its key: ``cortex-a72``."""
    clock_mhz: int
    threads: int
    line_ns: float
    """Nanoseconds that a line of 64 bytes takes from memory, all threads together."""
    fitted: str
    """Where ``line_ns`` is from."""

    def peak(self, arithmetic: Arithmetic | None) -> float | None:
        """Multiply-accumulates a second at most, all threads together; ``None``: not known."""
        a_cycle = self.table.peak.get(arithmetic) if arithmetic else None
        return a_cycle * self.clock_mhz * 1e6 * self.threads if a_cycle else None


def roof_of_board(cores: Mapping[str, int], clock_mhz: int | None, threads: int) -> Roof | str:
    """The roof of a board that was measured; or why it is not known, a sentence.

    Args:
        cores: how many cores there are of each kind, by Arm's name.
        clock_mhz: of its cores.
        threads: that were used.
    """
    if len(cores) != 1:
        said = ", ".join(cores) or "cores that it does not name"
        return f"The board has {said}: a roofline is of one kind of core."
    (name,) = cores
    called = core_called(name)
    core = timed(called) if called else None
    if core is None:
        return f"The peak of {name} and the bandwidth of its memory are not known here."
    if clock_mhz is None:
        return "The clock of the board is not known."
    line_ns = model_of(core).coefficients.line(threads)
    return Roof(core_table(core), core, clock_mhz, threads, line_ns, _FITTED)


def roof_of_estimate(
    coefficients: Coefficients, core: str, clock_mhz: int, threads: int
) -> Roof | str:
    """The roof of a board that times were estimated for; or why it is not known, a sentence.

    Args:
        coefficients: of the estimate's model of time.
        core: by Arm's name.
        clock_mhz: of its cores.
        threads: that were assumed.
    """
    called = core_called(core)
    known = timed(called) if called else None
    if known is None:
        return f"The peak of {core} and the bandwidth of its memory are not known here."
    line_ns = coefficients.line(threads)
    return Roof(core_table(known), known, clock_mhz, threads, line_ns, "the estimate's own model")
