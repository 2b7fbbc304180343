"""The page of ``deploy report`` in a browser: what it shows, asks for, and lets one do."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from support.browsers import Look, Visit
from support.reports import HOSTILE, estimate_of, measured_profile, models
from toolchain.foreign_text import harmless
from toolchain.formats.json_text import to_json
from toolchain.profile.document import Failure, Profile
from toolchain.profile.estimate_document import Estimate
from toolchain.report.page.charts import charts_of
from toolchain.report.page.documents import make_report, read_document
from toolchain.report.page.page import SECTIONS, render
from toolchain.report.page.pictures import masks_of
from toolchain.report.page.view import PublishedRow

WIDTHS = (320, 360, 800, 1440)
THEMES = ("light", "dark")
ACCURACIES = {"dense": 0.921, "s25": 0.919, "s50": 0.904}


class Site:
    """A profile and an estimate of the same models, and pages of them."""

    def __init__(self, folder: Path) -> None:
        self.files = models(folder, dense=0.0, s25=0.25, s50=0.5)
        self.profile = measured_profile(self.files)
        self.estimate = estimate_of(self.files)
        self.document = folder / "profile.json"
        self.profile.save(self.document)
        estimated = folder / "estimate.json"
        estimated.write_text(to_json(self.estimate))
        rows = [PublishedRow(model="dense", ms=1.5, source="a table", board="rpi4")]
        self.full = self._page(folder / "full.html", [self.document], ACCURACIES, rows)
        self.both = self._page(folder / "both.html", [self.document, estimated], {}, [])
        named = measured_profile(self.files, names=LONG)
        named.save(folder / "long.json")
        self.long = self._page(folder / "long.html", [folder / "long.json"], {}, [])
        hostile = measured_profile(
            self.files,
            names={"dense": "dense", "s25": HOSTILE, "s50": "s50"},
            title=f"<b>{HOSTILE}</b>",
            load=[1.5] * 15,
            failed=[Failure(model=f"{HOSTILE}.tflite", error=HOSTILE)],
        )
        self.hostile_document = folder / "<i>hostile&.json"
        self.hostile_document.write_text(to_json(_with_hostile_layers(hostile)))
        self.hostile = self._page(
            folder / "hostile.html", [self.hostile_document], {HOSTILE: 0.9, "dense": 0.92}, rows
        )

    def _page(
        self, path: Path, documents: list[Path], accuracies: dict[str, float], rows: list[Any]
    ) -> Path:
        read = [read_document(document, accuracies) for document in documents]
        results = [result for _, found in read for result in found]
        masks, notes = masks_of(list(self.files.values()), results)
        report = make_report(read, accuracies, masks=masks, mask_notes=notes, published=rows)
        path.write_bytes(render(report, charts_of(report)))
        return path


def _with_hostile_layers(profile: Profile) -> Profile:
    items = []
    for item in profile.measurements:
        rows = [
            row.model_copy(update={"name": HOSTILE, "reason": HOSTILE}) for row in item.operators
        ]
        items.append(item.model_copy(update={"operators": rows}))
    return profile.model_copy(update={"measurements": items})


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("report"))


LONG = {name: f"network_with_a_long_name_masked_{name}" for name in ("dense", "s25", "s50")}
Seen = dict[tuple[str, int, str], Any]
LOOKS = list(itertools.product(("full", "both"), WIDTHS, THEMES))
STEPS: dict[str, Visit] = {
    "full tables": {},
    "full hostile": {},
    "full tooltip": {},
    "full download": {},
    "full keyboard": {},
    "full controls": {},
    "full theme": {},
    "full theme dark": {"theme": "dark"},
    "full print": {"theme": "dark"},
    "full plain": {"scripts": False},
    "long resize": {},
    "hostile hostile": {},
    "hostile tooltip": {},
    "hostile download": {},
}
"""A page and a step, and how the visit differs from others."""
each_look = pytest.mark.parametrize("look_at", LOOKS, ids=lambda value: "-".join(map(str, value)))


@pytest.fixture(scope="session")
def pages(site: Site) -> dict[str, Path]:
    return {"full": site.full, "both": site.both, "hostile": site.hostile, "long": site.long}


@pytest.fixture(scope="session")
def visits(pages: dict[str, Path], look: Look) -> Seen:
    """The two large pages at every width, light and dark."""
    steps = ["measure", "charts", "axe"]
    seen = look(
        [
            {"page": str(pages[page]), "width": width, "theme": theme, "steps": steps}
            for page, width, theme in LOOKS
        ]
    )
    return dict(zip(LOOKS, seen, strict=True))


@pytest.fixture(scope="session")
def done(pages: dict[str, Path], look: Look) -> dict[str, Any]:
    """What each step gave; the console is empty all the while."""
    wanted = []
    for name, more in STEPS.items():
        page, step = name.split()[:2]
        usual = {"page": str(pages[page]), "width": 1000, "theme": "light", "steps": [step]}
        wanted.append(usual | more)
    seen = look(wanted)
    assert [one["said"] for one in seen] == [[]] * len(seen)
    return {name: one[one["steps"][0]] for name, one in zip(STEPS, seen, strict=True)}


# --- the whole page --------------------------------------------------------------------------


@each_look
def test_the_console_stays_empty(visits: Seen, look_at: tuple[str, int, str]) -> None:
    assert visits[look_at]["said"] == []


@each_look
def test_nothing_is_fetched(visits: Seen, look_at: tuple[str, int, str]) -> None:
    asked = [url for url in visits[look_at]["asked"] if not url.startswith("data:")]
    assert asked == [Path(visits[look_at]["page"]).as_uri()]


@each_look
def test_the_page_is_as_wide_as_the_window(visits: Seen, look_at: tuple[str, int, str]) -> None:
    found = visits[look_at]["measure"]
    assert found["page"] == found["window"] == look_at[1]
    assert found["out"] == []


@each_look
def test_axe_finds_nothing_wrong(visits: Seen, look_at: tuple[str, int, str]) -> None:
    found = visits[look_at]["axe"]
    assert found["violations"] == []
    assert found["passes"] > 20


# --- what charts hold ------------------------------------------------------------------------


@each_look
def test_every_chart_is_drawn(visits: Seen, look_at: tuple[str, int, str]) -> None:
    charts = visits[look_at]["charts"]
    kinds = ("tradeoff", "turns", "layers", "roofline")
    wanted = set(kinds)
    if look_at[0] == "both":
        wanted = {f"{number}-{kind}" for number in (1, 2) for kind in kinds}
    assert set(charts) == wanted
    assert all(chart["marks"] > 10 for chart in charts.values())


def test_the_turns_that_are_drawn_are_those_of_the_profile(visits: Seen, site: Site) -> None:
    rows = visits["full", 1440, "light"]["charts"]["turns"]["data"]["turns"]
    wanted = [
        (item.name, number, turn.median_us / 1e3)
        for item in site.profile.measurements
        for number, turn in enumerate(item.turns, start=1)
    ]
    assert [(row["model"], row["turn"], row["median"]) for row in rows] == wanted
    assert len(rows) == 45


def test_points_and_ideals_are_those_of_the_profile(visits: Seen, site: Site) -> None:
    profile, data = site.profile, visits["full", 360, "dark"]["charts"]["tradeoff"]["data"]
    dense = profile.cost(profile.measurements[0]) or 0.0
    for row, item in zip(data["points"], profile.measurements, strict=True):
        assert row["model"] == item.name
        assert row["cost"] == (profile.cost(item) or 0.0) / 1e3
        assert row["accuracy"] == ACCURACIES[item.name]
    found = {(row["model"], row["how"]): row["cost"] for row in data["ideals"]}
    wanted = {}
    for item in profile.measurements[1:]:
        by_pixels, by_plan = profile.ratio_by_pixels(item), profile.ratio_by_plan(item)
        assert by_pixels
        assert by_plan
        wanted[item.name, "ideal by pixels"] = pytest.approx(dense / by_pixels / 1e3)
        wanted[item.name, "ideal by plan"] = pytest.approx(dense / by_plan / 1e3)
    assert found == wanted


def test_the_times_of_layers_are_those_of_the_profile(visits: Seen, site: Site) -> None:
    rows = visits["full", 800, "light"]["charts"]["layers"]["data"]["layers"]
    found = [(row["model"], row["layer"], row["what"], row["time"]) for row in rows]
    wanted = [
        (item.name, row.name, what, us)
        for item in site.profile.measurements[1:]
        for row in item.operators
        for what, us in (("dense", row.dense), ("masked", row.masked))
    ]
    assert found == wanted


def test_an_estimates_layers_stand_under_its_cores_roof(visits: Seen, site: Site) -> None:
    data = visits["both", 1440, "dark"]["charts"]["2-roofline"]["data"]
    peak = max(row["rate"] for row in data["roof"])
    assert peak == 4 * site.estimate.clock_mhz * 1e6 / 1e9
    rates = {(row["model"], row["layer"]): row["rate"] for row in data["points"]}
    for one in site.estimate.models:
        for op in one.operators:
            if op.macs_computed:
                assert rates.pop((one.name, op.name)) == pytest.approx(
                    op.macs_computed / op.ms / 1e6
                )
    assert rates == {}


def test_estimates_are_drawn_with_their_intervals(visits: Seen, site: Site) -> None:
    rows = visits["both", 360, "light"]["charts"]["2-turns"]["data"]["models"]
    estimate: Estimate = site.estimate
    assert [(row["low"], row["high"]) for row in rows] == [
        (pytest.approx(one.low_ms), pytest.approx(one.high_ms)) for one in estimate.models
    ]


def test_every_chart_has_a_table_and_a_sentence(done: dict[str, Any]) -> None:
    tables = done["full tables"]
    assert [one["id"] for one in tables] == ["tradeoff", "turns", "layers", "roofline"]
    assert [one["rows"] for one in tables] == [3, 45, 8, 6]
    assert all(len(one["label"]) > 40 for one in tables)


# --- hostile documents -----------------------------------------------------------------------


def test_hostile_names_are_text(done: dict[str, Any]) -> None:
    found = done["hostile hostile"]
    calm = done["full hostile"]
    assert found["ran"] is None
    assert found["elements"] == 0
    assert found["comments"] == calm["comments"] == 0
    assert found["scripts"] == calm["scripts"]
    assert found["cells"].count(harmless(HOSTILE)) >= 2
    assert harmless(HOSTILE) in found["text"]
    assert "\u202e" not in found["text"]


def test_hostile_names_are_text_where_the_pointer_is(done: dict[str, Any]) -> None:
    found = done["hostile tooltip"]
    assert found["elements"] == 0
    assert done["full tooltip"]["text"].startswith("model")


def test_a_hostile_document_is_saved_as_it_is(site: Site, done: dict[str, Any]) -> None:
    found = done["hostile download"]
    assert found["text"] == site.hostile_document.read_text()
    assert Profile.model_validate(json.loads(found["text"])).measurements[1].name == HOSTILE


# --- what one can do -------------------------------------------------------------------------


def test_a_document_is_saved_as_it_was_given(site: Site, done: dict[str, Any]) -> None:
    found = done["full download"]
    assert found == {"name": "profile.json", "text": site.document.read_text()}


@pytest.mark.parametrize("theme", THEMES)
def test_the_switch_changes_the_colours_and_is_remembered(done: dict[str, Any], theme: str) -> None:
    found = done["full theme dark" if theme == "dark" else "full theme"]
    assert found["before"]["pressed"] == ("true" if theme == "dark" else "false")
    assert found["after"]["pressed"] != found["before"]["pressed"]
    assert found["after"]["page"] != found["before"]["page"]
    assert found["after"]["axis"] != found["before"]["axis"]
    assert found["again"] == found["after"]


def test_the_keyboard_reaches_everything_and_shows_where_it_is(done: dict[str, Any]) -> None:
    places = done["full keyboard"]
    assert places[0]["href"] == "#main"
    assert places[0]["leads"] == "main"
    links = [place["href"] for place in places if place["href"]]
    assert links[1 : 1 + len(SECTIONS)] == [f"#{name}" for name in SECTIONS]
    tags = [place["tag"] for place in places]
    assert tags.count("summary") >= 5
    assert tags.count("input") == 2  # a group of radio buttons is one stop
    assert "button" in tags
    assert [place for place in places if not place["outline"] or place["hidden"]] == []


def test_layers_are_sorted_and_chosen_by_the_keyboard(site: Site, done: dict[str, Any]) -> None:
    found = done["full controls"]
    rows = site.profile.measurements[1].operators
    assert found["before"] == {"order": [row.name for row in rows], "shown": 0}
    lost = [row.name for row in sorted(rows, key=lambda row: -row.lost)]
    assert found["sorted"] == lost != found["before"]["order"]
    assert found["shown"] == 1


def test_charts_follow_the_window_and_long_names_stay_apart(done: dict[str, Any]) -> None:
    before, after = done["long resize"]["before"], done["long resize"]["after"]
    assert after["box"] < before["box"]
    assert after["chart"] <= after["box"]
    assert set(LONG.values()) <= set(before["names"])
    short = [name for name in after["names"] if "…" in name]
    assert [name[-8:] for name in short] == [name[-8:] for name in LONG.values()]
    assert all(len(name) <= after["letters"] for name in short)


def test_it_is_printed_in_light_colours_without_buttons(done: dict[str, Any]) -> None:
    found = done["full print"]
    assert found["background"] == "rgb(255, 255, 255)"
    assert found["ink"] == "rgb(26, 29, 35)"
    assert found["buttons"] == found["links"] == 0
    assert found["charts"] == 4
    assert found["pdf"] > 10_000


def test_without_scripts_it_says_where_the_numbers_are(done: dict[str, Any]) -> None:
    found = done["full plain"]
    assert "numbers" in " ".join(found["notice"])
    assert found["controls"] is False
