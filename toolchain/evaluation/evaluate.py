"""Run networks on labelled images in several places, and compare what they say.

All see the same images, in one order: a permutation that the seed draws, so that more images go on
where fewer have ended. Images are sent in batches. The outputs of each are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from toolchain.agreement.differences import Array
from toolchain.errors import DataError, ModelError
from toolchain.evaluation import doubts, kept_outputs
from toolchain.evaluation.classifier import Classifier, read_classifier
from toolchain.evaluation.document import Doubt, Evaluation, Pair, Preparation, Row, Share
from toolchain.evaluation.image_file import BYTES, chosen_normalization, normalised
from toolchain.evaluation.labelled_data import LabelledData, draw
from toolchain.evaluation.metrics import among_first, paired, predictions, share
from toolchain.evaluation.places import Host, Place, TorchNet, Where
from toolchain.failures import Failures
from toolchain.progress import Progress, Silent
from toolchain.tflite_file.image_metadata import Normalization

MOST_IMAGES = 100
"""Of a batch."""
_MOST_BYTES = 16 << 20
_TOP, _CLASSES = 5, 10
"""Of so many classes or more, being among so many best ones is told, too."""


@dataclass
class _Net:
    """A file, or its checkpoint in torch, in one place."""

    classifier: Classifier
    place: Place | TorchNet
    normalization: Normalization | None
    said_by: str
    torch: TorchNet | None = None
    """The file's checkpoint."""
    scores: list[Array] = field(default_factory=list)
    """``[n, K]`` of each batch."""
    kept: int = 0
    low: float = np.inf
    """The smallest value that went in, before it was quantised."""
    high: float = -np.inf

    @property
    def where(self) -> Where:
        return "torch" if isinstance(self.place, TorchNet) else self.place.where

    @property
    def model(self) -> str:
        name = self.place.name if isinstance(self.place, TorchNet) else None
        return name or str(self.classifier.path)


@dataclass(frozen=True)
class Plan:
    """What is evaluated, and where."""

    classifiers: tuple[Classifier, ...]
    places: tuple[Place, ...]
    """Where the files run, in the order of the table."""
    in_torch: Mapping[Path, TorchNet] = field(default_factory=dict)
    """The checkpoint of each file, where it is known."""
    given: Normalization | None = None
    """How pixels are normalised, whatever files say."""
    undo: str = "leave --mean and --std away"
    """What to do on the command line, so that what files say counts."""


def read_classifiers(models: Sequence[Path], failures: Failures) -> tuple[Classifier, ...]:
    """Those of the files that are classifiers; an error if none is.

    Raises:
        ModelError: none is.
    """
    found = []
    for model in models:
        with failures.of(str(model)):
            found.append(read_classifier(model))
    if not found:
        failures.require()
    return tuple(found)


def evaluate(
    plan: Plan,
    data: LabelledData,
    *,
    limit: int | None = None,
    seed: int = 0,
    again: bool = False,
    failures: Failures | None = None,
    progress: Progress | None = None,
) -> Evaluation | None:
    """Evaluate networks on labelled images.

    Args:
        plan: which, and where.
        data: the images.
        limit: how many to take, drawn from the seed; all by default.
        seed: of the draw.
        again: compute everything, whatever earlier runs have left.
        failures: is told of models that cannot be evaluated; the others go on.
        progress: where it is shown.

    Returns:
        ``None`` where no model could be evaluated.

    Raises:
        DataError: an image cannot be read, does not fit, or has a label that no model knows.
        ConnectionFailed: the board went away; what it has computed is kept.
    """
    failures, progress = failures or Failures(), progress or Silent()
    nets = _nets(plan, data, failures)
    if not nets:
        return None
    order = draw(len(data), limit, seed)
    labels = data.labels[order]
    size = _batch_size([net.classifier for net in nets])
    with progress.stage(f"evaluate on {data.name}", total=len(order) * len(nets)) as stage:
        for start in range(0, len(order), size):
            indices = order[start : start + size]
            images = {
                shape: data.read(indices, shape)
                for shape in dict.fromkeys(net.classifier.shape for net in nets)
            }
            for net in list(nets):
                with failures.of(net.model):
                    _run(net, images[net.classifier.shape], again=again)
                    stage.advance(len(indices), f"{net.classifier.name}, {net.where}")
                    continue
                nets.remove(net)  # it failed; the other places of the file go on
    if not nets:
        return None
    return _document(nets, plan, data, labels, order, seed, failures, progress)


def _nets(plan: Plan, data: LabelledData, failures: Failures) -> list[_Net]:
    nets: list[_Net] = []
    for classifier in plan.classifiers:
        with failures.of(str(classifier.path)):
            _check_labels(classifier, data)
            torch = plan.in_torch.get(classifier.path)
            trained = torch.trained if torch else None
            normalization, by = None, "the data, which is normalised already"
            own, own_by = normalization, by
            if data.pixels:
                normalization, by = chosen_normalization(
                    classifier, data.options, plan.given, trained
                )
                own, own_by = (
                    (trained, "the checkpoint") if trained else (normalization or BYTES, by)
                )
            if torch and not any(net.place is torch for net in nets):  # of fp32 and int8
                nets.append(_Net(classifier, torch, own, own_by, torch))
            nets += [_Net(classifier, place, normalization, by, torch) for place in plan.places]
    return nets


def _check_labels(classifier: Classifier, data: LabelledData) -> None:
    highest = max(int(data.labels.max()) + 1, len(data.classes))
    if highest > classifier.classes:
        raise DataError(
            f"{classifier.path}: tells {classifier.classes} classes apart, {data.name} has "
            f"{highest}",
            hint="give data of the classes that the network was trained on",
        )


def _batch_size(classifiers: Sequence[Classifier]) -> int:
    """Images of a batch; what is sent and kept at once stays small."""
    largest = max(classifier.image.elements for classifier in classifiers) * 4
    return max(1, min(MOST_IMAGES, _MOST_BYTES // largest))


def _run(net: _Net, images: Array, *, again: bool) -> None:
    """Run one batch."""
    values = images
    if net.normalization is not None and images.dtype == np.uint8:
        values = normalised(images, net.normalization)
    net.low, net.high = min(net.low, float(values.min())), max(net.high, float(values.max()))
    if isinstance(net.place, TorchNet):
        net.scores.append(net.place.scores(values.astype(np.float32)))
        return
    prepared = net.classifier.prepared(images, net.normalization)
    scores, there = kept_outputs.scores(net.place, net.classifier, prepared, again=again)
    if scores.shape[1] != net.classifier.classes:
        raise ModelError(f"{net.classifier.path}: gave {scores.shape[1]} scores")
    net.scores.append(scores)
    net.kept += len(images) if there else 0


# --- what comes of it ------------------------------------------------------------------------


def _document(
    nets: list[_Net], plan: Plan, data: LabelledData, labels: Array, order: Sequence[int],
    seed: int, failures: Failures, progress: Progress,
) -> Evaluation:  # fmt: skip
    scores = [np.concatenate(net.scores) for net in nets]
    hits = [predictions(one) == labels for one in scores]
    rows = [
        _row(net, one, right, labels) for net, one, right in zip(nets, scores, hits, strict=True)
    ]
    found = _doubts(nets, hits, plan, data, labels, order, progress)
    return Evaluation(
        data=data.name,
        of=len(data),
        images=len(labels),
        seed=seed,
        classes=max(net.classifier.classes for net in nets),
        rows=rows,
        pairs=[_pair(first, second, kind, scores, hits) for first, second, kind in _compared(nets)],
        doubts=found,
        failed=failures.rows(),
    )


def _row(net: _Net, scores: Array, hits: Array, labels: Array) -> Row:
    used = net.normalization.unit if net.normalization else (None, None)
    several = scores.shape[1] >= _CLASSES
    return Row(
        model=net.model,
        name=net.place.name if isinstance(net.place, TorchNet) else net.classifier.name,
        where=net.where,
        runtime=net.place.runtime,
        images=len(labels),
        kept=net.kept,
        top1=Share.of(share(hits)),
        top5=Share.of(share(among_first(scores, labels, _TOP))) if several else None,
        preparation=Preparation(mean=used[0], std=used[1], said_by=net.said_by),
    )


def _compared(nets: Sequence[_Net]) -> list[tuple[int, int, str]]:
    """Which rows are compared: with the file's first place, and with the first file's there."""
    found = []
    for index, net in enumerate(nets):
        same = [i for i in range(index) if _same_network(nets[i], net)]
        if same:
            found.append((index, same[0], "place"))
        others = [
            i
            for i in range(index)
            if nets[i].where == net.where and not _same_network(nets[i], net)
        ]
        if others:
            found.append((index, others[0], "network"))
    return found


def _same_network(one: _Net, other: _Net) -> bool:
    """Whether they are of one file, or one is the other's checkpoint in torch."""
    if isinstance(one.place, TorchNet) or isinstance(other.place, TorchNet):
        return one.torch is other.torch
    return one.classifier is other.classifier


def _pair(
    first: int, second: int, kind: str, scores: Sequence[Array], hits: Sequence[Array]
) -> Pair:
    compared = paired(hits[first], hits[second])
    one, other = scores[first], scores[second]
    apart, most = float("nan"), float("nan")
    if one.shape == other.shape:
        apart = float(np.abs(one - other).max())
        most = float(np.abs(other).max())
    return Pair(
        first=first,
        second=second,
        kind=kind,
        agreement=Share.of(share(predictions(one) == predictions(other))),
        difference=Share.of(compared.difference),
        only_first=compared.only_first,
        only_second=compared.only_second,
        p_value=compared.p_value,
        max_abs_diff=apart,
        relative_diff=apart / most if most else 0.0,
    )


def _doubts(
    nets: Sequence[_Net], hits: Sequence[Array], plan: Plan, data: LabelledData, labels: Array,
    order: Sequence[int], progress: Progress,
) -> list[Doubt]:  # fmt: skip
    found = []
    for classifier in dict.fromkeys(net.classifier for net in nets):
        own = {
            net.where: (net, right)
            for net, right in zip(nets, hits, strict=True)
            if net.classifier is classifier and not isinstance(net.place, TorchNet)
        }
        if not own:
            continue
        net, right = own.get("host") or own["board"]
        in_torch = [hits[i] for i, one in enumerate(nets) if one.place is net.torch]
        if classes := doubts.fewer_classes(classifier, data.name, data.classes):
            found.append(classes)
        doubt = None
        if data.pixels:
            doubt = _probe(net, right, plan.undo, data, labels, order, progress)
        doubt = doubt or doubts.out_of_range(
            classifier, net.low, net.high, len(labels), pixels=data.pixels
        )
        if doubt is None and in_torch:
            doubt = doubts.torch_is_better(classifier, in_torch[0], right)
        if doubt is not None:
            found.append(doubt)
    return found


def _probe(
    net: _Net, right: Array, undo: str, data: LabelledData, labels: Array, order: Sequence[int],
    progress: Progress,
) -> Doubt | None:  # fmt: skip
    """Try other figures on some of the images, on this machine: the file's own, or usual ones."""
    classifier, used = net.classifier, net.normalization
    some = order[: doubts.PROBED]
    pixels, now = data.read(some, classifier.shape), right[: len(some)]
    host = Host()

    def hits(way: Normalization) -> Array:
        outputs = host.run(classifier, classifier.prepared(pixels, way))
        stage.advance()
        found: Array = predictions(classifier.scores(outputs)) == labels[: len(some)]
        return found

    with progress.stage(f"try other figures with {classifier.name}") as stage:
        said = classifier.said
        if used is None or said is None or used.near(said):
            return doubts.better_ways(classifier, data.options, used, hits, now)
        own = hits(said)
    doubt = doubts.told_otherwise(classifier, used, own, now, undo=undo)
    if doubt is None:
        progress.note(
            f"{classifier.path}: says {said}, with which {own.mean():.1%} of {len(some)} images "
            f"are right, and {now.mean():.1%} as given: convert it again with --mean and --std"
        )
    return doubt
