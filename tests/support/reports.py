"""What reports are made of: profiles, estimates and the models that they are of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from support.bundles import write_masked_model
from support.estimates import estimated_model
from support.profiles import in_turns, profile_of, with_operators
from support.timed_ops import IGEMM, LIVE, PIXELS, conv, listed, other
from toolchain.profile.document import Failure, Measurement, Profile
from toolchain.profile.estimate_document import Estimate, ModelEstimate
from toolchain.profile.facts import BoardFacts, Throttled, Vitals
from toolchain.profile.operators import LayerTrace, trace
from toolchain.profile.runner_output import Op, PerOp
from toolchain.storage.cache import sha256_file
from toolchain.tflite_file.graph import read_model
from toolchain.tflite_file.layers import find_layers
from toolchain.timing.model import model_of

HOSTILE = (
    '<img src=x onerror="window.hostile=1">&amp;</script><!--<script>window.hostile=1</script>'
    "'\"${7*7}{{7*7}}\u202egnp.exe"
)
"""A name that means something to HTML, to scripts, to templates and to the order of letters."""
PI = BoardFacts(
    emulated=False,
    model="Raspberry Pi 4 Model B Rev 1.4",
    machine="aarch64",
    kernel="Linux 6.6.31",
    glibc="2.36",
    cores={"Cortex-A72": 4},
    max_frequency_khz=1_800_000,
    memory_total_kib=3_884_360,
    memory_available_kib=3_500_000,
    vitals=Vitals(governor="performance", frequency_khz=1_800_000, temperature_c=48.2),
)
WARMER = Vitals(
    governor="performance",
    frequency_khz=1_800_000,
    temperature_c=61.0,
    throttled=Throttled(now=[], since_boot=["under-voltage"]),
)


def models(folder: Path, **sparsities: float) -> dict[str, Path]:
    """Files of two masked convolutions each, by name."""
    return {
        name: write_masked_model(folder / f"{name}.tflite", sparsity=sparsity)
        for name, sparsity in sparsities.items()
    }


def layers_of(path: Path) -> list[LayerTrace]:
    """The layers of a file."""
    return [trace(layer) for layer in find_layers(read_model(path))]


def ops_of(path: Path, factor: float) -> list[Op]:
    """The operators of such a file: each pixel that is kept costs a part of the whole."""
    found = []
    for layer, us in zip(layers_of(path), (400.0, 900.0), strict=True):
        share = layer.kept / PIXELS
        kernel = IGEMM if share == 1 else LIVE
        macs = round(layer.macs * share)
        found.append(conv(factor * us * share, kept=layer.kept, kernel=kernel, macs=macs))
    return listed(found[0], other(12.0), found[1], remainder_us=20.0)


def measured(
    path: Path,
    turns_us: Sequence[Sequence[float]],
    first: Measurement | None = None,
    *,
    name: str | None = None,
    load: Sequence[float] = (),
    factor: float = 1.05,
) -> Measurement:
    """A model that took turns with others, with its layers."""
    layers = layers_of(path)
    saved = sum(layer.macs_saved for layer in layers)
    ops = ops_of(path, factor if first else 1.0)
    macs = sum(layer.macs for layer in layers)
    item = in_turns(name or path.stem, turns_us, macs_saved=saved, load=load)
    output = item.output.model_copy(update={"ops": ops, "per_op": PerOp(runs=15, total_us=1e3)})
    computed = sum(op.macs_computed or 0 for op in ops)
    update = {"output": output, "sha256": sha256_file(path), "macs": macs}
    item = item.model_copy(update=update | {"macs_computed": computed})
    return with_operators(item, layers, first)


def turns(us: float, step: float = 0.4) -> list[list[float]]:
    """Fifteen turns of five runs each that differ a little, in no order."""
    return [
        [us + step * ((7 * turn) % 15) + 0.1 * ((3 * run) % 5) for run in range(5)]
        for turn in range(15)
    ]


def measured_profile(
    files: dict[str, Path],
    *,
    names: dict[str, str] | None = None,
    title: str = "Raspberry Pi 4 Model B",
    load: Sequence[float] = (),
    failed: Sequence[Failure] = (),
    facts: BoardFacts = PI,
) -> Profile:
    """The files, each faster than the one before, on a Raspberry Pi 4."""
    items: list[Measurement] = []
    for index, (name, path) in enumerate(files.items()):
        us = 1340.0 - 260.0 * index
        first = items[0] if items else None
        called = (names or {}).get(name, name)
        items.append(measured(path, turns(us), first, name=called, load=load))
    profile = profile_of(*items, facts=facts, failed=failed)
    board = profile.board.model_copy(update={"after": WARMER, "title": title})
    return profile.model_copy(update={"board": board, "load": list(load), "runs": 75})


def estimate_of(files: dict[str, Path]) -> Estimate:
    """An estimate of the same files for a Raspberry Pi 4."""
    found: list[ModelEstimate] = []
    for path in files.values():
        first = found[0] if found else None
        ops = ops_of(path, 1.1 if first else 1.0)
        one = estimated_model(path.stem, ops, layers_of(path), first)
        found.append(one.model_copy(update={"sha256": sha256_file(path)}))
    return Estimate(
        tool="0.1.0",
        board="rpi4",
        title="Raspberry Pi 4 Model B",
        core="Cortex-A72",
        clock_mhz=1800,
        threads=1,
        timing_model=model_of("cortex-a72"),
        models=found,
    )
