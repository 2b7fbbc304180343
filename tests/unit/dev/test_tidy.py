"""clang-tidy reads a file again when something that it follows from has changed, and not before."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from toolchain import children
from toolchain.dev import tidy
from toolchain.dev.compile_commands import Commands
from toolchain.errors import BuildError
from toolchain.progress import Silent

NAMES = ("runtime_patch/a.cc", "runtime_patch/b.cc", "runtime_patch/in/h.h", "tests/t.h")
COMMANDS: Commands = {name: ["c++"] for name in NAMES if name.endswith(".cc")}


class Tidy:
    """Stands in for the program: remembers what it read, and says what it was told to."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self.says: dict[str, str] = {}
        self.code = 0

    def run(self, command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        if "--version" in command:
            return subprocess.CompletedProcess(command, 0, "version 14", "")
        name = Path(command[-1]).name
        self.read.append(name)
        return subprocess.CompletedProcess(
            command, self.code, self.says.get(name, ""), "what went wrong"
        )


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Tidy:
    monkeypatch.setenv("TILESKIP_CACHE", str(tmp_path_factory.mktemp("cache")))
    made = Tidy()
    monkeypatch.setattr(children, "run", made.run)
    return made


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name, text in zip(NAMES, ('#include "h.h"\n', "", '#include "t.h"\n', ""), strict=True):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for name in (".clang-tidy", "runtime_patch/sources.toml"):
        (tmp_path / name).write_text("")
    (tmp_path / "build").mkdir()
    return tmp_path


def check(repository: Path, commands: Commands = COMMANDS) -> list[str]:
    return tidy.findings(repository / "build", repository, NAMES, commands, Silent())


def test_a_file_that_passed_is_not_read_again(program: Tidy, repository: Path) -> None:
    assert check(repository) == []
    assert sorted(program.read) == ["a.cc", "b.cc"]
    check(repository)
    assert len(program.read) == 2


@pytest.mark.parametrize(
    ("changed", "read"),
    [
        ("runtime_patch/b.cc", ["b.cc"]),
        ("runtime_patch/in/h.h", ["a.cc"]),
        ("tests/t.h", ["a.cc"]),
        (".clang-tidy", ["a.cc", "b.cc"]),
        ("runtime_patch/sources.toml", ["a.cc", "b.cc"]),
    ],
)
def test_it_is_read_again_after_a_change(
    program: Tidy, repository: Path, changed: str, read: list[str]
) -> None:
    check(repository)
    program.read.clear()
    (repository / changed).write_text("changed")
    check(repository)
    assert sorted(program.read) == read


def test_it_is_read_again_when_it_is_compiled_otherwise(program: Tidy, repository: Path) -> None:
    check(repository)
    program.read.clear()
    check(repository, {**COMMANDS, "runtime_patch/b.cc": ["c++", "-DX"]})
    assert program.read == ["b.cc"]


def test_a_file_that_did_not_pass_is_read_until_it_does(program: Tidy, repository: Path) -> None:
    said = f"{repository}/runtime_patch/in/h.h:1:2: error: bad [bugprone-x]\n  code\n"
    program.says = {"a.cc": said, "b.cc": said}
    found = ["runtime_patch/in/h.h:1:2: error: bad [bugprone-x]\n  code\n"]
    assert check(repository) == found
    program.says = {}
    assert check(repository) == []
    assert sorted(program.read) == ["a.cc", "a.cc", "b.cc", "b.cc"]


def test_places_in_headers_of_others_are_left_out(program: Tidy, repository: Path) -> None:
    program.says = {"a.cc": "/usr/include/x.h:1:2: error: other names [readability-x]\n"}
    assert check(repository) == []


def test_a_header_of_others_that_cannot_be_read_is_told(program: Tidy, repository: Path) -> None:
    said = "/usr/include/x.h:1:2: error: expected ';' [clang-diagnostic-error]\n"
    program.says = {"a.cc": said}
    assert check(repository) == [said]


def test_a_program_that_fails_is_told(program: Tidy, repository: Path) -> None:
    program.code = 1
    with pytest.raises(BuildError, match=r"failed on runtime_patch/.\.cc: what went wrong"):
        check(repository)


def test_what_passed_is_remembered_while_others_are_checked(
    program: Tidy, repository: Path
) -> None:
    check(repository)
    (repository / "runtime_patch/b.cc").write_text("changed")
    tidy.findings(repository / "build", repository, ["runtime_patch/b.cc"], COMMANDS, Silent())
    program.read.clear()
    assert check(repository) == []
    assert program.read == []


def test_what_passed_in_one_checkout_is_not_read_in_another(
    program: Tidy, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    for place in (repository, other):
        if place == other:
            shutil.copytree(repository, other, dirs_exist_ok=True)
        headers = [f"-I{place}/build/0", f"-I{place}/runtime_patch"]
        check(place, {name: ["c++", *headers] for name in COMMANDS})
    assert sorted(program.read) == ["a.cc", "b.cc"]


def test_the_program_gets_every_command(program: Tidy, repository: Path) -> None:
    check(repository)
    assert program.read
    database = json.loads((repository / "build/compile_commands.json").read_text())
    assert [entry["arguments"] for entry in database] == [
        ["c++", "-c", str(repository / name)] for name in COMMANDS
    ]


def test_a_file_that_nothing_compiles_is_told() -> None:
    assert tidy.not_compiled(["new.cc", *NAMES], COMMANDS) == ["new.cc"]
