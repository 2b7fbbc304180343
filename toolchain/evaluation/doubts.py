"""Signs that images are not prepared, or not labelled, as a network was trained.

Wrong figures raise no error anywhere: a network gives classes for whatever it is fed, and is wrong
more often. So these things are looked at:

- what the user gives beside what the file says;
- the values that go in beside those that the file was made for: what its metadata say of them, and
  the range of an int8 input, which calibration has measured;
- whether another usual way to normalise has clearly more of the same images right;
- whether classes are missing, so that those that are there are numbered otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from toolchain.agreement.differences import Array
from toolchain.evaluation.classifier import Classifier
from toolchain.evaluation.document import Doubt
from toolchain.evaluation.image_file import with_figures
from toolchain.evaluation.metrics import paired
from toolchain.tflite_file.graph import Quantization
from toolchain.tflite_file.image_metadata import Normalization, read_image_metadata
from toolchain.train.normalization import FASHION, FOLDER

PROBED = 200
"""Images that other ways to normalise are tried on."""
_LEAST = 30
"""Fewer images need not fill a range: all may be dark."""
_ERROR = 1e-3
"""How likely another way seems better by chance, all of them together."""
_GAIN = 0.05
"""Of the images that another way has right more: less is not worth a doubt."""
_LEAST_RIGHT = 0.25
"""Share that another way has to have right: one that is wrong, too, explains nothing."""
_ROOM = 0.25
"""Of the range that a file names: values may go beyond it by so much."""
_NARROW = 0.4
"""Values that fill less than so much of the range of a file were scaled otherwise."""
USUAL = {
    "pixels from 0 to 1": Normalization.of_unit((0.0,), (1.0,)),
    "pixels from -1 to 1": Normalization.of_unit((0.5,), (0.5,)),
    "pixels from 0 to 255": Normalization((0.0,), (1.0,)),
    "ImageNet's figures": FOLDER,
    "Fashion-MNIST's figures": FASHION,
}
"""How images are normalised in most networks."""


def told_otherwise(
    classifier: Classifier,
    used: Normalization | None,
    said_hits: Array,
    hits: Array,
    *,
    undo: str,
) -> Doubt | None:
    """What to think of figures that the user gives and that are not the file's.

    Args:
        classifier: the file.
        used: how images were normalised.
        said_hits: which of some images are right with the file's own figures, ``[N]`` bool.
        hits: which of them are right now.
        undo: what to do on the command line, so that the file's figures count.

    Returns:
        ``None`` where the user's are clearly better: then the file is wrong about itself.
    """
    if clearly_better(hits, said_hits):
        return None
    return Doubt(
        model=str(classifier.path),
        what=f"images were normalised with {used}, and {hits.mean():.1%} of {len(hits)} are right; "
        f"the file says {classifier.said}, and {said_hits.mean():.1%} are",
        hint=f"{undo}, to go by the file",
    )


def clearly_better(ours: Array, theirs: Array, ways: int = 1) -> bool:
    """Whether one way to normalise has clearly more of the same images right than another.

    Args:
        ours: which images the one has right, ``[N]`` bool.
        theirs: likewise the other.
        ways: how many are tried, any of which may seem better by chance.
    """
    compared = paired(ours, theirs)
    return (
        compared.difference.value >= _GAIN
        and compared.p_value * ways <= _ERROR
        and float(ours.mean()) >= _LEAST_RIGHT
    )


def out_of_range(
    classifier: Classifier, low: float, high: float, count: int, *, pixels: bool
) -> Doubt | None:
    """Whether the values that went in are those that the file was made for.

    Args:
        classifier: the file.
        low: the smallest value of the images, after normalising.
        high: the largest.
        count: images.
        pixels: whether they were normalised here; then what the metadata name holds anyway.
    """
    for least, most, by in _known_ranges(classifier, metadata=not pixels):
        span = most - least
        beyond = max(high - most, least - low) > _ROOM * span
        narrow = count >= _LEAST and high - low < _NARROW * span
        if beyond or narrow:
            does = "go far beyond" if beyond else "fill little of"
            return Doubt(
                model=str(classifier.path),
                what=f"values from {low:.3g} to {high:.3g} went in, which {does} the {least:.3g} "
                f"to {most:.3g} that {by}",
                hint="normalise the images as those that the network was trained on: --mean and "
                "--std do it for pixels, whoever made them for values of an .npz or a function",
            )
    return None


def better_ways(
    classifier: Classifier,
    data: Sequence[str],
    used: Normalization | None,
    right: Callable[[Normalization], Array],
    hits: Array,
) -> Doubt | None:
    """Whether another usual way to normalise has clearly more images right.

    Args:
        classifier: the file.
        data: the options that name the images, for the line to run.
        used: how they were normalised; ``None`` of a file that takes pixels as they are.
        right: gives which images are right with other figures, ``[N]`` bool.
        hits: which are right now, ``[N]`` bool.
    """
    if used is None:
        return None
    ways = {
        name: way
        for name, way in USUAL.items()
        if way.fits(classifier.shape[2]) and not way.near(used)
    }
    best: tuple[float, str, Normalization, Array] | None = None
    for name, way in ways.items():
        found = right(way)
        if clearly_better(found, hits, len(ways)) and (best is None or found.mean() > best[0]):
            best = float(found.mean()), name, way, found
    if best is None:
        return None
    _, name, way, found = best
    line = with_figures(classifier.path, data, way)
    return Doubt(
        model=str(classifier.path),
        what=f"with {used}, {hits.mean():.1%} of {len(hits)} images are right; with {name}, "
        f"{found.mean():.1%}",
        hint=f"the network was probably trained so; run: {line}",
    )


def fewer_classes(classifier: Classifier, data: str, classes: Sequence[str]) -> Doubt | None:
    """Whether images may have other labels than in training: some of its classes are not there.

    Args:
        classifier: the file.
        data: what the images are called.
        classes: their names, in the order of the labels; empty where they have none.
    """
    if not 0 < len(classes) < classifier.classes:
        return None
    return Doubt(
        model=str(classifier.path),
        what=f"{data} has {len(classes)} classes, '{classes[0]}' being 0 and '{classes[-1]}' "
        f"{len(classes) - 1}, and the network tells {classifier.classes} apart: where some of the "
        "training's are missing, others have got their numbers",
        hint="name all classes of the training, in their order: a folder for each, an empty one "
        "where there are no images, or all of them in the data set's classes",
    )


def torch_is_better(classifier: Classifier, torch_hits: Array, host_hits: Array) -> Doubt | None:
    """Whether the checkpoint, with its own images, is clearly more often right than its file."""
    if not clearly_better(torch_hits, host_hits):
        return None
    return Doubt(
        model=str(classifier.path),
        what=f"{host_hits.mean():.1%} of {len(host_hits)} images are right, and "
        f"{torch_hits.mean():.1%} in torch",
        hint="the file's images may be normalised otherwise than the checkpoint's, or int8 may "
        "have been calibrated on other data; convert it again",
    )


def _known_ranges(classifier: Classifier, *, metadata: bool) -> Iterator[tuple[float, float, str]]:
    """Between which values an input lies, and who says so."""
    said = read_image_metadata(classifier.model) if metadata else None
    if said and said.inputs and said.inputs[0].low:
        yield min(said.inputs[0].low), max(said.inputs[0].high), "the file's metadata name"
    found = _input_quantization(classifier)
    if found is not None and not classifier.takes_bytes:
        scale, zero = float(found.scale[0]), int(found.zero_point[0])
        yield scale * (-128 - zero), scale * (127 - zero), "the file was calibrated with"


def _input_quantization(classifier: Classifier) -> Quantization | None:
    """Of an int8 file with a float input: that of the operator which quantises it."""
    graph = classifier.model.graph
    for op in graph.consumers.get(classifier.image.index, ()):
        result = graph.tensors[op.outputs[0]]
        if op.op == "QUANTIZE" and result.dtype == "int8":
            return result.quantization
    return None
