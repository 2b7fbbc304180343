"""A series applies exactly and in order, or says which patch does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolchain.build.patches import load_series
from toolchain.errors import BuildError
from toolchain.resources import runtime_patch_dir

PATCH = """Say it louder.

--- a/greeting.txt
+++ b/greeting.txt
@@ -1,3 +1,3 @@
 one
-{before}
+{after}
 three
"""


def write_series(folder: Path, *steps: tuple[str, str]) -> Path:
    folder.mkdir()
    names = [f"{index:04}-step.patch" for index in range(1, len(steps) + 1)]
    (folder / "series").write_text("# in order\n" + "\n".join(names) + "\n\n")
    for name, (before, after) in zip(names, steps, strict=True):
        (folder / name).write_text(PATCH.format(before=before, after=after))
    return folder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/greeting.txt").write_text("one\ntwo\nthree\n")
    return tmp_path / "tree"


def test_patches_apply_in_the_order_of_the_series(tmp_path: Path, tree: Path) -> None:
    series = load_series(write_series(tmp_path / "s", ("two", "TWO"), ("TWO", "TWO!")))
    series.apply(tree)
    assert (tree / "greeting.txt").read_text() == "one\nTWO!\nthree\n"
    assert sorted(path.name for path in tree.iterdir()) == ["greeting.txt"]


def test_a_patch_that_does_not_apply_is_named(tmp_path: Path, tree: Path) -> None:
    series = load_series(write_series(tmp_path / "s", ("two", "TWO"), ("two", "TWO!")))
    with pytest.raises(BuildError, match=r"0002-step\.patch does not apply"):
        series.apply(tree)


def test_a_patch_that_applies_only_with_fuzz_is_refused(tmp_path: Path, tree: Path) -> None:
    (tree / "greeting.txt").write_text("ONE\ntwo\nthree\n")
    series = load_series(write_series(tmp_path / "s", ("two", "TWO")))
    with pytest.raises(BuildError, match="does not apply"):
        series.apply(tree)


def test_no_series_and_an_empty_one_leave_the_tree_alone(tmp_path: Path, tree: Path) -> None:
    for series in (load_series(tmp_path), load_series(write_series(tree / "s"))):
        series.apply(tree)
        assert series.patches == ()
    assert (tree / "greeting.txt").read_text() == "one\ntwo\nthree\n"


def test_the_key_follows_contents_and_order(tmp_path: Path) -> None:
    first = load_series(write_series(tmp_path / "a", ("two", "2"), ("2", "two")))
    second = load_series(write_series(tmp_path / "b", ("2", "two"), ("two", "2")))
    same = load_series(write_series(tmp_path / "c", ("two", "2"), ("2", "two")))
    assert first.key != second.key
    assert first.key == same.key


@pytest.mark.parametrize("line", ["../0001-x.patch", "x.patch", "0001-x.patch; rm -rf /"])
def test_a_line_that_is_no_patch_name_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "series").write_text(line + "\n")
    with pytest.raises(BuildError, match=r"series:1: .* is no patch's name"):
        load_series(tmp_path)


def test_a_patch_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "series").write_text("0001-x.patch\n")
    with pytest.raises(BuildError, match=r"series:1: 0001-x\.patch is not there"):
        load_series(tmp_path)


def test_fixes_go_first_and_into_stock_trees_as_well(tmp_path: Path, tree: Path) -> None:
    folder = write_series(tmp_path / "s", ("TWO", "TWO!"))
    write_series(folder / "fixes", ("two", "TWO"))
    both, fixes = load_series(folder), load_series(folder, stock=True)
    assert list(both.hashes()) == ["fixes/0001-step.patch", "0001-step.patch"]
    assert list(fixes.hashes()) == ["fixes/0001-step.patch"]
    assert both.key != fixes.key
    fixes.apply(tree)
    assert (tree / "greeting.txt").read_text() == "one\nTWO\nthree\n"
    (tree / "greeting.txt").write_text("one\ntwo\nthree\n")
    both.apply(tree)
    assert (tree / "greeting.txt").read_text() == "one\nTWO!\nthree\n"


@pytest.mark.parametrize("folder", ["xnnpack", "tensorflow", "tensorflow/fixes"])
def test_the_shipped_series_lists_every_patch_beside_it(folder: str) -> None:
    place = runtime_patch_dir() / folder
    listed = [path.name for path in load_series(place).patches if path.parent == place]
    assert listed == sorted(path.name for path in place.glob("*.patch"))


def test_the_files_that_a_series_changes_are_told(tmp_path: Path) -> None:
    series = load_series(write_series(tmp_path / "s", ("two", "TWO"), ("TWO", "TWO!")))
    assert series.files() == ["greeting.txt"]
    shipped = load_series(runtime_patch_dir() / "tensorflow/kernels").files()
    assert "tensorflow/lite/kernels/fully_connected.cc" in shipped
    assert all(name.startswith("tensorflow/lite/kernels/") for name in shipped)
