"""A program with the runner's command line that computes on the stock interpreter, in Python.

It stands for a runtime that computes wrong or refuses, whatever the real one does.
"""

from __future__ import annotations

import sys

_PROGRAM = """#!{python}
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
args = sys.argv[1:]
values = dict(zip(args, args[1:]))
inputs = [args[i + 1] for i, word in enumerate(args) if word == "--input"]
model = Interpreter(values["--model"])
model.allocate_tensors()
operators = {{op["op_name"] for op in model._get_ops_details()}}
def fault(outputs, operators):
    {fault}
    return outputs
def refusal(operators):
    {refusal}
if refusal(operators):
    print("tileskip-run: error:", values["--model"] + ":", refusal(operators), file=sys.stderr)
    sys.exit(3)
given = [np.fromfile(file, detail["dtype"]).reshape(-1, *detail["shape"])
         for file, detail in zip(inputs, model.get_input_details())]
rows = []
for number in range(len(given[0])):
    for detail, array in zip(model.get_input_details(), given):
        model.set_tensor(detail["index"], array[number])
    model.invoke()
    outputs = [model.get_tensor(detail["index"]) for detail in model.get_output_details()]
    rows.append(fault(outputs, operators))
for index, arrays in enumerate(zip(*rows)):
    np.stack(arrays).tofile(values["--output-dir"] + f"/output{{index}}.bin")
"""


def python_runner(fault: str = "pass", refusal: str = "return None") -> bytes:
    """The program's text.

    Args:
        fault: Python that may change ``outputs``, arrays in the graph's order; ``operators`` are
            the names of the file's.
        refusal: Python that gives a reason not to run a file of ``operators``, or ``None``.
    """
    return _PROGRAM.format(python=sys.executable, fault=fault, refusal=refusal).encode()
