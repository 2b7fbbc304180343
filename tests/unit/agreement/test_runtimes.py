from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from support.masked_case import SMALL
from toolchain.agreement.interpreter import Kernels
from toolchain.agreement.runtimes import Litert, TfliteRuntime, find_runtimes
from toolchain.errors import MissingToolError, VerificationError


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with no environment in it or beside this one, as the current one."""
    monkeypatch.delenv("VENV_TFLITE", raising=False)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "here" / "venv"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _environment(folder: Path, script: str) -> Path:
    """An environment whose Python is a shell script."""
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    return folder


@pytest.mark.parametrize("kernels", ["xnnpack", "builtin"])
def test_a_file_gives_what_torch_computes(tmp_path: Path, kernels: Kernels) -> None:
    path = SMALL.write(tmp_path / "model.tflite", signature=True)
    first = SMALL.input()
    rows = Litert(kernels).run(path, [[first], [-first]])
    for x, (found,) in zip((first, -first), rows, strict=True):
        assert np.abs(found - SMALL.expected(x)).max() <= 1e-5


def test_a_file_that_cannot_be_loaded_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"TFL3 and nothing else")
    with pytest.raises(VerificationError, match=r"ai-edge-litert \S+ cannot run the converted"):
        Litert("builtin").run(path, [])


def test_a_missing_environment_is_told_with_how_to_make_one(nowhere: Path) -> None:
    runtimes = find_runtimes()
    assert [runtime.name.split()[0] for runtime in runtimes.found] == ["ai-edge-litert"] * 2
    (reason,) = runtimes.missing
    assert reason.startswith("tflite-runtime 2.14.0: no environment with it was found")
    assert "pip install tflite-runtime==2.14.0" in reason
    assert not list(nowhere.iterdir())


@pytest.mark.parametrize("place", [".venv-tflite", "here/.venv-tflite", "elsewhere"])
def test_an_environment_is_found_here_beside_ours_or_by_its_variable(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    _environment(nowhere / place, "echo 2.14.0")
    if place == "elsewhere":
        monkeypatch.setenv("VENV_TFLITE", "elsewhere")
    runtimes = find_runtimes()
    assert not runtimes.missing
    assert [(item.name, item.kernels) for item in runtimes.found[2:]] == [
        ("tflite-runtime 2.14.0", "xnnpack"),
        ("tflite-runtime 2.14.0", "builtin"),
    ]


@pytest.mark.parametrize("script", [None, "exit 1"])
def test_a_variable_that_names_no_such_environment_is_an_error(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, script: str | None
) -> None:
    if script is not None:
        _environment(nowhere / "broken", script)
    monkeypatch.setenv("VENV_TFLITE", "broken")
    with pytest.raises(MissingToolError, match="VENV_TFLITE=broken") as caught:
        find_runtimes()
    assert caught.value.exit_code == 11


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("kill -SEGV $$", r"tflite-runtime 2\.14\.0 crashed on the converted file \(signal 11\)"),
        ("echo first >&2; echo 'no such op' >&2; exit 1", r"cannot run the .* file: no such op"),
        ("exit 1", r"cannot run the converted file: no message"),
    ],
)
def test_a_runtime_that_fails_in_its_own_process_is_one_error(
    tmp_path: Path, script: str, message: str
) -> None:
    python = _environment(tmp_path / "venv", script) / "bin" / "python"
    with pytest.raises(VerificationError, match=message):
        TfliteRuntime(python, "2.14.0", "builtin").run(tmp_path / "model.tflite", [])
