"""Documents of several kinds, and what is put together of them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from support.profiles import measurement, profile_of
from support.reports import estimate_of, measured_profile, models
from toolchain.errors import ModelError
from toolchain.formats.json_text import to_json
from toolchain.report.page.documents import make_report, read_document
from toolchain.report.page.view import Report


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    return models(tmp_path, dense=0.0, s25=0.25)


def report_of(*paths: Path, accuracies: dict[str, float] | None = None) -> Report:
    known = accuracies or {}
    return make_report([read_document(path, known) for path in paths], known)


def test_a_document_is_known_by_what_it_holds(tmp_path: Path, files: dict[str, Path]) -> None:
    measured_profile(files).save(tmp_path / "one")
    (tmp_path / "two").write_text(to_json(estimate_of(files)))
    report = report_of(tmp_path / "one", tmp_path / "two")
    assert [result.kind for result in report.results] == ["measured", "estimated"]
    assert [result.file for result in report.results] == ["one", "two"]


def test_estimates_in_a_profile_are_results_of_their_own(
    tmp_path: Path, files: dict[str, Path]
) -> None:
    counted = profile_of(measurement("dense"), emulated=True)
    both = counted.model_copy(update={"estimates": [estimate_of(files)]})
    both.save(tmp_path / "p.json")
    report = report_of(tmp_path / "p.json")
    assert [result.kind for result in report.results] == ["counted", "estimated"]
    assert len(report.sources) == 1
    assert report.leading is report.results[1]


def test_what_was_measured_leads(tmp_path: Path, files: dict[str, Path]) -> None:
    (tmp_path / "e").write_text(to_json(estimate_of(files)))
    measured_profile(files).save(tmp_path / "p")
    report = report_of(tmp_path / "e", tmp_path / "p")
    assert report.leading.kind == "measured"


def test_the_document_is_kept_to_the_letter(tmp_path: Path, files: dict[str, Path]) -> None:
    measured_profile(files).save(tmp_path / "p.json")
    (source,) = report_of(tmp_path / "p.json").sources
    content = (tmp_path / "p.json").read_bytes()
    assert source.text.encode() == content
    assert source.sha256 == hashlib.sha256(content).hexdigest()
    assert source.schema_version == 2
    assert "text" not in to_json(source)


def test_accuracies_of_no_model_are_told(tmp_path: Path, files: dict[str, Path]) -> None:
    measured_profile(files).save(tmp_path / "p.json")
    report = report_of(tmp_path / "p.json", accuracies={"s25": 0.9, "other": 0.8, "\x1b[2J": 0.1})
    assert report.notes == ["Accuracies of no model of this report: \\x1b[2J, other."]
    assert report.results[0].models[1].accuracy == 0.9


def test_the_title_is_that_of_the_boards_unless_given(
    tmp_path: Path, files: dict[str, Path]
) -> None:
    measured_profile(files).save(tmp_path / "p.json")
    path = tmp_path / "p.json"
    assert report_of(path, path).title == "Raspberry Pi 4 Model B"
    assert not report_of(path).titled
    named = make_report([read_document(path, {})], {}, title="For the boss")
    assert (named.title, named.titled) == ("For the boss", True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is no JSON"),
        ("[]", "is neither a profile, an estimate nor a sweep"),
        ('{"schema": 1}', "is neither a profile, an estimate nor a sweep"),
        ('{"measurements": []}', "is no profile: "),
        ('{"timing_model": {}}', "is no estimate: "),
        ("[" * 100_000, "is no JSON"),
    ],
)
def test_another_file_is_told_with_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ModelError) as caught:
        read_document(tmp_path / "x.json", {})
    assert said in caught.value.what
    assert "deploy profile or deploy estimate" in (caught.value.hint or "")


def test_figures_that_make_no_sense_are_told(tmp_path: Path, files: dict[str, Path]) -> None:
    estimate = estimate_of(files)
    wrong = estimate.models[0].operators[0].model_copy(update={"mr": -1})
    model = estimate.models[0].model_copy(update={"operators": [wrong]})
    (tmp_path / "e.json").write_text(to_json(estimate.model_copy(update={"models": [model]})))
    with pytest.raises(ModelError, match="has figures that make no sense"):
        read_document(tmp_path / "e.json", {})


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        read_document(tmp_path / "none.json", {})
