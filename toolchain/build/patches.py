"""Patch series: ``runtime_patch/<tree>/series`` and the ``NNNN-*.patch`` files that it names.

``runtime_patch/<tree>/fixes/series`` goes first, and into stock trees as well: what is wrong
there would be wrong in both, and would be found in neither by comparing them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from toolchain import children
from toolchain.errors import BuildError
from toolchain.storage.cache import digest, sha256_file

FIXES = "fixes"
_CHANGED = "+++ b/"
_NAME = re.compile(r"[0-9]{4}-[a-z0-9][a-z0-9._-]*\.patch")


@dataclass(frozen=True)
class Series:
    """An ordered list of patches; an empty one leaves a tree pristine."""

    name: str
    patches: tuple[Path, ...]

    @property
    def key(self) -> str:
        """Hash of the patches' contents, in order."""
        return digest(*(path.read_bytes() for path in self.patches))

    def hashes(self) -> dict[str, str]:
        """File name to SHA-256, in order; that of a fix is ``fixes/NNNN-*.patch``."""
        return {
            f"{FIXES}/{path.name}" if path.parent.name == FIXES else path.name: sha256_file(path)
            for path in self.patches
        }

    def files(self) -> list[str]:
        """The files that the patches change, sorted; what they create is among them, too."""
        lines = (line for path in self.patches for line in path.read_text().splitlines())
        return sorted({line[len(_CHANGED) :] for line in lines if line.startswith(_CHANGED)})

    def apply(self, tree: Path) -> None:
        """Apply every patch to ``tree`` with ``-p1``, exactly or not at all (no fuzz).

        Raises:
            BuildError: a patch does not apply; names it and shows what ``patch`` said.
        """
        for path in self.patches:
            result = children.run(
                ["patch", "-p1", "-F0", "--no-backup-if-mismatch", "--batch", "-i", str(path)],
                limit=children.WORK_S,
                fault=BuildError,
                cwd=tree,
            )
            if result.returncode:
                said = (result.stdout + result.stderr).strip()
                raise BuildError(
                    f"{self.name}: {path.name} does not apply:\n{said}",
                    hint="the patch was made for other sources; see runtime_patch/sources.toml",
                )


def load_series(folder: Path, *, stock: bool = False) -> Series:
    """Read ``folder/fixes/series`` and ``folder/series``; none is an empty series.

    One patch a line; ``#`` begins a comment.

    Args:
        folder: of a tree's patches; its name is the series'.
        stock: leave out what is not a fix.

    Raises:
        BuildError: a line that is no patch's name, or a patch that is not there.
    """
    folders = [folder / FIXES] if stock else [folder / FIXES, folder]
    return Series(folder.name, tuple(patch for one in folders for patch in _listed(one)))


def _listed(folder: Path) -> list[Path]:
    listing = folder / "series"
    if not listing.is_file():
        return []
    patches = []
    for number, line in enumerate(listing.read_text(encoding="utf-8").splitlines(), 1):
        name = line.split("#", 1)[0].strip()
        if not name:
            continue
        if not _NAME.fullmatch(name):
            raise BuildError(
                f"{listing}:{number}: '{name}' is no patch's name",
                hint="names look like 0001-what-it-does.patch",
            )
        if not (folder / name).is_file():
            raise BuildError(f"{listing}:{number}: {name} is not there")
        patches.append(folder / name)
    return patches
