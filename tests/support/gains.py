"""What ``deploy gain`` says of a made-up model."""

from __future__ import annotations

from pathlib import Path

from support.bundles import write_masked_model
from support.estimates import estimated_model
from support.profiles import in_turns, profile_of
from support.timed_ops import LIVE, conv, listed, other
from toolchain.hardware.board_file import load_board
from toolchain.profile.document import Profile
from toolchain.profile.estimate_document import Estimate
from toolchain.profile.gain import Maskable, Settings
from toolchain.profile.gain_document import Gain, GainCopy
from toolchain.profile.operators import trace
from toolchain.tflite_file.graph import parse_model
from toolchain.tflite_file.layers import find_layers
from toolchain.timing.model import model_of


def maskable(folder: Path) -> Maskable:
    """Two 3x3 convolutions on 16x16 pixels, without masks."""
    return Maskable(write_masked_model(folder / "net_0.tflite", sparsity=0))


def records(source: Maskable, *shares: float) -> list[GainCopy]:
    """Copies of a file."""
    return [source.copy(Settings(share)).record for share in shares]


def an_estimate(source: Maskable, copies: list[GainCopy]) -> Estimate:
    """Of a file that takes 0.315 ms and two copies of it; an operator of no layer between two."""
    dense = estimated_model(
        "net_0", listed(conv(100.0, macs=1000), other(10.0), conv(200.0, macs=1000)),
        [trace(layer) for layer in find_layers(source.model)],
    )  # fmt: skip
    models = [dense]
    for copy, (first, second) in zip(copies, ((95.0, 110.0), (60.0, 190.0)), strict=True):
        raw = source.copy(Settings(copy.sparsity)).raw
        layers = [trace(layer) for layer in find_layers(parse_model(raw))]
        kept = [layer.kept for layer in layers]
        ops = listed(
            conv(first, kept=kept[0], kernel=LIVE, macs=800), other(10.0),
            conv(second, kept=kept[1], kernel=LIVE, macs=800),
        )  # fmt: skip
        one = estimated_model(f"net_0_s{100 * copy.sparsity:g}", ops, layers, dense)
        parts = {"core": 0.75 * one.ms, "memory": 0.25 * one.ms}
        update = {"sha256": copy.sha256, "untrained": True, "by_bound": parts}
        models.append(one.model_copy(update=update))
    return Estimate(
        tool="0", board="rpi4", title="Raspberry Pi 4 Model B", core="Cortex-A72", clock_mhz=1800,
        threads=1, timing_model=model_of("cortex-a72"), models=models,
    )  # fmt: skip


def a_profile(copies: list[GainCopy], *, emulated: bool = False) -> Profile:
    """Of a file that takes 2 ms and copies that take 1.6 and 1.25 ms."""
    names = ["net_0", *(f"net_0_s{100 * copy.sparsity:g}" for copy in copies)]
    hashes = ["0" * 64, *(copy.sha256 for copy in copies)]
    times = (2000.0, 1600.0, 1250.0)
    items = [
        in_turns(name, [[us + turn] for turn in range(-6, 7)], instructions=[round(us)])
        .model_copy(update={"sha256": known, "untrained": bool(number)})
        for number, (name, known, us) in enumerate(zip(names, hashes, times, strict=True))
    ]  # fmt: skip
    return profile_of(*items, emulated=emulated)


def estimated_gain(folder: Path) -> Gain:
    """With copies of 20% and 40%."""
    source = maskable(folder)
    copies = records(source, 0.2, 0.4)
    found = an_estimate(source, copies)
    return source.document(load_board("rpi4"), Settings(0.2), copies, found)


def measured_gain(folder: Path, *, emulated: bool = False) -> Gain:
    """The same, measured."""
    source = maskable(folder)
    copies = records(source, 0.2, 0.4)
    found = a_profile(copies, emulated=emulated)
    return source.document(load_board("rpi4"), Settings(0.2), copies, found)
