"""Train the committed Fashion-MNIST checkpoints again.

Run ``python -m toolchain.models.train_fashion``. All are trained alike: the same seed, order of
images, augmentation and number of epochs.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from toolchain.errors import DeployError
from toolchain.models import fashion_mnist
from toolchain.models.fashion_resnet import INPUT_SHAPE, fashion_resnet
from toolchain.models.resnet import ResNet
from toolchain.models.zoo import CHECKPOINTS
from toolchain.progress import Progress, Stage
from toolchain.sparsity.checkpoint import save_checkpoint
from toolchain.sparsity.planes import only_3x3, sparsify
from toolchain.sparsity.schedule import PolynomialSchedule
from toolchain.sparsity.search import MaskSearch
from toolchain.sparsity.trainer import Settings, evaluate, mirror, train

FACTORY = "toolchain.models.fashion_resnet:fashion_resnet"
SPARSITIES = (0.0, 0.2, 0.3)
MASKS_FINAL = 0.5
"""The fraction of training after which masks are frozen: of so few epochs, half are left to get
used to them. See docs/measurements.md for what the default of 0.9 gave."""


def train_fashion(
    sparsity: float, settings: Settings, *, progress: Progress | None = None
) -> tuple[ResNet, float]:
    """Train one network with every 3x3 convolution masked.

    Args:
        sparsity: the share of pixels to mask, 0 to 1; 0 trains it dense.
        settings: how to train; its seed also gives the first weights and the planes.
        progress: where epochs are shown.

    Returns:
        The model in eval mode, and its accuracy on the 10,000 test images, 0 to 1.

    Raises:
        SourceError: the images cannot be fetched.
        ModelError: training diverged.
    """
    pictures, classes = fashion_mnist.load("train", progress=progress)
    images, labels = fashion_mnist.normalise(pictures), torch.from_numpy(classes).long()
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        model = fashion_resnet()
    search = None
    if sparsity:
        layers = sparsify(model, torch.zeros(INPUT_SHAPE), 0.0, select=only_3x3)
        schedule = PolynomialSchedule(sparsity, settings.steps(len(images)), end=MASKS_FINAL)
        size = (INPUT_SHAPE[2], INPUT_SHAPE[3])
        search = MaskSearch(layers, size, schedule, seed=settings.seed)
    train(
        model, images, labels, settings, search=search, augment=mirror, progress=progress,
        title=f"train s={sparsity:g}",
    )  # fmt: skip
    pictures, classes = fashion_mnist.load("test", progress=progress)
    accuracy = evaluate(model, fashion_mnist.normalise(pictures), torch.from_numpy(classes).long())
    return model, accuracy


def file_name(sparsity: float) -> str:
    """The checkpoint's name in its folder."""
    variant = f"s{round(100 * sparsity)}" if sparsity else "dense"
    return f"fashion_resnet_{variant}.safetensors"


class _Lines:
    """A :class:`Progress` of plain lines on standard error, at most one a few seconds."""

    @contextmanager
    def stage(self, title: str, total: float | None = None) -> Iterator[Stage]:
        """Show one stage."""
        yield _Line(title, total)

    def note(self, message: str) -> None:
        """Print one line."""
        print(message, file=sys.stderr, flush=True)


class _Line:
    _INTERVAL_S = 5.0

    def __init__(self, title: str, total: float | None) -> None:
        self._title, self._total, self._done = title, total, 0.0
        self._next = time.monotonic() + self._INTERVAL_S

    def advance(self, steps: float = 1, detail: str | None = None) -> None:
        self._done += steps
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + self._INTERVAL_S
            share = f" {self._done / self._total:4.0%}" if self._total else ""
            print(f"{self._title}{share} {detail or ''}", file=sys.stderr, flush=True)

    def total(self, steps: float) -> None:
        self._total = steps


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and write the checkpoints; returns the exit code."""
    defaults = Settings()
    parser = argparse.ArgumentParser(prog="python -m toolchain.models.train_fashion")
    parser.add_argument("--sparsity", type=float, nargs="+", default=SPARSITIES, metavar="S")
    parser.add_argument("--epochs", type=int, default=defaults.epochs)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--threads", type=int, default=1, help="the weights depend on it slightly")
    parser.add_argument("--out", type=Path, default=CHECKPOINTS, metavar="FOLDER")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    settings = Settings(epochs=options.epochs, seed=options.seed)
    try:
        for sparsity in options.sparsity:
            model, accuracy = train_fashion(sparsity, settings, progress=_Lines())
            path = options.out / file_name(sparsity)
            save_checkpoint(path, model, _metadata(sparsity, settings, accuracy))
            print(f"{path}: test accuracy {accuracy:.2%}", flush=True)
    except DeployError as error:
        print(f"error: {error.what}\n  hint: {error.hint or 'none'}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _metadata(sparsity: float, settings: Settings, accuracy: float) -> dict[str, str]:
    command = f"--sparsity {sparsity:g} --epochs {settings.epochs} --seed {settings.seed}"
    return {
        "factory": FACTORY,
        "input_shape": ",".join(str(size) for size in INPUT_SHAPE),
        "dataset": "Fashion-MNIST",
        "sparsity": f"{sparsity:g}",
        "epochs": str(settings.epochs),
        "seed": str(settings.seed),
        "test_accuracy": f"{accuracy:.4f}",
        "command": f"python -m toolchain.models.train_fashion {command}",
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    sys.exit(main())
