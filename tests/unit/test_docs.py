"""The documentation: every page is found, names what there is, and its commands are understood."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from support.pages import DOCS, TUTORIAL, commands, files, guides, page_commands
from support.places import REPOSITORY
from toolchain.cli.app import app
from toolchain.dev.reference.commands import command_names
from toolchain.dev.reference.pages import write_reference

PAGES = sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
_PLACE = re.compile(r"`((?:toolchain|runtime_patch|tests|boards|docs)/[^` *<]+)`")
_SUITES = (
    "tests/native/test_pages.py",
    "tests/frameworks/test_tensorflow_page.py",
    "tests/labgrid_places/test_place.py",
    "tests/emulated/test_pages.py",
    "tests/emulated/test_gate_in_ci.py",
)


def text_of(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def test_what_follows_from_the_code_is_current() -> None:
    assert write_reference(REPOSITORY, check=True) == []


def test_every_page_is_in_the_navigation_once() -> None:
    config = tomllib.loads((REPOSITORY / ".zensical.toml").read_text(encoding="utf-8"))

    def pages(item: Any) -> Iterator[str]:
        if isinstance(item, str):
            yield item
        else:
            for part in item.values() if isinstance(item, dict) else item:
                yield from pages(part)

    assert sorted(pages(config["project"]["nav"])) == PAGES


@pytest.mark.parametrize("page", PAGES)
def test_code_in_a_table_has_no_bar(page: str) -> None:
    """The site would show the backslash before it."""
    assert not re.findall(r"`[^`\n]*\\\|[^`\n]*`", without_code(text_of(page)))


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_lead_to_files_of_docs(page: str) -> None:
    for target in _LINK.findall(without_code(text_of(page))):
        if "://" in target:
            continue
        path = (DOCS / page).parent / target
        assert path.is_file(), target
        assert path.resolve().is_relative_to(DOCS), f"{target} is no part of the site"


@pytest.mark.parametrize("page", PAGES)
def test_files_of_the_project_that_a_page_names_are_there(page: str) -> None:
    for place in _PLACE.findall(without_code(text_of(page))):
        assert (REPOSITORY / place).exists(), place


def test_files_in_the_tables_of_the_architecture_are_there() -> None:
    text = text_of("development/architecture.md")
    sections = re.findall(r"^### In `(\w+)/`\n(.*?)(?=^##)", text, re.DOTALL | re.MULTILINE)
    assert [folder for folder, _ in sections] == ["toolchain", "runtime_patch"]
    for folder, table in sections:
        named = re.findall(r"`([\w-]+/[\w./-]*|[\w-]+\.\w+)`", table)
        assert len(named) > 10
        for place in named:
            assert any((REPOSITORY / top / place).exists() for top in (folder, "tests", "")), place


def test_tests_that_the_page_on_safety_names_are_there() -> None:
    named = re.findall(r"`((?:unit|native)/[\w/.]+)`", text_of("explanation/safety.md"))
    assert named
    assert [place for place in named if not (REPOSITORY / "tests" / place).exists()] == []


def test_every_guide_is_run_by_a_test() -> None:
    suites = "".join((REPOSITORY / suite).read_text(encoding="utf-8") for suite in _SUITES)
    run = {*re.findall(r"how-to/[\w-]+\.md", suites), TUTORIAL}
    assert run == {page for page in guides() if page_commands(page)}
    assert [page for page in guides() if not page_commands(page)] == ["how-to/index.md"]


@pytest.mark.parametrize("page", guides())
def test_files_that_a_guide_shows_can_be_read(page: str) -> None:
    for name, content in files(page).items():
        if name.endswith(".py"):
            ast.parse(content)
        elif name.endswith(".toml"):
            tomllib.loads(content)
        elif name.endswith(".yml"):
            assert yaml.safe_load(content)


def check_understood(line: str) -> None:
    """Parse a command as the command line does, and run nothing."""
    command: Any = get_command(app)
    name, words = "deploy", shlex.split(line)[1:]
    while words and words[0] in getattr(command, "commands", {}):
        name, command = f"{name} {words[0]}", command.commands[words[0]]
        words = words[1:]
    if words == ["--version"]:
        return
    context = command.make_context(name, list(words))
    context.close()


@pytest.mark.parametrize("page", [*guides(), "reference/commands.md", "../README.md"])
def test_commands_of_a_page_are_understood(page: str) -> None:
    for line in commands(text_of(page)):
        if line.startswith("deploy ") and "--install-completion" not in line:
            check_understood(line)


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_the_text_of_a_page_exist(page: str) -> None:
    known = set(command_names())
    for line in re.findall(r"`(deploy [^`]+)`", without_code(text_of(page))):
        words = line.split()
        if words[1].startswith("-") or words[1] in ("COMMAND", "emulator", "cache", "recipe"):
            continue
        assert " ".join(words[:2]) in known, line


def test_a_guide_has_no_command_that_is_missing() -> None:
    with pytest.raises(Exception, match="--no-such"):
        check_understood("deploy build --no-such")


def test_every_make_target_that_a_page_names_is_there() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z0-9-]+):", makefile, re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"`make ([a-z0-9-]+)", text_of(page))}
    assert named <= targets


def test_the_documentation_says_nothing_of_where_it_was_written() -> None:
    for page in [*PAGES, "../README.md"]:
        assert not re.search(r"/work/|/root/|helper|sandbox", text_of(page)), page


def test_every_file_of_a_guide_is_below_the_folder_that_it_is_shown_for() -> None:
    for page in guides():
        paths = list(map(Path, files(page)))
        assert not any(path.is_absolute() or ".." in path.parts for path in paths)
