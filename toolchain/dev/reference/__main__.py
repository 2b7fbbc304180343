"""``python -m toolchain.dev.reference``: write what follows from the code into ``docs/`` anew."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from toolchain.dev.reference.pages import write_reference
from toolchain.errors import DeployError

_STALE = 1


def main() -> int:
    """Read the command line and run; returns the exit code, 1 where ``--check`` finds a change."""
    parser = argparse.ArgumentParser(prog="python -m toolchain.dev.reference", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(), help="folder of docs")
    parser.add_argument("--check", action="store_true", help="only tell which files would change")
    options = parser.parse_args()
    try:
        changed = write_reference(options.root, check=options.check)
    except DeployError as error:
        print(f"error: {error.what}", file=sys.stderr)
        return error.exit_code
    for path in changed:
        print(f"{path}: {'not what the code says' if options.check else 'written'}")
    return _STALE if options.check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
