"""What all tools of developers have in common."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.places import REPOSITORY

PLACE = REPOSITORY / "toolchain" / "dev"
WITHOUT_PACKAGES = {PLACE / "locks.py", PLACE / "release.py"}
"""They run before anything is installed."""
TOOLS = [
    path
    for path in sorted(PLACE.rglob("*.py"))
    if '__name__ == "__main__"' in path.read_text()
    and path not in WITHOUT_PACKAGES
    and not path.stem.endswith("_worker")  # a child of a tool, in an environment of its own
]


@pytest.mark.parametrize("path", TOOLS, ids=lambda path: str(path.relative_to(PLACE)))
def test_a_tool_tells_of_faults_and_ends_as_the_commands_do(path: Path) -> None:
    """Errors in words, no traceback for Ctrl-C, and SIGTERM ends what it has begun."""
    source = path.read_text()
    assert "@console.telling\ndef main(" in source
    assert source.endswith("    console.run(lambda: sys.exit(main()))\n")
