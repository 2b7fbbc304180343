"""What tests of saved runs share: the networks that are measured, and the type of a fixture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

NETWORKS = ("dense", "s20")
"""Of the zoo, by the ends of their checkpoints' names; the second one is masked."""

Script = Callable[..., Any]
"""Runs a script of ``tests/viewers`` where the viewers are installed; gives what it prints."""
