"""The networks of the bench, converted once and kept in the cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import toolchain
from toolchain.progress import Progress, Silent
from toolchain.storage.cache import digest, entry

Dtype = Literal["fp32", "int8"]
DTYPES: tuple[Dtype, ...] = ("fp32", "int8")
SPARSITIES = (0.0, 0.1, 0.2, 0.3, 0.5)
# What a converted file depends on, besides the installed packages.
_SOURCES = ("agreement", "convert", "sparsity", "tflite_file", "zoo")
_SEED = 0


@dataclass(frozen=True)
class Network:
    """A network of the zoo, dense and with masks."""

    name: str
    title: str
    dense: str
    """Its name in the zoo."""
    masked: str
    """The same of its masked ones, without ``_s<percent>``."""
    sparsities: tuple[float, ...] = SPARSITIES
    """Those that the zoo has, 0 included."""
    two_sided: bool = False
    """Whether its ideal skips masked taps, too."""

    def zoo_name(self, sparsity: float) -> str:
        """The zoo's name of it with masks of this sparsity; 0 is dense."""
        return f"{self.masked}_s{round(100 * sparsity)}" if sparsity else self.dense


_ALL = (
    Network("resnet18", "ResNet18, every convolution masked", "resnet18", "resnet18_all"),
    Network(
        "resnet18_lattice",
        "ResNet18, every convolution masked by lattices",
        "resnet18",
        "resnet18_lattice",
        (0.0, 0.2, 0.4),
        two_sided=True,
    ),
    Network("resnet50", "ResNet50", "resnet50", "resnet50"),
    Network("mobilenet_v2", "MobileNetV2", "mobilenet_v2", "mobilenet_v2"),
    Network("efficientnet_lite0", "EfficientNet-Lite0", "efficientnet_lite0", "efficientnet_lite0"),
    Network("yolov5n", "YOLOv5n, 640x640", "yolov5n", "yolov5n"),
)
NETWORKS = {network.name: network for network in _ALL}
_FASHION = Network(
    "fashion_resnet",
    "Fashion-MNIST network",
    "fashion_resnet_dense",
    "fashion_resnet",
    (0.0, 0.2, 0.3),
)
THREAD_NETWORKS = {
    **{name: NETWORKS[name] for name in ("resnet18", "mobilenet_v2")},
    _FASHION.name: _FASHION,
}
"""Those of the bench of threads: large and small operators."""


def model_file(
    name: str,
    dtype: Dtype = "fp32",
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """The ``.tflite`` file of a network of the zoo; converted unless the cache has it.

    Args:
        name: in the zoo.
        dtype: ``int8`` is calibrated on random inputs.
        folder: where ``<name>.tflite`` or ``<name>_int8.tflite`` is taken from if it is there,
            whatever it was made with.
        progress: where the conversion is announced.

    Raises:
        ModelError: there is no such network, or its conversion fails.
        VerificationError: the file's outputs are not torch's.
    """
    progress = progress or Silent()
    title = name if dtype == "fp32" else f"{name}_{dtype}"
    if folder and (folder / f"{title}.tflite").is_file():
        return folder / f"{title}.tflite"
    key = digest("bench model 1", name, dtype, toolchain.__version__, source_hash())

    def fill(place: Path) -> None:
        from toolchain.convert.calibration import RANDOM
        from toolchain.convert.conversion import convert

        options: dict[str, Any] = {}
        if dtype != "fp32":
            options |= {"quantize": dtype, "calibration": RANDOM}
        with progress.stage(f"convert {title}", 1) as stage:
            convert(None, place / f"{title}.tflite", model=name, seed=_SEED, **options)
            stage.advance()

    return entry("bench-models", key, fill) / f"{title}.tflite"


def source_hash() -> str:
    """A hash of what a converted file depends on, besides the installed packages."""
    package = Path(toolchain.__file__).parent
    parts: list[str | bytes] = []
    for folder in _SOURCES:
        for path in sorted((package / folder).rglob("*.py")):
            parts += [path.relative_to(package).as_posix(), path.read_bytes()]
    return digest(*parts)
