"""ONNX files, where the extra that reads them is installed."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from support.malformed import damaged
from support.onnx_models import conv_net, shaped_net
from support.readers.format import Format
from toolchain import extras


@functools.cache
def _whole() -> tuple[bytes, ...]:
    with tempfile.TemporaryDirectory() as folder:
        return tuple(
            make(Path(folder) / "model.onnx").read_bytes() for make in (conv_net, shaped_net)
        )


def _read(path: Path) -> None:
    from toolchain.convert.from_onnx.source import load

    load(path, None)


ONNX_FILES = (
    ()
    if extras.missing_modules("onnx")
    else (Format(".onnx", "model.onnx", lambda: damaged(list(_whole())), _read),)
)
