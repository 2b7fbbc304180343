"""Colours that everybody can tell apart, on light and on dark."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest

from support.colours import as_seen_with, contrast, difference
from toolchain.report.page.palette import (
    DARK,
    LIGHT,
    MODELS,
    SHAPES,
    colours_of,
    config,
    css_variables,
    on_paper,
    seen,
    shapes_of,
)
from toolchain.report.page.pictures import KEPT

THEMES = [pytest.param(LIGHT, id="light"), pytest.param(DARK, id="dark")]
TEXTS = [
    *(("ink", below) for below in ("card", "page", "code")),
    *(("soft", below) for below in ("card", "page")),
    *(("accent", "card"), ("on-accent", "accent"), ("warn", "warn-page"), ("warn", "card")),
]


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize(("letters", "below"), TEXTS)
def test_text_has_the_contrast_of_aa(theme: Mapping[str, str], letters: str, below: str) -> None:
    assert contrast(theme[letters], theme[below]) >= 4.5


@pytest.mark.parametrize("theme", THEMES)
def test_marks_have_the_contrast_of_graphics(theme: Mapping[str, str]) -> None:
    for number in range(len(MODELS)):
        assert contrast(theme[f"m{number}"], theme["card"]) >= 3
    assert contrast("#{:02x}{:02x}{:02x}".format(*KEPT), theme["page"]) >= 3


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("vision", ["all", "protanopia", "deuteranopia", "tritanopia"])
def test_the_first_colours_differ_for_everybody(theme: Mapping[str, str], vision: str) -> None:
    found = [as_seen_with(vision, theme[f"m{number}"]) for number in range(4)]
    for one, two in itertools.combinations(found, 2):
        assert difference(one, two) > 10


def test_both_themes_name_the_same_colours() -> None:
    assert LIGHT.keys() == DARK.keys()


def test_models_differ_in_shape_too() -> None:
    names = [str(number) for number in range(16)]
    assert len(set(zip(colours_of(names), shapes_of(names), strict=True))) == 16
    assert shapes_of(names)[:8] == list(SHAPES)


def test_a_choice_goes_before_what_the_system_prefers_and_paper_is_light() -> None:
    text = css_variables()
    assert text.startswith(":root{color-scheme:light;")
    assert "@media screen and (prefers-color-scheme:dark){:root:not([data-theme=light])" in text
    assert "@media screen{:root[data-theme=dark]" in text


def test_a_chart_on_paper_has_colours_and_keeps_its_data() -> None:
    spec = {
        "mark": {"color": "var(--m1)"},
        "range": ["var(--m0)", "var(--no-such)"],
        "datasets": {"points": [{"model": "var(--m1)"}]},
    }
    assert on_paper(spec) == {
        "mark": {"color": LIGHT["m1"]},
        "range": [LIGHT["m0"], "var(--no-such)"],
        "datasets": {"points": [{"model": "var(--m1)"}]},
    }
    assert "var(" not in repr(on_paper(config()))


def test_every_text_of_data_is_harmless() -> None:
    found = seen({"a": ["\u202ex", {"b": 1.5}], "c": None})
    assert found == {"a": ["\\u202ex", {"b": 1.5}], "c": None}
