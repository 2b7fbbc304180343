"""How PyTorch's threads wait for each other on a machine that others use, too."""

from __future__ import annotations

from collections.abc import MutableMapping

_VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
_TURNS = 3000
"""Of a loop of some ten nanoseconds: longer than the threads of an idle machine have to wait."""


def wait_briefly(environment: MutableMapping[str, str]) -> None:
    """Have threads that wait for others give up their core soon, unless the user says how long.

    GNU's OpenMP, which PyTorch's threads are of, keeps a core for milliseconds at every wait. Where
    others use that core, these are what the thread that is waited for goes without: beside two
    compilers on two cores a network takes 17 times as long as it does so
    (docs/development/decisions.md). It reads its variables as PyTorch is imported.

    Args:
        environment: of this process, before PyTorch is imported.
    """
    if not any(name in environment for name in _VARIABLES):
        environment["GOMP_SPINCOUNT"] = str(_TURNS)
