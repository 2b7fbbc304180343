from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.errors import GateError, RecipeError
from toolchain.profile.compare import Change, Comparison, Verdict
from toolchain.profile.gate import Rule, idle, judge, parse_rule, read_policy, require


def change(
    figure: str = "median",
    before: float = 1000.0,
    after: float = 1000.0,
    verdict: Verdict = "no change",
    **more: object,
) -> Change:
    units = {"median": "us", "p95": "us", "memory": "KiB", "size": "B", "instructions": "",
             "energy by PMIC": "J", "energy by meter": "J"}  # fmt: skip
    whole = Change("s20", figure, units.get(figure, "ms"), before, after, verdict,  # type: ignore[arg-type]
                   ratio=after / before)  # fmt: skip
    return replace(whole, **more)  # type: ignore[arg-type]


def outcome(rule: str, *changes: Change) -> list[str]:
    found = Comparison(
        [one for one in changes if one.operator is None],
        [one for one in changes if one.operator is not None], [], [],
    )  # fmt: skip
    return [one.outcome for one in judge([parse_rule(rule)], found)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("median > +3%", {"figure": "median", "limit": 0.03, "relative": True, "growth": True}),
        ("p95>+0.5ms", {"figure": "p95", "limit": 500.0, "relative": False, "growth": True}),
        ("median > 20 ms", {"limit": 20_000.0, "relative": False, "growth": False}),
        ("median > 1.5s", {"limit": 1.5e6}),
        ("size > 500kB", {"figure": "size", "limit": 500_000.0, "growth": False}),
        ("memory > +1MiB", {"figure": "memory", "limit": 1048576.0, "growth": True}),
        ("instructions > 5000", {"figure": "instructions", "limit": 5000.0}),
        ("estimate > +2%", {"figure": "estimate", "limit": 0.02}),
        ("energy > 50mJ", {"figure": "energy", "limit": 0.05, "growth": False}),
        ("s20*:median > +3%", {"model": "s20*", "figure": "median"}),
        ("median@conv1 > +10%", {"operator": "conv1", "limit": 0.1}),
        ("s20:median@layer1.0.* > +10%", {"model": "s20", "operator": "layer1.0.*"}),
    ],
)
def test_a_limit_is_read(text: str, wanted: dict[str, object]) -> None:
    rule = parse_rule(text)
    assert {name: getattr(rule, name) for name in wanted} == pytest.approx(wanted)
    assert rule.text == text


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is no limit"),
        ("median", "is no limit"),
        ("median < +3%", "is no limit"),
        ("median > -3%", "is no limit"),
        ("median > +3%; rm", "is no limit"),
        ("speed > +3%", "there is no figure 'speed'"),
        ("median > 3%", r"write \+3%"),
        ("median > +3MiB", "limited in one of: %, us"),
        ("size > 20", "limited in one of: %, B"),
        ("energy > +3ms", "limited in one of: %, uJ"),
        ("instructions > +3ms", "limited in one of: %"),
        ("size@conv1 > +3%", "the median alone"),
    ],
)
def test_what_is_no_limit_is_refused(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        parse_rule(text)


@given(text=st.text() | st.from_regex(r"[a-z0-9:@*]{1,9} ?> ?\+?[0-9.]{1,6}[%a-zA-Z]{0,3}"))
def test_any_text_is_a_limit_or_refused(text: str) -> None:
    with suppress(ValueError):
        assert isinstance(parse_rule(text), Rule)


@pytest.mark.parametrize(
    ("after", "verdict", "wanted"),
    [
        (1020.0, "worse", "passes"),
        (1029.0, "no verdict", "passes"),
        (1040.0, "worse", "fails"),
        (1040.0, "no verdict", "unclear"),
        (1040.0, "no change", "unclear"),  # chance may make it
        (500.0, "better", "passes"),
    ],
)
def test_a_time_fails_where_it_is_past_the_limit_and_not_by_chance(
    after: float, verdict: Verdict, wanted: str
) -> None:
    assert outcome("median > +3%", change(after=after, verdict=verdict, p_value=0.01)) == [wanted]
    assert outcome("median > +30us", change(after=after, verdict=verdict)) == [wanted]


def test_a_figure_is_limited_by_itself_as_well() -> None:
    slow = change(after=25_000.0, verdict="worse", p_value=0.01)
    assert outcome("median > 20ms", slow) == ["fails"]
    assert outcome("median > 30ms", slow) == ["passes"]
    # Nothing has to change for it, nor be sure of the figure before.
    shaky = replace(slow, verdict="no verdict")
    assert outcome("median > 20ms", shaky) == ["fails"]
    assert outcome("median > 20ms", replace(shaky, after_low=20_001.0)) == ["fails"]
    assert outcome("median > 20ms", replace(shaky, after_low=19_999.0)) == ["unclear"]
    assert outcome("median > 25ms", replace(shaky, after_low=19_999.0)) == ["passes"]
    assert outcome("size > 500kB", change("size", 600_000, 600_000)) == ["fails"]


@pytest.mark.parametrize(
    ("rule", "one", "wanted"),
    [
        ("size > +1%", change("size", 1000, 1020, "worse"), "fails"),
        ("size > +1kB", change("size", 1000, 1020, "worse"), "passes"),
        ("memory > +1MiB", change("memory", 2048, 4096, "worse"), "fails"),
        ("memory > 3MiB", change("memory", 2048, 4096, "worse"), "fails"),
        ("instructions > +0.1%", change("instructions", 1000, 1002, "worse"), "fails"),
        ("instructions > +0.1%", change("instructions", 1000, 1001, "worse"), "passes"),
        ("estimate > +1%", change("estimate on rpi4", 10.0, 10.2, "worse"), "fails"),
        ("estimate > 10ms", change("estimate on rpi4", 10.0, 10.2, "worse"), "fails"),
        ("energy > +5%", change("energy by PMIC", 0.050, 0.054, "worse"), "fails"),
        ("energy > +5mJ", change("energy by PMIC", 0.050, 0.054, "worse"), "passes"),
        ("energy > 50mJ", change("energy by meter", 0.050, 0.054, "no verdict"), "fails"),
    ],
)
def test_every_figure_can_be_limited(rule: str, one: Change, wanted: str) -> None:
    assert outcome(rule, one) == [wanted]


def test_a_limit_concerns_the_models_and_operators_that_it_names() -> None:
    slow = {"after": 2000.0, "verdict": "worse"}
    whole, conv = change(**slow), change(operator="conv1", **slow)  # type: ignore[arg-type]
    other = replace(whole, model="dense")
    assert outcome("median > +3%", whole, conv, other) == ["fails", "fails"]
    assert outcome("s*:median > +3%", whole, conv, other) == ["fails"]
    assert outcome("median@conv* > +3%", whole, conv, other) == ["fails"]


@pytest.mark.parametrize("rule", ["p95 > +3%", "dense:median > +3%", "median@conv9 > +3%"])
def test_a_limit_that_concerns_nothing_cannot_pass(rule: str) -> None:
    found = Comparison([change()], [change(operator="conv1")], [], [])
    rules = [parse_rule(rule), parse_rule("median > +3%")]
    assert [one.rule.text for one in judge(rules, found)] == ["median > +3%"]
    without = list(idle(rules, [found]))
    assert [one.rule.text for one in without] == [rule]
    with pytest.raises(GateError, match="limits nothing") as caught:
        require(list(judge(rules, found)), without)
    assert caught.value.hint == "they have: median, median@conv1"


def test_a_limit_of_one_model_asks_nothing_of_the_comparison_of_another() -> None:
    one, other = (
        Comparison([change(), change("size")], [], [], []),
        Comparison([replace(change(), model="s40")], [], [], []),
    )
    limits = (
        "s20:median > +3%",
        "s*:median > +3%",
        "s20:size > +3%",
        "size > +3%",
        "s9:size > +3%",
    )
    found = [[each.rule.text for each in idle([parse_rule(text)], [one, other])] for text in limits]
    assert found == [[], [], [], ["size > +3%"], ["s9:size > +3%"] * 2]


def test_what_is_past_a_limit_is_told_beside_a_limit_of_nothing() -> None:
    found = Comparison([change(after=1040.0, verdict="worse", p_value=0.01)], [], [], [])
    rules = [parse_rule("p95 > +3%"), parse_rule("median > +3%")]
    with pytest.raises(GateError, match=r"past 'median > \+3%'; 'p95 > \+3%' limits nothing"):
        require(list(judge(rules, found)), list(idle(rules, [found])))


def test_what_is_past_a_limit_ends_the_command() -> None:
    found = Comparison([change(after=1040.0, verdict="worse", p_value=0.01)], [], [], [])
    with pytest.raises(GateError) as caught:
        require(list(judge([parse_rule("median > +3%")], found)))
    assert caught.value.exit_code == 16
    assert "s20: median: 1.00 ms to 1.04 ms (+4.00%): past 'median > +3%'" in caught.value.what
    require(list(judge([parse_rule("median > +5%")], found)))


def test_what_is_unclear_fails_where_that_is_asked_for() -> None:
    found = Comparison([change(after=1040.0, verdict="no verdict")], [], [], [])
    judgements = list(judge([parse_rule("median > +3%")], found))
    require(judgements)
    with pytest.raises(GateError):
        require(judgements, strict=True)


def test_a_policy_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "tileskip-gate.toml"
    file.write_text('version = 1\nfail-if = ["median > +3%", "size > 1MB"]\nstrict = true\n')
    rules, strict = read_policy(file)
    assert [rule.text for rule in rules] == ["median > +3%", "size > 1MB"]
    assert strict


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ('fail-if = ["median > +3%"]', "version"),
        ('version = 2\nfail-if = ["median > +3%"]', "version"),
        ("version = 1\nfail-if = []", "fail-if"),
        ('version = 1\nfail-if = ["median > 3%"]', "fail-if"),
        ('version = 1\nfail-if = ["median > +3%"]\nstict = true', "stict"),
        ("version =", "TOML"),
    ],
)
def test_a_policy_with_a_fault_names_it(tmp_path: Path, content: str, fault: str) -> None:
    file = tmp_path / "gate.toml"
    file.write_text(content)
    with pytest.raises(RecipeError, match=fault) as caught:
        read_policy(file)
    assert "gate.toml" in caught.value.what
