"""The page: one HTML file that fetches nothing, whatever is in the documents it is made of.

Texts of files are untrusted. Jinja escapes every one of them; what a program of the page reads is
JSON in which ``<``, ``>`` and ``&`` are escapes, so that none of it can end its element. A policy
in the page's head forbids every source but the scripts and styles of this file, which it names by
their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import altair
import jinja2
import vl_convert
from markupsafe import Markup

from toolchain.foreign_text import harmless
from toolchain.report.page import tables
from toolchain.report.page.chart import VEGA_LITE, Chart, place_of
from toolchain.report.page.headline import signed
from toolchain.report.page.palette import config, css_variables
from toolchain.report.page.view import Report, Result

_SNIPPET = "window.vegaEmbed = vegaEmbed;"
"""What the page asks of the library."""
_TEMPLATES = resources.files(__package__).joinpath("templates")
SECTIONS: Mapping[str, tuple[str, str]] = {
    "models": ("Models", "Models"),
    "tradeoff": ("Gain and cost", "What it gains, what it costs"),
    "turns": ("Spread", "How sure the figures are"),
    "layers": ("Layers", "Where the time goes"),
    "roofline": ("Roofline", "How near to the core's limits"),
    "masks": ("Masks", "Masks"),
    "board": ("Board", "The board, and doubts"),
    "published": ("Published", "Beside published times"),
    "again": ("Again", "Do it again"),
}
"""Parts of the page, in their order: short names, and headings."""


def render(report: Report, charts: Sequence[Chart]) -> bytes:
    """The page, whole; the same for the same report.

    Args:
        report: what it shows.
        charts: of the report.
    """
    styles = css_variables() + _template("page.css")
    theme, program = _template("theme.js"), _template("page.js")
    library = vl_convert.javascript_bundle(_SNIPPET, vl_version=VEGA_LITE)
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
        loader=jinja2.FunctionLoader(_template),
    )
    environment.filters["data_url"] = _data_url
    environment.filters["words"] = _words
    environment.filters["place"] = place_of
    environment.filters["breakable"] = _breakable
    page = environment.get_template("page.html").render(
        report=report,
        titled=report.titled,
        sections=SECTIONS,
        charts={name: [one for one in charts if one.section == name] for name in SECTIONS},
        missing=_missing(report),
        documented=_of_documents(report.results),
        model_tables=[tables.model_table(result) for result in report.results],
        tiles=list(_tiles(report.leading)),
        hashes={model.name: model.sha256 for one in report.results for model in one.models},
        published=tables.published_table(report.published, report.results),
        notices=_template("notices.txt"),
        policy=_policy(scripts=[theme, library, program], styles=[styles]),
        styles=Markup(styles),  # noqa: S704 (ours)
        theme=Markup(theme),  # noqa: S704 (ours)
        library=Markup(library),  # noqa: S704 (of vl-convert)
        program=Markup(program),  # noqa: S704 (ours)
        specs=embedded({chart.name: chart.spec for chart in charts}),
        configuration=embedded(config()),
        documents=[embedded(source.text) for source in report.sources],
        drawn_with=f"Altair {altair.__version__}, Vega-Lite {VEGA_LITE}, "
        f"Vega {vl_convert.get_vega_version()}",
    )
    return page.encode()


def embedded(content: Any) -> Markup:
    r"""JSON that can stand in a ``script`` element: no ``</script>``, no ``<!--``, no U+2028."""
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704 (all that means something in HTML is escaped)


def _finalize(value: Any) -> Any:
    """Text of others, in which marks that turn the order of letters are told."""
    return harmless(value) if type(value) is str else value


def _template(name: str) -> str:
    text = _TEMPLATES.joinpath(name).read_text(encoding="utf-8")
    if name.endswith((".css", ".js")):
        # Comments are for who edits the file.
        text = re.sub(r"^\s*(/\*.*?\*/|//[^\n]*)\n", "", text, flags=re.DOTALL | re.MULTILINE)
    return text


def _policy(scripts: Iterable[str], styles: Iterable[str]) -> str:
    """Nothing is fetched, and no script or style runs but these."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(map(_hash, scripts))}",
            f"style-src {' '.join(map(_hash, styles))}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _hash(text: str) -> str:
    found = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{found}'"


def _data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _breakable(name: str) -> Markup:
    """A name that may be broken behind the signs that part its words."""
    parts = re.split(r"(?<=[_/])|(?<=\.)(?=[^\W\d])", harmless(name))
    return Markup("<wbr>").join(parts)


def _words(kind: str) -> str:
    """What the figures of a kind of result are."""
    return {
        "measured": "measured on the board",
        "counted": "counted on an emulated board",
        "estimated": "estimated, no board at hand",
    }[kind]


def _missing(report: Report) -> dict[str, list[tuple[str, str]]]:
    """Charts that are left out, by their part of the page: the result's board, and why."""
    found: dict[str, list[tuple[str, str]]] = {name: [] for name in SECTIONS}
    for result in report.results:
        place = f"{result.title} ({_words(result.kind)})"
        if not all(model.cost for model in result.models):
            found["tradeoff"].append((place, "A model has no figure."))
            found["turns"].append((place, "A model has no figure."))
        for name, why in (("layers", result.no_layers), ("roofline", result.no_roofline)):
            if why:
                found[name].append((place, why))
    return {name: list(dict.fromkeys(places)) for name, places in found.items()}


def _of_documents(results: Sequence[Result]) -> list[Result]:
    """Of those that tell the same of a board, as several numbers of threads do, the first."""
    told = [(one.file, one.title, one.kind, one.facts, one.failed, one.again) for one in results]
    return [one for index, one in enumerate(results) if told[index] not in told[:index]]


@dataclass(frozen=True)
class Tile:
    """A figure in large letters."""

    figure: str
    what: str
    note: str = ""
    doubtful: bool = False


def _tiles(result: Result) -> Iterator[Tile]:
    """Those of the fastest model, beside the first one."""
    first, best, unit = result.first, result.fastest, result.unit
    if best is None or not best.ratio:
        yield Tile(tables.written(first.cost, unit), f"{first.name}, an inference")
        return
    span = best.ratio_interval
    yield Tile(
        f"{best.ratio:.2f}\N{MULTIPLICATION SIGN}",
        f"instructions of {first.name} over {best.name}"
        if result.kind == "counted"
        else f"as fast as {first.name}",
        f"95% interval {span.low:.2f} to {span.high:.2f}" if span else "",
        best.in_doubt,
    )
    yield Tile(
        tables.written(best.cost, unit),
        f"{best.name}, an inference",
        f"{first.name}: {tables.written(first.cost, unit)}",
    )
    if best.accuracy is not None:
        points = ""
        if first.accuracy is not None:
            points = f"{signed(100 * (best.accuracy - first.accuracy))} points to {first.name}"
        yield Tile(f"{best.accuracy:.1%}", "accuracy", points)
    if best.macs_left != first.macs_left and first.macs_left:
        yield Tile(
            f"{best.macs_left / first.macs_left:.0%}",
            "of the multiply-accumulates",
            f"are left of {first.macs_left / 1e6:,.1f} million",
        )
