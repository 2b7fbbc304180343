"""A program that says which of many files an interpreter of Python runs; needs nothing of ours.

Arguments: the module of the interpreter, ``xnnpack`` or ``builtin``, a folder of ``.tflite`` files.
Prints a JSON object: file name -> what went wrong, or nothing. A file that ends the process, or
that works on and on, does not end the others.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np


def main() -> None:
    """See the module."""
    module, kernels, folder = sys.argv[1:]
    interpreter = importlib.import_module(f"{module}.interpreter")
    kinds = interpreter.OpResolverType
    plain = kernels == "builtin"
    kind = kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES if plain else kinds.AUTO

    def run(path: Path) -> str:
        try:
            runner = interpreter.Interpreter(
                str(path), experimental_op_resolver_type=kind, num_threads=1
            )
            runner.allocate_tensors()
            for item in runner.get_input_details():
                runner.set_tensor(item["index"], np.ones(item["shape"], item["dtype"]))
            runner.invoke()
        except Exception as error:  # whatever it is
            return str(error) or type(error).__name__
        return ""

    found: dict[str, str] = {}
    waiting = sorted(Path(folder).glob("*.tflite"))
    while waiting:
        source, sink = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(source)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            with os.fdopen(sink, "w") as stream:
                for path in waiting:
                    signal.setitimer(signal.ITIMER_PROF, 10)  # of work, which ends the process
                    signal.alarm(300)  # of anything
                    stream.write(json.dumps([path.name, run(path)]) + "\n")
                    stream.flush()
            os._exit(0)
        os.close(sink)
        with os.fdopen(source) as stream:
            found.update(json.loads(line) for line in stream)
        _, status = os.waitpid(child, 0)
        waiting = [path for path in waiting if path.name not in found]
        if waiting:
            found[waiting.pop(0).name] = f"the process ended with status {status}"
    print(json.dumps(found))


if __name__ == "__main__":
    main()
