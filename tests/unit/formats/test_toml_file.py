"""TOML files become typed models, or a message with file, key and fault."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field, model_validator

from toolchain.errors import BoardConfigError, RecipeError
from toolchain.formats.toml_file import line_of, read_toml, validate


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    number: Annotated[int, Field(ge=1)] = 1
    many: tuple[float, ...] = ()


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    inner: Inner = Inner()

    @model_validator(mode="after")
    def _not_both(self) -> Outer:
        if self.name == "both" and self.inner.many:
            raise ValueError("a name or many, not both")
        return self


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "file.toml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def load(path: Path) -> Outer:
    return validate(Outer, read_toml(path, RecipeError), path, RecipeError, hint="read the manual")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("x = " + "[" * 20_000, "in too many others"),
        ("x = " + "{a=" * 20_000, "in too many others"),
        ("x = " + "9" * 5_000, "Exceeds the limit"),
        ("x = 2020-13-45", "is not TOML"),
        ("x = 25:61:61", "is not TOML"),
        ("[" + "a." * 2_000 + "a]", "name: is missing"),
        ("x = 1e999999", "name: is missing"),
    ],
)
def test_what_a_file_can_ask_for_at_most_is_told(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said) as caught:
        load(written(tmp_path, content))
    assert len(caught.value.what) < 1_000


def test_a_good_file_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, 'name = "Grüße"\n[inner]\nnumber = 3\nmany = [1, 2.5]\n')
    assert load(path) == Outer(name="Grüße", inner=Inner(number=3, many=(1.0, 2.5)))


@pytest.mark.parametrize(
    ("content", "faults"),
    [
        ("", ["name: is missing"]),
        ('name = "x"\nnmae = 1', ["nmae: is not a known key"]),
        ('name = "x"\n[inner]\nnumber = 0', ["inner.number: Input should be greater than"]),
        ('name = "x"\n[inner]\nmany = [1, "y"]', ["inner.many.1: Input should be a valid number"]),
        ('name = "both"\n[inner]\nmany = [1]', ["(whole file): a name or many, not both"]),
        ("x = 1\n[inner]\ny = 2", ["name: is missing", "inner.y: is not a known", "x: is not a"]),
    ],
)
def test_each_fault_is_a_line_of_its_own(tmp_path: Path, content: str, faults: list[str]) -> None:
    path = written(tmp_path, content)
    with pytest.raises(RecipeError) as caught:
        load(path)
    lines = caught.value.what.splitlines()
    assert len(lines) == len(faults)
    for line, fault in zip(lines, faults, strict=True):
        assert line.startswith(f"{path}: {fault}")
    assert caught.value.hint == "read the manual"


@pytest.mark.parametrize("content", ["name", 'name = "x', "name = 1\nname = 2", b"name = '\xff'"])
def test_what_is_not_toml_is_told(tmp_path: Path, content: str | bytes) -> None:
    path = written(tmp_path, content)
    with pytest.raises(BoardConfigError) as caught:
        read_toml(path, BoardConfigError)
    assert caught.value.what.startswith(f"{path}: is not TOML: ")


@pytest.mark.parametrize(("name", "reason"), [(".", "Is a directory"), ("no.toml", "No such file")])
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(BoardConfigError, match=f"cannot be read: {reason}"):
        read_toml(tmp_path / name, BoardConfigError)


PLACES = """name = "x"
[[row]]
number = 1
"a key" = [
  2,
]
[[row]]
[row.inner]
dotted.name = { x = 1 }
[other.deep]
key = 1
[other]
"""


@pytest.mark.parametrize(
    ("location", "line"),
    [
        (("name",), 1),
        (("row", 0, "number"), 3),
        (("row", 0, "a key", 0), 4),
        (("row", 1), 7),
        (("row", 1, "missing"), 7),
        (("row", 1, "inner", "dotted", "name", "x"), 9),
        (("other", "deep", "key"), 11),
        (("other", "missing"), 12),
        (("nowhere",), None),
    ],
)
def test_the_line_of_a_key_is_found(location: tuple[str | int, ...], line: int | None) -> None:
    assert line_of(PLACES, location) == line


def test_a_fault_is_told_with_its_line_where_the_text_is_known(tmp_path: Path) -> None:
    text = 'name = "x"\n\n[inner]\nnumber = 0\n'
    with pytest.raises(RecipeError, match=r", line 4: inner\.number: Input should be greater"):
        validate(Outer, tomllib.loads(text), tmp_path, RecipeError, hint="", text=text)
