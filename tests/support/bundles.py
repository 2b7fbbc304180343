"""Bundles made by hand, and small models, for tests of what happens on a board."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from support.tflite_writer import GraphWriter
from toolchain.build.bundle import Bundle, FileRecord, Manifest
from toolchain.build.elf import ElfFacts
from toolchain.hardware.facts import Isa
from toolchain.storage.cache import sha256_file


@dataclass(frozen=True)
class CrossBuilt:
    """A bundle of another instruction set, and how its programs run on this machine."""

    bundle: Bundle
    emulator: tuple[str, ...]
    """QEMU's user mode and its arguments; a program follows."""


def write_bundle(
    folder: Path,
    runner: bytes,
    *,
    isa: Isa = "x86-64",
    hwcap: tuple[str, ...] = (),
    glibc_floor: str | None = None,
    stock: bool = False,
) -> Bundle:
    """A bundle whose runner is any program; ``glibc_floor`` is its libraries'."""
    folder.mkdir(parents=True)
    (folder / "tileskip-run").write_bytes(runner)
    (folder / "libtileskip_delegate.so").write_bytes(b"delegate of " + runner)
    (folder / "libtensorflowlite_c.so").write_bytes(b"library")
    library = ElfFacts(machine=isa, static=False, needed=("libc.so.6",), glibc_floor=glibc_floor)
    program = ElfFacts(machine=isa, static=True, needed=(), glibc_floor=None)
    manifest = Manifest(
        schema=1, key="0", version="0", board="test", isa=isa, march="none", hwcap=hwcap,
        stock=stock, compiler="none", flags={}, sources={}, patches={}, glibc_floor=glibc_floor,
        files={
            path.name: FileRecord(
                sha256=sha256_file(path),
                bytes=path.stat().st_size,
                elf=library if path.suffix == ".so" else program,
            )
            for path in folder.iterdir()
        },
    )  # fmt: skip
    (folder / "manifest.json").write_text(manifest.model_dump_json(by_alias=True))
    return Bundle.load(folder)


def write_masked_model(
    path: Path, *, sparsity: float = 0.25, size: int = 16, channels: int = 8, seed: int = 0
) -> Path:
    """Two 3x3 convolutions, each masked unless ``sparsity`` is 0; input ``[1, size, size, 3]``."""
    random = np.random.default_rng(seed)
    graph = GraphWriter()
    source = output = graph.tensor((1, size, size, 3))
    shape = (1, size, size, channels)
    for depth in (3, channels):
        filters = random.standard_normal((channels, 3, 3, depth)).astype(np.float32)
        bias = random.standard_normal(channels).astype(np.float32)
        output = graph.conv_2d(output, filters, bias, shape, activation="relu")
        if sparsity:
            mask = random.random((1, size, size, 1)) >= sparsity
            fill = random.random((1, 1, 1, channels)).astype(np.float32)
            output = graph.select(graph.constant(mask), output, graph.constant(fill), shape)
    return graph.write(path, [source], [output])


def write_two_input_model(path: Path) -> Path:
    """``a + b`` of two inputs ``[1, 4]``."""
    graph = GraphWriter()
    left, right = graph.tensor((1, 4)), graph.tensor((1, 4))
    return graph.write(path, [left, right], [graph.add(left, right, (1, 4))])


LYING_RUNNER = b"""#!/bin/sh
while [ $# -gt 0 ]; do
  case $1 in --output-dir) folder=$2;; esac
  shift
done
head -c 384 /dev/zero | tr '\\0' 'B' > "$folder/output0.bin"
"""
"""A runner for :func:`write_bundle` whose outputs are no numbers of the model's."""
