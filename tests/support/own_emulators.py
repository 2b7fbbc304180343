"""A cache that shares everything with the user's but the emulated boards that run.

So each worker of the tests starts the board that users start, and none waits for another's.
"""

from __future__ import annotations

from pathlib import Path

OWN = "emulator"
"""The folder of the cache that has the emulated boards."""
SHARED = (
    "apt", "archives", "arm-python", "arm-site", "bench-counts", "bench-models", "bench-ncnn",
    "bench-onnx", "benchmark-model", "board-image", "ccache", "datasets", "edge-cycles",
    "evaluations", "local-board", "locks", "logs", "programs", "qemu-plugin", "row-counts",
    "row-windows", "tflite", "tidy", "traces", "trees", "xnnpack", "xnnpack-tests",
)  # fmt: skip
"""What tests may be the first to make."""


def lay_out(folder: Path, cache: Path) -> None:
    """Fill an empty folder, which becomes the cache.

    Args:
        folder: to be filled.
        cache: whose content it has; folders are made there that are not.
    """
    for name in SHARED:
        (cache / name).mkdir(parents=True, exist_ok=True)
    for path in cache.iterdir():
        if path.name != OWN:
            (folder / path.name).symlink_to(path)


def not_shared(folder: Path) -> list[str]:
    """What was made in such a folder, and is lost with it: nothing may be."""
    return sorted(path.name for path in folder.iterdir() if not path.is_symlink()
                  and path.name != OWN)  # fmt: skip
