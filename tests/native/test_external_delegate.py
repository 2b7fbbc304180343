"""The delegate in the runtimes that pip installs, unchanged: it loads, agrees, and is faster."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.tflite_writer import Array, GraphWriter
from toolchain.build.bundle import Bundle

_ROOT = Path(__file__).resolve().parents[2]
_TFLITE_PYTHON = _ROOT / os.environ.get("VENV_TFLITE", ".venv-tflite") / "bin/python"

# Scripts that run in either environment; this opens both.
_OPEN = """
import ctypes, json, os, signal, sys, time
import numpy as np
try:
    from tflite_runtime.interpreter import Interpreter, load_delegate
except ImportError:
    from ai_edge_litert.interpreter import Interpreter, load_delegate
delegate, source, *models = sys.argv[1:]
x = np.load(source)
def ready(model, *delegates):
    interpreter = Interpreter(model, num_threads=1, experimental_delegates=list(delegates))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    return interpreter
"""

# Runs of both interpreters alternate, and their time is the CPU's: on a busy machine the clock
# tells most of all whose runs the scheduler happens to interrupt, be it for seconds on end.
_RACE = (
    _OPEN
    + """
(model,) = models
interpreters = [ready(model), ready(model, load_delegate(delegate))]
outputs, times = [], [[], []]
for interpreter in interpreters:
    interpreter.invoke()
    outputs.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
for _ in range(41):
    for taken, interpreter in zip(times, interpreters):
        started = time.process_time()
        interpreter.invoke()
        taken.append(time.process_time() - started)
difference = float(np.abs(outputs[0] - outputs[1]).max() / np.abs(outputs[0]).max())
stock, ours = np.array(times)
print(json.dumps({
    "difference": difference, "stock_s": np.median(stock), "ours_s": np.median(ours),
    "ratio": np.median(stock / ours),
}))
"""
)

# A float that overflows raises SIGFPE in the thread that asked for it, which runs the model; so
# each run has a process of its own. The signals, 0 if none: a pair a model, stock and ours.
_TRAP = (
    _OPEN
    + """
def signal_of(interpreter):
    child = os.fork()
    if child == 0:
        # FE_OVERFLOW of x86.
        if ctypes.CDLL("libm.so.6").feenableexcept(8) == -1:
            os._exit(1)
        interpreter.invoke()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
    return os.WTERMSIG(status)
pairs = [[ready(model), ready(model, load_delegate(delegate))] for model in models]
print(json.dumps([[signal_of(interpreter) for interpreter in pair] for pair in pairs]))
"""
)

# A child of fork has the thread that called it, and none of the pool's.
_FORK = (
    _OPEN
    + """
(model,) = models
interpreter = ready(model, load_delegate(delegate, {"num_threads": 4}))
interpreter.invoke()
child = os.fork()
if child == 0:
    signal.alarm(60)
    interpreter.invoke()
    del interpreter
    os._exit(0)
status = os.waitpid(child, 0)[1]
interpreter.invoke()
print(status)
"""
)

_LAYERS = 6
_PYTHONS = pytest.mark.parametrize(
    "python", [_TFLITE_PYTHON, Path(sys.executable)], ids=["2.14", "litert"]
)


def _write_model(path: Path) -> tuple[Path, np.ndarray]:
    """Six 3x3 convolutions of 64 channels on 28x28 pixels, half of which are masked."""
    rng = np.random.default_rng(5)
    graph = GraphWriter()
    shape = (1, 28, 28, 64)
    source = output = graph.tensor(shape)
    mask = graph.constant(rng.random((1, 28, 28, 1)) > 0.5)
    for _ in range(_LAYERS):
        filters = (rng.standard_normal((64, 3, 3, 64)) / 24).astype(np.float32)
        bias = rng.standard_normal(64).astype(np.float32)
        output = graph.conv_2d(output, filters, bias, shape, activation="relu")
        fill = graph.constant(rng.random((1, 1, 1, 64)).astype(np.float32))
        output = graph.select(mask, output, fill, shape)
    return graph.write(path, [source], [output]), rng.standard_normal(shape).astype(np.float32)


def _write_trap(path: Path, hot: int | None) -> Path:
    """Convolutions that overflow where the mask of layer ``hot`` skips them, and nowhere else.

    Each layer keeps the pixels left of a line that is one further to the left than the last one's:
    a kept pixel sees no fill, and those that are skipped see it.
    """
    rng = np.random.default_rng(7)
    graph = GraphWriter()
    shape = (1, 20, 20, 16)
    columns = np.arange(20).reshape(1, 1, 20, 1)
    source = graph.tensor(shape)
    huge = np.float32(3e38)
    # The first layer has no layer before it that fills.
    right = graph.constant(np.broadcast_to(columns < 16, (1, 20, 20, 1)))
    fill = graph.constant(np.full((1, 1, 1, 16), huge if hot == 0 else 1, np.float32))
    output = graph.select(right, source, fill, shape)
    for layer in range(_LAYERS):
        filters = rng.uniform(0.1, 0.2, (16, 3, 3, 16)).astype(np.float32)
        output = graph.conv_2d(output, filters, np.zeros(16, np.float32), shape, activation="relu")
        mask = graph.constant(np.broadcast_to(columns < 15 - layer, (1, 20, 20, 1)))
        fill = graph.constant(np.full((1, 1, 1, 16), huge if hot == layer + 1 else 1, np.float32))
        output = graph.select(mask, output, fill, shape)
    return graph.write(path, [source], [output])


def _run(python: Path, folder: Path, script: str, bundle: Bundle, x: Array, *models: Path) -> Any:
    """What the script prints."""
    if not python.exists():
        pytest.skip(f"{python} is not there; make test-native makes it")
    np.save(folder / "x.npy", x)
    (folder / "script.py").write_text(script)
    command = [python, folder / "script.py", bundle.delegate, folder / "x.npy", *models]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


@_PYTHONS
def test_loads_in_a_stock_runtime_and_speeds_a_masked_model_up(
    tmp_path: Path, host_bundle: Bundle, python: Path
) -> None:
    model, x = _write_model(tmp_path / "model.tflite")
    found = _run(python, tmp_path, _RACE, host_bundle, x, model)
    assert found["difference"] < 1e-5
    # Half of the work is skipped. An unpatched delegate, newer than the runtime, reaches 1.2.
    assert found["ratio"] > 1.5, found


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other CPUs may have no such trap")
@_PYTHONS
def test_no_skipped_pixel_is_computed_in_a_stock_runtime(
    tmp_path: Path, host_bundle: Bundle, python: Path
) -> None:
    hot = [None, *range(_LAYERS)]
    models = [_write_trap(tmp_path / f"{layer}.tflite", layer) for layer in hot]
    x = np.ones((1, 20, 20, 16), np.float32)
    found = _run(python, tmp_path, _TRAP, host_bundle, x, *models)
    # Without the delegate all pixels are computed before the select.
    assert found == [[0, 0]] + [[signal.SIGFPE, 0]] * _LAYERS


@_PYTHONS
def test_a_forked_child_computes_without_the_threads_that_it_does_not_have(
    tmp_path: Path, host_bundle: Bundle, python: Path
) -> None:
    model, x = _write_model(tmp_path / "model.tflite")
    assert _run(python, tmp_path, _FORK, host_bundle, x, model) == 0
