"""Where a file is run on images: the stock interpreter of this machine, a board, or torch."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from toolchain.agreement.differences import Array
from toolchain.agreement.inputs import Batch
from toolchain.agreement.interpreter import run_here
from toolchain.board.invoke import BoardRunner, Settings
from toolchain.errors import DeployError, ModelError, failure
from toolchain.evaluation.image_file import ImageFile
from toolchain.storage.cache import digest

if TYPE_CHECKING:
    from toolchain.tflite_file.image_metadata import Normalization

Where = Literal["torch", "host", "board"]


class Place(Protocol):
    """What runs a file."""

    @property
    def where(self) -> Where:
        """Which kind of place it is."""

    @property
    def runtime(self) -> str:
        """What computes, with its version."""

    @property
    def key(self) -> str:
        """All that its results depend on beside the file and the images."""

    def run(self, file: ImageFile, images: Array) -> list[Array]:
        """Outputs ``[N, *shape]`` of each output, in the graph's order.

        Args:
            file: what is run.
            images: ``[N, 1, H, W, C]``, as its input takes them.

        Raises:
            ModelError: it cannot load or run the file.
            BoardError, ConnectionFailed: something failed on the board.
        """
        ...


@dataclass(frozen=True)
class Host:
    """The stock interpreter, with its XNNPACK."""

    where: Where = "host"

    @property
    def runtime(self) -> str:
        """With its version."""
        return f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}"

    @property
    def key(self) -> str:
        """See :class:`Place`."""
        return digest("host", self.runtime)

    def run(self, file: ImageFile, images: Array) -> list[Array]:
        """See :class:`Place`."""
        return run_here(file.model, Batch((images,), joined=False))


@dataclass(frozen=True)
class OnBoard:
    """A bundle on a board."""

    runner: BoardRunner
    board: str
    """What the board is called."""
    threads: int
    where: Where = "board"

    @property
    def runtime(self) -> str:
        """The bundle's version, and which board."""
        manifest = self.runner.bundle.manifest
        stock = " without patches" if manifest.stock else ""
        return f"tileskip {manifest.version}{stock} on {self.board}"

    @property
    def key(self) -> str:
        """See :class:`Place`."""
        files = self.runner.bundle.manifest.files
        hashes = [f"{name} {files[name].sha256}" for name in sorted(files)]
        return digest("board", self.board, str(self.threads), *hashes)

    def run(self, file: ImageFile, images: Array) -> list[Array]:
        """See :class:`Place`."""
        batch = Batch((images,), joined=False)
        return self.runner.run(file.model, Settings(threads=self.threads), batch).outputs


@dataclass(frozen=True)
class TorchNet:
    """A checkpoint in torch."""

    name: str
    """Of the checkpoint."""
    source: Any
    """:class:`toolchain.convert.source.Source`"""

    @property
    def trained(self) -> Normalization | None:
        """How the images of its training were normalised, where that is known."""
        known: Normalization | None = self.source.normalization
        return known

    @property
    def runtime(self) -> str:
        """Torch's version."""
        return f"torch {importlib.metadata.version('torch')}"

    def scores(self, values: Array) -> Array:
        """Scores ``[N, K]`` of images ``[N, H, W, C]`` that are normalised.

        Raises:
            ModelError: it does not take them, or gives no score a class.
            VerificationError: its scores are not finite.
        """
        import torch

        from toolchain.convert.reference import reference_outputs

        images = torch.from_numpy(np.ascontiguousarray(values.transpose(0, 3, 1, 2)))
        try:
            # One by one, as it was tried: some networks fix their batch.
            found = reference_outputs(self.source, [[image[None]] for image in images])
        except DeployError:
            raise
        except Exception as error:
            shape = "x".join(map(str, (1, *images.shape[1:])))
            doing = f"running {self.name} in torch on an image of {shape}"
            raise failure(ModelError, doing, error) from error
        flat = [output.reshape(len(output), -1) for output in found]
        scores = [
            one
            for one, output in zip(flat, found, strict=True)
            if one.shape[1] > 1 and max(output.shape[1:]) == one.shape[1]
        ]
        if len(scores) != 1:
            raise ModelError(f"{self.name}: does not give one score a class in torch")
        return scores[0].astype(np.float32)


def load_torch(
    checkpoint: str | None, model: str | None = None, weights: str | None = None
) -> TorchNet:
    """Load a checkpoint into torch, as ``deploy convert`` does.

    Args:
        checkpoint: the file, or an exported program; ``None`` takes the factory's own weights.
        model: ``package.module:factory`` or a network of the zoo, where it does not name its own.
        weights: which of a checkpoint's weights.

    Raises:
        ModelError: it cannot be loaded.
    """
    from toolchain.convert.source import load_source

    name = Path(checkpoint).stem if checkpoint else (model or "").rpartition(":")[2]
    return TorchNet(name, load_source(checkpoint, model, weights=weights))
