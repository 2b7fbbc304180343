"""Times and sizes as people write them: ``30d``, ``5GB``."""

from __future__ import annotations

import re
from collections.abc import Mapping

_TIMES = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_SIZES = {
    "": 1, "b": 1, "k": 10**3, "kb": 10**3, "kib": 1 << 10, "m": 10**6, "mb": 10**6,
    "mib": 1 << 20, "g": 10**9, "gb": 10**9, "gib": 1 << 30, "t": 10**12, "tb": 10**12,
    "tib": 1 << 40,
}  # fmt: skip
_MOST = 2**62


def seconds(text: str) -> float:
    """The seconds of a time: a number and ``m``, ``h``, ``d`` or ``w``.

    Raises:
        ValueError: it is none.
    """
    return _quantity(text, _TIMES, "no time; write 10m, 12h, 30d or 2w")


def byte_count(text: str) -> int:
    """The bytes of a size: a number and ``kB``, ``MB``, ``GB``, ``KiB``, ``MiB``, ``GiB``.

    Raises:
        ValueError: it is none.
    """
    return int(_quantity(text, _SIZES, "no size; write 5GB, 500MB or 2GiB"))


def _quantity(text: str, units: Mapping[str, int], fault: str) -> float:
    found = re.fullmatch(r"([0-9]{1,18}(?:\.[0-9]{1,9})?) *([A-Za-z]*)", text.strip(), re.ASCII)
    unit = units.get(found[2].lower()) if found else None
    if found is None or unit is None or (value := float(found[1]) * unit) > _MOST:
        raise ValueError(f"'{text}' is {fault}")
    return value
