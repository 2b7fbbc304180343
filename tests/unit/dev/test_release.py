"""What ``make release`` refuses; that it works is seen when it runs."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from toolchain.dev import release


@pytest.mark.parametrize("title", ["## 1.2.3", "## 1.2.3 (2026-01-02)", "# x\n\n## 1.2.3\ny"])
def test_a_changelog_has_the_version(title: str) -> None:
    release.check_changelog(title, "1.2.3")


@pytest.mark.parametrize("title", ["", "1.2.3", "## 1.2.30", "## 1.2", "### 1.2.3", "## 1x2x3"])
def test_a_changelog_without_the_version_is_told(title: str) -> None:
    with pytest.raises(release.ReleaseError, match=r"has no section '## 1\.2\.3'"):
        release.check_changelog(title, "1.2.3")


@pytest.fixture
def environment(tmp_path: Path) -> release.Environment:
    """One with a program that ends as it is told."""
    found = object.__new__(release.Environment)
    found.folder = tmp_path / "env"
    program = found.folder / "bin/program"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho $HOME; echo $2 >&2; exit $1\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return found


def test_a_program_is_run_away_from_the_checkout(
    environment: release.Environment, tmp_path: Path
) -> None:
    assert environment.run("program", "0", home=tmp_path).stdout == f"{tmp_path}\n"
    environment.run("program", "11", home=tmp_path, code=11)


@pytest.mark.parametrize("words", [["1"], ["11"], ["0", "Traceback"]])
def test_a_program_that_ends_otherwise_is_a_fault(
    environment: release.Environment, tmp_path: Path, words: list[str]
) -> None:
    with pytest.raises(release.ReleaseError, match="program"):
        environment.run("program", *words, home=tmp_path)


def test_the_size_is_that_of_files_not_of_links(environment: release.Environment) -> None:
    (environment.folder / "data").write_bytes(bytes(1_000_000))
    (environment.folder / "link").symlink_to("data")
    assert environment.megabytes == pytest.approx(1.0, abs=0.01)


def test_it_takes_no_options() -> None:
    assert release.main(["--upload"]) == 2
