"""What is done to an upstream's tree: the three folders of ``runtime_patch/<tree>``.

``overlay``  whole files of ours, at the paths that they get in the tree
``fixes``    patches of upstream's files: faults of upstream's, mended in stock trees as well, for
             what is wrong there would be wrong in both, and would be found in neither by comparing
``hooks``    patches of upstream's files: the few lines each that lead to what the overlay brings

They are applied in this order, patches in that of their numbers. An overlay brings new files, and
patches change old ones: neither may do the other's.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, cast, get_args

from toolchain import children
from toolchain.errors import BuildError
from toolchain.storage.cache import digest, sha256_file

Kind = Literal["hook", "fix", "temporary"]
"""Why a patch is there: it leads to code of ours, it would go upstream, or it is to go again."""
OVERLAY, FIXES, HOOKS = "overlay", "fixes", "hooks"
KINDS: dict[str, tuple[Kind, ...]] = {FIXES: ("fix",), HOOKS: ("hook", "temporary")}
"""The kinds of patches that a folder may have."""
_NAME = re.compile(r"[0-9]{4}-[a-z0-9][a-z0-9._-]*\.patch")
_HEADER = re.compile(
    r"Subject: (?P<subject>[^\n]+)\nKind: (?P<kind>[^\n]+)\n\n(?P<reason>.+?)\n---\n", re.S
)
_FILE = re.compile(r"^--- (?P<old>.+)\n\+\+\+ (?P<new>.+)\n(?=@@)", re.M)
_NONE = "/dev/null"


class OverlayFile(NamedTuple):
    """A file that is new in the tree."""

    name: str
    """Its path in the tree."""
    path: Path


@dataclass(frozen=True)
class Patch:
    """One purpose, in files of upstream's."""

    path: Path
    subject: str
    kind: Kind
    reason: str
    diff: str

    @property
    def files(self) -> tuple[str, ...]:
        """The files that it changes."""
        return tuple(match["new"].removeprefix("b/") for match in _FILE.finditer(self.diff))

    @property
    def changed_lines(self) -> int:
        """How many lines of upstream's files it adds and removes."""
        lines = sum(line.startswith(("+", "-")) for line in self.diff.splitlines())
        return lines - 2 * len(self.files)

    def text(self) -> str:
        """The patch as its file has it."""
        return patch_header(self.subject, self.kind, self.reason) + self.diff


@dataclass(frozen=True)
class Series:
    """All that is done to one tree; an empty one leaves it pristine."""

    name: str
    overlay: tuple[OverlayFile, ...] = ()
    fixes: tuple[Patch, ...] = ()
    hooks: tuple[Patch, ...] = ()

    @property
    def patches(self) -> tuple[Patch, ...]:
        """In the order in which they are applied."""
        return (*self.fixes, *self.hooks)

    @property
    def key(self) -> str:
        """Hash of every file's content, of the overlay's names, and of the patches' order."""
        parts: list[str | bytes] = [OVERLAY]
        for file in self.overlay:
            parts += [file.name, file.path.read_bytes()]
        for folder, patches in ((FIXES, self.fixes), (HOOKS, self.hooks)):
            parts += [folder, *(patch.path.read_bytes() for patch in patches)]
        return digest(*parts)

    def hashes(self) -> dict[str, str]:
        """``overlay/<path>``, ``fixes/NNNN-*.patch``, ``hooks/NNNN-*.patch`` to SHA-256."""
        files = {f"{OVERLAY}/{file.name}": file.path for file in self.overlay}
        paths = [patch.path for patch in self.patches]
        files |= {f"{path.parent.name}/{path.name}": path for path in paths}
        return {name: sha256_file(path) for name, path in files.items()}

    def patched_files(self) -> list[str]:
        """The files of upstream's that are changed, sorted."""
        return sorted({name for patch in self.patches for name in patch.files})

    def apply(self, tree: Path) -> None:
        """Copy the overlay into ``tree``, then apply every patch, exactly or not at all (no fuzz).

        Raises:
            BuildError: the overlay has a file that is in the tree, a patch changes one of the
                overlay's, or does not apply; names it, and shows what ``patch`` said.
        """
        self.check_overlay(tree)
        for file in self.overlay:
            place = tree / file.name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.path, place)
        for patch in self.patches:
            apply_patch(patch, tree, self.name)

    def check_overlay(self, tree: Path) -> None:
        """See that the overlay's files and upstream's, which patches change, are not the same ones.

        Raises:
            BuildError: the overlay has a file of the pristine ``tree``, or a patch changes one of
                the overlay's.
        """
        for file in self.overlay:
            if (tree / file.name).exists():
                raise BuildError(
                    f"{self.name}: {OVERLAY}/{file.name} would replace a file of upstream's",
                    hint=f"change that in a patch, in {self.name}/{HOOKS} or {self.name}/{FIXES}",
                )
        names = {file.name for file in self.overlay}
        for patch in self.patches:
            if ours := names.intersection(patch.files):
                raise BuildError(
                    f"{patch.path}: changes {min(ours)}, which is a file of ours",
                    hint=f"edit {self.name}/{OVERLAY}/{min(ours)} itself",
                )


def patch_header(subject: str, kind: str, reason: str) -> str:
    """What a patch's file begins with."""
    return f"Subject: {subject}\nKind: {kind}\n\n{reason}\n---\n"


def apply_patch(patch: Patch, tree: Path, name: str) -> None:
    """Apply one patch to a tree with ``-p1``, exactly.

    Raises:
        BuildError: it does not apply; names it and shows what ``patch`` said.
    """
    result = children.run(
        [
            "patch",
            "-p1",
            "-F0",
            "--no-backup-if-mismatch",
            "--batch",
            "-i",
            str(patch.path.absolute()),
        ],
        limit=children.WORK_S,
        fault=BuildError,
        cwd=tree,
    )
    if result.returncode:
        said = (result.stdout + result.stderr).strip()
        raise BuildError(
            f"{name}: {patch.path.name} does not apply:\n{said}",
            hint="the patch was made for other sources; see runtime_patch/sources.toml",
        )


def load_series(folder: Path, *, stock: bool = False) -> Series:
    """Read what is done to a tree; a folder that is not there is an empty one.

    Args:
        folder: with ``overlay``, ``fixes`` and ``hooks``; its name is the series'.
        stock: take the fixes alone.

    Raises:
        BuildError: a file that is no patch, or a patch without its header.
    """
    fixes = _patches(folder / FIXES)
    if stock:
        return Series(folder.name, fixes=fixes)
    return Series(folder.name, _overlay(folder / OVERLAY), fixes, _patches(folder / HOOKS))


def parse_patch(path: Path, text: str) -> Patch:
    """Read a patch.

    Args:
        path: its file, in ``fixes`` or ``hooks``.
        text: what stands in it, or is to.

    Raises:
        BuildError: its name or header is not one, or it adds or removes a whole file.
    """
    if not _NAME.fullmatch(path.name):
        raise BuildError(f"{path}: no patch's name", hint="names look like 0001-what-it-does.patch")
    kinds = KINDS[path.parent.name]
    header = _HEADER.match(text)
    if not header or header["kind"] not in kinds or header["kind"] not in get_args(Kind):
        raise BuildError(
            f"{path}: it has to begin with its subject, its kind and its reason",
            hint=f"'Subject: ...', 'Kind: {'|'.join(kinds)}', an empty line, why it is, '---'",
        )
    diff = text[header.end() :]
    for file in _FILE.finditer(diff):
        if _NONE in (file["old"], file["new"]):
            name = (file["old"] if file["new"] == _NONE else file["new"])[2:]
            raise BuildError(
                f"{path}: adds or removes {name}",
                hint=f"patches change files of upstream's; a file of ours goes into {OVERLAY}/",
            )
    kind = cast(Kind, header["kind"])
    return Patch(path, header["subject"], kind, header["reason"].strip("\n"), diff)


def _patches(folder: Path) -> tuple[Patch, ...]:
    if not folder.is_dir():
        return ()
    paths = sorted(folder.iterdir())
    return tuple(parse_patch(path, path.read_text(encoding="utf-8")) for path in paths)


def _overlay(folder: Path) -> tuple[OverlayFile, ...]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple(OverlayFile(path.relative_to(folder).as_posix(), path) for path in paths)
