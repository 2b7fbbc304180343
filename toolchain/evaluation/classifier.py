"""A file as a classifier: one image in, a score a class out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toolchain.agreement.differences import Array
from toolchain.agreement.inputs import model_inputs, model_outputs
from toolchain.errors import ModelError
from toolchain.evaluation.labelled_data import Shape
from toolchain.hints import command
from toolchain.storage.cache import sha256_file
from toolchain.tflite_file.graph import Model, Quantization, Tensor
from toolchain.tflite_file.image_metadata import Normalization, read_image_metadata
from toolchain.tflite_file.support import read_supported

BYTES = Normalization((0.0,), (1.0,))
"""Pixels as they are."""


@dataclass(frozen=True, eq=False)
class Classifier:
    """What a file takes and gives."""

    path: Path
    model: Model
    sha256: str
    image: Tensor
    """Its input, ``[1, H, W, C]``."""
    output: int
    """Which of its outputs holds the scores."""
    classes: int
    said: Normalization | None
    """What the file says of its images."""
    title: str
    """What the file calls the model; empty where it says nothing."""

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return self.path.stem

    @property
    def shape(self) -> Shape:
        """Of an image."""
        _, height, width, channels = self.image.shape
        return height, width, channels

    @property
    def takes_bytes(self) -> bool:
        """Whether its input are 256 whole numbers, for which pixels stand as they are."""
        return self.image.dtype in ("uint8", "int8")

    def prepared(self, images: Array, normalization: Normalization | None) -> Array:
        """Images as the file's input takes them.

        Args:
            images: ``[N, H, W, C]``: pixels, or values that are normalised already.
            normalization: of pixels; ``None`` for values, and for pixels that an input of bytes
                takes as they are.

        Returns:
            ``[N, 1, H, W, C]``, type as in the file.
        """
        kind, quantization = np.dtype(self.image.dtype), self.image.quantization
        if normalization is None and images.dtype == np.uint8:
            raw = images.astype(np.int16) - (128 if kind == np.int8 else 0)
            return np.ascontiguousarray(raw.astype(kind)[:, None])
        values = images if normalization is None else normalised(images, normalization)
        if kind.kind == "f":
            return np.ascontiguousarray(values.astype(kind)[:, None])
        limits = np.iinfo(kind)
        steps = np.rint(values if quantization is None else _quantised(values, quantization))
        return np.ascontiguousarray(steps.clip(limits.min, limits.max).astype(kind)[:, None])

    def scores(self, outputs: list[Array]) -> Array:
        """Scores ``[N, K]`` float32 of the outputs of ``N`` inferences, ``[N, *shape]`` each."""
        found = outputs[self.output]
        tensor = self.model.graph.tensors[self.model.graph.outputs[self.output]]
        flat = found.reshape(len(found), -1)
        if flat.dtype.kind == "f" or tensor.quantization is None:
            return flat.astype(np.float32)
        scale, zero = tensor.quantization.scale, tensor.quantization.zero_point
        real: Array = (flat.astype(np.float32) - np.float32(zero[0])) * scale[0]
        return real


def read_classifier(path: Path) -> Classifier:
    """Read a file that tells classes of images apart.

    Raises:
        ModelError: it cannot be read, the runtime cannot run it, or it is no such file.
    """
    model = read_supported(path)
    inputs, outputs = model_inputs(model), model_outputs(model)
    image = inputs[0] if len(inputs) == 1 else None
    if image is None or len(image.shape) != 4 or image.shape[0] != 1:
        takes = " and ".join("x".join(map(str, tensor.shape)) for tensor in inputs)
        raise ModelError(
            f"{path}: takes {takes or 'nothing'}, not one image (1 x height x width x channels)",
            hint="convert the network with --input-shape 1,C,H,W",
        )
    if np.dtype(image.dtype).kind not in "fiu":
        raise ModelError(f"{path}: takes images of type {image.dtype}")
    scores = [
        index
        for index, tensor in enumerate(outputs)
        if tensor.elements > 1 and max(tensor.shape) == tensor.elements
    ]
    if len(scores) != 1:
        gives = " and ".join("x".join(map(str, tensor.shape)) for tensor in outputs)
        raise ModelError(
            f"{path}: gives {gives or 'nothing'}, not one score a class",
            hint="a classifier gives 1 x classes",
        )
    metadata = read_image_metadata(model)
    said = metadata.inputs[0].normalization if metadata and metadata.inputs else None
    if said is not None and not said.fits(image.shape[3]):
        said = None
    return Classifier(
        path=path,
        model=model,
        sha256=sha256_file(path),
        image=image,
        output=scores[0],
        classes=outputs[scores[0]].elements,
        said=said,
        title=metadata.name if metadata else "",
    )


def normalised(pixels: Array, normalization: Normalization) -> Array:
    """Values float32 of pixels ``[N, H, W, C]``, computed as training computes them."""
    mean, std = (np.asarray(values, np.float32) for values in normalization.unit)
    values: Array = (pixels.astype(np.float32) / np.float32(255) - mean) / std
    return values


def chosen_normalization(
    classifier: Classifier,
    data: str,
    given: Normalization | None,
    trained: Normalization | None,
) -> tuple[Normalization | None, str]:
    """How pixels are normalised for a file, and who says so.

    Args:
        classifier: the file.
        data: what the images are called, for the line to run.
        given: by the user, who is believed first.
        trained: by the checkpoint, where there is one.

    Returns:
        ``None``: pixels go in as they are.

    Raises:
        ModelError: nobody says it, or what is said does not fit the file's channels.
    """
    channels = classifier.shape[2]
    said = ((given, "given"), (classifier.said, "the file"), (trained, "the checkpoint"))
    for known, by in said:
        if known is None:
            continue
        if not known.fits(channels):
            raise ModelError(
                f"{classifier.path}: takes images of {channels} channels, and the normalisation "
                f"({by}) is of {len(known.mean)}",
                hint="give one mean and one std, or one of each a channel",
            )
        return known, by
    if classifier.takes_bytes:
        return None, "pixels as they are"
    some = Normalization.of_unit((0.5,), (0.5,))
    raise ModelError(
        f"{classifier.path}: does not say how its images are normalised",
        hint="convert it with --mean and --std, the figures that it was trained with, or give them "
        f"here; if pixels were from -1 to 1, run: {with_figures(classifier.path, data, some)}",
    )


def with_figures(path: Path, data: str, normalization: Normalization) -> str:
    """The line that evaluates a file with these figures."""
    mean, std = (",".join(f"{value:.6g}" for value in part) for part in normalization.unit)
    return command("evaluate", path, "--data", data, "--mean", mean, "--std", std)


def _quantised(values: Array, quantization: Quantization) -> Array:
    found: Array = values / quantization.scale[0] + quantization.zero_point[0]
    return found
