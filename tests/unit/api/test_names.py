"""``from toolchain import ...``: which names there are, what importing them takes."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, assert_type

import pytest

import toolchain
from support.base_only import python
from support.places import REPOSITORY
from toolchain import api
from toolchain.api import commands

if TYPE_CHECKING:  # what a user's type checker sees, which that of this project looks at
    from toolchain import Board, build, convert, estimate, gain, profile
    from toolchain import inspect as inspect_file
    from toolchain.api.board import ConnectedBoard
    from toolchain.build.bundle import Bundle
    from toolchain.convert.result import Conversion
    from toolchain.operations.run import RunResult
    from toolchain.profile.document import Profile
    from toolchain.profile.estimate_document import Estimate
    from toolchain.profile.gain_document import Gain
    from toolchain.tflite_file.inspection import Inspection

    with Board("rpi4", host="pi@raspberrypi", progress=print).connect() as board:
        assert_type(board, ConnectedBoard)
        assert_type(board.run("net.tflite", []), RunResult)
        assert_type(board.verify("net.tflite").models[0].passed, bool)
    assert_type(convert("net.safetensors", "net.tflite"), Conversion)
    assert_type(build("rpi4"), Bundle)
    assert_type(profile(["net.tflite"], board="rpi4", per_op=True), Profile)
    assert_type(estimate("net.tflite"), Estimate)
    assert_type(gain("net.tflite"), Gain)
    assert_type(inspect_file("net.tflite", board="rpi4"), Inspection)
    profile("net.tflite", no_such=1)  # type: ignore[call-arg]


_LIST = "import sys, json; print(json.dumps(list(sys.modules)))"


def modules_after(program: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\n{_LIST}"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(json.loads(done.stdout))


def test_importing_the_package_imports_nothing_of_it() -> None:
    found = modules_after("import toolchain") - modules_after("import importlib, typing")
    assert {name for name in found if name.startswith("toolchain")} == {"toolchain"}
    assert not found & {"numpy", "pydantic", "paramiko", "torch"}


def test_a_board_needs_no_torch() -> None:
    found = modules_after("from toolchain import Board, convert, build, profile; Board('rpi4')")
    assert "toolchain.api.board" in found
    assert "torch" not in found


def test_all_names_are_there() -> None:
    for name in toolchain.__all__:
        assert getattr(toolchain, name) is not None
        assert name in dir(toolchain)
    with pytest.raises(AttributeError, match="no_such"):
        _ = toolchain.no_such  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["build", "convert", "profile"])
@pytest.mark.parametrize("first", ["", "import toolchain.build, toolchain.convert.kinds, "
                                   "toolchain.profile.protocol; "])  # fmt: skip
def test_a_package_is_called_as_the_function_of_its_name(name: str, first: str) -> None:
    program = (
        f"{first}from toolchain import {name}; import toolchain, inspect\n"
        f"assert {name} is toolchain.{name}\n"
        f"from toolchain.api.commands import {name} as function\n"
        f"assert inspect.signature({name}) == inspect.signature(function)\n"
        f"try:\n    {name}(1, 2, 3)\n"
        f"except TypeError as error:\n    assert '{name}() takes' in str(error)\n"
        "else:\n    raise SystemExit('it took three')\n"
        "import toolchain.profile.protocol\nassert toolchain.profile.protocol.TURNS\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_function_says_what_its_arguments_are() -> None:
    for name in ("build", "convert", "estimate", "gain", "inspect", "profile"):
        function = getattr(commands, name)
        for argument in inspect.signature(function).parameters:
            assert f"\n        {argument}: " in (function.__doc__ or ""), (name, argument)
    assert api.__doc__


def test_without_the_extra_conversion_says_what_to_install(tmp_path: Path) -> None:
    program = (
        "from toolchain import convert\nfrom toolchain.errors import MissingToolError\n"
        "try:\n    convert(None, 'r.tflite', model='resnet18')\n"
        "except MissingToolError as error:\n    print(error.hint)\n"
    )
    done = python(tmp_path, program)
    assert "[convert]" in done.stdout, done.stderr
