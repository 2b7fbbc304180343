"""How often a command looks for garbage, as Python itself says it."""

from __future__ import annotations

import subprocess
import sys

from support.places import REPOSITORY

_PROGRAM = """
import gc, sys
sys.argv = ["deploy", "--version"]
import deploy
try:
    deploy.main()
finally:
    print(*gc.get_threshold(), gc.isenabled())
"""


def test_a_command_looks_for_garbage_seldom_but_looks() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[1] == "10000 10 10 True"
