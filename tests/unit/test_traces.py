"""A run of the tests that leaves something behind fails, and says what."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from support.processes import running

_TESTS = Path(__file__).parents[1]


def _run(folder: Path, test: str, home: Path) -> subprocess.CompletedProcess[str]:
    """A run of one test, with the conftest.py of these tests."""
    shutil.copy(_TESTS / "conftest.py", folder)
    (folder / "test_it.py").write_text(test)
    (folder / "pytest.ini").write_text(f"[pytest]\npythonpath = {_TESTS} {_TESTS.parent}\n")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(home)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_a_process_that_stays_is_told_and_ended(tmp_path: Path) -> None:
    length = f"98765.{os.getpid()}"
    test = f"""
        import subprocess
        def test_it():
            subprocess.Popen(["sleep", "{length}"], start_new_session=True)
    """
    done = _run(tmp_path, test.replace("\n        ", "\n"), tmp_path / "home")
    assert done.returncode == 1, done.stdout
    assert f"sleep {length}" in done.stdout
    assert running(length) == []


def test_a_changed_file_of_the_user_is_told(tmp_path: Path) -> None:
    hosts = tmp_path / "home/.ssh/known_hosts"
    hosts.parent.mkdir(parents=True)
    hosts.write_text("board ssh-ed25519 AAAA\n")
    test = f"def test_it(): open({str(hosts)!r}, 'a').write('another')\n"
    done = _run(tmp_path, test, tmp_path / "home")
    assert done.returncode == 1, done.stdout
    assert f"changed: {hosts}" in done.stdout


def test_a_run_that_leaves_nothing_passes(tmp_path: Path) -> None:
    test = "import subprocess\ndef test_it(): subprocess.run(['true'], check=True)\n"
    done = _run(tmp_path, test, tmp_path / "home")
    assert done.returncode == 0, done.stdout
