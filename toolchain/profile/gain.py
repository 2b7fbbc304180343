"""What masks would gain on a model that has none: copies with masks, and what they take.

Nothing of it was trained: the copies say what time masks save, and nothing of accuracy.
"""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import toolchain
from toolchain.errors import ModelError
from toolchain.formats.input_file import check_readable, read_limited
from toolchain.hardware.board_file import Board
from toolchain.hints import command, did_you_mean
from toolchain.profile.document import Profile
from toolchain.profile.estimate_document import Estimate
from toolchain.profile.gain_document import (
    Gain,
    GainCopy,
    LeftOut,
    layers_of_estimate,
    layers_of_profile,
    notes_of_estimate,
    rows_of_estimate,
    rows_of_profile,
)
from toolchain.profile.operators import trace
from toolchain.storage.files import write_whole
from toolchain.tflite_file.graph import LARGEST, Model, parse_model
from toolchain.tflite_file.layers import Layer, Plane, find_layers
from toolchain.tflite_file.mask_planes import mask_plane
from toolchain.tflite_file.masked_copy import HAS_MASK, Candidate, candidates, lay_masks

_NAMED = 8
"""Layers that an error names at most."""


@dataclass(frozen=True)
class Settings:
    """Which masks a copy gets."""

    sparsity: float
    """The share of pixels to mask, above 0 and below 1."""
    policy: str = "pooled"
    seed: int = 0
    layers: tuple[str, ...] = ()
    """Patterns of names or kinds (``3x3``, ``dw *``); all layers where there are none."""

    def name(self, stem: str) -> str:
        """Of a copy of a file: ``dense_s20``."""
        return f"{stem}_s{100 * self.sparsity:g}"


@dataclass(frozen=True)
class Copy:
    """A copy of a file with masks."""

    raw: bytes
    record: GainCopy


class Maskable:
    """A file, and which of its convolutions can carry a mask.

    Args:
        path: of the file.
        patterns: of :class:`Settings`.

    Raises:
        ModelError: it cannot be read, or nothing of it can be masked; says why.
    """

    def __init__(self, path: Path, patterns: Sequence[str] = ()) -> None:
        self.path, self._patterns = path, tuple(patterns)
        check_readable(path, ModelError)
        try:
            self.raw = read_limited(path, LARGEST)
        except OSError as error:
            raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
        self.model = parse_model(self.raw, str(path))
        found = candidates(self.model)
        able = [one.layer for one in found if one.fault is None]
        self.chosen = [layer for layer in able if _matches(layer, patterns)]
        indices = {layer.index for layer in self.chosen}
        self.left_out = [
            _left_out(one, patterns) for one in found if one.layer.index not in indices
        ]
        if not self.chosen:
            raise self._nothing(able)

    @property
    def masked_share(self) -> float:
        """Of the multiply-accumulates, those of the layers that get masks."""
        total = sum(layer.macs for layer in find_layers(self.model))
        return sum(layer.macs for layer in self.chosen) / total if total else 0.0

    def copy(self, settings: Settings) -> Copy:
        """A copy of the file with masks.

        Raises:
            ModelError: there is no such policy, or it masks nothing.
        """
        image = _image(self.model)
        masks: dict[int, Plane] = {}
        for layer in self.chosen:
            height, width = layer.output_shape[1:3]
            masks[layer.index] = mask_plane(
                settings.policy, (height, width), image or (height, width), layer.name,
                settings.seed, settings.sparsity,
            )  # fmt: skip
        pixels = sum(kept.size for kept in masks.values())
        masks = {index: kept for index, kept in masks.items() if not kept.all()}
        if not masks:
            raise ModelError(
                f"{self.path}: a sparsity of {settings.sparsity:g} masks no pixel of any layer",
                hint="give a larger one with --sparsity",
            )
        how = {"policy": settings.policy, "sparsity": settings.sparsity, "seed": settings.seed}
        raw = lay_masks(self.raw, masks, how, str(self.path))
        record = GainCopy(
            sparsity=settings.sparsity,
            pixels=pixels,
            masked_pixels=sum(int((~kept).sum()) for kept in masks.values()),
            sha256=hashlib.sha256(raw).hexdigest(),
        )
        return Copy(raw, record)

    def document(
        self,
        board: Board,
        settings: Settings,
        copies: Sequence[GainCopy],
        found: Estimate | Profile,
    ) -> Gain:
        """What is known of the file and its copies.

        Args:
            board: that it is about.
            settings: of the masks, but for the sparsity.
            copies: in their order.
            found: what they would take, or took; the file is the first.
        """
        estimate = found if isinstance(found, Estimate) else None
        profile = found if isinstance(found, Profile) else None
        if isinstance(found, Estimate):
            rows, layers = rows_of_estimate(found, copies), layers_of_estimate(found)
        else:
            rows, layers = rows_of_profile(found, copies), layers_of_profile(found)
        return Gain(
            tool=toolchain.__version__,
            model=str(self.path),
            sha256=hashlib.sha256(self.raw).hexdigest(),
            board=board.name,
            title=board.title,
            measured=profile is not None,
            emulated=profile is not None and profile.by_instructions,
            threads=found.threads,
            policy=settings.policy,
            seed=settings.seed,
            layers=list(settings.layers),
            masked=[layer.name for layer in self.chosen],
            masked_share=self.masked_share,
            left_out=self.left_out,
            other_graphs=self.model.subgraphs - 1,
            copies=list(copies),
            rows=rows,
            by_layer=layers,
            notes=list(notes_of_estimate(estimate)) if estimate else [],
            estimate=estimate,
            profile=profile,
        )

    def _nothing(self, able: Sequence[Layer]) -> ModelError:
        if able:
            names = [layer.name for layer in able]
            kinds = dict.fromkeys(trace(layer).kind for layer in able)
            return ModelError(
                f"{self.path}: no layer that can be masked matches {', '.join(self._patterns)}",
                hint=did_you_mean(
                    self._patterns[0], names,
                    f"kinds are: {', '.join(kinds)}; layers are: {', '.join(names[:_NAMED])}"
                    + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""),
                ),
            )  # fmt: skip
        faults = dict.fromkeys(one.why for one in self.left_out)
        if HAS_MASK in faults:
            return ModelError(
                f"{self.path}: nothing of it can be masked: its layers have masks already",
                hint=f"give the model without masks; to see them, run: "
                f"{command('inspect', self.path)}",
            )
        why = "it has no convolution"
        if self.model.subgraphs > 1:
            why = "its main graph has no convolution, and masks are laid in no other graph"
        if faults:
            number = len(self.left_out)
            why = f"of {number} layer{'s'[: number != 1]}: {'; '.join(faults)}"
        return ModelError(f"{self.path}: nothing of it can be masked: {why}")


def write_copies(
    source: Maskable, settings: Sequence[Settings], folder: Path
) -> list[tuple[Path, GainCopy]]:
    """Write a copy for each of several masks; named after the file and the sparsity.

    Raises:
        ModelError: as :meth:`Maskable.copy`.
        OutputError: a copy cannot be written.
    """
    written = []
    for one in settings:
        path = folder / f"{one.name(source.path.stem)}.tflite"
        copy = source.copy(one)
        write_whole(path, copy.raw)
        written.append((path, copy.record))
    return written


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
