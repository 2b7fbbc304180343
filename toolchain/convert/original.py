"""The model that a file is compared with, as the framework that it was made in has it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from toolchain.sparsity.published import HeaderReport
from toolchain.tflite_file.image_metadata import Normalization

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Original:
    """A model that can be run, and what goes into it and comes out of it."""

    description: str
    framework: str = "torch"
    """Whose numbers those of the file are compared with, for messages."""
    reference: nn.Module
    """Computes the original model. Takes and gives what
    :class:`toolchain.convert.interface.Flat` says."""
    inputs: tuple[Shape, ...]
    """Shapes of the inputs, float32, ``[N, C, H, W]`` for images whatever the framework has."""
    outputs: tuple[Shape, ...]
    torch_inputs: tuple[Shape, ...]
    """The same as the framework has them."""
    torch_outputs: tuple[Shape, ...]
    output_names: tuple[str, ...]
    """What each is called there: ``['score']``, ``[1]``; empty where there is one."""
    notes: tuple[str, ...] = ()
    """In what the file is another than the model, a sentence each."""
    header: HeaderReport | None = None
    """What came of a header of masks, where one was given."""
    weights: tuple[str, ...] = ()
    """Which of a checkpoint's weights were taken, where it holds several, and what was not."""
    normalization: Normalization | None = None
    """How the images that it was trained on were normalised, where that is known."""
