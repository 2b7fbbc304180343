"""Ways to run a model with a bundle: in Python, by the runner, through the C library."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from ai_edge_litert.interpreter import Interpreter, load_delegate

from support.tflite_writer import Array
from toolchain.build.bundle import Bundle
from toolchain.build.compiler import find_compiler
from toolchain.build.sanitizers import Sanitizer, sanitizer_environment, sanitizer_flags
from toolchain.fetch.apt import AptRoot
from toolchain.fetch.sources import load_sources, tree
from toolchain.profile.runner_output import parse_output
from toolchain.tflite_file.graph import read_model

PROGRAM_SOURCE = Path(__file__).parents[1] / "native/c_library/run_model.c"


@dataclass(frozen=True)
class Ran:
    """What came of a model."""

    outputs: list[Array]
    whole: bool | None
    """Whether one partition of the delegate is the whole model; ``None`` where nothing tells."""


class Runtime(Protocol):
    """A runtime under test, or one to compare with."""

    def run(self, model: Path, x: Array, threads: int = 1) -> Ran:
        """Run a model of one input; its outputs are those of a second run, after one on another.

        The second run finds the arena, and whatever is kept from run to run, as the first left it.
        """


@dataclass(frozen=True)
class InPython:
    """The bundle's delegate in the interpreter of ai-edge-litert."""

    bundle: Bundle

    def run(self, model: Path, x: Array, threads: int = 1) -> Ran:
        delegate = load_delegate(str(self.bundle.delegate), {"num_threads": threads})
        interpreter = Interpreter(str(model), experimental_delegates=[delegate])
        interpreter.allocate_tensors()
        for source in (_another(x), x):
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], source)
            interpreter.invoke()
        outputs = [item["index"] for item in interpreter.get_output_details()]
        names = interpreter._get_ops_details()
        partitions = [item for item in names if item["op_name"] == "DELEGATE"]
        whole = len(partitions) == 1 and set(outputs) <= set(partitions[0]["outputs"])
        return Ran([interpreter.get_tensor(index) for index in outputs], whole)


@dataclass(frozen=True)
class ByRunner:
    """The bundle's ``tileskip-run``; files go beside the model."""

    bundle: Bundle
    sanitizer: Sanitizer | None = None
    under: tuple[str, ...] = ()
    """A program that runs it, with its arguments: QEMU."""

    def run(self, model: Path, x: Array, threads: int = 1) -> Ran:
        ran = self.run_each(model, np.stack([_another(x), x]), threads)
        return Ran([both[1] for both in ran.outputs], ran.whole)

    def run_each(self, model: Path, xs: Array, threads: int = 1) -> Ran:
        """Run the model once on each of several inputs, ``[count, *shape]`` as the outputs are."""
        source, folder = model.with_suffix(".input"), model.with_suffix(".outputs")
        xs.tofile(source)
        command = [*self.under, str(self.bundle.runner), "--model", str(model)]
        command += ["--input", str(source), "--output-dir", str(folder), "--threads", str(threads)]
        said = run_checked([*command, "--runs", "0", "--json", "-"], self.sanitizer)
        found = parse_output(said).delegate
        whole = found.partitions == 1 and found.nodes_delegated == found.nodes
        return Ran(_read_outputs(model, folder, len(xs)), whole)


@dataclass(frozen=True)
class ThroughCLibrary:
    """A program linked to the bundle's ``libtensorflowlite_c.so``, see its source."""

    program: Path
    sanitizer: Sanitizer | None = None
    fp16: bool = False
    """Ask the delegate for inference in fp16."""

    @classmethod
    def build(
        cls, bundle: Bundle, folder: Path, sanitizer: Sanitizer | None = None
    ) -> ThroughCLibrary:
        """Compile the program into ``folder``."""
        program = folder / "run_model"
        # For the header of the XNNPACK delegate, whose functions the library has.
        headers = tree(load_sources().get("tensorflow"), AptRoot())
        compiler = find_compiler(bundle.manifest.isa).cc
        flags = sanitizer_flags(sanitizer).split() if sanitizer else ["-O1", "-g"]
        place = bundle.path.resolve()
        subprocess.run(
            [compiler, "-std=gnu11", "-Wall", "-Wextra", "-Werror", *flags, "-o", program,
             PROGRAM_SOURCE, f"-I{place}/include", "-isystem", headers, f"-L{place}",
             "-ltensorflowlite_c", f"-Wl,-rpath,{place}"],
            check=True,
        )  # fmt: skip
        return cls(program, sanitizer)

    def run(self, model: Path, x: Array, threads: int = 1) -> Ran:
        outputs, _ = self.start(model, np.stack([_another(x), x]), threads)
        return Ran(outputs, whole=None)

    def start(
        self,
        model: Path,
        xs: Array,
        threads: int = 1,
        *,
        runs: int = 2,
        again: int = 0,
        under: Sequence[str] = (),
    ) -> tuple[list[Array], str]:
        """Start the program; gives the outputs of the last run and what it printed.

        Args:
            model: of one input.
            xs: the input, or several that the runs take in turn.
            threads: of the delegate.
            runs: how often the model is run.
            again: how often all of that is done once more.
            under: a program that runs it, with its arguments.
        """
        source, folder = model.with_suffix(".input"), model.with_suffix(".outputs")
        xs.tofile(source)
        folder.mkdir(exist_ok=True)
        numbers = (threads, int(self.fp16), runs, again)
        command = [*under, str(self.program), str(model), *map(str, numbers)]
        said = run_checked([*command, str(source), str(folder)], self.sanitizer)
        return [both[0] for both in _read_outputs(model, folder, 1)], said


def _another(x: Array) -> Array:
    """Another input of the same shape and type."""
    return np.ascontiguousarray(np.flip(x))


def run_checked(
    command: list[str], sanitizer: Sanitizer | None = None, *, preload: bool = False
) -> str:
    """What a program prints; fails with all that it said, a sanitizer's report for one.

    Args:
        command: the program and its arguments.
        sanitizer: the one that it is compiled for.
        preload: only a library that it loads is; what else it leaves behind is its own.
    """
    environment = {**os.environ, **(sanitizer_environment(sanitizer) if sanitizer else {})}
    if sanitizer and preload:
        environment["LD_PRELOAD"] = ":".join(map(str, _sanitizer_libraries(sanitizer)))
        environment["ASAN_OPTIONS"] = environment.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stderr[-8000:]}"
    return done.stdout


def _sanitizer_libraries(sanitizer: Sanitizer) -> list[Path]:
    compiler = find_compiler("x86-64").cc
    found = []
    for name in ("asan", "ubsan") if sanitizer == "address" else ("tsan",):
        command = [compiler, f"-print-file-name=lib{name}.so"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found.append(Path(said.strip()).resolve())
    return found


def _read_outputs(model: Path, folder: Path, count: int) -> list[Array]:
    """``[count, *shape]`` of each output."""
    graph = read_model(model).graph
    arrays = []
    for number, index in enumerate(graph.outputs):
        tensor = graph.tensors[index]
        values = np.fromfile(folder / f"output{number}.bin", tensor.dtype)
        arrays.append(values.reshape(count, *tensor.shape))
    return arrays
