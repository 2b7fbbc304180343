"""``python -m toolchain.dev.figures``: measure what repeats exactly, and write all figures."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from toolchain import console
from toolchain.demo import demo
from toolchain.dev.blocks import names, write_pages
from toolchain.dev.figures.measured import TILED, measured, tile_rows
from toolchain.dev.figures.tables import writers
from toolchain.hardware.board_file import load_board
from toolchain.progress import Lines
from toolchain.storage.files import write_whole

_STALE = 1


@console.telling
def main() -> int:
    """Read the command line and run; returns the exit code, 1 where ``--check`` finds a change."""
    parser = argparse.ArgumentParser(prog="python -m toolchain.dev.figures", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(), help="folder of README.md and docs")
    parser.add_argument(
        "--measure",
        action="store_true",
        help="run the demo and convert two networks first, for docs/figures.json",
    )
    parser.add_argument("--check", action="store_true", help="only tell which pages would change")
    options = parser.parse_args()
    return _run(options.root, measure=options.measure, check=options.check)


def _run(root: Path, *, measure: bool, check: bool) -> int:
    docs = root / "docs"
    if measure:
        from toolchain.dev.bench.models import model_file

        progress = Lines()
        result, _ = demo(load_board("qemu"), root / "build/demo", progress=progress)
        models = {name: model_file(name, progress=progress) for name, _ in TILED}
        write_whole(docs / "figures.json", measured(result, tile_rows(models)).to_json())
    pages = [root / "README.md", *sorted(docs.rglob("*.md"))]
    pages = [page for page in pages if names(page.read_text(encoding="utf-8"))]
    changed = write_pages(pages, writers(docs), check=check)
    for page in changed:
        print(f"{page}: {'not what its figures say' if check else 'written'}")
    if check and changed:
        print("make figures writes them anew", file=sys.stderr)
        return _STALE
    return 0


if __name__ == "__main__":
    console.run(lambda: sys.exit(main()))
