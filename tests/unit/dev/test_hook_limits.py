"""Hooks stay short: what is shipped is within its limits, and a line more is a fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.patch_series import write_patches
from toolchain.dev import hook_limits
from toolchain.resources import runtime_patch_dir


def test_what_is_shipped_is_within_its_limits() -> None:
    assert hook_limits.faults(runtime_patch_dir(), hook_limits.LIMITS) == []
    assert set(hook_limits.LIMITS) == {
        path.parent.name for path in runtime_patch_dir().glob("*/fixes")
    } | {path.parent.name for path in runtime_patch_dir().glob("*/hooks")}


def test_together_they_change_at_most_260_lines_of_upstreams_files() -> None:
    assert sum(hook_limits.LIMITS.values()) <= 260


def test_a_limit_that_is_passed_is_told(tmp_path: Path) -> None:
    write_patches(tmp_path / "s/hooks", ("two", "2"), ("2", "zwei"))
    write_patches(tmp_path / "s/fixes", ("two", "2"))
    assert hook_limits.changed_lines(tmp_path, "s") == 4
    assert hook_limits.faults(tmp_path, {"s": 4}) == []
    (fault,) = hook_limits.faults(tmp_path, {"s": 3})
    assert fault.startswith("runtime_patch/s/hooks: 4 lines of upstream's files are changed")


def test_lint_fails_when_a_limit_is_passed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hook_limits.main() == 0
    monkeypatch.setitem(hook_limits.LIMITS, "xnnpack", 1)
    assert hook_limits.main() == 1
    assert "runtime_patch/xnnpack/hooks:" in capsys.readouterr().err


def test_lint_fails_when_a_patch_says_no_kind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_patches(tmp_path / "xnnpack/hooks", ("two", "2"))
    patch = tmp_path / "xnnpack/hooks/0001-step.patch"
    patch.write_text(patch.read_text().replace("Kind: hook\n", ""))
    monkeypatch.setattr(hook_limits, "runtime_patch_dir", lambda: tmp_path)
    assert hook_limits.main() == 10
    assert "0001-step.patch: it has to begin with" in capsys.readouterr().err
