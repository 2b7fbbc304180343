"""A few tries of the faults that ``make faults`` injects, and that it tells those not borne."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from faults.__main__ import FAULTS, Outcome, page
from faults.fault import Place, told
from support.places import REPOSITORY
from toolchain.errors import ModelError

_WITH_FIGURES = 12
"""The last kind whose faults were counted before they were mended."""


def test_the_cheap_ones_are_borne() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "faults", "--cheap", "--tries", "8", "--json"],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": "tests"},
    )  # fmt: skip
    found = {each["fault"]: each["failures"] for each in json.loads(done.stdout)}
    assert found == {each.name: [] for each in FAULTS if each.cheap}
    assert done.returncode == 0


def test_every_fault_has_its_test_and_those_of_the_list_their_figures_of_before() -> None:
    before = json.loads((REPOSITORY / "tests/faults/before.json").read_bytes())
    assert {each.name for each in FAULTS if each.line <= _WITH_FIGURES} <= set(before)
    assert set(before) <= {each.name for each in FAULTS}
    for each in FAULTS:
        assert (REPOSITORY / "tests" / each.test).is_file() or not each.test, each.test


def test_what_is_not_borne_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure, an exception, the end of the process, and a try without end."""
    monkeypatch.setenv("PYTHONPATH", f"{REPOSITORY / 'tests'}:{REPOSITORY}")
    script = (
        "import os, sys, time\n"
        "from faults import injection\n"
        "from faults.fault import Fault\n"
        "def inject(place, number):\n"
        "    if number == 0: return 'a file is lost'\n"
        "    if number == 1: raise KeyError('x')\n"
        "    if number == 2: os._exit(9)\n"
        "    if number == 3: time.sleep(600)\n"
        "    return ''\n"
        "fault = Fault('own', 1, 5, 'x', inject, 4.0)\n"
        "if '--worker' in sys.argv:\n"
        "    if os.environ['FAULTS_FIRST'] == '0': time.sleep(5)  # the machine is busy\n"
        "    sys.exit(injection.work(fault, 5))\n"
        "import subprocess\n"
        "start = subprocess.Popen\n"
        "def own(words, **given): return start([words[0], __file__, *words[3:]], **given)\n"
        "subprocess.Popen = own\n"
        "for said in injection.injected(fault, 5): print(said)\n"
    )
    own = tmp_path / "own.py"
    own.write_text(script)
    done = subprocess.run(
        [sys.executable, own], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    assert done.stdout.splitlines() == [
        "try 0: a file is lost",
        "try 1: KeyError: 'x'",
        "try 2: its process ended with 9",
        "try 3: did not end in 4 s",
    ]


def test_what_is_no_error_of_ours_is_a_failure(tmp_path: Path) -> None:
    found: list[str] = []
    with told(found, "reading"):
        raise ModelError("x")
    assert found == []
    with told(found, "reading"):
        raise ValueError("x")
    assert found == ["reading: ValueError: x"]
    place = Place(tmp_path)
    assert place.once("a", lambda folder: folder) == place.once("a", lambda folder: folder / "x")


def test_the_page_is_that_of_the_kept_outcomes() -> None:
    rows = json.loads((REPOSITORY / "docs/faults.json").read_bytes())
    assert [row["fault"] for row in rows] == [each.name for each in FAULTS]
    written = page([Outcome(**row) for row in rows])
    assert (REPOSITORY / "docs/faults.md").read_text() == written


def test_the_page_has_a_row_a_fault() -> None:
    text = page([Outcome("a fault", 3, 5, 25, 8, ["x"], "unit/t.py")])
    assert "| 3 | a fault | 5 | 1 | tests/unit/t.py |" in text
