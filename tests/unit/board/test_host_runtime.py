from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support.bundles import write_bundle
from support.masked_case import SMALL
from support.python_runner import python_runner
from toolchain.agreement.runtimes import Litert
from toolchain.board.host_runtime import HostRuntime, host_runtimes
from toolchain.errors import VerificationError


def test_without_a_bundle_there_is_a_reason_with_the_line_that_builds_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = host_runtimes()
    assert found.found == ()
    assert found.missing == (
        "this project's runtime: build/host is not there (deploy build --board host)",
    )


def test_a_bundle_that_was_changed_or_is_of_another_machine_is_not_taken(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "host", python_runner())
    bundle.runner.write_bytes(b"another")
    found = host_runtimes(tmp_path / "host")
    assert not found.found
    assert "tileskip-run was changed since it was built" in found.missing[0]
    write_bundle(tmp_path / "arm", python_runner(), isa="aarch64")
    found = host_runtimes(tmp_path / "arm")
    assert not found.found
    assert "it was built for aarch64" in found.missing[0]


def test_the_bundle_of_the_current_folder_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_bundle(tmp_path / "build" / "host", python_runner())
    (runtime,) = host_runtimes().found
    assert runtime.name == "tileskip 0 (build/host)"


def test_it_gives_what_other_runtimes_give_and_leaves_nothing(tmp_path: Path) -> None:
    path = SMALL.write(tmp_path / "model.tflite", signature=True)
    runtime = HostRuntime(write_bundle(tmp_path / "host", python_runner()))
    rows = [[SMALL.input()], [-SMALL.input()]]
    for found, wanted in zip(runtime.run(path, rows), Litert("xnnpack").run(path, rows),
                             strict=True):  # fmt: skip
        assert np.array_equal(found[0], wanted[0])
    assert {item.name for item in tmp_path.iterdir()} == {"model.tflite", "host"}


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (python_runner(refusal="return 'SELECT_V2 is not for me'"), r"file: SELECT_V2 is not for"),
        (b"#!/bin/sh\nkill -SEGV $$\n", "the runner was ended by SIGSEGV"),
    ],
)
def test_a_file_that_it_refuses_or_crashes_on_is_one_error(
    tmp_path: Path, program: bytes, message: str
) -> None:
    path = SMALL.write(tmp_path / "model.tflite", signature=True)
    runtime = HostRuntime(write_bundle(tmp_path / "host", program))
    with pytest.raises(VerificationError, match=message) as caught:
        runtime.run(path, [[SMALL.input()]])
    assert caught.value.what.startswith("tileskip 0 (")
