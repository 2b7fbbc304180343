"""What results have in common."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from toolchain.failures import Failures


@dataclass(frozen=True)
class FailedModel:
    """A model that something could not be done with."""

    model: str
    """Its file."""
    error: str
    """What went wrong."""


def failed_models(failures: Failures) -> tuple[FailedModel, ...]:
    """Those that failed so far."""
    return tuple(FailedModel(**row) for row in failures.rows())


def rows(failed: Iterable[FailedModel]) -> list[dict[str, str]]:
    """For JSON."""
    return [{"model": one.model, "error": one.error} for one in failed]
