"""What is done to a tree is done whole, exactly and in order, or a fault is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from support.patch_series import DIFF, content, header, write_overlay, write_patches
from toolchain.build.patches import FIXES, HOOKS, Series, load_series, parse_patch
from toolchain.errors import BuildError
from toolchain.resources import runtime_patch_dir


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/greeting.txt").write_text("one\ntwo\nthree\n")
    return tmp_path / "tree"


def test_patches_apply_in_the_order_of_their_numbers(tmp_path: Path, tree: Path) -> None:
    write_patches(tmp_path / "s/hooks", ("two", "TWO"), ("TWO", "TWO!"))
    load_series(tmp_path / "s").apply(tree)
    assert content(tree) == {"greeting.txt": "one\nTWO!\nthree\n"}


def test_the_overlay_comes_first_then_fixes_then_hooks(tmp_path: Path, tree: Path) -> None:
    write_overlay(tmp_path / "s", {"src/ours.c": "int ours;\n"})
    write_patches(tmp_path / "s/fixes", ("two", "TWO"))
    write_patches(tmp_path / "s/hooks", ("TWO", "TWO!"))
    series = load_series(tmp_path / "s")
    assert list(series.hashes()) == [
        "overlay/src/ours.c", "fixes/0001-step.patch", "hooks/0001-step.patch",
    ]  # fmt: skip
    series.apply(tree)
    assert content(tree) == {"greeting.txt": "one\nTWO!\nthree\n", "src/ours.c": "int ours;\n"}


def test_a_stock_tree_gets_the_fixes_alone(tmp_path: Path, tree: Path) -> None:
    write_overlay(tmp_path / "s", {"ours.c": "int ours;\n"})
    write_patches(tmp_path / "s/fixes", ("two", "TWO"))
    write_patches(tmp_path / "s/hooks", ("TWO", "TWO!"))
    stock = load_series(tmp_path / "s", stock=True)
    assert stock.key != load_series(tmp_path / "s").key
    stock.apply(tree)
    assert content(tree) == {"greeting.txt": "one\nTWO\nthree\n"}


def test_a_patch_that_does_not_apply_is_named(tmp_path: Path, tree: Path) -> None:
    write_patches(tmp_path / "s/hooks", ("two", "TWO"), ("two", "TWO!"))
    with pytest.raises(BuildError, match=r"0002-step\.patch does not apply"):
        load_series(tmp_path / "s").apply(tree)


def test_a_patch_that_applies_only_with_fuzz_is_refused(tmp_path: Path, tree: Path) -> None:
    (tree / "greeting.txt").write_text("ONE\ntwo\nthree\n")
    write_patches(tmp_path / "s/hooks", ("two", "TWO"))
    with pytest.raises(BuildError, match="does not apply"):
        load_series(tmp_path / "s").apply(tree)


def test_an_overlay_file_that_would_replace_one_of_upstreams_is_an_error(
    tmp_path: Path, tree: Path
) -> None:
    write_overlay(tmp_path / "s", {"new.c": "int ours;\n", "greeting.txt": "ours\n"})
    before = content(tree)
    with pytest.raises(BuildError, match=r"overlay/greeting\.txt would replace a file of upstream"):
        load_series(tmp_path / "s").apply(tree)
    assert content(tree) == before


@pytest.mark.parametrize("folder", [FIXES, HOOKS])
def test_a_patch_that_touches_an_overlay_file_is_an_error(
    tmp_path: Path, tree: Path, folder: str
) -> None:
    write_overlay(tmp_path / "s", {"ours.c": "one\ntwo\nthree\n"})
    write_patches(tmp_path / "s" / folder, ("two", "TWO"), file="ours.c")
    before = content(tree)
    with pytest.raises(BuildError, match=r"0001-step\.patch: changes ours\.c, which is a file of"):
        load_series(tmp_path / "s").apply(tree)
    assert content(tree) == before


def test_a_folder_that_is_not_there_leaves_the_tree_alone(tmp_path: Path, tree: Path) -> None:
    before = content(tree)
    series = load_series(tmp_path / "none")
    series.apply(tree)
    assert series == Series("none")
    assert content(tree) == before


def _rename_an_overlay_file(folder: Path) -> None:
    (folder / "overlay/ours.c").rename(folder / "overlay/other.c")


def _edit_an_overlay_file(folder: Path) -> None:
    (folder / "overlay/ours.c").write_text("int other;\n")


def _swap_two_patches(folder: Path) -> None:
    first, second = folder / "hooks/0001-step.patch", folder / "hooks/0002-step.patch"
    texts = first.read_text(), second.read_text()
    second.write_text(texts[0])
    first.write_text(texts[1])


def _edit_a_fix(folder: Path) -> None:
    patch = folder / "fixes/0001-step.patch"
    patch.write_text(patch.read_text().replace("+zero", "+null"))


def _turn_a_fix_into_a_hook(folder: Path) -> None:
    text = (folder / "fixes/0001-step.patch").read_text()
    (folder / "fixes/0001-step.patch").unlink()
    (folder / "hooks/0000-step.patch").write_text(text.replace("Kind: fix", "Kind: hook"))


@pytest.mark.parametrize(
    "change",
    [
        _rename_an_overlay_file,
        _edit_an_overlay_file,
        _swap_two_patches,
        _edit_a_fix,
        _turn_a_fix_into_a_hook,
    ],
)
def test_the_key_follows_all_that_is_done(tmp_path: Path, change: Callable[[Path], None]) -> None:
    keys = []
    for folder in (tmp_path / "a/s", tmp_path / "b/s", tmp_path / "c/s"):
        write_overlay(folder, {"ours.c": "int ours;\n"})
        write_patches(folder / FIXES, ("one", "zero"))
        write_patches(folder / HOOKS, ("two", "2"), ("2", "two"))
        if folder == tmp_path / "c/s":
            change(folder)
        keys.append(load_series(folder).key)
    assert keys[0] == keys[1]
    assert keys[0] != keys[2]


@pytest.mark.parametrize("name", ["x.patch", "series", "0001-x.patch.orig", "0001_x.patch"])
def test_a_file_that_is_no_patch_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / name).write_text(header("hook"))
    with pytest.raises(BuildError, match=f"{name}: no patch's name"):
        load_series(tmp_path)


@pytest.mark.parametrize(
    ("folder", "beginning"),
    [
        (HOOKS, ""),
        (HOOKS, "Subject: Step\n\nNobody hears it.\n---\n"),
        (HOOKS, "Subject: Step\nKind: hook\n---\n"),
        (HOOKS, header("hack")),
        (HOOKS, header("fix")),
        (FIXES, header("hook")),
        (FIXES, header("temporary")),
    ],
)
def test_a_patch_has_to_say_what_and_why_it_is(folder: str, beginning: str) -> None:
    diff = DIFF.format(file="greeting.txt", before="two", after="TWO")
    with pytest.raises(BuildError, match="has to begin with its subject, its kind and its reason"):
        parse_patch(Path("s") / folder / "0001-step.patch", beginning + diff)


@pytest.mark.parametrize("names", ["--- /dev/null\n+++ b/new.c\n", "--- a/new.c\n+++ /dev/null\n"])
def test_a_patch_that_adds_or_removes_a_file_is_refused(names: str) -> None:
    text = header("hook") + names + "@@ -0,0 +1 @@\n+int ours;\n"
    with pytest.raises(BuildError, match=r"adds or removes new\.c"):
        parse_patch(Path("s/hooks/0001-step.patch"), text)


def test_a_patch_tells_its_files_and_changed_lines() -> None:
    two = DIFF.format(file="a.c", before="two", after="-- x") + DIFF.format(
        file="b/c.c", before="++ y", after="TWO"
    )
    patch = parse_patch(Path("s/hooks/0001-step.patch"), header("temporary") + two)
    assert patch.files == ("a.c", "b/c.c")
    assert patch.changed_lines == 4
    assert patch.text() == header("temporary") + two


@pytest.mark.parametrize("name", ["xnnpack", "tensorflow", "pthreadpool"])
def test_what_is_shipped_is_written_as_it_would_be_saved(name: str) -> None:
    series = load_series(runtime_patch_dir() / name)
    assert series.patches
    for patch in series.patches:
        assert patch.path.read_text() == patch.text()
    for patches in (series.fixes, series.hooks):
        numbers = [int(patch.path.name[:4]) for patch in patches]
        assert numbers == list(range(1, len(patches) + 1))


def test_the_kernels_of_tensorflow_lite_are_among_the_files_that_are_patched() -> None:
    names = load_series(runtime_patch_dir() / "tensorflow").patched_files()
    assert "tensorflow/lite/kernels/fully_connected.cc" in names
    assert "tensorflow/lite/delegates/xnnpack/xnnpack_delegate.cc" in names
