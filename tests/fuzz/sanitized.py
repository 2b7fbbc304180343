"""``python -m fuzz.sanitized``: the runtime of this machine with AddressSanitizer."""

from __future__ import annotations

from toolchain.build.bundle import build
from toolchain.hardware.board_file import load_board
from toolchain.progress import Lines

if __name__ == "__main__":
    build(load_board("host"), sanitizer="address", progress=Lines())
