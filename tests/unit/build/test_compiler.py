"""Missing tools are told at once, with one line that installs them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolchain.build.compiler import find_compiler, require
from toolchain.errors import MissingToolError


def test_all_missing_tools_are_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(MissingToolError) as caught:
        find_compiler("aarch64")
    assert caught.value.hint == (
        "apt-get install --no-install-recommends cmake g++-aarch64-linux-gnu ninja-build patch"
    )
    assert "aarch64-linux-gnu-g++" in caught.value.what


def test_a_board_of_the_hosts_own_isa_takes_the_hosts_compiler(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(MissingToolError, match=r"not installed: gcc, g\+\+"):
        find_compiler("aarch64")


def test_tools_that_are_there_are_not_asked_for() -> None:
    require({"sh": "dash"})
    with pytest.raises(MissingToolError) as caught:
        require({"sh": "dash", "no-such-tool-here": "some-package"})
    assert caught.value.what == "not installed: no-such-tool-here"
    assert caught.value.hint == "apt-get install --no-install-recommends some-package"
