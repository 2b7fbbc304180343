"""GCC's sanitizers: how the runtime is compiled for them, and what a program that has them is told.

``address`` is AddressSanitizer with LeakSanitizer and UndefinedBehaviorSanitizer, ``thread`` is
ThreadSanitizer. Whatever one of them finds ends the program with :data:`FOUND`.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Literal

Sanitizer = Literal["address", "thread"]
SANITIZERS: tuple[Sanitizer, ...] = ("address", "thread")

FOUND = 99
"""The exit status of a program that a sanitizer ended; none of ours."""

# Assertions stay in: no -DNDEBUG.
_COMMON = "-O1 -g1 -fno-omit-frame-pointer"
_FLAGS: dict[Sanitizer, str] = {
    "address": "-fsanitize=address,undefined -fno-sanitize-recover=undefined",
    "thread": "-fsanitize=thread",
}
# Micro-kernels read up to XNN_EXTRA_BYTES beyond a row, so what another thread may be writing, and
# drop it: XNNPACK takes ThreadSanitizer off them (XNN_OOB_READS), but asks __has_feature for it,
# which GCC has from version 14.
_XNNPACK_FLAGS: dict[Sanitizer, str] = {
    "address": "",
    "thread": " '-D__has_feature(x)=TILESKIP_HAS_##x' -DTILESKIP_HAS_thread_sanitizer=1",
}
_OPTIONS: dict[Sanitizer, dict[str, str]] = {
    "address": {
        # The runner's own handler of crashes would hide where one happened.
        "ASAN_OPTIONS": f"exitcode={FOUND}:allow_user_segv_handler=0:strict_string_checks=1:"
        "detect_stack_use_after_return=1:check_initialization_order=1:strict_init_order=1",
        "UBSAN_OPTIONS": f"exitcode={FOUND}:print_stacktrace=1",
    },
    "thread": {"TSAN_OPTIONS": f"exitcode={FOUND}:halt_on_error=1:second_deadlock_stack=1"},
}


def sanitizer_flags(sanitizer: Sanitizer) -> str:
    """What takes the place of a stage's ``-O2 -DNDEBUG``; for the linker, too."""
    return f"{_COMMON} {_FLAGS[sanitizer]}"


def xnnpack_sanitizer_flags(sanitizer: Sanitizer) -> str:
    """The same for XNNPACK."""
    return sanitizer_flags(sanitizer) + _XNNPACK_FLAGS[sanitizer]


def sanitizer_environment(sanitizer: Sanitizer) -> dict[str, str]:
    """Variables that a program compiled for the sanitizer runs with."""
    return dict(_OPTIONS[sanitizer])


def preloaded(sanitizer: Sanitizer, cc: str) -> Path:
    """The library that ``LD_PRELOAD`` names where a program without it loads a library with it."""
    name = "libasan.so" if sanitizer == "address" else "libtsan.so"
    command = [cc, f"-print-file-name={name}"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return Path(found.strip()).resolve()
