"""The light installation: what commands do where the packages of an extra are missing."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import shlex
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from support import base_only
from support.bundles import LYING_RUNNER, write_bundle, write_masked_model
from support.places import REPOSITORY
from support.profiles import measurement, profile_of
from toolchain import extras
from toolchain.dev.locks import PYTHONS
from toolchain.errors import MissingToolError
from toolchain.hints import quoted
from toolchain.profile.history import append

PROJECT: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
NEEDED = {
    "convert": (["convert", "--model", "resnet18"], ["convert"]),
    "convert timm": (["convert", "--model", "timm:lcnet_035"], ["convert", "timm"]),
    "convert torchvision": (
        ["convert", "--model", "torchvision:resnet18"],
        ["convert", "torchvision"],
    ),
    "convert onnx": (["convert", "model.onnx"], ["convert", "onnx"]),
    "train": (["train", "recipe.toml"], ["train"]),
    "train --address": (
        ["train", "recipe.toml", "--ranks", "2", "--address", "localhost:6379"],
        ["train", "sweep"],
    ),
    "recipe": (["recipe", "new", "--data", "pictures", "--model", "resnet18"], ["train"]),
    "detect": (["detect", "model.tflite", "picture.png"], ["detect"]),
    "evaluate": (["evaluate", "model.tflite", "--data", "fashion-mnist"], ["convert"]),
    "evaluate boxes": (
        ["evaluate", "model.tflite", "--data", "b.json"],
        ["convert", "boxes"],
    ),
    "demo": (["demo"], ["convert", "plot"]),
    "profile --plot": (
        ["profile", "model.tflite", "--board", "host", "--plot", "plot.png"],
        ["plot"],
    ),
    "gain --plot": (["gain", "dense.tflite", "--plot", "plot.png"], ["plot"]),
    "history --plot": (["history", "--history", "h.jsonl", "--plot", "plot.png"], ["plot"]),
    "report": (["report", "profile.json"], ["report"]),
    "sweep": (["sweep", "recipe.toml"], ["train"]),
    "sweep --jobs": (["sweep", "recipe.toml", "--jobs", "2"], ["train", "sweep"]),
}
"""Commands, and the extras that each needs."""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    write_masked_model(tmp_path / "model.tflite", size=4, channels=2)
    write_masked_model(tmp_path / "dense.tflite", size=4, channels=2, sparsity=0)
    (tmp_path / "recipe.toml").write_text("")
    (tmp_path / "model.onnx").write_bytes(b"")
    profile_of(measurement("model")).save(tmp_path / "profile.json")
    append(tmp_path / "h.jsonl", profile_of(measurement("model")))
    board = (REPOSITORY / "boards/host.toml").read_text()
    (tmp_path / "lying.toml").write_text(board)
    write_bundle(tmp_path / "build/lying", LYING_RUNNER)
    return tmp_path


def distribution(requirement: str) -> str:
    """The name that a requirement begins with."""
    found = re.match(r"[\w.-]+", requirement)
    assert found is not None
    return found[0]


@pytest.mark.parametrize("extra", extras.MODULES)
def test_an_extra_names_what_its_packages_are_imported_as(extra: str) -> None:
    if missing := extras.missing_modules(extra):
        pytest.skip(f"{', '.join(missing)} of the extra {extra} are not installed")
    wanted = {distribution(text) for text in PROJECT["optional-dependencies"][extra]}
    if extra in extras.OPTIONAL and extras.missing_modules(extra):
        pytest.skip(f"the extra {extra} is not installed")
    # The build of TensorFlow for CPUs serves as well as the other one.
    provided = {
        module: [name.removesuffix("-cpu") for name in names]
        for module, names in importlib.metadata.packages_distributions().items()
    }
    known = {base_only.canonical(provided[module][0]) for module in extras.MODULES[extra]}
    assert known == {base_only.canonical(name) for name in wanted}


def test_there_is_one_extra_for_all() -> None:
    every = PROJECT["optional-dependencies"]
    assert set(every) == {*extras.MODULES, "all"}
    inside = [name for name in extras.MODULES if name not in extras.OPTIONAL]
    assert every["all"] == [f"tileskip[{','.join(inside)}]"]


CASES = [
    (command, module)
    for command, (_, needed) in NEEDED.items()
    for module in sorted({name for extra in needed for name in extras.MODULES[extra]})
]


@pytest.mark.parametrize(("command", "module"), CASES, ids=map("without ".join, CASES))
def test_a_command_names_the_package_that_it_lacks(command: str, module: str, here: Path) -> None:
    words, needed = NEEDED[command]
    if any(other != module for extra in needed for other in extras.missing_modules(extra)):
        pytest.skip(f"the extras {' and '.join(needed)} are not installed")
    wanting = [extra for extra in needed if module in extras.MODULES[extra]]
    done = base_only.run(here, *words, without=[module])
    assert done.returncode == MissingToolError.exit_code, done.stderr
    assert f"are not installed: {module}\n" in done.stderr
    assert f"hint: run: {extras.install_line(*wanting)}\n" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("command", NEEDED)
def test_where_all_is_missing_one_line_installs_it(command: str, here: Path) -> None:
    words, needed = NEEDED[command]
    done = base_only.run(here, *words)
    assert done.returncode == MissingToolError.exit_code
    assert f"hint: run: {extras.install_line(*needed)}\n" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["--version"],
        ["boards"],
        ["models"],
        ["cache"],
        ["inspect", "model.tflite"],
        ["inspect", "model.tflite", "--board", "rpi4", "--json"],
        ["mask", "dense.tflite", "--sparsity", "0.25", "--json"],
        ["report", "profile.json", "--json"],
        ["history", "--history", "h.jsonl"],
        ["history", "model", "--history", "h.jsonl", "--json"],
        ["emulator", "stop"],
    ],
    ids=" ".join,
)
def test_what_the_base_is_for_works_without_the_extras(words: list[str], here: Path) -> None:
    done = base_only.run(here, *words)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_outputs_are_verified_without_torch(here: Path) -> None:
    done = base_only.run(here, "verify", "model.tflite", "--board", "lying.toml")
    assert done.returncode == 4, done.stderr
    assert "the board does not compute what this machine does" in done.stderr


def imports_of_commands() -> str:
    """The imports that commands without an extra do in their functions, as a program."""
    found = []
    for path in (REPOSITORY / "toolchain/cli").glob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                nodes = list(ast.walk(function))
                if not any(isinstance(node, ast.alias) and node.name == "extras" for node in nodes):
                    found += [n for n in nodes if isinstance(n, ast.Import | ast.ImportFrom)]
    return "\n".join(dict.fromkeys(map(ast.unparse, found)))


def test_all_that_commands_of_the_base_import_is_in_the_base(tmp_path: Path) -> None:
    program = imports_of_commands()
    for name in ("operations.verify", "operations.push", "operations.profile", "build",
                 "profile.compare", "profile.gain", "profile.estimator"):  # fmt: skip
        assert f"from toolchain.{name} import" in program
    done = base_only.python(tmp_path, program)
    assert done.returncode == 0, done.stderr


# --- the line that installs ------------------------------------------------------------------


class _Installed:
    version = "9.8"

    def __init__(self, origin: str | None) -> None:
        self._origin = origin

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return self._origin


@pytest.mark.parametrize(
    ("origin", "line"),
    [
        (None, "'tileskip[convert,plot]==9.8'"),
        ('{"url": "file:///a%20b/tileskip.whl", "archive_info": {}}',
         "'/a b/tileskip.whl[convert,plot]'"),
        ('{"url": "https://host/x.whl", "archive_info": {}}',
         "'tileskip[convert,plot] @ https://host/x.whl'"),
        ('{"url": "https://host/x", "vcs_info": {"vcs": "git", "commit_id": "1f"}}',
         "'tileskip[convert,plot] @ git+https://host/x@1f'"),
    ],
)  # fmt: skip
def test_an_extra_comes_from_where_the_base_came_from(
    origin: str | None, line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(extras, "_CHECKOUT", tmp_path)
    monkeypatch.setattr(importlib.metadata, "distribution", lambda _: _Installed(origin))
    monkeypatch.setattr(sys, "executable", "/my env/bin/python")
    found = extras.install_line("convert", "plot")
    assert found == f"'/my env/bin/python' -m pip install {line}"
    assert shlex.split(found)[-1] == shlex.split(line)[0]


def test_in_a_checkout_it_is_the_checkout_that_is_installed() -> None:
    found = shlex.split(extras.install_line("train"))
    assert found[-2:] == ["--editable", f"{REPOSITORY}[train]"]
    assert quoted(sys.executable) == found[0]


def test_nothing_is_wrong_where_all_is_installed() -> None:
    extras.require("this test", "convert", "train", "plot", "report")


def test_what_is_missing_of_an_extra_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert extras.missing_modules("plot") == []
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert extras.missing_modules("plot") == ["matplotlib"]


def test_every_extra_says_what_it_is_for() -> None:
    assert set(extras.USED_BY) == set(extras.MODULES)


def test_the_pythons_that_are_supported_are_those_of_the_project(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert extras.supported_pythons() == (PYTHONS[0], PYTHONS[-1])
    monkeypatch.setattr(extras, "_CHECKOUT", tmp_path)
    installed = {"Requires-Python": "<3.20,>=3.12"}
    monkeypatch.setattr(importlib.metadata, "metadata", lambda _: installed)
    assert extras.supported_pythons() is None, "of another form"
    installed["Requires-Python"] = ">=3.12,<3.20"
    assert extras.supported_pythons() == ("3.12", "3.19")


@pytest.mark.parametrize("text", ["", "[", "[project]\nrequires-python = 3\n", "\0"])
def test_a_garbled_project_file_says_nothing_of_pythons(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    def not_installed(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(extras, "_CHECKOUT", tmp_path)
    monkeypatch.setattr(importlib.metadata, "metadata", not_installed)
    (tmp_path / "pyproject.toml").write_text(text)
    assert extras.supported_pythons() is None


def test_a_keras_model_asks_for_tensorflow(here: Path) -> None:
    (here / "net.keras").write_bytes(b"")
    done = base_only.run(here, "convert", "net.keras", without=["keras", "tensorflow"])
    assert done.returncode == MissingToolError.exit_code
    assert "deploy convert needs packages of Python that are not installed" in done.stderr
    assert f"hint: run: {extras.install_line('tensorflow')}\n" in done.stderr


def test_the_library_for_keras_says_how_to_get_it(here: Path) -> None:
    program = """
from toolchain.errors import MissingToolError
try:
    import toolchain.keras
except MissingToolError as error:
    print(error.hint)
"""
    done = base_only.python(here, program, without=["keras", "tensorflow"])
    assert done.stdout == f"run: {extras.install_line('tensorflow')}\n", done.stderr


def test_the_library_for_keras_says_which_backend_it_needs(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorflow")
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    program = """
from toolchain.errors import ModelError
try:
    import toolchain.keras
except ModelError as error:
    print(error.what)
"""
    done = base_only.python(here, program, without=["nothing"])
    assert done.stdout == "Keras computes with torch here, and masks need TensorFlow\n", done.stderr


def test_the_library_for_keras_needs_no_torch(here: Path) -> None:
    pytest.importorskip("tensorflow")
    done = base_only.python(here, "import toolchain.keras", without=["torch"])
    assert done.returncode == 0, done.stderr
