"""The delegate in the runtimes that pip installs, unchanged: it loads, agrees, and is faster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from support.tflite_writer import GraphWriter
from toolchain.build.bundle import Bundle

_ROOT = Path(__file__).resolve().parents[2]
_TFLITE_PYTHON = _ROOT / os.environ.get("VENV_TFLITE", ".venv-tflite") / "bin/python"

# Runs in either environment. The runs of both interpreters alternate, so that a busy machine slows
# both; the least time of many is the one that other processes disturbed least.
_SCRIPT = """
import json, sys, time
import numpy as np
try:
    from tflite_runtime.interpreter import Interpreter, load_delegate
except ImportError:
    from ai_edge_litert.interpreter import Interpreter, load_delegate
model, delegate, source, rounds = sys.argv[1:]
x = np.load(source)
interpreters = [
    Interpreter(model, num_threads=1),
    Interpreter(model, num_threads=1, experimental_delegates=[load_delegate(delegate)]),
]
outputs, best = [], [float("inf")] * 2
for interpreter in interpreters:
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    outputs.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
for _ in range(int(rounds)):
    for i, interpreter in enumerate(interpreters):
        started = time.perf_counter()
        interpreter.invoke()
        best[i] = min(best[i], time.perf_counter() - started)
difference = float(np.abs(outputs[0] - outputs[1]).max() / np.abs(outputs[0]).max())
print(json.dumps({"difference": difference, "stock_s": best[0], "ours_s": best[1]}))
"""


def _write_model(path: Path) -> tuple[Path, np.ndarray]:
    """Six 3x3 convolutions of 64 channels on 28x28 pixels, half of which are masked."""
    rng = np.random.default_rng(5)
    graph = GraphWriter()
    shape = (1, 28, 28, 64)
    source = output = graph.tensor(shape)
    mask = graph.constant(rng.random((1, 28, 28, 1)) > 0.5)
    for _ in range(6):
        filters = (rng.standard_normal((64, 3, 3, 64)) / 24).astype(np.float32)
        bias = rng.standard_normal(64).astype(np.float32)
        output = graph.conv_2d(output, filters, bias, shape, activation="relu")
        fill = graph.constant(rng.random((1, 1, 1, 64)).astype(np.float32))
        output = graph.select(mask, output, fill, shape)
    return graph.write(path, [source], [output]), rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("python", [_TFLITE_PYTHON, Path(sys.executable)], ids=["2.14", "litert"])
def test_loads_in_a_stock_runtime_and_speeds_a_masked_model_up(
    tmp_path: Path, host_bundle: Bundle, python: Path
) -> None:
    if not python.exists():
        pytest.skip(f"{python} is not there; make test-native makes it")
    model, x = _write_model(tmp_path / "model.tflite")
    np.save(tmp_path / "x.npy", x)
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT)
    command = [str(python), str(script), str(model), str(host_bundle.delegate)]
    command += [str(tmp_path / "x.npy"), "40"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["difference"] < 1e-5
    # Half of the work is skipped; 1.2 leaves room for a noisy machine.
    assert found["stock_s"] / found["ours_s"] > 1.2, found
