"""Charts as files for slides."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.reports import HOSTILE, measured_profile, models
from toolchain.report.page.chart import Chart
from toolchain.report.page.chart_files import WIDTH, drawn, paper_spec
from toolchain.report.page.charts import charts_of
from toolchain.report.page.measured import results_of_profile
from toolchain.report.page.palette import LIGHT
from toolchain.report.page.view import Report


@pytest.fixture(scope="module")
def charts(tmp_path_factory: pytest.TempPathFactory) -> list[Chart]:
    files = models(tmp_path_factory.mktemp("models"), dense=0.0, s25=0.25, s50=0.5)
    profile = measured_profile(files, names={"dense": "dense", "s25": "s25", "s50": HOSTILE})
    result = next(results_of_profile(profile, "p.json", {"dense": 0.9, "s25": 0.88}))
    return charts_of(Report(tool="0", title="T", results=[result], sources=[]))


def test_every_chart_is_a_picture_twice_as_wide_as_on_a_page(charts: list[Chart]) -> None:
    found = dict(drawn(charts, "png"))
    assert list(found)[:2] == ["tradeoff.png", "turns.png"]
    assert list(found)[2].startswith("layers-s25")
    assert list(found)[-1] == "roofline.png"
    for name, content in found.items():
        picture = Image.open(io.BytesIO(content))
        assert picture.width >= 2 * WIDTH
        rim = np.ones((picture.height, picture.width), bool)
        rim[8:-8, 8:-8] = False
        assert (np.asarray(picture.convert("RGB"))[rim] == 255).all(), (
            f"{name}: something is cut off"
        )
        assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 20


def test_names_of_files_hold_no_signs_of_a_shell(charts: list[Chart]) -> None:
    for name, _ in drawn(charts, "svg"):
        assert Path(name).name == name
        assert name.replace("-", "").replace("_", "").replace(".", "").isalnum()


def test_a_vector_picture_is_whole_and_has_the_colours_of_paper(charts: list[Chart]) -> None:
    for _, content in drawn(charts, "svg"):
        root = ET.fromstring(content)  # noqa: S314 (our own)
        assert root.tag.endswith("svg")
        assert b"var(--" not in content
        assert LIGHT["m1"].encode() in content.lower()
        assert not root.findall(".//{*}script")


def test_a_chart_of_several_models_is_drawn_for_each(charts: list[Chart]) -> None:
    layers = next(chart for chart in charts if chart.section == "layers")
    specs = [paper_spec(layers, values, model) for model, values in layers.parameters.items()]
    shown = [{one["name"]: one["value"] for one in spec["params"]} for spec in specs]
    assert [(one["shown"], one["order"]) for one in shown] == [(0, 0), (1, 0)]
    assert specs[0]["title"]["subtitle"][0].startswith("s25, Raspberry Pi 4 Model B, 1 thread")
    assert layers.spec["params"][0]["value"] == 0  # the page's own is as it was
    assert layers.spec["width"] == "container"


def test_a_file_says_what_its_marks_are(charts: list[Chart]) -> None:
    turns = next(chart for chart in charts if chart.section == "turns")
    title = paper_spec(turns, {}, "")["title"]
    assert title["text"] == "Every turn of every model"
    assert title["subtitle"][1] == "Point: a turn. Line: the median. Band: its 95% interval."


def test_accuracies_that_differ_little_have_ticks_that_differ(tmp_path: Path) -> None:
    files = models(tmp_path, dense=0.0, s25=0.25)
    profile = measured_profile(files, names={"dense": "dense", "s25": "s25"})
    result = next(results_of_profile(profile, "p.json", {"dense": 0.9214, "s25": 0.9188}))
    charts = charts_of(Report(tool="0", title="T", results=[result], sources=[]))
    svg = dict(drawn(charts, "svg"))["tradeoff.svg"]
    texts = [one.text or "" for one in ET.fromstring(svg).iter() if one.tag.endswith("text")]  # noqa: S314 - we made it
    ticks = [text for text in texts if text.endswith("%")]
    assert len(ticks) > 3
    assert len(set(ticks)) == len(ticks)
