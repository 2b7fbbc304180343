"""Missing tools are told at once, with one line that installs them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolchain.build.compiler import find_compiler, require
from toolchain.errors import MissingToolError
from toolchain.hardware.facts import Isa
from toolchain.hints import apt_line


@pytest.mark.parametrize(
    ("isa", "triple"), [("aarch64", "aarch64-linux-gnu"), ("armv7", "arm-linux-gnueabihf")]
)
def test_all_missing_tools_are_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, isa: Isa, triple: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(MissingToolError) as caught:
        find_compiler(isa)
    assert caught.value.hint == apt_line("cmake", f"g++-{triple}", "ninja-build", "patch")
    assert f"{triple}-g++" in caught.value.what


def test_the_package_of_the_compiler_for_x86_64_has_no_underscore(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(MissingToolError) as caught:
        find_compiler("x86-64")
    assert "g++-x86-64-linux-gnu" in (caught.value.hint or "")


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
    assert caught.value.hint == apt_line("some-package")
