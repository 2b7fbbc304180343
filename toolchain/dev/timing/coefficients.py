"""``toolchain/timing/coefficients.toml``: what users' estimates take from the study's results."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

import toolchain.timing
from toolchain.dev.timing.page import Results, Section
from toolchain.dev.timing.study import studies
from toolchain.timing.model import COEFFICIENTS, Overlap

FILE = Path(toolchain.timing.__file__).parent / COEFFICIENTS
_HEAD = """\
# Fitted to published times; docs/timing-model.md has every row, and the errors of a
# fit that leaves the row's family of networks out. toolchain/timing/model.py says what a key means.
# Written by `python -m toolchain.dev.timing coefficients`.
"""
_DIGITS = 3


def coefficients_text(results: Results) -> str:
    """The file.

    Args:
        results: of the study; its fitted sections are taken.
    """
    overlaps: dict[str, Overlap] = {one.core: one.shape.overlap for one in studies()}
    parts = [_HEAD]
    fitted = [one for one in results.sections if one.fitted]
    for section in sorted(fitted, key=lambda one: one.core):
        values = ", ".join(
            f"{name} = {_rounded(value)}" for name, value in section.coefficients.items()
        )
        one, several = interval(section, several=False), interval(section, several=True)
        parts.append(
            f"[{section.core}]\n"
            f'overlap = "{overlaps[section.core]}"\n'
            f"coefficients = {{ {values} }}\n"
            f"interval = {{ one_thread = {one:.2f}, several_threads = {several:.2f} }}\n"
        )
    return "\n".join(parts)


def interval(section: Section, *, several: bool) -> float:
    """The part of an estimate above or below which a tenth of the published times lie.

    Args:
        section: whose rows were estimated without their families.
        several: rows of several threads in place of one.
    """
    far = [
        abs(math.log(row.estimated_ms / row.ms))
        for row in section.rows
        if (row.threads > 1) == several
    ]
    part = math.expm1(float(np.percentile(far, 90)))
    return math.ceil(round(100 * part, 6)) / 100


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
