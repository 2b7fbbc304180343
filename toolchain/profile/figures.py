"""How figures are written: times, counts, memory, energy and ratios, alike in every table.

A comparison asks here, too: two figures that are written alike are no change.
"""

from __future__ import annotations


def microseconds(value: float) -> str:
    """A time in a unit that suits it: ``1.20 ms``."""
    if value >= 1e6:
        return f"{value / 1e6:,.2f} s"
    return f"{value / 1e3:,.2f} ms" if value >= 1e3 else f"{value:.3g} µs"


def count(value: float | None) -> str:
    """A whole number, ``-`` for none."""
    return "-" if value is None else f"{value:,.0f}"


def ratio(value: float | None) -> str:
    """``1.250x``, ``-`` for none."""
    return "-" if value is None else f"{value:.3f}x"


def memory(kib: float | None) -> str:
    """KiB as MiB, ``-`` for none."""
    return "-" if kib is None else f"{kib / 1024:,.1f} MiB"


def energy(joules: float | None) -> str:
    """An energy in a unit that suits it: ``12.3 mJ``, ``-`` for none."""
    if joules is None:
        return "-"
    for scale, unit in ((1.0, "J"), (1e-3, "mJ")):
        if abs(joules) >= scale:
            return f"{_three_digits(joules / scale)} {unit}"
    return f"{_three_digits(joules / 1e-6)} µJ"


def power(watts: float | None) -> str:
    """``5.21 W``, ``-`` for none."""
    return "-" if watts is None else f"{watts:,.2f} W"


def _three_digits(value: float) -> str:
    """With three digits, or all that are before the point."""
    places = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:,.{places}f}"


def written(value: float, unit: str) -> str:
    """A figure by its unit: ``us``, ``ms``, ``KiB``, ``B``, or ``""`` for a count."""
    if unit == "ms":
        return microseconds(1000 * value)
    if unit == "B":
        return f"{value:,.0f} B"
    return {"us": microseconds, "KiB": memory, "": count}[unit](value)
