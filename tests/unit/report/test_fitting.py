"""Tables at every width: names are whole, columns give way, nothing is folded."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import rich.console
from rich.cells import cell_len
from rich.console import RenderableType

from toolchain.report.fitting import NAME, Column, fitted_table, shortened

NAMES = ("fashion_resnet_dense", "fashion_resnet_s20_int8 (stock runtime)")


def lines(what: RenderableType, width: int) -> list[str]:
    console = rich.console.Console(width=width)
    with console.capture() as capture:
        console.print(what)
    return capture.get().splitlines()


def columns(names: Sequence[str] = NAMES) -> list[Column]:
    count = len(names)
    return [
        Column("model", names, NAME, right=False),
        Column("median", ["12.34 ms"] * count, 3),
        Column("ratio of\ntimes", ["1.250x"] * count, 1),
        Column("peak\nmemory", ["1,234.5 MiB"] * count, 2),
    ]


@pytest.mark.parametrize("boxed", [True, False])
@pytest.mark.parametrize("width", range(41, 160))
def test_no_line_is_wider_than_the_terminal_and_names_are_whole(width: int, *, boxed: bool) -> None:
    found = lines(fitted_table(columns(), width, boxed=boxed), width)
    assert max(map(cell_len, found)) <= width
    if width >= max(map(len, NAMES)) + 4 * boxed:
        for name in NAMES:
            assert any(name in line for line in found)


def test_what_matters_least_gives_way_first_and_is_told() -> None:
    def heading(width: int) -> str:
        return " ".join(lines(fitted_table(columns(), width), width))

    wide, narrow = heading(100), heading(70)
    assert "left out" not in wide
    assert "1.250x" in narrow
    assert "12.34 ms" not in narrow
    assert "left out for want of width: median; --json has all" in narrow
    assert "median, peak memory;" in heading(60)


def test_a_name_wider_than_the_terminal_loses_its_middle() -> None:
    name = "a_very_long_network_name_" * 4 + "s30"
    found = lines(fitted_table(columns(["dense", name]), 70), 70)
    (row,) = [line for line in found if line.endswith("s30")]
    assert "a_very_long" in row
    assert "…" in row
    assert cell_len(row) <= 70


@pytest.mark.parametrize("length", range(40, 71, 3))
def test_long_names_go_below_the_table_and_what_they_are_of_stays(length: int) -> None:
    name = "n" * length
    found = lines(fitted_table(columns(["dense", name]), 70), 70)
    assert any(name in line for line in found)
    assert sum("1.250x" in line for line in found) == 2
    assert any("dense" in line and "1.250x" in line for line in found)
    numbered = [line for line in found if "[1]" in line]
    assert len(numbered) == (0 if name in found[5] else 2)


def test_a_name_that_is_there_twice_has_one_number() -> None:
    names = ["n" * 65, "m" * 65, "n" * 65]
    found = "\n".join(lines(fitted_table(columns(names), 70), 70))
    assert found.count("n" * 65) == 1
    assert found.count("│ [1] ") == 2
    assert found.count("│ [2] ") == 1


@pytest.mark.parametrize(
    ("name", "shows"),
    [
        ("[red]m[/red]", "[red]m[/red]"),
        ("[/]", "[/]"),
        ("网络网络网络网络网络", "网络网络网络网络网络"),
        ("a\tb\nc", r"a\tb\nc"),
        ("caf\udce9", r"caf\xe9"),
    ],
)
def test_a_name_is_only_text(name: str, shows: str) -> None:
    found = lines(fitted_table(columns([name]), 80), 80)
    assert any(shows in line for line in found)
    assert max(map(cell_len, found)) <= 80


@pytest.mark.parametrize("width", range(1, 30))
@pytest.mark.parametrize("text", ["abcdefghijklmnopqrstuvwxyz", "网络ab网络cd网络ef"])
def test_a_shortened_text_has_its_ends_and_fits(text: str, width: int) -> None:
    found = shortened(text, width)
    assert cell_len(found) <= width
    if width >= cell_len(text):
        assert found == text


def test_a_name_of_any_length_is_shortened_at_once() -> None:
    assert shortened("a" * 3_000_000 + "bc", 7) == "aaa…abc"
    assert shortened("你" * 1_000_000, 7) == "你 …你"
