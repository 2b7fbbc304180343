"""The command that makes the committed checkpoints, on a few images of noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from toolchain.errors import SourceError
from toolchain.models import fashion_mnist, train_fashion
from toolchain.models.fashion_resnet import fashion_resnet
from toolchain.sparsity.checkpoint import load_checkpoint, load_metadata, load_model


@pytest.fixture
def noise(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(split: str, **_: object) -> object:
        random = np.random.default_rng(len(split))
        return (
            random.integers(0, 256, (256, 28, 28), dtype=np.uint8),
            random.integers(0, 10, 256, dtype=np.uint8),
        )

    monkeypatch.setattr(fashion_mnist, "load", load)


@pytest.mark.usefixtures("noise")
def test_each_sparsity_gets_a_checkpoint_that_says_how_it_was_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--sparsity", "0", "0.2", "--epochs", "2", "--seed", "3", "--out", str(tmp_path)]
    assert train_fashion.main(arguments) == 0
    assert "fashion_resnet_s20.safetensors: test accuracy" in capsys.readouterr().out
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "fashion_resnet_dense.safetensors",
        "fashion_resnet_s20.safetensors",
    ]
    path = tmp_path / "fashion_resnet_s20.safetensors"
    metadata = load_metadata(path)
    assert metadata["command"].endswith("--sparsity 0.2 --epochs 2 --seed 3")
    state = load_checkpoint(path)
    assert int(state["conv1.mask"].sum()) == 157
    assert int(state["layer3.0.conv2.mask"].sum()) == 39
    load_model(fashion_resnet(), state)


def test_a_fault_ends_the_command_with_its_message_and_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(*_: object, **__: object) -> object:
        raise SourceError("no network", hint="find one")

    monkeypatch.setattr(fashion_mnist, "load", load)
    assert train_fashion.main(["--out", str(tmp_path)]) == SourceError.exit_code
    assert "error: no network\n  hint: find one" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
