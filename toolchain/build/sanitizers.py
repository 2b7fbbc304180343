"""GCC's sanitizers: how the runtime is compiled for them, and what a program that has them is told.

``address`` is AddressSanitizer with LeakSanitizer and UndefinedBehaviorSanitizer, ``thread`` is
ThreadSanitizer. Whatever one of them finds ends the program with :data:`FOUND`.
"""

from __future__ import annotations

from typing import Literal

from toolchain.resources import runtime_patch_dir

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


def sanitizer_flags(sanitizer: Sanitizer) -> str:
    """What takes the place of a stage's ``-O2 -DNDEBUG``; for the linker, too."""
    return f"{_COMMON} {_FLAGS[sanitizer]}"


def sanitizer_environment(sanitizer: Sanitizer) -> dict[str, str]:
    """Variables that a program compiled for the sanitizer runs with."""
    if sanitizer == "address":
        # The runner's own handler of crashes would hide where one happened.
        return {
            "ASAN_OPTIONS": f"exitcode={FOUND}:allow_user_segv_handler=0:strict_string_checks=1:"
            "detect_stack_use_after_return=1:check_initialization_order=1:strict_init_order=1",
            "UBSAN_OPTIONS": f"exitcode={FOUND}:print_stacktrace=1",
        }
    known = runtime_patch_dir() / "sanitized/thread.supp"
    options = f"exitcode={FOUND}:halt_on_error=1:second_deadlock_stack=1"
    return {"TSAN_OPTIONS": f"{options}:suppressions='{known}'"}
