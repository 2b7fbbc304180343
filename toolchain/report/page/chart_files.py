"""Charts as files for slides: PNG and SVG, in the colours of paper."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import vl_convert

from toolchain.report.page.chart import VEGA_LITE, Chart
from toolchain.report.page.palette import LIGHT, config, on_paper, seen

Format = Literal["png", "svg"]
WIDTH = 760
"""Of a chart, in pixels of a page; a PNG has twice as many."""
_SCALE = 2.0
_LETTERS, _PADDING = 13, 14
_AXIS = 120
"""What an axis takes of the width, in pixels."""
_NAME = re.compile(r"[^A-Za-z0-9._-]+")


def drawn(charts: Sequence[Chart], kind: Format) -> Iterator[tuple[str, bytes]]:
    """Each chart as a file: its name, and what it holds.

    Args:
        charts: of a report.
        kind: of the files.
    """
    for chart in charts:
        settings = _settings(chart)
        for ending, values in (chart.parameters or {"": {}}).items():
            several = len(chart.parameters) > 1
            spec = paper_spec(chart, values, ending if several else "")
            name = f"{chart.name}-{_file_name(ending)}" if several else chart.name
            yield f"{name}.{kind}", _draw(spec, settings, kind)


def _settings(chart: Chart) -> dict[str, Any]:
    """How a chart looks on paper; its legend has rows where a single one is too long."""
    made = config(size=_LETTERS) | {"background": LIGHT["card"], "padding": _PADDING}
    made["title"]["limit"] = WIDTH - 2 * _PADDING
    width = WIDTH - _AXIS
    needed = chart.spec["usermeta"]
    if needed["legend"] > width:
        columns = max(1, width // needed["entry"])
        made["legend"] |= {"columns": columns, "layout": {"top": {"direction": "vertical"}}}
    settings: dict[str, Any] = on_paper(made)
    return settings


def paper_spec(chart: Chart, values: Mapping[str, int], model: str) -> dict[str, Any]:
    """A chart's specification as it is drawn into a file.

    Args:
        chart: of a report.
        values: of its parameters.
        model: that it is of, where it shows one of several.
    """
    spec: dict[str, Any] = on_paper(chart.spec)
    spec["width"] = WIDTH
    for parameter in spec.get("params", ()):
        parameter["value"] = values.get(parameter["name"], parameter["value"])
    place = ", ".join(text for text in (model, chart.place) if text)
    lines = [line for line in (place, chart.key) if line]
    spec["title"] = seen({"text": chart.title, "subtitle": lines})
    return spec


def _draw(spec: Mapping[str, Any], settings: Mapping[str, Any], kind: Format) -> bytes:
    given: Any = {
        "vl_spec": dict(spec),
        "config": dict(settings),
        "vl_version": VEGA_LITE,
        "allowed_base_urls": [],
    }
    if kind == "svg":
        return vl_convert.vegalite_to_svg(**given).encode()
    return vl_convert.vegalite_to_png(**given, scale=_SCALE)


def _file_name(text: str) -> str:
    """A part of a file's name: no signs that a shell or a folder would take for something."""
    return _NAME.sub("-", text).strip("-.")[:80] or "model"
