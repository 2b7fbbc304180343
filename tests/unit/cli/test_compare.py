"""``deploy compare`` on profiles whose figures are chosen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from support.profiles import in_turns, measurement, profile_of
from support.runner_outputs import runner_output
from toolchain.cli.app import app
from toolchain.errors import DeployError
from toolchain.profile.history import append

FAST, SLOW = [[99.0], [101.0]] * 10, [[109.0], [111.0]] * 10


def deploy(*words: object) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, words)])


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A model before, and a tenth slower."""
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    profile_of(in_turns("m", FAST)).save(before)
    profile_of(in_turns("m", SLOW)).save(after)
    return before, after


def test_two_profiles_are_compared(files: tuple[Path, Path]) -> None:
    done = deploy(*files)
    assert done.exit_code == 0
    assert "before.json and after.json" in done.output
    assert "worse" in done.output


def test_all_of_it_is_one_json_document(files: tuple[Path, Path]) -> None:
    found = json.loads(deploy(*files, "--json", "--fail-if", "median > +20%").stdout)
    (comparison,) = found["comparisons"]
    assert comparison["comparable"]
    time = next(one for one in comparison["changes"] if one["figure"] == "median")
    assert (time["model"], time["verdict"]) == ("m", "worse")
    assert time["low"] < 1.1 < time["high"]
    assert found["limits"] == [
        {"limit": "median > +20%", "model": "m", "figure": "median", "operator": None,
         "outcome": "passes"}
    ]  # fmt: skip


def test_several_results_are_each_compared_with_the_first(files: tuple[Path, Path]) -> None:
    before, after = files
    found = json.loads(deploy(before, after, before, "--json").stdout)["comparisons"]
    assert [one["title"] for one in found] == [
        "before.json and after.json",
        "before.json and before.json",
    ]


def test_models_of_one_profile_are_compared_with_its_first(tmp_path: Path) -> None:
    alone = tmp_path / "p.json"
    profile_of(in_turns("dense", FAST), in_turns("s20", SLOW), in_turns("s30", FAST)).save(alone)
    found = json.loads(deploy(alone, "--json").stdout)["comparisons"]
    verdicts = {
        one["title"]: next(x for x in one["changes"] if x["figure"] == "median")["verdict"]
        for one in found
    }
    assert verdicts == {"dense and s20": "worse", "dense and s30": "no change"}


def test_one_model_alone_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    profile_of(measurement("m", runner_output())).save(tmp_path / "p.json")
    done = deploy(tmp_path / "p.json")
    assert isinstance(done.exception, DeployError)
    assert "nothing to compare it with" in done.exception.what


def test_a_figure_past_its_limit_ends_with_its_own_exit_code(files: tuple[Path, Path]) -> None:
    done = deploy(*files, "--fail-if", "median > +3%")
    assert isinstance(done.exception, DeployError)
    assert done.exception.exit_code == 16
    assert "past 'median > +3%'" in done.exception.what
    assert "worse" in done.output, "the table is shown before"
    assert deploy(*files, "--fail-if", "median > +30%").exit_code == 0


def test_a_limit_of_nothing_fails_and_hides_no_table(files: tuple[Path, Path]) -> None:
    limits = ["--fail-if", "estimate > +3%", "--fail-if", "median > +30%"]
    for more, shown in ((["--markdown"], "| m | median |"), ([], "median > +30%")):
        done = deploy(*files, *limits, *more)
        assert isinstance(done.exception, DeployError)
        assert done.exception.exit_code == 16
        assert "'estimate > +3%' limits nothing" in done.exception.what
        assert shown in done.stdout
    found = json.loads(deploy(*files, *limits, "--json").stdout)
    assert found["limits_of_nothing"] == ["estimate > +3%"]
    assert [one["limit"] for one in found["limits"]] == ["median > +30%"]


def test_limits_of_a_file_and_of_the_command_line_are_both_held(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    policy = tmp_path / "tileskip-gate.toml"
    policy.write_text('version = 1\nfail-if = ["median > +30%"]\n')
    assert deploy(*files, "--policy", policy).exit_code == 0
    done = deploy(*files, "--policy", policy, "--fail-if", "p95 > +3%")
    assert isinstance(done.exception, DeployError)
    assert done.exception.exit_code == 16


def test_what_is_no_limit_is_wrong_use(files: tuple[Path, Path]) -> None:
    done = deploy(*files, "--fail-if", "speed > +3%")
    assert done.exit_code == 2
    assert "no figure 'speed'" in " ".join(done.output.split())


def test_markdown_is_for_a_pull_request(files: tuple[Path, Path]) -> None:
    done = deploy(*files, "--markdown")
    assert done.stdout.startswith("### before.json and after.json\n")
    assert "| m | median | 100 µs | 110 µs |" in done.stdout
    assert deploy(*files, "--markdown", "--json").exit_code == 2


def test_a_profile_is_compared_with_the_latest_earlier_run_of_a_history(tmp_path: Path) -> None:
    log, after = tmp_path / "h.jsonl", tmp_path / "after.json"
    late = profile_of(in_turns("m", SLOW))
    late.save(after)
    for one in (profile_of(in_turns("m", SLOW)), profile_of(in_turns("m", FAST)), late):
        append(log, one.model_copy(update={"seed": len(one.measurements[0].turns)}))
    append(log, late)
    append(log, profile_of(in_turns("m", FAST)))
    # The last one before its own line is a copy of it but for a seed.
    found = json.loads(deploy(after, "--baseline", "--history", log, "--json").stdout)
    (comparison,) = found["comparisons"]
    assert comparison["title"] == "history and after.json"
    time = next(one for one in comparison["changes"] if one["figure"] == "median")
    assert (time["verdict"], time["before"]) == ("no change", time["after"])


def test_a_history_without_such_a_model_is_told(tmp_path: Path) -> None:
    log, after = tmp_path / "h.jsonl", tmp_path / "after.json"
    append(log, profile_of(in_turns("other", FAST)))
    profile_of(in_turns("m", SLOW)).save(after)
    done = deploy(after, "--baseline", "--history", log)
    assert isinstance(done.exception, DeployError)
    assert "no earlier run" in done.exception.what


@pytest.mark.parametrize("words", [["--history", "h.jsonl"], ["--baseline", "x.json"]])
def test_a_baseline_is_for_one_profile(files: tuple[Path, Path], words: list[str]) -> None:
    assert deploy(files[0], *words).exit_code == 2
