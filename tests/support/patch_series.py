"""Small trees, and what is done to them."""

from __future__ import annotations

from pathlib import Path

from toolchain.build.patches import FIXES, HOOKS, OVERLAY

HEADER = "Subject: {subject}\nKind: {kind}\n\nNobody hears it.\n---\n"
DIFF = """--- a/{file}
+++ b/{file}
@@ -1,3 +1,3 @@
 one
-{before}
+{after}
 three
"""


def header(kind: str, subject: str = "Step") -> str:
    """The beginning of a patch."""
    return HEADER.format(subject=subject, kind=kind)


def write_patches(folder: Path, *steps: tuple[str, str], file: str = "greeting.txt") -> None:
    """Write ``NNNN-step.patch``; each replaces a line between ``one`` and ``three``."""
    folder.mkdir(parents=True)
    kind = {FIXES: "fix", HOOKS: "hook"}[folder.name]
    for number, (before, after) in enumerate(steps, 1):
        diff = DIFF.format(file=file, before=before, after=after)
        (folder / f"{number:04}-step.patch").write_text(header(kind) + diff)


def write_overlay(folder: Path, files: dict[str, str]) -> None:
    """Write the overlay in ``folder``, a series'."""
    write_tree(folder / OVERLAY, files)


def write_tree(tree: Path, files: dict[str, str]) -> None:
    """Write files into a tree."""
    for name, text in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)


def content(tree: Path) -> dict[str, str]:
    """All files of a tree, but git's own."""
    files = (path for path in sorted(tree.rglob("*")) if path.is_file())
    named = ((path.relative_to(tree), path) for path in files)
    return {name.as_posix(): path.read_text() for name, path in named if name.parts[0] != ".git"}
