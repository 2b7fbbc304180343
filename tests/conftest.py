from __future__ import annotations

import signal

import pytest
from hypothesis import settings

from toolchain.build.sanitizers import SANITIZERS

# A shell starts what it runs in the background with SIGINT ignored, and every child inherits that;
# tests of Ctrl-C need it as it is in a terminal.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Hypothesis gives each example 200 ms of the clock; how long one takes on a busy machine is no
# property of what is tested.
settings.register_profile("tileskip", deadline=None)
settings.load_profile("tileskip")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("tileskip")
    group.addoption(
        "--board-host",
        metavar="USER@ADDRESS",
        help="run tests/hardware on this real board, reached over SSH",
    )
    group.addoption("--board", default="rpi4", help="what that board is (default: rpi4)")
    group.addoption(
        "--sanitizer",
        choices=SANITIZERS,
        help="tests/native: the patched runtime is compiled for it, and what tests its memory runs",
    )
    group.addoption(
        "--armv7",
        action="store_true",
        help="tests/emulated: build for 32-bit boards, too (ten minutes of compiling once)",
    )
