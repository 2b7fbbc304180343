"""The jobs that ``how-to/gate.md`` shows: what they install, and what they keep."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.ci_jobs import github_job, gitlab_job
from support.pages import DOCS, files
from support.places import REPOSITORY
from toolchain.profile.gate import read_policy

PAGE = "how-to/gate.md"
SHOWN = files(PAGE)
GITHUB, GITLAB, POLICY = ".github/workflows/tileskip.yml", ".gitlab-ci.yml", "tileskip-gate.toml"
JOB, LAB = github_job(SHOWN[GITHUB]), gitlab_job(SHOWN[GITLAB])


def step(name: str) -> dict[str, Any]:
    (found,) = (one for one in JOB["steps"] if one.get("id") == name or one.get("name") == name)
    return dict(found)


def install_lines() -> dict[str, str]:
    """What each job installs with, without the packages of the system."""
    before = [line for line in LAB["before_script"] if not line.startswith("apt-get ")]
    return {"github": step("install")["run"], "gitlab": "\n".join(before)}


def test_the_page_shows_the_three_files() -> None:
    assert sorted(SHOWN) == sorted([GITHUB, GITLAB, POLICY])


def test_the_limits_of_the_page_are_read(tmp_path: Path) -> None:
    (tmp_path / POLICY).write_text(SHOWN[POLICY])
    rules, strict = read_policy(tmp_path / POLICY)
    assert not strict
    text = (DOCS / PAGE).read_text(encoding="utf-8")
    explained = re.search(r"\| limit \| fails where \|\n.*?\n\n", text, re.DOTALL)
    assert explained is not None
    assert re.findall(r"`(.*?)`", explained[0]) == [one.text for one in rules]


def test_both_jobs_install_the_same_packages_on_the_same_system() -> None:
    lines = [line for line in LAB["before_script"] if line.startswith("apt-get ")]
    assert step("packages")["run"].splitlines() == lines
    assert JOB["container"] == LAB["image"] == "debian:12"
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert "On Debian 12, as root" in readme


@pytest.mark.parametrize("system", ["github", "gitlab"])
def test_a_pinned_clone_is_installed_as_the_readme_says(system: str, tmp_path: Path) -> None:
    """All but the Debian packages is run, and ``make`` says what it would do."""
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert "`make setup` leaves the command in `.venv/bin/deploy`" in readme
    git = ["git", "-C", str(REPOSITORY), "rev-list", "--max-count=2", "HEAD"]
    revision = subprocess.run(git, capture_output=True, text=True, check=True).stdout.split()[-1]
    home, added = tmp_path / "home", tmp_path / "path"
    variables = {
        "TILESKIP_HOME": str(home), "TILESKIP_REPOSITORY": str(REPOSITORY),
        "TILESKIP_REVISION": revision, "GITHUB_PATH": str(added), "MAKEFLAGS": "n",
    }  # fmt: skip
    assert re.findall(r"\bmake .*", install_lines()[system]) == ['make -C "$TILESKIP_HOME" setup']
    script = install_lines()[system] + '\necho "$PATH" >> "$TOLD"\n'
    for _ in range(2):  # the second time as with a cache
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", script],  # noqa: S607 - as a job of CI finds it
            env={**os.environ, **variables, "TOLD": str(tmp_path / "told")},
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    git = ["git", "-C", str(home), "rev-parse", "HEAD"]
    assert (
        subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip() == revision
    )
    assert "-m venv .venv" in done.stdout
    assert "--editable ." in done.stdout
    found = added if system == "github" else tmp_path / "told"
    assert re.split("[:\n]", found.read_text())[0] == f"{home}/.venv/bin"


@pytest.mark.parametrize("missing", ["TILESKIP_REPOSITORY", "TILESKIP_REVISION"])
@pytest.mark.parametrize("system", ["github", "gitlab"])
def test_a_variable_that_is_not_set_is_named(system: str, missing: str, tmp_path: Path) -> None:
    variables = {
        "TILESKIP_HOME": str(tmp_path / "home"), "TILESKIP_REPOSITORY": str(REPOSITORY),
        "TILESKIP_REVISION": "HEAD", "MAKEFLAGS": "n", missing: "",
    }  # fmt: skip
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", install_lines()[system]],  # noqa: S607 - as a job of CI finds it
        env={**os.environ, **variables}, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert f"{missing}: set this variable" in done.stderr


def test_what_is_kept_between_runs_is_the_tool_and_its_cache_and_goes_by_the_revision() -> None:
    restored, saved = step("cache"), step("Keep what was installed and compiled")
    assert restored["with"] == saved["with"]
    assert restored["with"]["path"].split() == [
        JOB["env"]["TILESKIP_HOME"],
        JOB["env"]["TILESKIP_CACHE"],
    ]
    assert "${{ env.TILESKIP_REVISION }}" in restored["with"]["key"]
    assert "$TILESKIP_REVISION" in LAB["cache"]["key"]
    (kept,) = LAB["cache"]["paths"]
    for name in ("TILESKIP_HOME", "TILESKIP_CACHE"):
        assert LAB["variables"][name].startswith(f"$CI_PROJECT_DIR/{kept}")


def test_a_gate_that_fails_does_not_lose_what_was_compiled() -> None:
    """GitHub keeps nothing at the end of a job that failed, and GitLab does not unless asked."""
    names = [one.get("name") for one in JOB["steps"]]
    assert names.index("Keep what was installed and compiled") < names.index("Compare")
    assert LAB["cache"]["when"] == "always"


def test_both_jobs_measure_in_the_same_way() -> None:
    lines = step("Measure")["run"].splitlines()
    assert [line for line in lines if line in LAB["script"]] == lines[:-1]
    assert lines[-1] == "deploy emulator stop"
    assert LAB["after_script"][-1].endswith('deploy" emulator stop')


def test_actions_are_pinned_by_their_major_version() -> None:
    used = [one["uses"] for one in JOB["steps"] if "uses" in one]
    assert used
    assert all(re.fullmatch(r"actions/[a-z/-]+@v\d+", one) for one in used)


def test_the_page_explains_each_variable_that_a_user_sets() -> None:
    set_by_users = set(re.findall(r"vars\.(\w+)", SHOWN[GITHUB]))
    text = (DOCS / PAGE).read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([A-Z_]+)` \|", text, re.MULTILINE)) == set_by_users
