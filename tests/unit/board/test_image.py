"""What the image of an emulated board is made from; tests/emulated makes and boots it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from toolchain.board.image import _kernel_package
from toolchain.errors import EmulatorError


@pytest.fixture
def meta(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose file is what dpkg-deb, which is played, says of it."""
    program = tmp_path / "bin" / "dpkg-deb"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\n[ "$1 $3" = "--field Depends" ] && cat "$2"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "linux-image-cloud-arm64.deb"


def test_the_kernels_own_package_is_what_debians_depends_on(meta: Path) -> None:
    meta.write_text("linux-base, linux-image-6.1.0-40-cloud-arm64 (= 6.1.153-1)\n")
    assert _kernel_package(meta) == "linux-image-6.1.0-40-cloud-arm64"


def test_a_package_that_names_no_kernel_is_told_with_what_it_names(meta: Path) -> None:
    meta.write_text("linux-image-arm64\n")
    with pytest.raises(EmulatorError, match=r"\(Depends: linux-image-arm64\)") as caught:
        _kernel_package(meta)
    assert "please report this" in (caught.value.hint or "")
