"""The table of types that kernels are written for: what is refused does not run, all else does."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support import load_many
from support.typed_ops import Example, all_examples
from toolchain.agreement.runtimes import TfliteRuntime, find_runtimes
from toolchain.build.bundle import Bundle
from toolchain.tflite_file.graph import read_model
from toolchain.tflite_file.support import find_unsupported

_ROOT = Path(__file__).resolve().parents[2]
_PATCHED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
"""Our kernels refuse pairs of types that theirs misread."""
_SILENT = ("SIGN", "MATRIX_DIAG", "MATRIX_SET_DIAG", "PADV2")
"""What these kernels do not have they leave undone without a word, or overrun their output."""

Examples = dict[str, Example]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All examples, a file each."""
    return tmp_path_factory.mktemp("examples")


@pytest.fixture(scope="module")
def examples(folder: Path) -> Examples:
    """File name -> what is in it."""
    found = {f"{example}.tflite": example for example in all_examples()}
    for name, example in found.items():
        example.write(folder / name)
    return found


@pytest.fixture(scope="module")
def told(folder: Path, examples: Examples) -> dict[str, str]:
    """What ``inspect`` says of each file; nothing where it says nothing."""
    return {
        name: "; ".join(item.reason for item in find_unsupported(read_model(folder / name)))
        for name in examples
    }


@pytest.fixture(scope="module")
def valid(folder: Path, examples: Examples) -> set[str]:
    """The files that the stock interpreter runs, on its own kernels or on XNNPACK."""
    ways = [_load(sys.executable, "ai_edge_litert", way, folder) for way in ("builtin", "xnnpack")]
    return {name for name in examples for way in ways if not way[name]}


def _load(python: str, module: str, kernels: str, folder: Path) -> dict[str, str]:
    command = [python, "-I", load_many.__file__, module, kernels, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("options", [(), ("--no-delegate",)], ids=["xnnpack", "builtin"])
def test_the_runner_says_what_inspect_says_and_runs_all_else(
    folder: Path,
    examples: Examples,
    told: dict[str, str],
    valid: set[str],
    host_bundle: Bundle,
    options: tuple[str, ...],
) -> None:
    def run(name: str) -> tuple[int, str]:
        command = [str(host_bundle.runner), "--model", str(folder / name), "--runs", "1"]
        done = subprocess.run(
            [*command, "--warmup", "0", *options],
            capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
        return done.returncode, done.stderr

    with ThreadPoolExecutor(2) as pool:
        ran = dict(zip(examples, pool.map(run, examples), strict=True))
    for name, example in examples.items():
        status, said = ran[name]
        if told[name]:
            assert status == 3, name
            assert f"{example.op}: {told[name]}; Node number 0 ({example.op})" in said, name
        else:
            assert "has no kernel of it" not in said, (name, said)
            assert status == 0 or name not in valid, (name, said)
    assert sum(bool(text) for text in told.values()) > 1000
    assert sum(status == 0 for status, _ in ran.values()) > 1000


def test_what_is_refused_does_not_run_on_the_same_kernels_without_the_table(
    folder: Path, examples: Examples, told: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """tflite-runtime has the same kernels, and no table."""
    monkeypatch.chdir(_ROOT)
    runtimes = find_runtimes()
    if runtimes.missing:
        pytest.skip("; ".join(runtimes.missing) + "; make test-native makes one")
    for runtime in runtimes.found:
        if not isinstance(runtime, TfliteRuntime):
            continue
        faults = _load(str(runtime.python), "tflite_runtime", runtime.kernels, folder)
        for name, example in examples.items():
            if not told[name] or example.op in _SILENT:
                continue
            pair = "weights" in told[name] and example.op in _PATCHED
            assert faults[name] or pair, (runtime.name, name, told[name])
