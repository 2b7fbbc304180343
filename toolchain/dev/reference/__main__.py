"""``python -m toolchain.dev.reference``: write what follows from the code into ``docs/`` anew."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from toolchain import console
from toolchain.dev.reference.pages import write_reference

_STALE = 1


@console.telling
def main() -> int:
    """Read the command line and run; returns the exit code, 1 where ``--check`` finds a change."""
    parser = argparse.ArgumentParser(prog="python -m toolchain.dev.reference", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(), help="folder of docs")
    parser.add_argument("--check", action="store_true", help="only tell which files would change")
    options = parser.parse_args()
    changed = write_reference(options.root, check=options.check)
    for path in changed:
        print(f"{path}: {'not what the code says' if options.check else 'written'}")
    return _STALE if options.check and changed else 0


if __name__ == "__main__":
    console.run(lambda: sys.exit(main()))
