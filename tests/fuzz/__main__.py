"""``python -m fuzz reader|runner --count N FOLDER ...``: N mutations of the models of folders.

Prints how many were tried and what failed; mutations that fail are kept in ``build/fuzz``.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from pathlib import Path

from fuzz.workers import fuzz


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("target", choices=["reader", "runner"])
    parser.add_argument("folders", nargs="+", type=Path, help="of .tflite files that are sound")
    parser.add_argument("--count", type=int, default=1000, help="mutations")
    parser.add_argument("--first", type=int, help="number of the first; a random one by default")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    options = parser.parse_args()
    first = secrets.randbits(40) if options.first is None else options.first
    print(f"{options.count} mutations from {first} on, through the {options.target}", flush=True)
    found = fuzz(options.target, options.folders, first, options.count, jobs=options.jobs)
    print(json.dumps({"tries": options.count, "first": first, "failures": len(found)}))
    for number, said in sorted(found.items()):
        print(f"--- {number}: {said}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
