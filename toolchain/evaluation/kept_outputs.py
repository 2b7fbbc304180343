"""Outputs of batches, kept in the cache, so that a run that was broken off goes on."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from toolchain.agreement.differences import Array
from toolchain.evaluation.image_file import ImageFile
from toolchain.evaluation.places import Place
from toolchain.storage import cache

KIND = "evaluations"
"""The folder of the cache."""
_VERSION = "1"
_NAME = "scores.npy"


def scores(
    place: Place, file: ImageFile, images: Array, *, again: bool = False
) -> tuple[Array, bool]:
    """Scores ``[N, K]`` of a batch of images; the same batch is computed once.

    They are kept by all that they depend on: the file's content, the images' own bytes, and the
    place with its runtime.

    Args:
        place: where it is run.
        file: what is run.
        images: ``[N, 1, H, W, C]``, as its input takes them.
        again: compute them, whatever is kept.

    Returns:
        The scores, and whether they were there before.

    Raises:
        ModelError, BoardError, ConnectionFailed: as :meth:`toolchain.evaluation.places.Place.run`.
    """
    content = np.ascontiguousarray(images)
    kind = f"{content.dtype} {content.shape}"
    key = cache.digest(_VERSION, place.key, file.sha256, kind, content.tobytes())
    there = True

    def fill(folder: Path) -> None:
        nonlocal there
        there = False
        stream = io.BytesIO()
        np.save(stream, file.scores(place.run(file, content)), allow_pickle=False)
        (folder / _NAME).write_bytes(stream.getvalue())

    folder = cache.entry(KIND, key, fill, again=again)
    try:
        return np.load(folder / _NAME, allow_pickle=False), there
    finally:
        cache.release(folder)  # each that is held is an open file
