"""Files that find objects, as YOLOv5 of the zoo does, on pictures with labelled boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from toolchain.agreement.differences import Array
from toolchain.agreement.inputs import model_outputs
from toolchain.errors import DataError, ModelError
from toolchain.evaluation import kept_outputs
from toolchain.evaluation.boxes import BoxData, Precision, average_precision
from toolchain.evaluation.document import BoxPair, BoxRow, Detection, Preparation, Share
from toolchain.evaluation.image_file import ImageFile, read_image_file
from toolchain.evaluation.labelled_data import draw
from toolchain.evaluation.metrics import CONFIDENCE
from toolchain.evaluation.places import Place
from toolchain.failures import Failures
from toolchain.progress import Progress, Silent
from toolchain.tflite_file.image_metadata import Normalization
from toolchain.train.normalization import UNIT
from toolchain.zoo.detection import ANCHORS, decode, letterbox, non_maximum_suppression, raw_classes

_LEAST_SCORE, _OVERLAP = 0.001, 0.6
"""Of boxes that count, and of two of one class: as YOLOv5 is validated."""
_PER_BATCH = 4
"""Images that are sent at once."""


@dataclass(frozen=True, eq=False)
class Detector(ImageFile):
    """A file with the three raw outputs of YOLOv5."""

    classes: int

    def scores(self, outputs: list[Array]) -> Array:
        """Boxes ``[M, 7]`` of ``N`` inferences: image, x1, y1, x2, y2, score, class.

        In pixels of the network's input.
        """
        graph = self.model.graph
        real = [
            tensor.real(found.reshape(len(found), *tensor.shape[1:]))
            for found, tensor in zip(
                outputs, (graph.tensors[index] for index in graph.outputs), strict=True
            )
        ]
        rows = [np.zeros((0, 7), np.float32)]
        for number, one in enumerate(decode(real, self.shape[:2], threshold=_LEAST_SCORE)):
            kept = non_maximum_suppression(one, overlap=_OVERLAP)
            columns = (np.full(len(kept), number), *kept.boxes.T, kept.scores, kept.classes)
            rows.append(np.stack(columns, axis=1).astype(np.float32))
        return np.concatenate(rows)


def read_detectors(models: Sequence[Path], failures: Failures) -> tuple[Detector, ...]:
    """Those of the files that are detectors; an error if none is.

    Raises:
        ModelError: none is.
    """
    found = []
    for model in models:
        with failures.of(str(model)):
            found.append(read_detector(model))
    if not found:
        failures.require()
    return tuple(found)


def read_detector(path: Path) -> Detector:
    """Read a file that finds objects.

    Raises:
        ModelError: it cannot be read, the runtime cannot run it, or it is no such file.
    """
    known = read_image_file(path, "convert the network with --input-shape 1,3,H,W")
    outputs = model_outputs(known["model"])
    channels = outputs[0].shape[-1] if outputs and outputs[0].shape else 1
    per_anchor, rest = divmod(channels, len(ANCHORS[0]))
    if rest or per_anchor < 6 or known["image"].shape[3] != 3:
        gives = " and ".join("x".join(map(str, tensor.shape)) for tensor in outputs)
        raise ModelError(
            f"{path}: gives {gives or 'nothing'}, not the raw outputs of YOLOv5",
            hint="a detector has three: 1 x H/s x W/s x 3 (5 + classes) for strides of 8, 16, 32",
        )
    file = Detector(classes=per_anchor - 5, **known)
    raw_classes([tensor.shape for tensor in outputs], file.shape[:2])
    return file


@dataclass
class _Net:
    file: Detector
    place: Place
    normalization: Normalization
    said_by: str
    found: list[Array] = field(default_factory=list)
    """Of each picture ``[M, 6]``: x1, y1, x2, y2 in its pixels, score, class."""
    kept: int = 0


def detect(
    files: Sequence[Detector],
    places: Sequence[Place],
    data: BoxData,
    *,
    given: Normalization | None = None,
    limit: int | None = None,
    seed: int = 0,
    again: bool = False,
    failures: Failures | None = None,
    progress: Progress | None = None,
) -> Detection | None:
    """Evaluate detectors on pictures with labelled boxes.

    Args:
        files: the detectors.
        places: where they run.
        data: the pictures; they are scaled to fit, the rest is grey.
        given: how pixels are normalised, whatever files say.
        limit: how many to take, drawn from the seed; all by default.
        seed: of the draw.
        again: compute everything, whatever earlier runs have left.
        failures: is told of detectors that cannot be evaluated; the others go on.
        progress: where it is shown.

    Returns:
        ``None`` where no detector could be evaluated.

    Raises:
        DataError: a picture cannot be read.
        ConnectionFailed: the board went away; what it has computed is kept.
    """
    failures, progress = failures or Failures(), progress or Silent()
    nets = _nets(files, places, data, given, failures)
    if not nets:
        return None
    order = draw(len(data), limit, seed)
    with progress.stage(f"evaluate on {data.name}", total=len(order) * len(nets)) as stage:
        for start in range(0, len(order), _PER_BATCH):
            indices = order[start : start + _PER_BATCH]
            for net in list(nets):
                with failures.of(str(net.file.path)):
                    _run(net, data, indices, again=again)
                    stage.advance(len(indices), f"{net.file.name}, {net.place.where}")
                    continue
                nets.remove(net)
    if not nets:
        return None
    truth = [data.boxes[index] for index in order]
    measured = []
    with progress.stage("draw images", total=len(nets)) as stage:
        for net in nets:
            count = len(data.categories)
            measured.append(average_precision(truth, net.found, count, seed=seed))
            stage.advance()
    return Detection(
        data=data.name,
        of=len(data),
        images=len(order),
        seed=seed,
        classes=len(data.categories),
        boxes=sum(map(len, truth)),
        rows=[_row(net, one) for net, one in zip(nets, measured, strict=True)],
        pairs=_pairs(nets, measured),
        failed=failures.rows(),
    )


def _nets(
    files: Sequence[Detector], places: Sequence[Place], data: BoxData,
    given: Normalization | None, failures: Failures,
) -> list[_Net]:  # fmt: skip
    nets = []
    for file in files:
        with failures.of(str(file.path)):
            if file.classes != len(data.categories):
                raise DataError(
                    f"{file.path}: tells {file.classes} classes apart, {data.name} has "
                    f"{len(data.categories)} categories",
                    hint="give data of the classes that the network was trained on",
                )
            used, by = UNIT, "pixels from 0 to 1, as YOLOv5"
            if given is not None:
                used, by = given, "given"
            elif file.said is not None:
                used, by = file.said, "the file"
            nets += [_Net(file, place, used, by) for place in places]
    return nets


def _run(net: _Net, data: BoxData, indices: Sequence[int], *, again: bool) -> None:
    size = net.file.shape[:2]
    boxed = [letterbox(data.read(index), size) for index in indices]
    pixels = np.concatenate([np.rint(image * 255).astype(np.uint8) for image, _ in boxed])
    prepared = net.file.prepared(pixels, net.normalization)
    rows, there = kept_outputs.scores(net.place, net.file, prepared, again=again)
    for number, (_, place) in enumerate(boxed):
        own = rows[rows[:, 0] == number]
        net.found.append(np.concatenate([place.boxes(own[:, 1:5]), own[:, 5:]], axis=1))
    net.kept += len(indices) if there else 0


def _row(net: _Net, measured: Precision) -> BoxRow:
    mean, std = net.normalization.unit
    return BoxRow(
        model=str(net.file.path),
        name=net.file.name,
        where=net.place.where,
        runtime=net.place.runtime,
        images=len(net.found),
        kept=net.kept,
        found=sum(map(len, net.found)),
        ap=_share(measured.ap, measured.drawn[:, 0]),
        ap50=_share(measured.ap50, measured.drawn[:, 1]),
        preparation=Preparation(mean=mean, std=std, said_by=net.said_by),
    )


def _pairs(nets: Sequence[_Net], measured: Sequence[Precision]) -> list[BoxPair]:
    """Each row beside its file's first place, and beside the first file in the same place."""
    found = []
    for index, net in enumerate(nets):
        for kind in ("place", "network"):
            others = [
                i
                for i in range(index)
                if (nets[i].file is net.file) == (kind == "place")
                and (kind == "place" or nets[i].place.where == net.place.where)
            ]
            if others:
                one, other = measured[index], measured[others[0]]
                apart = _share(one.ap - other.ap, one.drawn[:, 0] - other.drawn[:, 0])
                found.append(BoxPair(first=index, second=others[0], kind=kind, difference=apart))
    return found


def _share(value: float, drawn: Array) -> Share:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Share(value=value, low=float(low), high=float(high))
