"""Names of a user's code; what the messages say for a model, tests/unit/convert/test_source.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from toolchain.errors import DataError, ModelError
from toolchain.factory import from_here, resolve, without_folder

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


# --- folders ---------------------------------------------------------------------------------


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A module in ``home``, another of the same name in the current folder ``here``."""
    name = f"placed_{abs(hash(request.node.name))}"
    for folder in ("here", "home"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.py").write_text(f"def place():\n    return '{folder}'\n")
    monkeypatch.chdir(tmp_path / "here")
    return name


def test_a_module_counts_from_the_folder_that_is_given(places: str) -> None:
    assert resolve(f"{places}:place", "data", base=Path("../home"))() == "home"


def test_the_current_folder_is_looked_at_next(places: str) -> None:
    Path(f"../home/{places}.py").unlink()
    assert resolve(f"{places}:place", "data", base=Path("../home"))() == "here"


@pytest.mark.parametrize("form", ["../home/{}:place", "../home/{}.py:place", "{}/../home/{}:place"])
def test_a_folder_may_stand_before_the_module(places: str, tmp_path: Path, form: str) -> None:
    text = form.format(*([str(tmp_path / "here"), places] if form.count("{}") == 2 else [places]))
    assert resolve(text, "data")() == "home"


def test_such_a_folder_counts_from_the_one_that_is_given(places: str) -> None:
    text = f"../home/{places}:place"
    assert resolve(text, "data", base=Path("../home"))() == "home"
    assert from_here(text, Path("../home")) == f"../home/{places}:place"
    assert without_folder(text) == f"{places}:place"


def test_a_name_is_told_as_it_is_found_from_here(places: str, tmp_path: Path) -> None:
    resolve(f"{places}:place", "data", base=tmp_path / "home")
    told = from_here(f"{places}:place", tmp_path / "home")
    assert told == f"../home/{places}:place"
    del sys.modules[places]
    assert resolve(told, "data")() == "home"
    assert from_here("toolchain.zoo.resnet:resnet18", tmp_path / "home") == (
        "toolchain.zoo.resnet:resnet18"
    )


def test_a_missing_module_is_told_with_the_folders_that_were_looked_at(
    places: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError) as caught:
        resolve(f"{places}_gone:place", "data", base=tmp_path / "home")
    assert f"in {tmp_path / 'home'} or {tmp_path / 'here'}" in caught.value.what
    with pytest.raises(ModelError, match="there is no such folder"):
        resolve(f"nowhere/{places}:place", "data")
