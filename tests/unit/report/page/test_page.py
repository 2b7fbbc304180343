"""The page as a file: whole, alone, the same each time, and safe whatever it is made of.

``tests/browser`` looks at it in a browser.
"""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from support.profiles import measurement, profile_of
from support.reports import HOSTILE, estimate_of, measured_profile, models
from support.runner_outputs import runner_output
from toolchain.foreign_text import harmless
from toolchain.formats.json_text import to_json
from toolchain.profile.document import Failure
from toolchain.report.page.charts import charts_of
from toolchain.report.page.documents import make_report, read_document
from toolchain.report.page.page import SECTIONS, embedded, render
from toolchain.report.page.pictures import masks_of
from toolchain.report.page.view import PublishedRow


class _Reader(html.parser.HTMLParser):
    """The elements of a page as a browser finds them."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.styles: list[str] = []
        self.words: list[str] = []
        self.comments: list[str] = []
        self._open = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = tag
        if tag == "script":
            self.scripts.append((dict(attrs), ""))
        if tag == "style":
            self.styles.append("")

    def handle_endtag(self, tag: str) -> None:
        self._open = "" if tag == self._open else self._open

    def handle_data(self, data: str) -> None:
        if self._open == "script":
            attrs, text = self.scripts[-1]
            self.scripts[-1] = (attrs, text + data)
        elif self._open == "style":
            self.styles[-1] += data
        else:
            self.words.append(data)

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


def made(folder: Path, names: dict[str, str], title: str) -> bytes:
    """A page of a profile, an estimate, masks and published times."""
    files = models(folder, dense=0.0, s25=0.25)
    profile = measured_profile(
        files,
        names=names,
        title=title,
        load=[1.5] * 15,
        failed=[Failure(model=names["s25"], error=names["s25"])],
    )
    profile.save(folder / "p.json")
    (folder / "e.json").write_text(to_json(estimate_of(files)))
    accuracies = {names["s25"]: 0.9, "s25": 0.9, "dense": 0.92}
    read = [read_document(folder / name, accuracies) for name in ("p.json", "e.json")]
    results = [result for _, found in read for result in found]
    masks, notes = masks_of(list(files.values()), results)
    name = names["s25"]
    rows = [PublishedRow(model=name, ms=1, source=name, board=name, threads=name, type=name)]
    report = make_report(
        read, accuracies, masks=masks, mask_notes=[*notes, name], published=rows, title=title
    )
    return render(report, charts_of(report))


@pytest.fixture(scope="module")
def calm(folder: Path) -> bytes:
    return made(folder, {"dense": "dense", "s25": "s25"}, "A board")


@pytest.fixture(scope="module")
def hostile(folder: Path) -> bytes:
    return made(folder, {"dense": "dense", "s25": HOSTILE}, HOSTILE)


def test_it_is_the_same_each_time(folder: Path, calm: bytes) -> None:
    assert made(folder, {"dense": "dense", "s25": "s25"}, "A board") == calm


def test_it_has_every_part_in_order_with_a_heading(calm: bytes) -> None:
    found = re.findall(r'<section id="(\w+)"', calm.decode())
    assert found == list(SECTIONS)
    for name, (_, heading) in SECTIONS.items():
        assert f'<h2 id="{name}-heading">' in calm.decode()
        assert heading.replace("'", "&#39;") in calm.decode()


def test_no_element_names_another_place(calm: bytes) -> None:
    for tag, attributes in _Reader(calm.decode()).elements:
        for name, value in attributes.items():
            if name in ("src", "href", "action", "srcset", "poster", "data", "formaction"):
                assert value is not None
                assert value.startswith(("#", "data:")), (tag, name, value)


def test_the_policy_names_its_scripts_and_styles_and_nothing_else(calm: bytes) -> None:
    reader = _Reader(calm.decode())
    (policy,) = [
        attributes["content"]
        for tag, attributes in reader.elements
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.split(" ", 1) for rule in (policy or "").split("; "))
    programs = [text for attributes, text in reader.scripts if "type" not in attributes]
    assert rules == {
        "default-src": "'none'",
        "script-src": " ".join(map(digest, programs)),
        "style-src": " ".join(map(digest, reader.styles)),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert len(programs) == 3
    assert not any("style" in attributes for _, attributes in reader.elements)
    every = [name for _, attributes in reader.elements for name in attributes]
    assert not any(name.startswith("on") for name in every)


def digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_hostile_texts_add_no_element_and_no_comment(calm: bytes, hostile: bytes) -> None:
    expected, found = (
        Counter(tag for tag, _ in _Reader(page.decode()).elements) for page in (calm, hostile)
    )
    assert set(found) - {"wbr"} == set(expected) - {"wbr"}
    for tag in ("a", "button", "h1", "h2", "h3", "img", "input", "meta", "script", "style"):
        assert found[tag] == expected[tag], tag
    assert _Reader(hostile.decode()).comments == []


def test_hostile_texts_are_shown_to_the_letter(hostile: bytes) -> None:
    reader = _Reader(hostile.decode())
    words = "".join(reader.words)
    assert words.count(harmless(HOSTILE)) > 10
    assert "\u202e" not in hostile.decode()
    named = [attributes.get("data-file") for tag, attributes in reader.elements if tag == "button"]
    assert named[1:] == ["p.json", "e.json"]


def test_documents_are_in_it_to_the_letter(folder: Path, hostile: bytes) -> None:
    scripts = {attributes.get("id"): text for attributes, text in _Reader(hostile.decode()).scripts}
    for number, name in enumerate(("p.json", "e.json")):
        assert json.loads(scripts[f"document-{number}"]) == (folder / name).read_text()


def test_specifications_are_those_of_the_charts(calm: bytes) -> None:
    scripts = {attributes.get("id"): text for attributes, text in _Reader(calm.decode()).scripts}
    specs: dict[str, Any] = json.loads(scripts["specs"])
    kinds = ("tradeoff", "turns", "layers", "roofline")
    assert set(specs) == {f"{number}-{kind}" for number in (1, 2) for kind in kinds}


@pytest.mark.parametrize("text", ["</script>", "<!--", "<script", "&lt;", "\u2028", "]]>", "é"])
def test_json_in_a_page_cannot_end_its_element(text: str) -> None:
    found = str(embedded({"a": text}))
    assert json.loads(found) == {"a": text}
    assert not re.search(r"[<>&\u2028\u2029]", found)


def test_what_is_missing_is_said_with_the_reason(folder: Path) -> None:
    files = models(folder, dense=0.0)
    profile = measured_profile(files)
    bare = profile.measurements[0].model_copy(update={"operators": []})
    output = bare.output.model_copy(update={"ops": None, "per_op": None})
    bare = bare.model_copy(update={"output": output})
    profile.model_copy(update={"measurements": [bare]}).save(folder / "bare.json")
    report = make_report([read_document(folder / "bare.json", {})], {})
    words = "".join(_Reader(render(report, charts_of(report)).decode()).words)
    assert words.count("No layer was timed. Measure with --per-op.") == 2
    assert "the models were not given" in words
    assert "None were given." in words


def test_what_several_numbers_of_threads_have_in_common_is_said_once(folder: Path) -> None:
    items = [
        measurement(name).model_copy(update={"threads": threads, "doubts": ["it varies: cool it"]})
        for threads in (1, 4)
        for name in ("dense", "s20")
    ]
    path = folder / "threads.json"
    path.write_text(profile_of(*items, failed=[Failure(model="x.tflite", error="bad")]).to_json())
    report = make_report([read_document(path, {"s20": 0.9})], {"s20": 0.9})
    assert report.notes == []
    page = render(report, charts_of(report)).decode()
    for part in ("What is known of", "--threads</span> <span>1,4", "x.tflite</strong>"):
        assert page.count(part) == 1, part
    for place in ("1 thread, measured", "4 threads, measured"):
        assert f"dense, s20 (Raspberry Pi 4, {place})" in page


def test_a_model_without_a_time_is_said_in_the_place_of_its_charts(folder: Path) -> None:
    nothing = measurement("m", runner_output().model_copy(update={"timing": None}))
    profile_of(nothing).save(folder / "nothing.json")
    report = make_report([read_document(folder / "nothing.json", {})], {})
    words = "".join(_Reader(render(report, charts_of(report)).decode()).words)
    assert words.count("A model has no figure.") == 2
    assert "m has no time" in words


def test_a_picture_says_what_it_shows(calm: bytes) -> None:
    pictures = [attributes for tag, attributes in _Reader(calm.decode()).elements if tag == "img"]
    assert len(pictures) == 2
    for picture in pictures:
        assert re.fullmatch(r"Mask of t\d: \d+ of 256 pixels are kept", picture["alt"] or "")
        assert (picture["src"] or "").startswith("data:image/png;base64,iVBOR")
