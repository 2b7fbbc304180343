"""What masks would gain on a model that has none: copies with masks, and what they would take.

Nothing of it was trained: the copies say what time masks save, and nothing of accuracy.
"""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

import toolchain
from toolchain.errors import ModelError
from toolchain.formats.input_file import read_limited
from toolchain.hints import did_you_mean
from toolchain.profile.document import Profile
from toolchain.profile.estimate_document import Estimate
from toolchain.profile.operators import trace
from toolchain.storage.files import write_whole
from toolchain.tflite_file.graph import Model, parse_model
from toolchain.tflite_file.layers import Layer, Plane, find_layers
from toolchain.tflite_file.mask_planes import mask_plane
from toolchain.tflite_file.masked_copy import Candidate, candidates, lay_masks

LARGEST = (2 << 30) - 1


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class LeftOut(_Part):
    """A convolution that gets no mask."""

    layer: str
    kind: str
    why: str
    macs: int


class Gain(_Part):
    """What ``deploy gain`` says."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    tool: str
    """Version of this toolchain."""
    model: str
    """The file."""
    sha256: str
    policy: str
    seed: int
    sparsities: list[float]
    """Of the copies, in their order; the estimate's first model is the file itself."""
    masked: list[str]
    """Layers that have masks in the copies."""
    masked_share: float
    """Of the multiply-accumulates, those of these layers."""
    left_out: list[LeftOut]
    estimate: Estimate | None = None
    """What the file and its copies would take."""
    profile: Profile | None = None
    """What they took, where they were measured."""


@dataclass(frozen=True)
class Settings:
    """Which masks a copy gets."""

    sparsity: float
    """The share of pixels to mask, above 0 and below 1."""
    policy: str = "pooled"
    seed: int = 0
    layers: tuple[str, ...] = ()
    """Patterns of names or kinds (``3x3``, ``dw *``); all layers where there are none."""


class Maskable:
    """A file, and which of its convolutions can carry a mask.

    Args:
        path: of the file.
        patterns: of :class:`Settings`.

    Raises:
        ModelError: it cannot be read, or nothing of it can be masked; says why.
    """

    def __init__(self, path: Path, patterns: Sequence[str] = ()) -> None:
        self.path = path
        try:
            self.raw = read_limited(path, LARGEST)
        except OSError as error:
            raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
        self.model = parse_model(self.raw, str(path))
        found = candidates(self.model)
        able = [one.layer for one in found if one.fault is None]
        self.chosen = [layer for layer in able if _matches(layer, patterns)]
        self.left_out = [_left_out(one, patterns) for one in found if one.layer not in self.chosen]
        if not self.chosen:
            raise self._nothing(able, patterns)

    @property
    def sha256(self) -> str:
        """Of the file."""
        return hashlib.sha256(self.raw).hexdigest()

    @property
    def masked_share(self) -> float:
        """Of the multiply-accumulates, those of the layers that get masks."""
        total = sum(layer.macs for layer in find_layers(self.model))
        return sum(layer.macs for layer in self.chosen) / total if total else 0.0

    def copy(self, settings: Settings) -> bytes:
        """A copy of the file with masks.

        Raises:
            ModelError: there is no such policy, or it masks nothing.
        """
        image = _image(self.model)
        masks: dict[int, Plane] = {}
        for layer in self.chosen:
            height, width = layer.output_shape[1:3]
            kept = mask_plane(
                settings.policy, (height, width), image or (height, width), layer.name,
                settings.seed, settings.sparsity,
            )  # fmt: skip
            if not kept.all():
                masks[layer.index] = kept
        if not masks:
            raise ModelError(
                f"{self.path}: a sparsity of {settings.sparsity:g} masks no pixel of any layer",
                hint="give a larger one with --sparsity",
            )
        how = {"policy": settings.policy, "sparsity": settings.sparsity, "seed": settings.seed}
        return lay_masks(self.raw, masks, how, str(self.path))

    def _nothing(self, able: Sequence[Layer], patterns: Sequence[str]) -> ModelError:
        if able:
            names = [layer.name for layer in able]
            return ModelError(
                f"{self.path}: no layer that can be masked matches {', '.join(patterns)}",
                hint=did_you_mean(patterns[0], names, f"such layers are: {', '.join(names[:8])}"),
            )
        reasons = dict.fromkeys(one.why for one in self.left_out)
        why = "; ".join(list(reasons)[:3]) or "it has no convolution"
        return ModelError(f"{self.path}: nothing of it can be masked: {why}")

    def document(self, settings: Sequence[Settings], estimate: Estimate | None) -> Gain:
        """What is known of copies with these masks."""
        return Gain(
            tool=toolchain.__version__,
            model=str(self.path),
            sha256=self.sha256,
            policy=settings[0].policy,
            seed=settings[0].seed,
            sparsities=[one.sparsity for one in settings],
            masked=[layer.name for layer in self.chosen],
            masked_share=self.masked_share,
            left_out=self.left_out,
            estimate=estimate,
        )


def write_copies(source: Maskable, settings: Sequence[Settings], folder: Path) -> list[Path]:
    """Write a copy for each of several masks; named after the file and the sparsity.

    Raises:
        ModelError: as :meth:`Maskable.copy`.
        OutputError: a copy cannot be written.
    """
    paths = []
    for one in settings:
        path = folder / f"{source.path.stem}_s{100 * one.sparsity:g}.tflite"
        write_whole(path, source.copy(one))
        paths.append(path)
    return paths


def _matches(layer: Layer, patterns: Sequence[str]) -> bool:
    kind = trace(layer).kind
    return not patterns or any(
        fnmatch.fnmatchcase(name, pattern) for name in (layer.name, kind) for pattern in patterns
    )


def _left_out(one: Candidate, patterns: Sequence[str]) -> LeftOut:
    told = trace(one.layer)
    why = one.fault or f"--layers {' '.join(patterns)} leaves it out"
    return LeftOut(layer=told.name, kind=told.kind, why=why, macs=told.macs)


def _image(model: Model) -> tuple[int, int] | None:
    """Height and width of the first input that is an image."""
    for index in model.graph.inputs:
        shape = model.graph.tensors[index].shape
        if len(shape) == 4:
            return shape[1], shape[2]
    return None
