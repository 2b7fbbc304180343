"""A network that is not in a file yet is planned by the board's runner."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import torch

from support.bundles import write_bundle
from support.plans import operator, runner_plan
from support.tiny_training import net, recipe
from toolchain import extras
from toolchain.board.network_plan import network_plan
from toolchain.build.bundle import Bundle
from toolchain.errors import BundleError, MissingToolError
from toolchain.hardware.board_file import load_board
from toolchain.sparsity.policies import Pooled
from toolchain.sparsity.sparsify import sparsify
from toolchain.train.run import train_recipe

EXAMPLE = torch.zeros(1, 1, 8, 8)


def played(folder: Path, text: str) -> Bundle:
    """A bundle whose runner tells this plan."""
    bundle = write_bundle(folder, f"#!/bin/sh\necho {shlex.quote(text)}\n".encode())
    bundle.runner.chmod(0o755)
    return bundle


def test_layers_of_the_network_are_found_in_the_plan_by_name(tmp_path: Path) -> None:
    model = net()
    sparsify(model, EXAMPLE, Pooled(), 0.2)
    text = runner_plan([operator(node=0, path="live-taps", pixels=64, kept=51)])
    plan = network_plan(load_board("host"), model, EXAMPLE, played(tmp_path / "bundle", text))
    layers = {layer.name: layer for layer in plan.layers}
    assert set(layers) >= {"0", "3"}
    first = layers["0"].operator
    assert first is not None
    assert (first.path, first.kept) == ("live-taps", 51)


def test_planning_leaves_no_trace_in_what_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    played(tmp_path / "build/host", runner_plan([operator(path="live-taps")]))
    files = []
    for name, masks in (("plain", {}), ("planned", {"board": "host"})):
        done = train_recipe(
            recipe(masks=masks, training={"epochs": 1}),
            tmp_path / f"{name}.safetensors",
            tmp_path / name,
            planner=network_plan,
        )
        files.append(done.path.read_bytes())
    assert done.network.rounding is not None
    assert done.network.rounding.reason is None
    assert files[0] == files[1]


def test_without_a_bundle_the_network_is_not_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError) as caught:
        network_plan(load_board("rpi4"), net(), EXAMPLE)
    assert caught.value.hint == "run: deploy build --board rpi4"


def test_without_what_converts_the_line_that_installs_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(extras.MODULES, "convert", ("no_such_module",))
    bundle = write_bundle(tmp_path / "b", b"#!/bin/sh\nexit 1\n")
    with pytest.raises(MissingToolError, match="no_such_module") as caught:
        network_plan(load_board("host"), net(), EXAMPLE, bundle)
    assert "convert" in str(caught.value.hint)
