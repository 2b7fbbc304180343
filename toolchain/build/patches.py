"""Patch series: ``runtime_patch/<tree>/series`` and the ``NNNN-*.patch`` files that it names."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from toolchain.cache import digest, sha256_file
from toolchain.errors import BuildError

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
        """File name to SHA-256, in order."""
        return {path.name: sha256_file(path) for path in self.patches}

    def apply(self, tree: Path) -> None:
        """Apply every patch to ``tree`` with ``-p1``, exactly or not at all (no fuzz).

        Raises:
            BuildError: a patch does not apply; names it and shows what ``patch`` said.
        """
        for path in self.patches:
            result = subprocess.run(
                ["patch", "-p1", "-F0", "--no-backup-if-mismatch", "--batch", "-i", str(path)],  # noqa: S607
                cwd=tree, capture_output=True, text=True, check=False,
            )  # fmt: skip
            if result.returncode:
                said = (result.stdout + result.stderr).strip()
                raise BuildError(
                    f"{self.name}: {path.name} does not apply:\n{said}",
                    hint="the patch was made for other sources; see runtime_patch/sources.toml",
                )


def load_series(folder: Path) -> Series:
    """Read ``folder/series``: one patch a line, ``#`` begins a comment; none is an empty series.

    Raises:
        BuildError: a line that is no patch's name, or a patch that is not there.
    """
    listing = folder / "series"
    if not listing.is_file():
        return Series(folder.name, ())
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
    return Series(folder.name, tuple(patches))


def empty_series(name: str) -> Series:
    """The series of a stock build."""
    return Series(name, ())
