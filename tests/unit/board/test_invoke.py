"""The runner's exit codes, by programs that end as a runner may; the real one is run elsewhere."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest

from support.bundles import write_bundle, write_masked_model, write_two_input_model
from support.patience import growing_limits, written
from toolchain.agreement.inputs import random_inputs
from toolchain.board import push, system
from toolchain.board.connection import Connection
from toolchain.board.invoke import BoardRunner, Settings, load_bundle
from toolchain.board.local import LocalConnection
from toolchain.board.system import System
from toolchain.errors import BoardError, BundleError, DeployError, ModelError
from toolchain.hardware.board_file import load_board
from toolchain.progress import Lines, Silent
from toolchain.storage.cache import sha256_file
from toolchain.tflite_file.graph import Model, read_model


def runner(tmp_path: Path, script: str, timeout: float = 60.0) -> BoardRunner:
    bundle = write_bundle(tmp_path / "bundle", f"#!/bin/sh\n{script}\n".encode())
    return BoardRunner(
        LocalConnection("host", tmp_path / "board"), load_board("host"), bundle, Silent(),
        timeout=timeout,
    )  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return read_model(write_masked_model(tmp_path / "m.tflite", size=4, channels=2))


@pytest.mark.parametrize(
    ("script", "kind", "message"),
    [
        ("echo 'tileskip-run: error: op 7 is unknown' >&2; exit 3", ModelError, "op 7 is unknown"),
        ("echo 'tileskip-run: error: no such file' >&2; exit 4", BoardError, "no such file"),
        ("exit 2", BoardError, "ended with 2: no reason given"),
        ("kill -KILL $$", BoardError, "ended by SIGKILL: it was killed"),
        ("kill -ILL $$", BoardError, "ended by SIGILL: the core does not have an instruction"),
        ("kill -SEGV $$", BoardError, "ended by SIGSEGV: it crashed"),
        ("kill -TERM $$", BoardError, "ended by SIGTERM: somebody ended it"),
        ("kill -BUS $$", BoardError, "ended by SIGBUS: a file or memory of it could not be read"),
        ("ulimit -t 1; while :; do :; done", BoardError, "ended by SIG(XCPU|KILL)"),
        ("kill -40 $$", BoardError, "ended by signal 40"),
    ],
)
def test_every_end_of_the_runner_has_its_message(
    tmp_path: Path, model: Model, script: str, kind: type[DeployError], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        runner(tmp_path, script).run(model, Settings())
    assert "host: " in caught.value.what
    assert "m.tflite" in caught.value.what


def test_want_of_memory_is_told_with_what_helps(tmp_path: Path, model: Model) -> None:
    """By the runner itself, where a limit is set; by the kernel's count, or where it has none."""
    script = "echo 'tileskip-run: error: m: needs more memory than there is' >&2; exit 3"
    with pytest.raises(ModelError, match="needs more memory") as limited:
        runner(tmp_path / "limited", script).run(model, Settings())
    assert "take a smaller model" in (limited.value.hint or "")
    killed = runner(tmp_path / "killed", "kill -KILL $$")
    for before, said in (
        (killed._oom_kills, "was not out of memory"),
        (None, "most often the board is out of memory: end what else"),
    ):
        killed._oom_kills = before
        with pytest.raises(BoardError, match="SIGKILL: it was killed") as caught:
            killed.run(model, Settings())
        assert said in (caught.value.hint or "")
    killed._oom_kills = -1  # as if the kernel had ended one since
    with pytest.raises(BoardError, match="SIGKILL: the board ran out of memory"):
        killed.run(model, Settings())


def test_a_runner_that_was_stopped_is_given_up_and_ended(tmp_path: Path, model: Model) -> None:
    mark = tmp_path / "pid"
    script = f"echo $$ > {mark}; kill -STOP $$; sleep 60"
    for limit in growing_limits(lambda: written(mark)):
        message = rf"m\.tflite: the runner did not end in {limit:g} s"
        with pytest.raises(BoardError, match=message) as caught:
            runner(tmp_path, script, timeout=limit).run(model, Settings())
    assert "--timeout" in (caught.value.hint or "")
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


def test_settings_become_the_runners_options(tmp_path: Path, model: Model) -> None:
    outcome = runner(tmp_path, 'echo "$@"').run(
        model, Settings(threads=3, runs=7, warmup=2, per_op=True, delegate=False)
    )
    assert re.search(r"--model tileskip/models/\w+/m\.tflite --json - ", outcome.report)
    assert "--threads 3 --runs 7 --warmup 2 --per-op --no-delegate" in outcome.report


def test_a_bundle_beside_another_asks_and_hashes_nothing_again(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, hashed, really_ask = list[object](), list[Path](), system._ask

    def ask(connection: Connection) -> System:
        asked.append(connection)
        return really_ask(connection)

    def hash_of(path: Path) -> str:
        hashed.append(path)
        return sha256_file(path)

    monkeypatch.setattr(system, "_ask", ask)
    monkeypatch.setattr(push, "sha256_file", hash_of)
    one = runner(tmp_path, "echo one")
    other = one.beside(write_bundle(tmp_path / "other", b"#!/bin/sh\necho other\n"))
    assert one.run(model, Settings()).report.strip() == "one"
    assert other.run(model, Settings()).report.strip() == "other"
    assert len(asked) == 1
    assert hashed.count(Path(model.path)) == 1


def test_outputs_of_the_wrong_size_are_refused(tmp_path: Path, model: Model) -> None:
    script = 'while [ "$1" != --output-dir ]; do shift; done; printf abc > "$2/output0.bin"'
    with pytest.raises(BoardError, match=r"output 0 of .* has 3 bytes, 128 were expected"):
        runner(tmp_path, script).run(model, Settings(), random_inputs(model, 1, 0))


def test_what_xnnpack_leaves_is_said_once_a_model(
    tmp_path: Path, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = '{"notes": ["instructions: none", "delegate: TensorFlow Lite runs SIN"]}'
    bundle = write_bundle(tmp_path / "bundle", f"#!/bin/sh\necho '{notes}'\n".encode())
    there = LocalConnection("host", tmp_path / "board")
    ready = BoardRunner(there, load_board("host"), bundle, Lines())
    for _ in range(2):
        ready.run(model, Settings())
    told = [line for line in capsys.readouterr().err.splitlines() if "instructions" in line
            or "delegate" in line]  # fmt: skip
    assert told == ["host: m.tflite: delegate: TensorFlow Lite runs SIN"]


def test_inputs_go_in_order_and_nothing_stays_behind(tmp_path: Path) -> None:
    model = read_model(write_two_input_model(tmp_path / "pair.tflite"))
    script = """
    inputs=""
    while [ $# -gt 0 ]; do
        case $1 in --input) cat "$2" >> concatenated;; --output-dir) folder=$2;; esac
        shift
    done
    cp "$folder/input1.bin" "$folder/output0.bin"
    """
    batch = random_inputs(model, 3, 0)
    outcome = runner(tmp_path, script).run(model, Settings(), batch)
    sent = (tmp_path / "board" / "concatenated").read_bytes()
    assert sent == batch.arrays[0].tobytes() + batch.arrays[1].tobytes()
    assert np.array_equal(outcome.outputs[0], batch.arrays[1])
    assert not list((tmp_path / "board").rglob("run-*"))


def test_a_failed_run_leaves_nothing_behind_either(tmp_path: Path, model: Model) -> None:
    with pytest.raises(ModelError):
        runner(tmp_path, "exit 3").run(model, Settings(), random_inputs(model, 1, 0))
    assert not list((tmp_path / "board").rglob("run-*"))


def test_a_board_without_a_bundle_names_the_line_that_builds_it(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle") as caught:
        load_bundle(load_board("rpi4"), tmp_path / "absent")
    assert caught.value.hint == f"run: deploy build --board rpi4 --out {tmp_path / 'absent'}"
