"""``python -m fuzz.models FOLDER [WHEEL]``: sound models to mutate, unless they are there.

The networks that ship, dense, masked, and masked in int8; and those in a wheel of mediapipe, which
others' tools have written.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

from support.bundles import write_masked_model
from support.readers.format import deploy_here
from toolchain.zoo.catalog import CHECKPOINTS

_QUANTIZED = ("--quantize", "int8", "--calibration", "random")


def write_models(folder: Path, wheel: Path | None) -> None:
    """Fill the folder.

    Args:
        folder: made if it is not there.
        wheel: of mediapipe.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_masked_model(folder / "masked.tflite", size=8, channels=4)
    for name in ("dense", "s20", "s30"):
        source = CHECKPOINTS / f"fashion_resnet_{name}.safetensors"
        for suffix, options in (("", ()), ("_int8", _QUANTIZED)):
            path = folder / f"{name}{suffix}.tflite"
            if not path.is_file():
                deploy_here("convert", str(source), "--output", str(path), *options)
    if wheel is not None:
        with zipfile.ZipFile(wheel) as archive:
            for item in archive.infolist():
                if item.filename.endswith(".tflite"):
                    item.filename = Path(item.filename).name
                    archive.extract(item, folder)


if __name__ == "__main__":
    write_models(Path(sys.argv[1]), Path(sys.argv[2]) if sys.argv[2:] else None)
