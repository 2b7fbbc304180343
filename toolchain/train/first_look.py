"""A first look at data and network, before there is a recipe: what a new one is made from."""

from __future__ import annotations

import inspect
import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from toolchain.errors import DeployError, ModelError, failure
from toolchain.factory import resolve
from toolchain.progress import Progress
from toolchain.sparsity.cost import model_cost
from toolchain.sparsity.modes import evaluating
from toolchain.train.data import Data, load_data
from toolchain.train.image_folder import MEAN, ImageFiles
from toolchain.train.recipe import DataSet, Model, Recipe
from toolchain.train.setup import make_network, network_factory
from toolchain.zoo import catalog

PRETRAINED = ":pretrained"
"""What a network's name ends in where a library is to give it its own weights."""
_LOOKED_AT = 200
"""Images of a folder whose sizes are read."""
_USUAL_SIZE = 224
_ROUND_TO = 32
"""What most networks halve an image down to."""
_SMALLER = 0.6
"""Images below this share of a network's own size are not scaled up to it."""
_CLASS_ARGUMENTS = ("classes", "num_classes", "n_classes")


class _Look(BaseModel):
    model_config = ConfigDict(frozen=True)


class DataLook(_Look):
    """What is known of the data."""

    source: str
    training_images: int
    test_images: int
    classes: list[str]
    fewest: int | None
    """Training images of the smallest class; ``None`` where only reading all of them would tell."""
    most: int | None
    short_side: int | None
    """Of a folder's images, pixels, the median; ``None`` of other data."""
    is_folder: bool


class NetworkLook(_Look):
    """What is known of the network."""

    name: str
    """As the user gave it."""
    factory: str
    arguments: dict[str, str | int | float | bool]
    """The user's, and the one that gives the number of classes."""
    image_size: int | None
    """That images of a folder are scaled to; ``None`` for other data."""
    size_why: str
    parameters: int
    macs: int
    """Multiply-accumulates of one image."""
    share_3x3: float
    """Of them, those of 3x3 convolutions that are not depthwise."""
    share_1x1: float
    start: str
    """What its own weights are: ``random``, ``fashion-mnist``, ``imagenet``, or ``unknown``."""
    notes: list[str]


def look_at_data(
    source: str, *, base: Path, image_size: int | None, progress: Progress
) -> tuple[Data, DataLook]:
    """Load the data, and count.

    Args:
        source: as in a recipe.
        base: the recipe's folder.
        image_size: of a folder's images; a size of no meaning is used until one is known.
        progress: where reading is shown.

    Raises:
        DataError: as :func:`toolchain.train.data.load_data`.
    """
    is_named = source == "fashion-mnist" or (":" in source and not (base / source).exists())
    size = image_size if is_named else image_size or _ROUND_TO
    data = load_data(source, image_size=size, base=base, progress=progress)
    counts = _class_counts(data)
    files = data.train.files if isinstance(data.train, ImageFiles) else []
    step = max(1, len(files) // _LOOKED_AT)
    return data, DataLook(
        source=source,
        training_images=len(data.train),
        test_images=len(data.test),
        classes=list(data.classes),
        fewest=min(counts) if counts else None,
        most=max(counts) if counts else None,
        short_side=_short_side([path for path, _ in files[::step]]) if files else None,
        is_folder=bool(files),
    )


def with_image_size(data: Data, size: int) -> Data:
    """The same folder of images, scaled to another size."""
    assert isinstance(data.train, ImageFiles)  # noqa: S101 (only folders have a size)
    assert isinstance(data.test, ImageFiles)  # noqa: S101 (as above)
    return replace(
        data,
        train=ImageFiles(data.train.files, size),
        test=ImageFiles(data.test.files, size),
        input_shape=(1, 3, size, size),
    )


def look_at_network(
    name: str,
    arguments: Mapping[str, Any],
    data: Data,
    look: DataLook,
    *,
    base: Path,
    image_size: int | None,
) -> tuple[NetworkLook, Data]:
    """Make the network for these classes, find the size of its images, and count its work.

    Args:
        name: of the zoo, or ``package.module:function``.
        arguments: of the factory.
        data: of :func:`look_at_data`.
        look: likewise.
        base: the recipe's folder.
        image_size: that the user wants; else it is chosen.

    Returns:
        What was found, and the data at the size that was chosen.

    Raises:
        ModelError: there is no such network, it does not take the images, or its number of classes
            cannot be set.
    """
    factory = network_factory(name)
    tries: list[dict[str, Any]] = [dict(arguments)]
    given = set(arguments)
    if not given & set(_CLASS_ARGUMENTS):
        count = len(data.classes)
        tries += [{**arguments, key: count} for key in _class_arguments(factory, base)]
    faults: list[DeployError] = []
    outputs: list[int] = []
    for chosen in tries:
        try:
            model = make_network(_recipe(name, chosen, look.source), base)
            size, why = _image_size(name, model, look, image_size)
            fitted = data if size is None else with_image_size(data, size)
            outputs = _outputs(model, factory, fitted)
        except ModelError as error:
            faults.append(error)
            continue
        if outputs == [1, len(data.classes)]:
            return _network_look(name, factory, chosen, model, fitted, (size, why)), fitted
    if not outputs:
        raise faults[-1] if len(tries) == 1 else faults[0]
    raise ModelError(
        f"{name} gives {outputs} for one image, but {look.source} has {len(data.classes)} classes",
        hint=f"give the argument that sets it, --argument NAME={len(data.classes)}, or a function "
        "of yours that returns such a network: --model package.module:function",
    )


def _network_look(
    name: str,
    factory: str,
    arguments: dict[str, Any],
    model: nn.Module,
    data: Data,
    size: tuple[int | None, str],
) -> NetworkLook:
    example = torch.zeros(data.input_shape)
    cost = model_cost(model, example)
    shares = _kernel_shares(model, example, cost.macs)
    return NetworkLook(
        name=name,
        factory=factory,
        arguments=arguments,
        image_size=size[0],
        size_why=size[1],
        parameters=cost.parameters,
        macs=cost.macs,
        share_3x3=shares["3x3"],
        share_1x1=shares["1x1"],
        start=_own_weights(name, factory, arguments),
        notes=_normalisation_notes(name, model),
    )


def _recipe(name: str, arguments: Mapping[str, Any], source: str) -> Recipe:
    return Recipe(model=Model(factory=name, arguments=dict(arguments)), data=DataSet(source=source))


def _class_arguments(factory: str, base: Path) -> list[str]:
    """Arguments of a factory that may set the number of classes, the likeliest first."""
    try:
        parameters = inspect.signature(resolve(factory, "--model", base=base)).parameters
    except (ModelError, ValueError, TypeError):
        return list(_CLASS_ARGUMENTS)
    named = [key for key in _CLASS_ARGUMENTS if key in parameters]
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    return named or (["num_classes", "classes"] if takes_any else [])


def _outputs(model: nn.Module, factory: str, data: Data) -> list[int]:
    """The shape of what a network gives for one image; empty where it gives no tensor."""
    try:
        with torch.no_grad(), evaluating(model):
            found = model(torch.zeros(data.input_shape))
    except Exception as error:  # the code of the model is the user's
        shape = "x".join(map(str, data.input_shape))
        raise failure(
            ModelError,
            f"running {factory} on an image of {shape}",
            error,
            hint="give the size that it takes with --image-size; images of a folder have three "
            "channels",
        ) from error
    return list(found.shape) if isinstance(found, Tensor) else []


def _image_size(
    name: str, model: nn.Module, look: DataLook, asked: int | None
) -> tuple[int | None, str]:
    """Height and width for a folder's images, and why."""
    if not look.is_folder:
        return None, ""
    if asked is not None:
        return asked, "as asked for"
    own = _own_size(name, model)
    usual = own or _USUAL_SIZE
    short = look.short_side or usual
    if short >= _SMALLER * usual:
        return usual, "what the network was made for" if own else "usual; the network does not say"
    size = max(_ROUND_TO, -(-short // _ROUND_TO) * _ROUND_TO)
    return size, f"the images are {short} pixels high or wide; larger ones would only be slower"


def _own_size(name: str, model: nn.Module) -> int | None:
    if name in catalog.ZOO:
        return catalog.ZOO[name].input_shape[2]
    found = _settings(model).get("input_size")  # timm's
    return int(found[1]) if isinstance(found, tuple | list) and len(found) == 3 else None


def _settings(model: nn.Module) -> Mapping[str, Any]:
    """What a model says about its images itself, as those of timm do."""
    found = getattr(model, "default_cfg", None)
    return found if isinstance(found, Mapping) else {}


def _normalisation_notes(name: str, model: nn.Module) -> list[str]:
    mean = _settings(model).get("mean")
    if not isinstance(mean, tuple | list) or len(mean) != 3:
        return []
    if all(abs(float(one) - ours) < 0.01 for one, ours in zip(mean, MEAN, strict=True)):
        return []
    return [
        f"{name} says that its weights want images normalised by the mean "
        f"{', '.join(f'{float(one):g}' for one in mean)}; images of a folder are normalised by "
        f"{', '.join(f'{one:g}' for one in MEAN)}, to which training has to get used"
    ]


def _own_weights(name: str, factory: str, arguments: Mapping[str, Any]) -> str:
    if name in catalog.ZOO:
        return catalog.ZOO[name].weights
    ours = catalog.by_factory(factory)
    if ours is not None:
        return "imagenet" if ours.weights == "imagenet" else "random"
    asked = arguments.get("pretrained", arguments.get("weights"))
    return "imagenet" if asked or name.endswith(PRETRAINED) else "unknown"


def _kernel_shares(model: nn.Module, example: Tensor, macs: int) -> dict[str, float]:
    """Of all multiply-accumulates, those of 3x3 and of 1x1 convolutions."""
    sums: Counter[str] = Counter()

    def count(layer: nn.Module, _inputs: object, output: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)  # noqa: S101 (hooked to such alone)
        kind = "x".join(map(str, layer.kernel_size))
        depthwise = layer.groups > 1 and layer.groups == layer.in_channels
        pixels = output.shape[-2] * output.shape[-1]
        sums["depthwise" if depthwise else kind] += layer.weight.numel() * pixels

    handles = [
        layer.register_forward_hook(count)
        for layer in model.modules()
        if isinstance(layer, nn.Conv2d)
    ]
    try:
        with torch.no_grad(), evaluating(model):
            model(example.clone())
    finally:
        for handle in handles:
            handle.remove()
    return {kind: sums[kind] / max(macs, 1) for kind in ("3x3", "1x1")}


def _class_counts(data: Data) -> list[int]:
    if isinstance(data.train, ImageFiles):
        counted = Counter(label for _, label in data.train.files)
        return [counted[number] for number in range(len(data.classes))]
    if type(data.train) is TensorDataset:
        labels = data.train.tensors[1]
        return [int(one) for one in torch.bincount(labels, minlength=len(data.classes))]
    return []


def _short_side(paths: list[Path]) -> int:
    sides = []
    for path in paths:
        with Image.open(path) as image:  # load_data has looked at its header
            sides.append(min(image.size))
    return round(statistics.median(sides))
