"""Jobs of GitHub Actions and of GitLab CI: their scripts run here, as a runner would run them.

What a runner does itself is not done: it checks a repository out, and keeps files between runs.
"""

from __future__ import annotations

import os
import re
import shlex
import string
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from support.places import REPOSITORY

_BASH = ("bash", "--noprofile", "--norc", "-eo", "pipefail")
"""What GitHub documents for ``shell: bash``; GitLab's runner sets the same options."""
_EXPRESSION = re.compile(r"\$\{\{ *(vars|env)\.(\w+) *\}\}")
_SUCCESS = "success()"
_IN_ANY_CASE = ("${{ !cancelled() }}", "${{ always() }}", "always()")


@dataclass
class Ended:
    """What a job came to."""

    exit_code: int = 0
    """Of the first script that failed."""
    log: str = ""
    told: str = ""
    """GitHub's summary of the job; what GitLab's job says after all."""
    uploaded: list[str] = field(default_factory=list)
    """Files that were there to be kept as artifacts."""


def installed(home: Path) -> Path:
    """Lay out what the installation leaves, as far as a job sees it: the command, and no more.

    Args:
        home: in the place of ``$TILESKIP_HOME``.
    """
    program = home / ".venv/bin/deploy"
    program.parent.mkdir(parents=True)
    line = shlex.join([sys.executable, str(REPOSITORY / "deploy.py")])
    program.write_text(f'#!/bin/sh\nexec {line} "$@"\n')
    program.chmod(0o755)
    return home


def github_job(workflow: str) -> dict[str, Any]:
    """The only job of a workflow."""
    (job,) = yaml.safe_load(workflow)["jobs"].values()
    assert job["defaults"]["run"] == {"shell": "bash"}
    assert not any("shell" in step or "working-directory" in step for step in job["steps"])
    return dict(job)


def gitlab_job(pipeline: str) -> dict[str, Any]:
    """The only job of a pipeline."""
    (job,) = yaml.safe_load(pipeline).values()
    return dict(job)


def run_github(
    workflow: str, folder: Path, places: Mapping[str, str], *, without: Collection[str] = ()
) -> Ended:
    """Run the steps of a workflow that has one job.

    Args:
        workflow: the file's text.
        folder: the repository's.
        places: variables that are set otherwise than the job does; those of the repository, too.
        without: the ids of steps that are left out.
    """
    job = github_job(workflow)
    variables: dict[str, str] = {}
    for name, value in job["env"].items():
        variables[name] = places.get(name, _EXPRESSION.sub(_none_but(places), value))
    ended, path = Ended(), os.environ["PATH"]
    if "install" in without:
        path = f"{variables['TILESKIP_HOME']}/.venv/bin:{path}"
    for step in job["steps"]:
        condition = step.get("if", _SUCCESS)
        if step.get("id") in without or (ended.exit_code and condition not in _IN_ANY_CASE):
            continue
        if "uses" in step:
            if step["uses"].startswith("actions/upload-artifact@"):
                ended.uploaded += _there(step["with"]["path"].split(), folder)
            continue
        files = {name: folder.parent / name for name in ("GITHUB_STEP_SUMMARY", "GITHUB_PATH")}
        for file in files.values():
            file.write_text("")
        code = _run(step["run"], folder, ended, {**variables, "PATH": path, **_texts(files)})
        ended.exit_code = ended.exit_code or code
        ended.told += files["GITHUB_STEP_SUMMARY"].read_text(encoding="utf-8")
        added = files["GITHUB_PATH"].read_text(encoding="utf-8").split()
        path = ":".join([*reversed(added), path])
    return ended


def run_gitlab(
    pipeline: str, folder: Path, places: Mapping[str, str], *, without: Collection[str] = ()
) -> Ended:
    """Run the scripts of a pipeline that has one job.

    Args:
        pipeline: the file's text.
        folder: the repository's.
        places: variables that are set otherwise than the job does; those of the project, too.
        without: ``before_script`` to leave it out.
    """
    job = gitlab_job(pipeline)
    known = {"CI_PROJECT_DIR": str(folder), **places}
    for name, value in job["variables"].items():
        known.setdefault(name, string.Template(value).substitute(known))
    ended, path = Ended(), os.environ["PATH"]
    own_path = path
    if "before_script" in without:
        own_path = f"{known['TILESKIP_HOME']}/.venv/bin:{path}"
    lines = [] if "before_script" in without else job["before_script"]
    lines = [*lines, *job["script"]]
    ended.exit_code = _run("\n".join(lines), folder, ended, {**known, "PATH": own_path})
    after = Ended()
    assert _run("\n".join(job["after_script"]), folder, after, known) == 0, after.log
    ended.told = after.log
    kept = job["artifacts"]
    if kept["when"] == "always" or (kept["when"] == "on_failure") == bool(ended.exit_code):
        ended.uploaded += _there(kept["paths"], folder)
    return ended


def _none_but(known: Mapping[str, str]) -> Callable[[re.Match[str]], str]:
    """What an expression stands for: a variable that is not set is empty."""
    return lambda found: known.get(found[2], "")


def _texts(files: Mapping[str, Path]) -> dict[str, str]:
    return {name: str(path) for name, path in files.items()}


def _there(names: Sequence[str], folder: Path) -> list[str]:
    return [name for name in names if (folder / name).exists()]


def _run(script: str, folder: Path, ended: Ended, variables: Mapping[str, str]) -> int:
    """Run a script from a file, as runners do, and add what it says to the log."""
    file = folder.parent / "script.sh"
    file.write_text(script, encoding="utf-8")
    done = subprocess.run(
        [*_BASH, str(file)], cwd=folder, env={**os.environ, **variables}, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    ended.log += done.stdout
    return done.returncode
