"""Other programs that say what code takes on a core: LLVM's (Debian's ``llvm-19``), OSACA."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence

from toolchain.errors import BuildError


def run_tool(command: Sequence[str], text: str) -> str:
    """What a program says of a text.

    Raises:
        BuildError: it cannot be run, or fails.
    """
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BuildError(f"{command[0]} cannot be run: {error.strerror}") from error
    if done.returncode:
        raise BuildError(f"{command[0]} failed: {done.stderr.strip()[:500]}")
    return done.stdout


def hexadecimal(code: bytes) -> str:
    """A line for llvm-mc to disassemble."""
    return " ".join(f"0x{byte:02x}" for byte in code)


def mca_regions(parts: Iterable[Sequence[str]]) -> str:
    """Assembly that llvm-mca looks at part by part."""
    return "".join(
        f"# LLVM-MCA-BEGIN {number}\n" + "\n".join(lines) + "\n# LLVM-MCA-END\n"
        for number, lines in enumerate(parts)
    )
