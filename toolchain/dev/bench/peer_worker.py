"""Runs one model on one runtime whenever it is told to, by :mod:`toolchain.dev.bench.peers`.

The runtimes live in environments of their own, so this file imports nothing of this project, and
runs as a program: ``python peer_worker.py SETTINGS``, a file with JSON or JSON itself. On standard
output it writes one line of JSON when the model is ready, then for each line that it reads the
microseconds of one inference, the last of a few.
With ``marked`` in the settings it makes that many inferences between marks instead
(``runtime_patch/runner/marks.h``), and ends.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

# runtime_patch/runner/marks.h; the number of the system call is aarch64's
_CLOCK_GETRES, _MARK_CLOCK, _RUN_BEGIN, _RUN_END = 114, 0x74696C65, 1, 2

_RUNS_OF_A_TURN = 5
"""As in ``runtime_patch/runner/measure.cc``."""
_LONG_TURN_NS = 500_000_000

Run = Callable[[], Any]


def _interpreter(settings: dict[str, Any]) -> tuple[str, Run, Callable[[], list[Any]]]:
    """TensorFlow Lite's Python interpreter, of either package, alone or with our delegate."""
    if settings["kind"] == "tflite-runtime":
        import tflite_runtime as package
        from tflite_runtime.interpreter import Interpreter
    else:
        import ai_edge_litert as package
        from ai_edge_litert.interpreter import Interpreter, load_delegate
    options: dict[str, Any] = {"num_threads": settings["threads"]}
    if settings["delegate"]:
        threads = {"num_threads": settings["threads"]}
        options["experimental_delegates"] = [load_delegate(settings["delegate"], threads)]
    interpreter = Interpreter(settings["model"], **options)
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]
    image = np.load(settings["input"]) if settings["input"] else np.zeros(given["shape"])
    interpreter.set_tensor(given["index"], image.astype(given["dtype"]))
    outputs = [output["index"] for output in interpreter.get_output_details()]
    version = getattr(package, "__version__", None) or _installed(settings["kind"])
    return version, interpreter.invoke, lambda: [interpreter.get_tensor(i) for i in outputs]


def _ncnn(settings: dict[str, Any]) -> tuple[str, Run, Callable[[], list[Any]]]:
    """Ncnn with its own defaults but for the number of threads; Winograd is one of them."""
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = settings["threads"]
    net.opt.use_vulkan_compute = False
    if not net.opt.use_winograd_convolution:
        sys.exit("ncnn's Winograd is off")
    stem = settings["model"]
    if net.load_param(f"{stem}.ncnn.param") or net.load_model(f"{stem}.ncnn.bin"):
        sys.exit(f"ncnn cannot load {stem}")
    # [N, H, W, C] as TensorFlow Lite has it, to ncnn's [C, H, W].
    image = np.ascontiguousarray(np.load(settings["input"])[0].transpose(2, 0, 1))
    names = settings["outputs"]
    found: list[Any] = []

    def run() -> None:
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(image))
        found[:] = [extractor.extract(name) for name in names]

    def outputs() -> list[Any]:
        if any(code for code, _ in found):
            sys.exit("ncnn could not run the model")
        planes = [np.array(mat) for _, mat in found]
        return [p.transpose(1, 2, 0)[None] if p.ndim == 3 else p[None] for p in planes]

    return ncnn.__version__, run, outputs


def _onnxruntime(settings: dict[str, Any]) -> tuple[str, Run, Callable[[], list[Any]]]:
    """ONNX Runtime with its own defaults but for the number of threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings["threads"]
    session = onnxruntime.InferenceSession(
        settings["model"], options, providers=["CPUExecutionProvider"]
    )
    image = np.ascontiguousarray(np.load(settings["input"]).transpose(0, 3, 1, 2))
    given = {session.get_inputs()[0].name: image}
    found: list[Any] = []

    def run() -> None:
        found[:] = session.run(None, given)

    return onnxruntime.__version__, run, lambda: [_channels_last(one) for one in found]


def _mnn(settings: dict[str, Any]) -> tuple[str, Run, Callable[[], list[Any]]]:
    """MNN with its own defaults but for the number of threads."""
    import MNN

    interpreter = MNN.Interpreter(settings["model"])
    session = interpreter.createSession({"numThread": settings["threads"]})
    image = np.ascontiguousarray(np.load(settings["input"]).transpose(0, 3, 1, 2))

    def tensor(array: Any) -> Any:
        shape = MNN.Tensor_DimensionType_Caffe  # [N, C, H, W]
        return MNN.Tensor(array.shape, MNN.Halide_Type_Float, array, shape)

    interpreter.getSessionInput(session).copyFrom(tensor(image))

    def outputs() -> list[Any]:
        found = []
        for output in interpreter.getSessionOutputAll(session).values():
            place = tensor(np.zeros(output.getShape(), np.float32))
            output.copyToHostTensor(place)
            found.append(_channels_last(np.array(place.getNumpyData()).reshape(place.getShape())))
        return found

    return MNN.version(), lambda: interpreter.runSession(session), outputs


def _channels_last(array: Any) -> Any:
    """A tensor as TensorFlow Lite has it."""
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


def _installed(package: str) -> str:
    from importlib.metadata import version

    return version(package)


_RUNTIMES = {"ncnn": _ncnn, "onnxruntime": _onnxruntime, "mnn": _mnn}


def main() -> None:
    """Load the model, then serve."""
    said = sys.argv[1]
    settings = json.loads(said if said.startswith("{") else Path(said).read_text())
    # What a runtime prints is no answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    version, run, outputs = _RUNTIMES.get(settings["kind"], _interpreter)(settings)
    run()
    np.savez(settings["output"], *outputs())
    print(json.dumps({"version": version}), file=answers, flush=True)
    if settings["marked"]:
        libc = ctypes.CDLL(None)
        for _ in range(settings["marked"]):
            libc.syscall(_CLOCK_GETRES, _MARK_CLOCK, _RUN_BEGIN)
            run()
            libc.syscall(_CLOCK_GETRES, _MARK_CLOCK, _RUN_END)
        return
    for _ in sys.stdin:
        # The first ones find the caches as the other runtimes left them, which is soon over.
        deadline = time.perf_counter_ns() + _LONG_TURN_NS
        for _ in range(_RUNS_OF_A_TURN):
            begun = time.perf_counter_ns()
            run()
            ended = time.perf_counter_ns()
            if ended > deadline:
                break
        print((ended - begun) / 1000, file=answers, flush=True)


if __name__ == "__main__":
    main()
