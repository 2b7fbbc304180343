from __future__ import annotations

import io
from dataclasses import replace

import pytest
import rich.console
from rich.console import RenderableType

from toolchain.profile.compare import Change, Comparison, Verdict
from toolchain.profile.gate import idle, judge, parse_rule
from toolchain.report.compare_table import comparison_table, gate_table, markdown, shown_changes

SLOWER = Change(
    "s20", "median", "us", 1000.0, 1040.0, "worse", ratio=1.04, low=1.03, high=1.05, p_value=0.001
)
SIZE = Change("s20", "size", "B", 5000.0, 5000.0, "no change", ratio=1.0)
CONV = Change("s20", "median", "us", 10.0, 20.0, "no verdict", operator="conv1", ratio=2.0)
FOUND = Comparison([SLOWER, SIZE], [CONV], [], ["s20: the two files differ"])


def shown(what: RenderableType, width: int = 120) -> str:
    console = rich.console.Console(width=width, file=io.StringIO())
    with console.capture() as capture:
        console.print(what)
    return capture.get()


def test_a_change_is_told_with_its_interval() -> None:
    text = shown(comparison_table(FOUND, "before.json and after.json", 120))
    for part in ("1.00 ms", "1.04 ms", "+4.00%", "+3.00% to +5.00%", "worse", "files differ"):
        assert part in text


def test_a_size_that_did_not_change_is_not_shown() -> None:
    assert shown_changes(FOUND) == [SLOWER]


def test_operators_are_shown_where_they_are_asked_for() -> None:
    assert "conv1" not in shown(comparison_table(FOUND))
    assert "conv1" in shown(comparison_table(FOUND, per_op=True))


def test_operators_that_changed_come_first_and_of_them_those_that_changed_most_time() -> None:
    def operator(name: str, before: float, after: float, verdict: Verdict) -> Change:
        return Change("s20", "median", "us", before, after, verdict, operator=name,
                      ratio=after / before)  # fmt: skip

    rows = [
        operator("tiny", 1.0, 2.0, "worse"),
        operator("noise", 500.0, 900.0, "no verdict"),
        operator("large", 900.0, 800.0, "better"),
    ]
    found = Comparison([SLOWER], rows, [], [])
    for text in (
        shown(comparison_table(found, per_op=True)),
        markdown(["x"], [found], per_op=True),
    ):
        places = [text.index(name) for name in ("large", "tiny", "noise")]
        assert places == sorted(places)
    assert "tiny" not in markdown(["x"], [found])


def test_what_cannot_be_compared_says_so_first() -> None:
    found = Comparison([SLOWER], [], ["the core differs: A and B"], [])
    assert shown(comparison_table(found)).startswith("Not comparable: the core differs: A and B.")


def test_narrow_terminals_keep_the_change_and_the_verdict() -> None:
    text = shown(comparison_table(FOUND, width=70), 70)
    assert "+4.00%" in text
    assert "worse" in text
    assert max(map(len, text.splitlines())) <= 70


@pytest.mark.parametrize("letters", [30, 42, 60])
def test_narrow_terminals_keep_what_a_row_is_of(letters: int) -> None:
    found = Comparison([replace(SLOWER, model="m" * letters)], [], [], [])
    text = shown(comparison_table(found, width=70), 70)
    for word in ("median", "+4.00%", "worse"):
        assert word in text
    assert max(map(len, text.splitlines())) <= 70


def test_limits_are_shown_with_their_outcome() -> None:
    judgements = list(judge([parse_rule("median > +3%"), parse_rule("median > +9%")], FOUND))
    text = shown(gate_table(judgements, 120))
    assert "fails" in text
    assert "passes" in text


def test_limits_that_fail_come_first() -> None:
    judgements = list(judge([parse_rule("median > +9%"), parse_rule("median > +3%")], FOUND))
    for text in (shown(gate_table(judgements, 120)), markdown(["x"], [FOUND], judgements)):
        assert text.index("+3%") < text.index("+9%")


def test_markdown_is_a_table_that_no_name_can_break() -> None:
    hostile = Change("a|b`<img src=x>`\n# @everyone", "median", "us", 1.0, 2.0, "worse", ratio=2.0)
    text = markdown(["x and y"], [Comparison([hostile], [], [], [])])
    row = next(line for line in text.splitlines() if "median" in line)
    assert row.replace("\\|", "").count("|") == 8
    assert "<img" not in text
    assert "@everyone" not in text
    assert "\n# " not in text.replace("\n### ", "")


def test_markdown_begins_with_what_the_limits_say() -> None:
    judgements = list(judge([parse_rule("median > +3%")], FOUND))
    first = markdown(["x and y"], [FOUND], judgements).splitlines()[0]
    assert first == "**1 of 1 limited figures are past their limit.**"


def test_markdown_counts_what_may_be_chance_where_that_fails() -> None:
    shaky = Comparison([replace(SLOWER, verdict="no verdict")], [], [], [])
    judgements = list(judge([parse_rule("median > +3%")], shaky))
    first = markdown(["x and y"], [shaky], judgements).splitlines()[0]
    assert first == "**0 of 1 limited figures are past their limit.**"
    first = markdown(["x and y"], [shaky], judgements, strict=True).splitlines()[0]
    assert first == "**1 of 1 limited figures are past their limit.**"


def test_markdown_tells_a_limit_of_nothing() -> None:
    without = list(idle([parse_rule("p95 > +3%")], [FOUND]))
    text = markdown(["x and y", "x and z"], [FOUND, FOUND], [], [*without, *without])
    line = "**'p95 &gt; +3%' limits nothing that both results have; they have: median, size, "
    assert text.splitlines()[0] == f"{line}median&#64;conv1.**"
    assert text.count("limits nothing") == 1
    assert "| s20 | median |" in text


def test_markdown_tells_what_cannot_be_compared() -> None:
    found = Comparison([SLOWER], [], ["the board differs: a and b"], [])
    assert "**Not comparable:** the board differs: a and b." in markdown(["x and y"], [found])
