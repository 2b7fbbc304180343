"""A file as a classifier: one image in, a score a class out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from toolchain.agreement.differences import Array
from toolchain.agreement.inputs import model_outputs
from toolchain.errors import ModelError
from toolchain.evaluation.image_file import ImageFile, read_image_file


@dataclass(frozen=True, eq=False)
class Classifier(ImageFile):
    """What a file takes and gives."""

    output: int
    """Which of its outputs holds the scores."""
    classes: int

    def scores(self, outputs: list[Array]) -> Array:
        """Scores ``[N, K]`` float32 of the outputs of ``N`` inferences, ``[N, *shape]`` each."""
        found = outputs[self.output]
        tensor = self.model.graph.tensors[self.model.graph.outputs[self.output]]
        return tensor.real(found.reshape(len(found), -1))


def read_classifier(path: Path) -> Classifier:
    """Read a file that tells classes of images apart.

    Raises:
        ModelError: it cannot be read, the runtime cannot run it, or it is no such file.
    """
    known = read_image_file(path, "convert the network with --input-shape 1,C,H,W")
    outputs = model_outputs(known["model"])
    scores = [
        index
        for index, tensor in enumerate(outputs)
        if tensor.elements > 1 and max(tensor.shape) == tensor.elements
    ]
    if len(scores) != 1:
        gives = " and ".join("x".join(map(str, tensor.shape)) for tensor in outputs)
        raise ModelError(
            f"{path}: gives {gives or 'nothing'}, not one score a class",
            hint="a classifier gives 1 x classes; a detector is evaluated on boxes: --data as COCO "
            "has them, a .json file",
        )
    return Classifier(output=scores[0], classes=outputs[scores[0]].elements, **known)
