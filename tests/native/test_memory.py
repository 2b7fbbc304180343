"""A masked network run and prepared many times: nothing is read or written that must not be, and
nothing stays behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from support.runtimes import ByRunner, ThroughCLibrary, run_checked
from toolchain.agreement.inputs import Batch, random_inputs
from toolchain.agreement.interpreter import run_here
from toolchain.build.bundle import Bundle
from toolchain.build.compiler import find_compiler, require
from toolchain.build.sanitizers import FOUND, Sanitizer, sanitizer_flags
from toolchain.convert.calibration import RANDOM
from toolchain.convert.conversion import convert
from toolchain.tflite_file.graph import read_model
from toolchain.zoo.catalog import CHECKPOINTS

RUNS = 40
PREPARATIONS = 1000
LEAST_BLOCK = 32
"""What malloc takes for a single byte."""
PAGE = 4096
VALGRIND = (
    "valgrind", f"--error-exitcode={FOUND}", "--quiet", "--leak-check=full",
    "--show-leak-kinds=definite", "--errors-for-leak-kinds=definite",
)  # fmt: skip
MODELS: tuple[Literal["int8"] | None, ...] = (None, "int8")


@pytest.fixture(scope="module", params=MODELS, ids=lambda kind: kind or "fp32")
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The masked Fashion-MNIST network."""
    place = tmp_path_factory.mktemp("model") / "s20.tflite"
    source = CHECKPOINTS / "fashion_resnet_s20.safetensors"
    if request.param is None:
        return convert(source, place).path
    return convert(source, place, quantize="int8", calibration=RANDOM, boundary="int8").path


@pytest.fixture(scope="module")
def inputs(model: Path) -> Batch:
    return random_inputs(read_model(model), RUNS, seed=1)


@pytest.fixture(scope="module")
def through_c_library(
    host_bundle: Bundle, sanitizer: Sanitizer | None, tmp_path_factory: pytest.TempPathFactory
) -> ThroughCLibrary:
    return ThroughCLibrary.build(host_bundle, tmp_path_factory.mktemp("program"), sanitizer)


def assert_near(outputs: np.ndarray, expected: np.ndarray) -> None:
    """Equal up to float rounding, or up to a step of an integer type."""
    limit = 1.0 if expected.dtype.kind in "iu" else 1e-5 * float(np.abs(expected).max())
    np.testing.assert_allclose(
        outputs.astype(np.float64), expected.astype(np.float64), rtol=0, atol=limit
    )


@pytest.mark.parametrize("threads", [1, 2])
def test_forty_runs_by_the_runner_show_no_error(
    host_bundle: Bundle, sanitizer: Sanitizer | None, model: Path, inputs: Batch, threads: int
) -> None:
    ran = ByRunner(host_bundle, sanitizer).run_each(model, inputs.arrays[0], threads)
    assert_near(ran.outputs[0], run_here(read_model(model), inputs)[0])


# The interpreter of a process of its own, for the sanitizer's library has to be loaded first.
_IN_PYTHON = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter, load_delegate
model, delegate, threads, inputs, outputs = sys.argv[1:]
delegates = [load_delegate(delegate, {"num_threads": threads})]
interpreter = Interpreter(model, experimental_delegates=delegates)
interpreter.allocate_tensors()
(source,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
found = []
for x in np.load(inputs):
    interpreter.set_tensor(source["index"], x)
    interpreter.invoke()
    found.append(interpreter.get_tensor(output["index"]))
np.save(outputs, np.stack(found))
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_forty_runs_of_the_external_delegate_show_no_error(
    tmp_path: Path,
    host_bundle: Bundle,
    sanitizer: Sanitizer | None,
    model: Path,
    inputs: Batch,
    threads: int,
) -> None:
    np.save(tmp_path / "inputs.npy", inputs.arrays[0])
    arguments = [str(model), str(host_bundle.delegate), str(threads), str(tmp_path / "inputs.npy")]
    command = [sys.executable, "-c", _IN_PYTHON, *arguments, str(tmp_path / "outputs.npy")]
    run_checked(command, sanitizer, preload=True)
    assert_near(np.load(tmp_path / "outputs.npy"), run_here(read_model(model), inputs)[0])


@pytest.mark.unsanitized
@pytest.mark.parametrize("threads", [1, 2])
def test_forty_runs_under_valgrind_show_no_error(
    through_c_library: ThroughCLibrary, model: Path, inputs: Batch, threads: int
) -> None:
    require({"valgrind": "valgrind"})
    x = inputs.arrays[0][0]
    # TensorFlow Lite's FULLY_CONNECTED of int8, which ends this network, computes with what its
    # stack holds beyond a row, and drops it; so does the unpatched runtime's.
    quantized = ["--undef-value-errors=no"] if x.dtype == np.int8 else []
    under = [*VALGRIND, *quantized]
    outputs, _ = through_c_library.start(model, x, threads, runs=RUNS, under=under)
    first = Batch((inputs.arrays[0][:1],), joined=False)
    assert_near(outputs[0], run_here(read_model(model), first)[0][0])


@pytest.mark.unsanitized  # whose malloc does not count; LeakSanitizer speaks at the end of a run
def test_a_model_prepared_and_freed_a_thousand_times_does_not_grow(
    through_c_library: ThroughCLibrary, model: Path, inputs: Batch
) -> None:
    x = inputs.arrays[0][0]
    _, said = through_c_library.start(model, x, runs=1, again=PREPARATIONS)
    allocated, process = map(int, said.split())
    assert allocated < PREPARATIONS * LEAST_BLOCK, "a block is left behind each time"
    assert process < PREPARATIONS * PAGE, "a page is left behind each time"


_FAULTY = """
#include <emmintrin.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
static int shared[4];
static void* count(void* argument) { shared[0]++; return argument; }
static void* store(void* argument) {
  _mm_storeu_si128((__m128i*)shared, _mm_setzero_si128());
  return argument;
}
int main(int argc, char** argv) {
  if (argc != 2) return 1;
  int* heap = malloc(8 * sizeof(int));
  for (int i = 0; i < 8; ++i) heap[i] = i;
  if (strcmp(argv[1], "read") == 0 && heap[7 + argc - 1] == 7) return 2;
  if (strcmp(argv[1], "overflow") == 0) heap[0] = INT_MAX - 1 + argc;
  if (strcmp(argv[1], "race") == 0 || strcmp(argv[1], "stores") == 0) {
    void* (*run)(void*) = argv[1][0] == 'r' ? count : store;
    pthread_t threads[2];
    for (int i = 0; i < 2; ++i) pthread_create(&threads[i], NULL, run, NULL);
    for (int i = 0; i < 2; ++i) pthread_join(threads[i], NULL);
  }
  if (strcmp(argv[1], "leak") == 0) heap = malloc(1); else free(heap);
  return heap == NULL;
}
"""
FAULTS: dict[Sanitizer | None, tuple[str, ...]] = {
    "address": ("read", "overflow", "leak"),
    "thread": ("race", "stores"),
    None: ("read", "leak"),
}


def test_a_fault_that_is_there_is_found(tmp_path: Path, sanitizer: Sanitizer | None) -> None:
    """Otherwise the other tests would pass whatever the runtime does."""
    source, program = tmp_path / "faulty.c", tmp_path / "faulty"
    source.write_text(_FAULTY)
    flags = sanitizer_flags(sanitizer) if sanitizer else "-O1 -g"
    compiler = find_compiler("x86-64").cc
    subprocess.run([compiler, *flags.split(), "-o", program, source], check=True)
    under = () if sanitizer else VALGRIND
    run_checked([*under, str(program), "none"], sanitizer)
    for fault in FAULTS[sanitizer]:
        with pytest.raises(AssertionError, match=f"ended with {FOUND}"):
            run_checked([*under, str(program), fault], sanitizer)
