"""Every format that the toolchain reads: malformed files of it, and what reads them."""

from __future__ import annotations

from support.readers.archives import ARCHIVES
from support.readers.checkpoints import CHECKPOINT_FILES
from support.readers.documents import DOCUMENTS
from support.readers.format import Format
from support.readers.numbers import NUMBERS
from support.readers.onnx_files import ONNX_FILES
from support.readers.results import RESULTS
from support.readers.ssh import SSH

FORMATS: tuple[Format, ...] = (
    *DOCUMENTS, *SSH, *NUMBERS, *CHECKPOINT_FILES, *ONNX_FILES, *ARCHIVES,
    *RESULTS,
)  # fmt: skip
"""All of them."""
