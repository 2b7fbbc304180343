"""Networks of other libraries by name: ``timm:resnet10t``, ``torchvision:mobilenet_v3_small``.

``:pretrained`` behind a name asks the library for its own weights, which it downloads unless they
are in its cache. Nothing is downloaded otherwise, whatever a file or an argument says.
"""

from __future__ import annotations

import contextlib
import fnmatch
import importlib
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from toolchain import extras
from toolchain.errors import ModelError, failure
from toolchain.hints import command, did_you_mean

if TYPE_CHECKING:
    import torch
    from torch import nn

LIBRARIES = ("timm", "torchvision")
"""Each is the name of an extra, too."""
PRETRAINED = ":pretrained"
_SEED = 0
_REFUSED = ("pretrained", "checkpoint", "weights", "cache")
"""What arguments begin with that make a library fetch or read a file."""


@dataclass(frozen=True)
class Named:
    """What a user wrote, taken apart."""

    library: str
    name: str
    pretrained: bool

    def __str__(self) -> str:
        return f"{self.library}:{self.name}"


def is_named(text: str | None) -> bool:
    """Whether a text names a network of a library, known or not."""
    return text is not None and text.partition(":")[0] in LIBRARIES and ":" in text


def without_weights(text: str) -> str:
    """The name without ``:pretrained``; any other text stays as it is."""
    return text.removesuffix(PRETRAINED) if is_named(text) else text


def check(text: str) -> Named:
    """Take a name apart, and make sure that its library knows it.

    Raises:
        MissingToolError: the library is not installed; the hint is the line that installs it.
        ModelError: it cannot be imported, has no such network (names the nearest), or one that is
            no graph of tensors.
    """
    library, _, name = without_weights(text).partition(":")
    known = names(library)
    if name.partition(".")[0] not in known:  # of timm's, a tag of weights may follow
        raise ModelError(
            f"{library} has no network called '{name}'",
            hint=did_you_mean(
                name, known, f"{command('models', f'{library}:*')} lists all {len(known)}"
            ),
        )
    models = _imported(library).models
    if library == "torchvision" and name in models.list_models(module=models.detection):
        raise ModelError(
            f"torchvision:{name} is a detector that chooses its boxes itself, and how many there "
            "are depends on values",
            hint="convert what gives boxes and scores, by a factory of your own, and choose "
            f"outside of the network; {command('convert', '--model', 'yolov5n')} is such a one",
        )
    return Named(library, name, text.endswith(PRETRAINED))


def names(library: str, pattern: str = "*") -> list[str]:
    """What a library calls its networks.

    Args:
        library: one of :data:`LIBRARIES`.
        pattern: as a shell has them: ``resnet*``.

    Raises:
        MissingToolError: it is not installed.
        ModelError: it cannot be imported.
    """
    module = _imported(library)
    if library == "timm":
        found = module.list_models()
    else:
        # Those that are quantised already have layers that only torch computes.
        found = [name for name in module.models.list_models() if not name.startswith("quantized_")]
    return [name for name in found if fnmatch.fnmatchcase(name, pattern)]


def input_shape(named: Named) -> tuple[int, ...] | None:
    """The input that a network's published weights are for, ``[N, C, H, W]``; ``None``: unknown."""
    if named.library == "timm":
        cfg = _imported("timm").get_pretrained_cfg(named.name, allow_unregistered=True)
        return (1, *cfg.input_size) if cfg is not None and cfg.input_size else None
    weights = _imported("torchvision").models.get_model_weights(named.name)
    best = getattr(weights, "DEFAULT", None)
    keywords = getattr(getattr(best, "transforms", None), "keywords", {})
    size = keywords.get("crop_size", keywords.get("resize_size"))
    if isinstance(size, list | tuple):
        size = size[0] if len(size) == 1 else None  # two sizes are those of a film
    return (1, 3, size, size) if isinstance(size, int) else None


def make(
    named: Named, arguments: Mapping[str, Any] | None = None, *, seed: int = _SEED
) -> nn.Module:
    """A network with the library's weights where they are asked for, random ones otherwise.

    The state of torch's generator is left as it is.

    Args:
        named: what :func:`check` gave.
        arguments: of the library's call, by name: ``{"num_classes": 10}``.
        seed: of the random weights, with which a library begins training.

    Raises:
        ModelError: an argument would make the library fetch or read a file, or it fails.
    """
    import torch

    given = dict(arguments or {})
    for name in given:
        if name.startswith(_REFUSED):
            raise ModelError(
                f"{named}: the argument '{name}' would read or fetch weights",
                hint=f"give a file of weights, or {named}{PRETRAINED} for those of the library",
            )
    with torch.random.fork_rng(), contextlib.redirect_stdout(sys.stderr):
        torch.manual_seed(seed)
        return _called(named, given)


def _called(named: Named, given: dict[str, Any]) -> nn.Module:
    module = _imported(named.library)
    doing = f"making {named}"
    hint = None
    try:
        if named.pretrained:
            doing = f"fetching the weights of {named}"
            hint = (
                f"download them yourself, and run: {command('convert', 'FILE', '--model', named)}"
            )
        if named.library == "timm":
            made = module.create_model(named.name, pretrained=named.pretrained, **given)
        else:
            weights = "DEFAULT" if named.pretrained else None
            if named.name in ("googlenet", "inception_v3") and weights is None:
                given.setdefault("init_weights", True)  # without, they warn
            takes = inspect.signature(module.models.get_model_builder(named.name)).parameters
            if "weights_backbone" in takes:  # which detectors fetch of their own accord
                given["weights_backbone"] = None
            made = module.models.get_model(named.name, weights=weights, **given)
    except Exception as error:
        shown = ", ".join(f"{name}={value!r}" for name, value in given.items())
        raise failure(
            ModelError, doing + (f" with {shown}" if shown else ""), error, hint=hint
        ) from error
    result: nn.Module = made
    return result


def liven(model: nn.Module, example: torch.Tensor) -> None:
    """Give random weights values with which every layer counts, in place; eval mode after it.

    Libraries begin residual branches with a last scale of 0 or 1e-6, and BatchNorm with the
    statistics of nothing. What such layers compute does not show in the output, so that no check of
    the output would see a fault in them. So what is constant (0, 1, 1e-6) gets random values, and
    statistics are measured on random images.

    Args:
        model: any.
        example: one input.
    """
    import torch
    from torch import nn

    from toolchain.sparsity.statistics import measure_statistics

    generator = torch.Generator().manual_seed(_SEED)
    with torch.no_grad():
        for module in model.modules():
            is_norm = "Norm" in type(module).__name__
            for name, values in module.named_parameters(recurse=False):
                if values.numel() < 2 or not bool((values == values.flatten()[0]).all()):
                    continue
                if bool((values == 0).all()) and not (is_norm and name == "weight"):
                    values.normal_(0, 0.1, generator=generator)
                else:
                    values.uniform_(0.5, 1.5, generator=generator)
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        shape = (4, *example.shape[1:])
        measure_statistics(model, [torch.randn(shape, generator=generator)])
    model.eval()


def _imported(library: str) -> Any:
    extras.require(f"{library}:NAME", library)
    try:
        _import_torchvision()
        return importlib.import_module(library)
    except Exception as error:
        raise failure(
            ModelError,
            f"importing {library}",
            error,
            hint=f"install the {library} that belongs to the torch that is installed: "
            f"{extras.install_line(library)}",
        ) from error


_SCHEMAS: list[Any] = []


def _import_torchvision() -> None:
    """Import torchvision, also where its compiled operators do not fit the torch that is installed.

    The torchvision of PyPI is built for the torch of PyPI, which needs CUDA's libraries. With a
    torch for CPUs those operators do not load, and torchvision cannot be imported because two of
    them have no schema. Its classifiers are plain torch, and need none of them.
    """
    import torch

    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if _SCHEMAS or "torchvision::" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library: Any = torch.library.Library  # not typed
        schemas = library("torchvision", "FRAGMENT")
        _SCHEMAS.append(schemas)  # they are gone with it
        for name in ("nms", "qnms"):
            schemas.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        importlib.import_module("torchvision")
