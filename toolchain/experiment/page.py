"""The experiment's page: a table, a plot, and the figures behind them."""

from __future__ import annotations

from pathlib import Path
from toolchain.experiment.runs import CaseResult


def write_page(results: list[CaseResult], out: Path) -> list[Path]:
    return []
