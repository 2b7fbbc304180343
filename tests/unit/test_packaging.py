"""What is released and installed: the wheel, its version, and the lock files."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import toolchain
from support.base_only import base_packages, canonical
from toolchain.dev.locks import ALL, CPU, CUDA, LOCKS, PYTHONS, entries, parted
from toolchain.dev.release import check_changelog

REPOSITORY = Path(__file__).parents[2]
_DATA = "toolchain._data"
_LOCKS = [ALL, CPU, CUDA, *(lock.path for lock in LOCKS)]


def _pyproject() -> Any:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def _setuptools() -> Any:
    return _pyproject()["tool"]["setuptools"]


def _locked(path: str) -> dict[str, str]:
    return entries((REPOSITORY / path).read_text())


def _rooms() -> set[str]:
    folders = (path.parent for path in (REPOSITORY / "toolchain").rglob("__init__.py"))
    return {".".join(folder.relative_to(REPOSITORY).parts) for folder in folders}


def test_every_room_is_in_the_wheel_but_that_of_the_developers() -> None:
    listed = {name for name in _setuptools()["packages"] if not name.startswith(_DATA)}
    used = {name for name in _rooms() if not name.startswith("toolchain.dev")}
    assert listed == used - {_DATA}


@pytest.mark.parametrize("kind", ["toml", "json", "safetensors"])
def test_no_data_of_the_developers_is_in_the_wheel(kind: str) -> None:
    assert f"**/*.{kind}" in _setuptools()["package-data"]["toolchain"]
    assert not list((REPOSITORY / "toolchain/dev").rglob(f"*.{kind}"))


def test_what_a_page_is_made_of_is_in_the_wheel() -> None:
    assert "report/page/templates/*" in _setuptools()["package-data"]["toolchain"]
    found = {path.name for path in (REPOSITORY / "toolchain/report/page/templates").iterdir()}
    assert found == {"notices.txt", "page.css", "page.html", "page.js", "theme.js"}


def test_the_facts_of_cores_are_in_the_wheel() -> None:
    assert (REPOSITORY / "toolchain/hardware/facts.toml").is_file()


# --- the version -----------------------------------------------------------------------------


def test_the_version_stands_in_one_place() -> None:
    assert _pyproject()["project"]["dynamic"] == ["version"]
    assert _setuptools()["dynamic"]["version"] == {"attr": "toolchain.__version__"}


def test_the_changelog_has_a_section_of_the_version() -> None:
    check_changelog((REPOSITORY / "CHANGELOG.md").read_text(), toolchain.__version__)


# --- the lock files --------------------------------------------------------------------------


def test_every_lock_file_is_written_by_make_lock() -> None:
    found = {path.relative_to(REPOSITORY) for path in REPOSITORY.glob("*.lock")}
    for folder in ("docs", "tests"):
        found |= {path.relative_to(REPOSITORY) for path in (REPOSITORY / folder).rglob("*.lock")}
    assert found == set(map(Path, _LOCKS))


@pytest.mark.parametrize("path", _LOCKS)
def test_a_lock_file_has_hashes_of_every_package_and_names_no_index(path: str) -> None:
    text = (REPOSITORY / path).read_text()
    assert text.startswith("# Written by make lock.\n")
    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text
    packages = _locked(path)
    assert packages
    for name, lines in packages.items():
        requirements = re.findall(r"^[\w.-]+==[^ ]+", lines, re.MULTILINE)
        assert requirements, name
        blocks = re.split(r"^(?=[\w.-]+==)", lines, flags=re.MULTILINE)[1:]
        assert all("--hash=sha256:" in block for block in blocks), name


@pytest.mark.parametrize("path", _LOCKS)
def test_make_installs_what_is_locked_by_its_hashes(path: str) -> None:
    used = "requirements-release.lock", "requirements-base.lock"
    program = "toolchain/dev/release.py" if path in used else "Makefile"
    assert path in (REPOSITORY / program).read_text()


def test_make_installs_nothing_else() -> None:
    text = (REPOSITORY / "Makefile").read_text()
    lines = [line for line in text.splitlines() if re.search(r"\bpip\b.* install ", line)]
    assert len(lines) == 2
    assert "--require-hashes --no-deps" in lines[0]
    assert "--no-deps --no-build-isolation --editable ." in lines[1]


def test_what_the_light_installation_has_is_what_all_have() -> None:
    every = _locked(ALL)
    for name, lines in _locked("requirements-base.lock").items():
        assert lines.split()[0] == every[name].split()[0]


def test_the_light_installation_has_nothing_heavy() -> None:
    heavy = {"torch", "jax", "jaxlib", "tensorflow", "scipy", "matplotlib", "transformers"}
    assert not base_packages() & heavy
    asked = [re.split(r"[=<>]", text)[0] for text in _pyproject()["project"]["dependencies"]]
    assert set(map(canonical, asked)) <= base_packages()


def test_what_only_computes_on_gpus_stands_apart() -> None:
    assert parted(_locked(ALL))[1] == {}
    assert parted(_locked(CUDA))[0] == {}
    (version,) = (lines.split()[0] for name, lines in _locked(CUDA).items() if name == "torch")
    assert _locked(CPU)["torch"].split()[0] == f"{version}+cpu"


def test_the_pythons_that_are_locked_are_those_that_are_supported() -> None:
    first, last = PYTHONS[0], PYTHONS[-1]
    after = f"3.{int(last.partition('.')[2]) + 1}"
    assert _pyproject()["project"]["requires-python"] == f">={first},<{after}"
