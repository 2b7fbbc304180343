"""How many lines of upstream's files our hooks change, and how many they may.

``python -m toolchain.dev.hook_limits`` ends with 1 above a limit; ``make lint`` runs it. What
hooks into another's code is merged with that at every update, so logic belongs into the overlay.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from toolchain import console
from toolchain.build.patches import load_series
from toolchain.resources import runtime_patch_dir

LIMITS = {"xnnpack": 92, "tensorflow": 132, "pthreadpool": 0}
"""Lines that each tree's hooks add and remove; fixes, which would go upstream, do not count."""


def changed_lines(patch_dir: Path, name: str) -> int:
    """The lines of upstream's files that the hooks of one tree change.

    Raises:
        BuildError: a patch of the tree has no header, or is not one of upstream's files.
    """
    return sum(patch.changed_lines for patch in load_series(patch_dir / name).hooks)


def faults(patch_dir: Path, limits: Mapping[str, int]) -> list[str]:
    """A line for each tree whose hooks change more than they may.

    Raises:
        BuildError: as :func:`changed_lines`.
    """
    counts = {name: changed_lines(patch_dir, name) for name in limits}
    return [
        f"runtime_patch/{name}/hooks: {count} lines of upstream's files are changed, and "
        f"{limits[name]} may be; move logic into the overlay"
        for name, count in counts.items()
        if count > limits[name]
    ]


@console.telling
def main() -> int:
    """Check what is shipped; returns the exit code."""
    found = faults(runtime_patch_dir(), LIMITS)
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    console.run(lambda: sys.exit(main()))
