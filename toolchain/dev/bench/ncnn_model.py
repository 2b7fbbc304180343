"""A network of the zoo in ncnn's format, made by pnnx from torch's trace of it."""

from __future__ import annotations

from pathlib import Path

import toolchain
from toolchain import children
from toolchain.dev.bench.models import source_hash
from toolchain.errors import MissingToolError, ModelError
from toolchain.progress import Progress, Silent
from toolchain.storage.cache import digest, entry

# The program itself: the package imports torch, which its environment need not have.
_WHERE = (
    "import importlib.metadata as m, importlib.util as u;"
    "print(u.find_spec('pnnx').submodule_search_locations[0]); print(m.version('pnnx'))"
)


def ncnn_model(
    name: str, python: Path, *, progress: Progress | None = None
) -> tuple[Path, tuple[str, ...]]:
    """Convert a network; fp32 weights, kept in the cache.

    Args:
        name: in the zoo.
        python: of the environment that has pnnx.
        progress: where the conversion is announced.

    Returns:
        The path without ``.ncnn.param`` and ``.ncnn.bin``, and the names of the outputs.

    Raises:
        MissingToolError: pnnx is not installed.
        ModelError: it fails.
    """
    found = children.run([str(python), "-c", _WHERE], limit=children.LOOK_S, fault=MissingToolError)
    if found.returncode:
        raise MissingToolError(f"{python} has no pnnx", hint="run: make bench-peers")
    package, version = found.stdout.split()
    key = digest("ncnn 1", name, version, toolchain.__version__, source_hash())

    def fill(folder: Path) -> None:
        with (progress or Silent()).stage(f"convert {name} for ncnn", 1) as stage:
            _convert(name, Path(package) / "pnnx", folder)
            stage.advance()

    stem = entry("bench-ncnn", key, fill) / name
    lines = Path(f"{stem}.ncnn.param").read_text().splitlines()
    outputs = {word for line in lines for word in line.split() if word.startswith("out")}
    return stem, tuple(sorted(outputs))


def _convert(name: str, pnnx: Path, folder: Path) -> None:
    import torch

    from toolchain.zoo import catalog

    network = catalog.get(name)
    shape = ",".join(str(size) for size in network.input_shape)
    traced = folder / f"{name}.pt"
    program = torch.jit.trace(network.build(), network.example_input())  # type: ignore[no-untyped-call]
    program.save(str(traced))
    command = [str(pnnx), traced.name, f"inputshape=[{shape}]", "fp16=0"]
    done = children.run(command, limit=children.WORK_S, fault=ModelError, cwd=folder)
    if done.returncode or not (folder / f"{name}.ncnn.bin").is_file():
        said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise ModelError(f"pnnx cannot convert {name}: {said[-1]}")
    for path in folder.iterdir():
        if path.name not in (f"{name}.ncnn.param", f"{name}.ncnn.bin"):
            path.unlink()
