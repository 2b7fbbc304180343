"""Commands of our files come from CMake's databases, wherever in a tree a file was compiled."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from toolchain.build.stages import Recipe, Workshop
from toolchain.dev import compile_commands as module
from toolchain.dev.compile_commands import Commands, compile_commands

KERNEL = "runtime_patch/xnnpack/overlay/src/kernel.c"
RUNNER = "runtime_patch/runner/files.cc"
MODEL_CHECK = "runtime_patch/runner/model_check.cc"
LIBRARY = "runtime_patch/c_library/op_resolver.cc"
TESTS = "tests/native/runner/CMakeLists.txt"


class Project:
    """A repository, and stand-ins of what CMake would write for it."""

    def __init__(self, root: Path) -> None:
        self.path = root / "repository"
        self.build = self.path / "build/lint"
        self.configured = 0
        self.databases: dict[str, list[tuple[Path, str]]] = {
            "0/library": [(self.build / "xnnpack/src/theirs.c", "cc")],
            "1/library": [(self.build / "xnnpack/src/kernel.c", "arm-cc -mcpu=x")],
            "0/programs": [
                (self.path / name, "c++ -std=c++17 -Iheaders")
                for name in (RUNNER, MODEL_CHECK, LIBRARY)
            ],
        }
        for name in (KERNEL, RUNNER, MODEL_CHECK, LIBRARY, TESTS):
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (self.path / name).write_text("")

    def configure(self, root: Path, *_: object) -> None:
        self.configured += 1
        for name, files in self.databases.items():
            (root / name).mkdir(parents=True)
            database = [
                {"file": str(path), "command": f"{words} -o a.o -c {path}"} for path, words in files
            ]
            (root / name / "compile_commands.json").write_text(json.dumps(database))

    def commands(self) -> Commands:
        recipes = [
            SimpleNamespace(
                compiler=SimpleNamespace(triple=triple, version="g++ 12"),
                patch_dir=self.path / "runtime_patch",
            )
            for triple in ("x86_64-linux-gnu", "aarch64-linux-gnu")
        ]
        return compile_commands(
            self.build, self.path, cast(list[Recipe], recipes), cast(Workshop, None)
        )


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    made = Project(tmp_path)
    monkeypatch.setattr(module, "_configure", made.configure)
    return made


def test_a_file_of_an_overlay_is_compiled_as_in_its_tree(project: Project) -> None:
    command = project.commands()[KERNEL]
    assert command[0] == "arm-cc"
    assert command[-2:] == ["-mcpu=x", "--target=aarch64-linux-gnu"]


def test_headers_of_overlays_come_before_their_copies(project: Project) -> None:
    command = project.commands()[RUNNER]
    overlay = f"-I{project.path}/runtime_patch/tensorflow/overlay"
    assert command.index(overlay) < command.index("-Iheaders")


def test_files_of_upstreams_are_left_out(project: Project) -> None:
    assert not any("theirs" in name for name in project.commands())


def test_a_file_that_a_test_compiles_by_itself_is_compiled_like_another(project: Project) -> None:
    commands = project.commands()
    assert commands["tests/fuzz/model_check_fuzz.cc"] == commands[MODEL_CHECK]


def test_one_in_c_is_not_compiled_as_c_plus_plus(project: Project) -> None:
    command = project.commands()["tests/native/c_library/run_model.c"]
    assert command[0] == "cc"
    assert "-Iheaders" in command
    assert "-std=c++17" not in command


def test_cmake_runs_again_when_a_project_changes_and_not_when_code_does(project: Project) -> None:
    project.commands()
    (project.path / RUNNER).write_text("int changed;")
    project.commands()
    assert project.configured == 1
    (project.path / TESTS).write_text("changed")
    project.commands()
    assert project.configured == 2


def test_cmake_runs_again_when_there_is_a_new_file(project: Project) -> None:
    project.commands()
    (project.path / RUNNER).with_name("new.cc").write_text("")
    project.commands()
    assert project.configured == 2


def test_what_stopped_half_way_is_made_anew(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.delattr(module, "_configure")
        with pytest.raises(NameError):
            project.commands()
    assert RUNNER in project.commands()
