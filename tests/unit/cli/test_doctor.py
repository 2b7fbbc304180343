"""``deploy doctor`` as its user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from support.patience import PATIENCE
from support.places import REPOSITORY
from toolchain.doctor.finding import Diagnosis

NOWHERE = ["--board", "rpi4", "--host", "me@127.0.0.1:1"]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A working folder; a home and a cache lie beside it."""
    for name in ("work", "user"):
        (tmp_path / name).mkdir()
    return tmp_path / "work"


def doctor(
    here: Path, *words: object, before: str = "", **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """Run it; ``before`` is for the shell that does."""
    variables = {
        **os.environ, "HOME": str(here.parent / "user"), "COLUMNS": "100",
        "TILESKIP_CACHE": str(here.parent / "cache"), **environment,
    }  # fmt: skip
    variables.pop("SSH_AUTH_SOCK", None)
    line = [sys.executable, REPOSITORY / "deploy.py", "doctor", *words]
    done = subprocess.run(
        ["/bin/bash", "-c", f'{before}\n"$@"', "bash", *map(str, line)],
        cwd=here, env=variables, capture_output=True, check=False, timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done


def test_a_machine_without_compilers_ends_with_the_code_of_missing_tools(here: Path) -> None:
    done = doctor(here, PATH="/nowhere")
    assert done.returncode == 11
    text = done.stdout.decode()
    assert "What mends it:" in text
    assert "apt-get install --no-install-recommends" in text
    assert "\x1b" not in text
    assert max(len(line) for line in text.splitlines() if "run: " not in line) <= 100


def test_the_first_fault_decides_the_code_and_json_has_all(here: Path) -> None:
    done = doctor(here, *NOWHERE, "--json", PATH="/nowhere")
    found = Diagnosis.model_validate_json(done.stdout)
    assert done.returncode == found.exit_code == 11
    codes = [one.exit_code for one in found.findings if one.state == "fault"]
    assert codes == [11, 17, 6]
    assert found.board == "rpi4 (me@127.0.0.1:1)"
    assert json.loads(done.stdout)["schema"] == 1
    assert {one.state for one in found.findings} == {"fault", "warning", "unknown", "ok"}


def test_nothing_is_left_behind(here: Path) -> None:
    doctor(here, *NOWHERE, PATH="/nowhere")
    assert list(here.iterdir()) == []
    assert sorted(path.name for path in here.parent.iterdir()) == ["user", "work"]
    assert list((here.parent / "user").iterdir()) == []


@pytest.mark.parametrize("columns", [70, 100, 160])
def test_it_reads_at_every_width(here: Path, columns: int) -> None:
    done = doctor(here, *NOWHERE, COLUMNS=str(columns), PATH="/nowhere")
    lines = done.stdout.decode().splitlines()
    assert max(len(line) for line in lines if "run: " not in line) <= columns
    text = " ".join(" ".join(lines).split())
    assert "127.0.0.1 port 1 refuses" in text
    assert "run: deploy build --board rpi4" in text
    assert lines[-1].startswith("3 faults, ")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--board", "toaster"], 5, "no board called 'toaster'"),
        (["--host", "me@"], 6, "no address of a board"),
        (["--bundle", "x.rar"], 13, "x.rar.tar.gz"),
        (["--bundle", "none/x.zip"], 13, "mkdir -p none"),
        (["--bundle", "."], 13, "give the name of a file"),
        (["--bundle", "-", "--json"], 2, "--json"),
    ],
)
def test_a_users_mistake_is_told_before_anything_is_looked_at(
    here: Path, words: list[str], code: int, said: str
) -> None:
    done = doctor(here, *words)
    assert done.returncode == code
    assert said in done.stderr.decode()
    assert done.stdout == b""
    assert list(here.iterdir()) == []


def test_an_archive_is_told_file_by_file_with_the_line_that_shows_it(here: Path) -> None:
    done = doctor(here, "--bundle", "my support.zip", PATH="/nowhere")
    assert done.returncode == 11, "it says what is wrong, whether an archive is written or not"
    with zipfile.ZipFile(here / "my support.zip") as archive:
        names = archive.namelist()
    told = done.stderr.decode()
    for name in names:
        assert name.rpartition("/")[2] in told
    assert "look at all of it before you send it: unzip -p 'my support.zip' | less" in told
    assert [path.name for path in here.iterdir()] == ["my support.zip"]


def test_a_dash_is_standard_output_and_all_else_is_beside_it(here: Path) -> None:
    done = doctor(here, "--bundle", "-", PATH="/nowhere")
    (here / "got.tar.gz").write_bytes(done.stdout)
    with tarfile.open(here / "got.tar.gz") as archive:
        assert "tileskip-support/findings.json" in archive.getnames()
    assert "What mends it:" in done.stderr.decode()
    assert not (here / "-").exists()


def test_findings_are_shown_though_the_disk_is_full(here: Path) -> None:
    logs = here.parent / "cache/logs"
    logs.mkdir(parents=True)
    (logs / "a.log").write_text("".join(f"{os.urandom(30).hex()}\n" for _ in range(200)))
    done = doctor(here, "--bundle", "x.zip", before="ulimit -f 4", PATH="/nowhere")
    assert done.returncode == 13
    assert "What mends it:" in done.stdout.decode()
    assert "x.zip: cannot be written" in done.stderr.decode()
    assert list(here.iterdir()) == []


def test_a_reader_that_has_gone_ends_it_without_a_word(here: Path) -> None:
    line = [sys.executable, str(REPOSITORY / "deploy.py"), "doctor"]
    script = '"$@" | true; exit "${PIPESTATUS[0]}"'
    done = subprocess.run(
        ["/bin/bash", "-c", script, "bash", *line], cwd=here, capture_output=True, check=False,
        env={**os.environ, "HOME": str(here), "PATH": "/nowhere:/bin", "COLUMNS": "100"},
    )  # fmt: skip
    assert done.returncode == 141
    assert b"Traceback" not in done.stderr
