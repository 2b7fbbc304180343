"""A network link as people write it: ``20ms,1%,10Mbit``."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PART = re.compile(r"([0-9]{1,7}(?:\.[0-9]{1,6})?) ?(ms|s|%|[kKmMgG]?bit)(?:/s)?", re.ASCII)
_TIMES = {"ms": 0.001, "s": 1.0}
_RATES = {"bit": 1.0, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9}
_MOST_DELAY_S = 10.0
_MOST_LOSS = 0.5
_LEAST_RATE = 1000.0
_HOW = "write a delay, a loss and a rate, or some of them: 20ms,1%,10Mbit"


@dataclass(frozen=True)
class Link:
    """What a link does to what it carries."""

    delay_s: float = 0.0
    """Seconds that a packet takes, in either direction: a round trip takes twice that."""
    loss: float = 0.0
    """The share of packets that are lost, from 0 to 0.5."""
    rate: float | None = None
    """Bits a second, in either direction; ``None``: as many as the machine carries."""

    def __str__(self) -> str:
        parts = [f"{self.delay_s * 1000:g}ms"] if self.delay_s else []
        parts += [f"{self.loss * 100:g}%"] if self.loss else []
        if self.rate is not None:
            unit = next(unit for unit in ("Gbit", "Mbit", "kbit", "bit") if _is_unit(self, unit))
            parts.append(f"{self.rate / _RATES[unit.lower()]:g}{unit}")
        return ",".join(parts) or "0ms"


def _is_unit(link: Link, unit: str) -> bool:
    return (link.rate or 0.0) >= _RATES[unit.lower()]


def parse_link(text: str) -> Link:
    """The link that a text describes: ``20ms,1%``, ``10Mbit``, in any order.

    Args:
        text: a delay (``ms``, ``s``), a loss (``%``) and a rate (``kbit``, ``Mbit``, ``Gbit``),
            each at most once, with commas between them.

    Raises:
        ValueError: it describes none.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"'{part.strip()}' is no part of a link; {_HOW}")
        kind, value = _value(float(match[1]), match[2].lower())
        if kind in found:
            raise ValueError(f"'{text}' has two of one kind; {_HOW}")
        found[kind] = value
    link = Link(found.get("delay", 0.0), found.get("loss", 0.0), found.get("rate"))
    if link.delay_s > _MOST_DELAY_S or link.loss > _MOST_LOSS:
        raise ValueError(f"'{text}': a delay is at most 10s, a loss at most 50%")
    if link.rate is not None and link.rate < _LEAST_RATE:
        raise ValueError(f"'{text}': a rate is at least 1kbit")
    return link


def _value(number: float, unit: str) -> tuple[str, float]:
    if unit == "%":
        return "loss", number / 100
    if unit in _TIMES:
        return "delay", number * _TIMES[unit]
    return "rate", number * _RATES[unit]
