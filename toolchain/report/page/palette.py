"""Colours of the page and of its charts, in light and dark.

Charts name colours as variables of CSS, so that the switch of the page recolours them; a chart that
is written to a file gets those of paper. What has to be told apart differs in brightness or shape,
too. ``tests/unit/report/page/test_palette.py`` holds the contrasts of WCAG 2.2 (AA), and distances
as people with colour-blindness see them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from toolchain.foreign_text import harmless

LIGHT: Mapping[str, str] = {
    "page": "#f4f6f8",
    "card": "#ffffff",
    "ink": "#1a1d23",
    "soft": "#565e6b",
    "line": "#c9ced6",
    "grid": "#e4e8ed",
    "accent": "#0b5cad",
    "on-accent": "#ffffff",
    "warn": "#7a4300",
    "warn-page": "#fff1d6",
    "warn-line": "#d98a1f",
    "code": "#eef1f4",
    "m0": "#66707e",
    "m1": "#0b6fb8",
    "m2": "#c4500c",
    "m3": "#067a57",
    "m4": "#a3367f",
    "m5": "#836600",
    "m6": "#5b4bb5",
    "m7": "#00707f",
}
"""Also that of paper."""
DARK: Mapping[str, str] = {
    "page": "#101318",
    "card": "#191d24",
    "ink": "#e9ebef",
    "soft": "#a8b0bd",
    "line": "#3a424f",
    "grid": "#2b313b",
    "accent": "#6fb4ff",
    "on-accent": "#0c1118",
    "warn": "#ffd08a",
    "warn-page": "#33270f",
    "warn-line": "#c98a2b",
    "code": "#232932",
    "m0": "#a3adbb",
    "m1": "#57aef4",
    "m2": "#f58f50",
    "m3": "#43c798",
    "m4": "#ea8bc7",
    "m5": "#dcb93a",
    "m6": "#a99cf7",
    "m7": "#4bc2d3",
}
MODELS = tuple(f"var(--m{number})" for number in range(8))
SHAPES = (
    "circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right",
    "triangle-left",
)  # fmt: skip
"""Of models, beside their colours."""
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Liberation Sans', sans-serif"


def css_variables() -> str:
    """Both sets as CSS; ``data-theme`` goes before what the system prefers, paper is light."""
    light, dark = (
        "".join(f"--{name}:{colour};" for name, colour in colours.items())
        for colours in (LIGHT, DARK)
    )
    return (
        f":root{{color-scheme:light;{light}}}\n"
        "@media screen and (prefers-color-scheme:dark){"
        f":root:not([data-theme=light]){{color-scheme:dark;{dark}}}}}\n"
        f"@media screen{{:root[data-theme=dark]{{color-scheme:dark;{dark}}}}}\n"
    )


def config(*, size: int = 12) -> dict[str, Any]:
    """How charts look, as Vega-Lite's ``config``, in colours of the page.

    Args:
        size: of letters, in pixels.
    """
    text = {"labelColor": "var(--soft)", "titleColor": "var(--ink)", "labelFontSize": size}
    title = {"titleFontSize": size, "titleFontWeight": 600}
    return {
        "background": "transparent",
        "font": FONT,
        "view": {"stroke": None},
        "axis": {
            **text, **title, "domainColor": "var(--line)", "tickColor": "var(--line)",
            "gridColor": "var(--grid)", "titlePadding": 8, "labelPadding": 5,
        },
        "axisX": {"titleAnchor": "end"},
        "axisQuantitative": {"labelOverlap": "parity", "labelSeparation": 4},
        "legend": {
            **text, **title, "labelColor": "var(--ink)", "symbolStrokeWidth": 2, "symbolSize": 90,
            "rowPadding": 4, "offset": 8,
        },
        "title": {
            "color": "var(--ink)", "subtitleColor": "var(--soft)", "anchor": "start",
            "fontSize": size + 3, "subtitleFontSize": size, "fontWeight": 600, "offset": 12,
        },
        "text": {"color": "var(--ink)", "fontSize": size},
    }  # fmt: skip


def on_paper(value: Any) -> Any:
    """A chart's specification with the colours of paper instead of variables of CSS."""
    if isinstance(value, Mapping):
        return {key: part if key == "datasets" else on_paper(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [on_paper(part) for part in value]
    if isinstance(value, str) and value.startswith("var(--"):
        return LIGHT.get(value[len("var(--") : -1], value)
    return value


def seen(value: Any) -> Any:
    """The same with every text made harmless: marks that turn the order of letters are told."""
    if isinstance(value, Mapping):
        return {key: seen(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [seen(part) for part in value]
    return harmless(value) if isinstance(value, str) else value


def colours_of(names: Sequence[str]) -> list[str]:
    """A colour for each model, in their order."""
    return [MODELS[index % len(MODELS)] for index in range(len(names))]


def shapes_of(names: Sequence[str]) -> list[str]:
    """A shape for each model; from the ninth on, colours repeat with other shapes."""
    count = len(SHAPES)
    return [SHAPES[(index + index // count) % count] for index in range(len(names))]
