"""Names of a user's code; what the messages say for a model, tests/unit/convert/test_source.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from toolchain.errors import DataError, ModelError
from toolchain.factory import resolve

_USER = """
class Sets:
    @staticmethod
    def pets(split):
        return f"pets to {split}"

def lazy():
    import {name}_helper
    return {name}_helper.VALUE

def broken(split):
    return {}[split]

def ours():
    from toolchain.errors import ModelError
    raise ModelError("said by the user's code")
"""


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    name = f"user_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(_USER.replace("{name}", name))
    (tmp_path / f"{name}_helper.py").write_text("VALUE = 7\n")
    monkeypatch.chdir(tmp_path)
    return name


def test_the_function_gets_its_arguments(user: str) -> None:
    assert resolve(f"{user}:Sets.pets", "data")("train") == "pets to train"


def test_a_function_may_import_from_the_current_folder_when_it_is_called(user: str) -> None:
    before = list(sys.path)
    assert resolve(f"{user}:lazy", "data")() == 7
    assert sys.path == before


def test_a_function_that_fails_is_the_users_error(user: str) -> None:
    broken = resolve(f"{user}:broken", "data", fault=DataError)
    with pytest.raises(DataError, match=rf"calling '{user}:broken' with 'test' failed: KeyError"):
        broken("test")
    with pytest.raises(DataError, match=r"with 1, width=2 failed: TypeError"):
        broken(1, width=2)


def test_an_error_of_ours_passes_as_it_is(user: str) -> None:
    with pytest.raises(ModelError, match=r"^said by the user's code$"):
        resolve(f"{user}:ours", "data", fault=DataError)()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pets", "'pets' names no factory"),
        ("a b:pets", "names no factory"),
        ("no_such_module:pets", r"no module called 'no_such_module' \(for data no_such_module:"),
        ("json:pets", "module 'json' has no function called 'pets'"),
        ("json:__name__", "is a str, not a function"),
    ],
)
def test_a_text_that_names_nothing_says_why(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        resolve(text, "data", fault=DataError, otherwise=", or a folder")
    if "no factory" in message:
        assert caught.value.hint == "write package.module:function, or a folder"
