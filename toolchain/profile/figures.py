"""How figures are written: times, counts, memory, energy and ratios, alike in every table.

A comparison asks here, too: two figures that are written alike are no change.
"""

from __future__ import annotations

from collections.abc import Mapping


def microseconds(value: float) -> str:
    """A time in a unit that suits it: ``1.20 ms``."""
    if _rounded(value) < 1e3:
        return f"{value:.3g} µs"
    in_ms = f"{value / 1e3:,.2f} ms"
    return f"{value / 1e6:,.2f} s" if in_ms.startswith("1,") or value >= 1e6 else in_ms


def megahertz(khz: int | None) -> str | None:
    """A clock: ``1,500 MHz``; ``None`` where it is not told."""
    return f"{khz / 1000:,.0f} MHz" if khz else None


def celsius(degrees: float | None) -> str | None:
    """``47.2 °C``; ``None`` where it is not told."""
    return None if degrees is None else f"{degrees:.1f} °C"


def cores(numbers: Mapping[str, int]) -> str | None:
    """How many cores there are of each kind: ``4 x Cortex-A72``; ``None`` where it is not told."""
    return ", ".join(f"{number} x {name}" for name, number in numbers.items()) or None


def macs_a_second(value: float | None) -> str:
    """Multiply-accumulates a second in a unit that suits them, ``1.20 G``; ``-`` for none."""
    if value is None:
        return "-"
    unit, size = ("G", 1e9) if _rounded(value) >= 1e9 else ("M", 1e6)
    return f"{_rounded(value / size):,.10g} {unit}"


def count(value: float | None) -> str:
    """A whole number, ``-`` for none."""
    return "-" if value is None else f"{value:,.0f}"


def ratio(value: float | None) -> str:
    """``1.250x``, ``-`` for none."""
    return "-" if value is None else f"{value:.3f}x"


def change(value: float) -> str:
    """A ratio of a figure over what it was before, as a change: ``+3.00%``."""
    if value > 10:
        return f"{value:,.0f}x"
    return "0%" if value == 1 else f"{value - 1:+.2%}"


def memory(kib: float | None) -> str:
    """KiB as MiB, ``-`` for none."""
    return "-" if kib is None else f"{kib / 1024:,.1f} MiB"


def energy(joules: float | None) -> str:
    """An energy in a unit that suits it: ``12.3 mJ``, ``-`` for none."""
    if joules is None:
        return "-"
    for scale, unit in ((1.0, "J"), (1e-3, "mJ")):
        if _rounded(abs(joules)) >= scale:
            return f"{_three_digits(joules / scale)} {unit}"
    return f"{_three_digits(joules / 1e-6)} µJ"


def power(watts: float | None) -> str:
    """``5.21 W``, ``-`` for none."""
    return "-" if watts is None else f"{watts:,.2f} W"


def _rounded(value: float) -> float:
    """To three digits: what is written as the next unit's 1 is in that unit."""
    return float(f"{value:.3g}")


def _three_digits(value: float) -> str:
    """With three digits, or all that are before the point."""
    places = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:,.{places}f}"


def written(value: float, unit: str) -> str:
    """A figure by its unit: ``us``, ``ms``, ``KiB``, ``B``, ``J``, or ``""`` for a count."""
    if unit == "ms":
        return microseconds(1000 * value)
    if unit == "B":
        return f"{value:,.0f} B"
    return {"us": microseconds, "KiB": memory, "J": energy, "": count}[unit](value)
