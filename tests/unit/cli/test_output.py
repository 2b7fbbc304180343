"""What commands print, and where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NoReturn

import pytest

from toolchain.cli.output import confirm, note, print_json, say, show


def no_table(_width: int) -> NoReturn:
    raise AssertionError("nobody asked for a table")


def test_json_is_one_document_and_no_table_is_made(capsys: pytest.CaptureFixture[str]) -> None:
    show({"a": 1}, no_table, json_output=True)
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"a": 1}
    assert printed.err == ""


def test_tables_come_one_after_the_other_at_the_width_there_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    show({}, lambda width: f"{width} columns", lambda _width: "another", json_output=False)
    assert capsys.readouterr().out == "70 columns\nanother\n"


@pytest.mark.parametrize("fold", [True, False])
def test_text_is_folded_unless_it_is_to_be_copied(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, fold: bool
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    line = "word " * 40
    show({}, lambda _width: line, json_output=False, fold=fold)
    say(line, fold=fold)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100 if fold else lines == [line, line]


def test_tables_go_to_standard_error_beside_a_result_on_standard_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show({}, lambda _width: "table", json_output=False, output=Path("-"))
    show({}, lambda _width: "other", json_output=False, output=Path("./-file"))
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("other\n", "table\n")


def test_lines_are_printed_to_the_letter(capsys: pytest.CaptureFixture[str]) -> None:
    say("[red]a[/red]\x1b")
    note("[b]c", style="yellow")
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("[red]a[/red]\\x1b\n", "[b]c\n")


def test_json_is_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    print_json(["\x9b31m"])
    assert capsys.readouterr().out == '[\n  "\\u009b31m"\n]\n'


def test_nobody_is_asked_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert confirm("Shall it?", said="it is so") is None
    assert capsys.readouterr() == ("", "")
