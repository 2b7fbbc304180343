"""What is edited in a checkout of a patched tree comes back as patches and files, and no more."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from support.patch_series import content, write_overlay, write_patches, write_tree
from toolchain.build.patches import load_series
from toolchain.dev import checkout
from toolchain.errors import BuildError

UPSTREAM = {"greeting.txt": "one\ntwo\nthree\n", "src/theirs.c": "int theirs;\n"}


def git(tree: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    command = ["/usr/bin/env", "git", "-C", str(tree), *identity, *arguments]
    subprocess.run(command, check=True, capture_output=True)


def commit(tree: Path, kind: str, subject: str = "Say it again") -> None:
    message = f"{subject}\n\nIt was not heard.\n\nKind: {kind}"
    git(tree, "commit", "--all", "--message", message)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As ``runtime_patch/greeting``."""
    write_overlay(tmp_path / "greeting", {"src/ours.c": "int ours;\n"})
    write_patches(tmp_path / "greeting/fixes", ("two", "TWO"))
    write_patches(tmp_path / "greeting/hooks", ("TWO", "TWO!"))
    return tmp_path / "greeting"


@pytest.fixture
def tree(tmp_path: Path, folder: Path) -> Path:
    write_tree(tmp_path / "tree", UPSTREAM)
    checkout.lay_out(load_series(folder), tmp_path / "tree")
    return tmp_path / "tree"


def test_a_checkout_is_the_patched_tree(tmp_path: Path, folder: Path, tree: Path) -> None:
    write_tree(tmp_path / "patched", UPSTREAM)
    load_series(folder).apply(tmp_path / "patched")
    assert content(tree) == content(tmp_path / "patched")


def test_what_was_not_edited_is_saved_as_it_is(folder: Path, tree: Path) -> None:
    before = content(folder)
    assert checkout.is_saved(tree)
    assert checkout.save(tree, folder) == []
    assert content(folder) == before


def test_an_overlay_file_is_edited_where_it_lies(folder: Path, tree: Path) -> None:
    (tree / "src/ours.c").write_text("int ours = 1;\n")
    assert (folder / "overlay/src/ours.c").read_text() == "int ours = 1;\n"
    assert checkout.is_saved(tree)


def test_an_editor_that_replaces_the_link_loses_nothing(folder: Path, tree: Path) -> None:
    (tree / "src/ours.c").unlink()
    (tree / "src/ours.c").write_text("int ours = 2;\n")
    assert not checkout.is_saved(tree)
    assert checkout.save(tree, folder) == [folder / "overlay/src/ours.c"]
    assert (folder / "overlay/src/ours.c").read_text() == "int ours = 2;\n"
    assert (tree / "src/ours.c").is_symlink()
    assert checkout.is_saved(tree)


def test_a_new_file_goes_into_the_overlay(folder: Path, tree: Path) -> None:
    (tree / "src/new").mkdir()
    (tree / "src/new/more.c").write_text("int more;\n")
    (tree / "src/new/more.c~").write_text("left by an editor\n")
    assert checkout.save(tree, folder) == [folder / "overlay/src/new/more.c"]
    assert content(folder / "overlay") == {
        "src/new/more.c": "int more;\n",
        "src/ours.c": "int ours;\n",
    }
    (tree / "src/new/more.c").write_text("int more = 1;\n")
    assert (folder / "overlay/src/new/more.c").read_text() == "int more = 1;\n"
    assert checkout.save(tree, folder) == []


def test_a_file_that_is_removed_leaves_the_overlay(folder: Path, tree: Path) -> None:
    (tree / "src/ours.c").unlink()
    assert checkout.save(tree, folder) == [folder / "overlay/src/ours.c"]
    assert content(folder / "overlay") == {}


def test_a_new_commit_becomes_a_hook(folder: Path, tree: Path) -> None:
    (tree / "src/theirs.c").write_text("int theirs;\nint hook;\n")
    commit(tree, "temporary")
    assert not checkout.is_saved(tree)
    patch = folder / "hooks/0002-say-it-again.patch"
    assert checkout.save(tree, folder) == [patch]
    assert patch.read_text() == (
        "Subject: Say it again\nKind: temporary\n\nIt was not heard.\n---\n"
        "--- a/src/theirs.c\n+++ b/src/theirs.c\n@@ -1 +1,2 @@\n int theirs;\n+int hook;\n"
    )
    assert checkout.save(tree, folder) == []


def test_a_commit_that_was_changed_is_written_anew(folder: Path, tree: Path) -> None:
    (tree / "greeting.txt").write_text("one\nTWO!!\nthree\n")
    git(tree, "commit", "--all", "--amend", "--no-edit")
    assert checkout.save(tree, folder) == [folder / "hooks/0001-step.patch"]
    assert "+TWO!!\n" in (folder / "hooks/0001-step.patch").read_text()


def test_a_commit_that_is_gone_takes_its_patch_along(folder: Path, tree: Path) -> None:
    git(tree, "reset", "--hard", "HEAD^")
    assert checkout.save(tree, folder) == [folder / "hooks/0001-step.patch"]
    assert content(folder / "hooks") == {}


def test_an_edit_that_is_not_committed_is_not_saved(folder: Path, tree: Path) -> None:
    before = content(folder)
    (tree / "src/theirs.c").write_text("int other;\n")
    assert not checkout.is_saved(tree)
    with pytest.raises(BuildError, match=r"src/theirs\.c is edited and not committed"):
        checkout.save(tree, folder)
    assert content(folder) == before


def test_a_commit_has_to_say_why(folder: Path, tree: Path) -> None:
    (tree / "src/theirs.c").write_text("int other;\n")
    git(tree, "commit", "--all", "--message", "Quick")
    with pytest.raises(BuildError, match=r"\(Quick\) does not say why it is there"):
        checkout.save(tree, folder)


def test_a_fix_does_not_come_behind_a_hook(folder: Path, tree: Path) -> None:
    (tree / "src/theirs.c").write_text("int other;\n")
    commit(tree, "fix")
    with pytest.raises(BuildError, match=r"\(Say it again\) is a fix behind a hook"):
        checkout.save(tree, folder)


def test_a_commit_does_not_add_files(folder: Path, tree: Path) -> None:
    (tree / "src/more.c").write_text("int more;\n")
    git(tree, "add", "src/more.c")
    commit(tree, "hook")
    with pytest.raises(BuildError, match=r"adds or removes src/more\.c"):
        checkout.save(tree, folder)


def test_patches_that_others_changed_are_not_overwritten(folder: Path, tree: Path) -> None:
    patch = folder / "hooks/0001-step.patch"
    patch.write_text(patch.read_text().replace("TWO!", "TWO!!"))
    with pytest.raises(BuildError, match="its patches have changed since"):
        checkout.save(tree, folder)


def test_a_folder_that_is_no_checkout_is_told(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(BuildError, match="is no checkout of a patched tree"):
        checkout.save(tmp_path, folder)


@pytest.mark.parametrize(("setting", "value"), [("maintenance.auto", "false"), ("gc.auto", "0")])
def test_git_does_nothing_of_its_own_in_the_background(
    tree: Path, setting: str, value: str
) -> None:
    command = ["/usr/bin/env", "git", "-C", str(tree), "config", "--get", setting]
    assert (
        subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() == value
    )


def test_settings_of_the_user_do_not_count(
    tmp_path: Path, folder: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".gitconfig").write_text("[diff]\n\tnoprefix = true\n\tmnemonicPrefix = true\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "another"))
    assert checkout.save(tree, folder) == []
