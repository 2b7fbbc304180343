"""Runs one file on tflite-runtime; a program for an environment of its own, with numpy 1.

``python -I tflite_worker.py MODEL INPUTS.npz OUTPUTS.npz xnnpack|builtin``: arrays are called
``<inference>/<name in the signature>``. It imports nothing of this project.
"""

import sys

import numpy as np
from tflite_runtime import interpreter as tflite


def main(model: str, inputs: str, outputs: str, kernels: str) -> None:
    """Run every inference of ``inputs``."""
    kinds = tflite.OpResolverType
    kind = kinds.AUTO if kernels == "xnnpack" else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    runner = tflite.Interpreter(model, num_threads=1, experimental_op_resolver_type=kind)
    signature = runner.get_signature_runner()
    found: dict[int, dict[str, np.ndarray]] = {}
    with np.load(inputs) as archive:
        for key in archive.files:
            number, _, name = key.partition("/")
            found.setdefault(int(number), {})[name] = archive[key]
    results = {}
    for number in sorted(found):
        for name, array in signature(**found[number]).items():
            results[f"{number}/{name}"] = array
    np.savez(outputs, **results)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (ValueError, RuntimeError) as error:
        sys.exit(str(error))
