"""A git checkout of a patched tree, to edit: patches are its commits, the overlay links to ours.

:func:`lay_out` makes one, :func:`save` writes what was edited back to ``runtime_patch/<tree>``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from toolchain import children
from toolchain.build.patches import (
    FIXES,
    HOOKS,
    OVERLAY,
    Patch,
    Series,
    apply_patch,
    load_series,
    parse_patch,
    patch_header,
)
from toolchain.errors import BuildError
from toolchain.storage.cache import digest

_RECORD = "tileskip.json"
_LEFT_BY_EDITORS = ("*~", "*.orig", "*.rej", ".*.sw?", ".cache/", ".vscode/", ".idea/")
_MESSAGE = re.compile(r"(?P<subject>[^\n]+)\n\n(?P<reason>.+)\n\nKind: (?P<kind>\w+)\s*", re.S)
_NOISE = re.compile(r"^(?:diff --git .*|index [0-9a-f]+\.\.[0-9a-f]+.*)\n", re.M)
_NAME_LENGTH = 60
_SETTINGS = ("-c", "user.name=Tileskip", "-c", "user.email=tileskip@localhost",
             "-c", "core.autocrlf=false", "-c", "core.attributesFile=/dev/null",
             "-c", "commit.gpgSign=false", "-c", "advice.detachedHead=false")  # fmt: skip


@dataclass(frozen=True)
class _Record:
    """What a checkout was made from, or saved as."""

    pristine: str
    """The first commit."""
    head: str
    patches: str
    """Hash of the patches in ``runtime_patch``."""
    overlay: tuple[str, ...]


def lay_out(series: Series, tree: Path) -> None:
    """Make a git checkout of a pristine tree, with the series' patches as commits.

    The overlay's files are symbolic links to those of ``runtime_patch``, which git does not see.

    Args:
        series: what is done to the tree.
        tree: the unpacked sources of upstream's, no checkout yet.

    Raises:
        BuildError: git failed, a patch does not apply, or the overlay has a file of upstream's.
    """
    git(tree, "init", "--quiet", "--initial-branch", "patched")
    # So many files make git tidy up in the background, where it outlives the command.
    for setting, value in (("maintenance.auto", "false"), ("gc.auto", "0")):
        git(tree, "config", setting, value)
    git(tree, "add", "--all", "--force")
    git(tree, "commit", "--quiet", "--message", f"{series.name}, as upstream has it")
    pristine = _head(tree)
    series.check_overlay(tree)
    for patch in series.patches:
        apply_patch(patch, tree, series.name)
        message = f"{patch.subject}\n\n{patch.reason}\n\nKind: {patch.kind}\n"
        git(tree, "commit", "--quiet", "--all", "--cleanup=verbatim", "--message", message)
    for file in series.overlay:
        _link(tree / file.name, file.path)
    names = tuple(file.name for file in series.overlay)
    _write_record(tree, _Record(pristine, _head(tree), _key(series), names))


def is_saved(tree: Path) -> bool:
    """Whether nothing in a checkout would be lost with it."""
    record = _read_record(tree)
    replaced = [name for name in record.overlay if not (tree / name).is_symlink()]
    edited = _uncommitted(tree) or _new_files(tree) or replaced
    return not edited and _head(tree) == record.head


def save(tree: Path, folder: Path) -> list[Path]:
    """Write a checkout's commits and files back.

    Args:
        tree: the checkout.
        folder: ``runtime_patch/<tree>``.

    Returns:
        The files that were written or removed; none if all was saved before.

    Raises:
        BuildError: something is not committed; a commit says no kind, is out of order, or adds a
            file; or the patches in ``folder`` are others than the checkout was made from.
    """
    record = _read_record(tree)
    if edited := _uncommitted(tree):
        raise BuildError(
            f"{tree}: {edited[0]} is edited and not committed",
            hint="commit it with a message that ends in 'Kind: hook', or into the commit that it "
            "belongs to: git commit --all --fixup COMMIT; git rebase --autosquash "
            f"--interactive {record.pristine[:10]}",
        )
    if _key(load_series(folder)) != record.patches:
        raise BuildError(
            f"{folder}: its patches have changed since {tree} was laid out",
            hint="keep the commits that are new (git format-patch), lay the tree out anew, and "
            "apply them there",
        )
    patches = _commits_as_patches(tree, folder, record)
    changed = _write_patches(folder, patches) + _save_overlay(tree, folder, record)
    series = load_series(folder)
    names = tuple(file.name for file in series.overlay)
    _write_record(tree, _Record(record.pristine, _head(tree), _key(series), names))
    return changed


# --- commits ---------------------------------------------------------------------------------


def _commits_as_patches(tree: Path, folder: Path, record: _Record) -> list[Patch]:
    commits = git(tree, "rev-list", "--reverse", f"{record.pristine}..HEAD").split()
    patches: list[Patch] = []
    for commit in commits:
        message = _MESSAGE.fullmatch(git(tree, "log", "-1", "--format=%B", commit))
        if not message:
            subject = git(tree, "log", "-1", "--format=%s", commit).strip()
            raise BuildError(
                f"{tree}: commit {commit[:10]} ({subject}) does not say why it is there",
                hint="its message needs a subject, a reason, and a last line 'Kind: hook', "
                "'Kind: fix' or 'Kind: temporary', with empty lines between",
            )
        place = FIXES if message["kind"] == "fix" else HOOKS
        if place == FIXES and any(patch.path.parent.name == HOOKS for patch in patches):
            raise BuildError(
                f"{tree}: commit {commit[:10]} ({message['subject']}) is a fix behind a hook",
                hint=f"fixes go first: git rebase --interactive {record.pristine[:10]}",
            )
        number = 1 + sum(patch.path.parent.name == place for patch in patches)
        path = folder / place / f"{number:04}-{_slug(message['subject'])}.patch"
        header = patch_header(message["subject"], message["kind"], message["reason"])
        diff = git(
            tree, "diff-tree", "-p", "--unified=1", "--no-renames", "--no-color", "--no-ext-diff",
            "--no-commit-id", "--src-prefix=a/", "--dst-prefix=b/", commit,
        )  # fmt: skip
        patches.append(parse_patch(path, header + _NOISE.sub("", diff)))
    return patches


def _write_patches(folder: Path, patches: list[Patch]) -> list[Path]:
    wanted = {patch.path: patch.text() for patch in patches}
    there = [path for place in (FIXES, HOOKS) for path in (folder / place).glob("*.patch")]
    changed = [path for path in there if path not in wanted]
    for path in changed:
        path.unlink()
    for path, text in wanted.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed


def _slug(subject: str) -> str:
    """A patch's name without its number, as git's format-patch would have it."""
    return re.sub(r"[^a-z0-9]+", "-", subject.lower()).strip("-")[:_NAME_LENGTH].rstrip("-")


# --- the overlay -----------------------------------------------------------------------------


def _save_overlay(tree: Path, folder: Path, record: _Record) -> list[Path]:
    changed = []
    for name in (*record.overlay, *_new_files(tree)):
        place, ours = tree / name, folder / OVERLAY / name
        if place.is_symlink():
            continue
        if place.exists():  # new, or an editor put a file in the link's place
            ours.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(place, ours)
            place.unlink()
            _link(place, ours)
        else:
            ours.unlink(missing_ok=True)
        changed.append(ours)
    return changed


def _link(place: Path, ours: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(ours.resolve())


def _new_files(tree: Path) -> list[str]:
    """Files that git does not know and that are no links to the overlay's."""
    ignored = f"--exclude-from={_git_dir(tree) / 'info/exclude'}"
    return git(tree, "ls-files", "-z", "--others", ignored).split("\0")[:-1]


# --- git -------------------------------------------------------------------------------------


def _uncommitted(tree: Path) -> list[str]:
    return git(tree, "diff", "--name-only", "-z", "HEAD").split("\0")[:-1]


def _head(tree: Path) -> str:
    return git(tree, "rev-parse", "HEAD").strip()


def _key(series: Series) -> str:
    return digest(*(patch.text() for patch in series.patches))


def _git_dir(tree: Path) -> Path:
    return tree.resolve() / ".git"


def _read_record(tree: Path) -> _Record:
    try:
        fields = json.loads((_git_dir(tree) / _RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BuildError(
            f"{tree} is no checkout of a patched tree", hint="make runtime-tree lays one out"
        ) from error
    return _Record(**{**fields, "overlay": tuple(fields["overlay"])})


def _write_record(tree: Path, record: _Record) -> None:
    (_git_dir(tree) / _RECORD).write_text(json.dumps(record.__dict__), encoding="utf-8")
    ignored = (*_LEFT_BY_EDITORS, *(f"/{name}" for name in record.overlay))
    info = _git_dir(tree) / "info"
    info.mkdir(exist_ok=True)
    (info / "exclude").write_text("\n".join(ignored) + "\n", encoding="utf-8")


def git(tree: Path, *arguments: str) -> str:
    """What git says in a tree.

    Raises:
        BuildError: it failed.
    """
    # A hook of another repository may have named that one; and no setting of the user's counts.
    foreign = {name for name in os.environ if name.startswith("GIT_")}
    environment = {name: value for name, value in os.environ.items() if name not in foreign}
    environment |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "LC_ALL": "C"}
    command = ["git", "-C", str(tree), *_SETTINGS, *arguments]
    result = children.run(command, limit=children.WORK_S, fault=BuildError, env=environment)
    if result.returncode:
        said = (result.stdout + result.stderr).strip()
        raise BuildError(f"{tree}: git {arguments[0]} failed:\n{said}")
    return result.stdout
